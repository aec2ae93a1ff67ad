"""What is written about the package is true of it."""
