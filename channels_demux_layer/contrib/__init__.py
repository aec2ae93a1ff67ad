"""What links this package to others that a project may use; each needs an extra of its own."""
