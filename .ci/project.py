"""What pyproject.toml says, for the scripts beside this one."""

import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]


class Project(NamedTuple):
    """What is released.

    Attributes:
        table: The table ``project`` of pyproject.toml.
        version: The version, as the package has it.
    """

    table: dict[str, Any]
    version: str


def read_project(root: Path = ROOT) -> Project:
    """Reads pyproject.toml, and the version from where that says it is.

    Args:
        root: The root of the repository.

    Returns:
        What is released.

    Raises:
        ValueError: There is no version.
    """
    pyproject = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    path = root / pyproject["tool"]["hatch"]["version"]["path"]
    found = re.search(r'^__version__ = "(.+)"$', path.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise ValueError(f"{path} has no __version__.")
    return Project(pyproject["project"], found[1])
