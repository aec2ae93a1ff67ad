"""How Sphinx builds this documentation."""

import re
from importlib.metadata import version as installed_version
from typing import Any

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


def link_clauses(app: Any, page: str, source: list[str]) -> None:
    """Give each clause of the specification an anchor, such as c1-2, and link what names it."""
    if page.startswith("specification/"):
        text = re.sub(
            r"^\*\*([CL]\d+)\.(\d+)\*\*", r"(\1-\2)=\n\g<0>", source[0], flags=re.MULTILINE
        )
        source[0] = re.sub(r"(?<!\*)\b([CL]\d+)\.(\d+)\b", r"[\g<0>](#\1-\2)", text)


def setup(app: Any) -> None:
    """Have Sphinx call what is above."""
    app.connect("source-read", link_clauses)
