"""Writes the folder that `npm publish` takes: the browser's client, with pyproject.toml's data."""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from project import ROOT, read_project

STATIC = ROOT / "channels_demux_layer" / "static" / "channels_demux_layer"
FILES = [
    STATIC / "demultiplexer.js",
    STATIC / "demultiplexer.d.ts",
    ROOT / "README.md",
    ROOT / "LICENSE",
]


def manifest() -> dict[str, Any]:
    """Makes the package.json.

    Returns:
        What it holds.
    """
    project, version = read_project()
    # npm takes a signed statement of the build only where this is the repository that it names.
    source = project.get("urls", {}).get("Source")
    repository = {"repository": {"type": "git", "url": f"git+{source}.git"}} if source else {}
    return {
        "name": project["name"],
        "version": semantic(version),
        "description": f"The browser's client of {project['name']}, for Django Channels.",
        "keywords": project["keywords"],
        "license": project["license"],
        **repository,
        "type": "module",
        "exports": {".": {"types": "./demultiplexer.d.ts", "default": "./demultiplexer.js"}},
        "types": "./demultiplexer.d.ts",
        "files": ["demultiplexer.js", "demultiplexer.d.ts"],
        "sideEffects": False,
    }


def semantic(version: str) -> str:
    """Writes a version of Python's as npm does: 1.0.0rc1 is 1.0.0-rc.1.

    Args:
        version: A release, or one before it.

    Returns:
        The same as a semantic version.
    """
    return re.sub(r"(a|b|rc)(\d+)$", r"-\1.\2", version)


def main(target: Path) -> None:
    """Writes the package.

    Args:
        target: The folder to write to; it is made where there is none.
    """
    target.mkdir(parents=True, exist_ok=True)
    for file in FILES:
        shutil.copy(file, target)
    text = json.dumps(manifest(), indent=2) + "\n"
    (target / "package.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
