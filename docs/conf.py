"""How Sphinx builds this documentation."""

from importlib.metadata import version as installed_version

project = "channels_demux_layer"
author = "channels_demux_layer contributors"
copyright = "2026, channels_demux_layer contributors"  # noqa: A001 - Sphinx names it so
release = version = installed_version("channels-demux-layer")

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"channels_demux_layer {release}"
nitpicky = True
