"""A process on the channel layer: its node, the links on it, and what outlasts failures."""
