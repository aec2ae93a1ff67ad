"""A process on the channel layer: its node, its links, and what outlasts the layer's failures."""
