"""How Sphinx builds this documentation."""

from importlib.metadata import version as installed_version

import django
from django.conf import settings

# What the Python API is read from imports Channels, which wants a project.
settings.configure(INSTALLED_APPS=["channels"])
django.setup()

project = "channels_demux_layer"
author = "channels_demux_layer contributors"
copyright = "2026, channels_demux_layer contributors"  # noqa: A001 - Sphinx names it so
release = version = installed_version("channels-demux-layer")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# Docstrings say what arguments are; of their types the signature tells.
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True
# What docstrings have between single backticks is code.
default_role = "code"

exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"channels_demux_layer {release}"
nitpicky = True
# What is not of this package, or not public, has nothing to link to.
_NOT_PUBLIC = r"client\.(dialing|options|demultiplexer|stream)|limits|streams|worker"
nitpick_ignore_regex = [
    ("py:.*", r"(?!channels_demux_layer\.).*"),
    ("py:.*", rf"channels_demux_layer\.({_NOT_PUBLIC})\..*"),
]
