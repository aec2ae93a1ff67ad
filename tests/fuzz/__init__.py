"""Feeds the client wire and the layer wire with whatever there is; needs `atheris`."""
