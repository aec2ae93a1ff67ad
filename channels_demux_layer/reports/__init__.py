"""What nodes tell about themselves, and how it reads."""
