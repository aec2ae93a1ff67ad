"""What is compared: one echo, written in three ways."""
