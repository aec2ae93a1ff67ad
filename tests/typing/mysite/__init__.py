"""A project of a user's that must type-check, in the strict modes of mypy and pyright."""
