"""Optional integrations with other libraries. Each one needs its own extra."""
