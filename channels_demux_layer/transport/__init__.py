"""Connects a process to the channel layer: node, links, and retries when the layer fails."""
