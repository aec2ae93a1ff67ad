"""The nodes' reports about themselves, and their presentation."""
