"""What nodes tell about themselves, and who may ask."""
