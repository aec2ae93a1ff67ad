"""How Sphinx builds this documentation."""

import re
from importlib import import_module
from importlib.metadata import version as installed_version
from typing import Any

import django
from django.conf import settings

# What the Python API is read from imports Channels, which wants a project.
if not settings.configured:  # as they are where a test reads this
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

# The reader's own server; and anchors of pages that scripts make.
linkcheck_ignore = [r"http://(127\.0\.0\.1|localhost)[:/]"]
linkcheck_anchors = False

exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"channels_demux_layer {release}"
nitpicky = True
# What is not of this package, or not public, has nothing to link to.
_NOT_PUBLIC = r"client\.(dialing|demultiplexer|stream)|edge\.limits|streams|workers\.worker"
#: Modules that offer classes which internal modules define. Signatures name those.
_PUBLIC = ("client", "status")
nitpick_ignore_regex = [
    ("py:.*", r"(?!channels_demux_layer\.).*"),
    ("py:.*", rf"channels_demux_layer\.({_NOT_PUBLIC})\..*"),
]


def link_clauses(app: Any, page: str, source: list[str]) -> None:
    """Give each clause of the specification an anchor, such as c1-2, and link what names it."""
    if page.startswith("specification/"):
        text = re.sub(
            r"^\*\*([CL]\d+)\.(\d+)\*\*", r"(\1-\2)=\n\g<0>", source[0], flags=re.MULTILINE
        )
        source[0] = re.sub(r"(?<!\*)\b([CL]\d+)\.(\d+)\b", r"[\g<0>](#\1-\2)", text)


def public_names() -> dict[str, str]:
    """Return the public name of each class that is defined elsewhere, by its full name there."""
    found = {}
    for module in (import_module(f"channels_demux_layer.{name}") for name in _PUBLIC):
        for name in module.__all__:
            thing = getattr(module, name)
            found[f"{thing.__module__}.{thing.__qualname__}"] = f"{module.__name__}.{name}"
    return found


def link_public(app: Any, env: Any, node: Any, text: Any) -> Any:
    """Link a name that has its documentation in another module."""
    target = public_names().get(node.get("reftarget"))
    if target is None:
        return None
    page, kind = node["refdoc"], node["reftype"]
    return env.domains["py"].resolve_xref(env, page, app.builder, kind, target, node, text)


def setup(app: Any) -> None:
    """Have Sphinx call what is above."""
    app.connect("source-read", link_clauses)
    app.connect("missing-reference", link_public)
