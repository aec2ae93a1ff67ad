"""Tells which names of the documented Python API lack a type, or leave it to be guessed.

Type checkers infer what is not annotated, each in its own way: users would see one type or another.
"""

import importlib
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "python-api.md"
PACKAGE = "channels_demux_layer"
DIRECTIVE = re.compile(r"^\.\. auto(class|function|module):: ([\w.]+)", re.MULTILINE)


def documented_names() -> set[str]:
    """Reads the page of the Python API.

    Returns:
        The names by the modules that define them; of a module, its own name.
    """
    settings.configure(INSTALLED_APPS=["channels"])
    names = set()
    for kind, path in DIRECTIVE.findall(PAGE.read_text(encoding="utf-8")):
        if kind == "module":
            names.add(path)
            continue
        module, _, name = path.rpartition(".")
        found = getattr(importlib.import_module(module), name)
        names.add(f"{inspect.unwrap(found).__module__}.{name}")
    return names


def judged_symbols() -> list[dict[str, Any]]:
    """Asks pyright about the package that is installed.

    Returns:
        What it says of each name of the package.
    """
    command = ["pyright", "--verifytypes", PACKAGE, "--ignoreexternal", "--outputjson"]
    # Elsewhere than here: it would take the source for the package, and find no distribution.
    told = subprocess.run(command, cwd=sys.prefix, capture_output=True, text=True, check=False)
    symbols: list[dict[str, Any]] = json.loads(told.stdout)["typeCompleteness"]["symbols"]
    return symbols


def find_problems(documented: set[str], symbols: list[dict[str, Any]]) -> Iterator[str]:
    """Finds names without a type, and documented names that pyright does not know.

    Args:
        documented: The names of the API.
        symbols: What pyright says of all names.

    Yields:
        Sentences.
    """
    for name in sorted(documented):
        own = [symbol for symbol in symbols if f"{symbol['name']}.".startswith(f"{name}.")]
        if not own:
            yield f"{name}: pyright does not know it."
        for symbol in own:
            if not symbol["isTypeKnown"] or symbol["isTypeAmbiguous"]:
                told = [" ".join(entry["message"].split()) for entry in symbol["diagnostics"]]
                yield f"{symbol['name']}: {' '.join(told) or 'a part of it has no clear type.'}"


def main() -> int:
    """Prints what is wrong.

    Returns:
        The exit code: 1 where anything is.
    """
    problems = list(find_problems(documented_names(), judged_symbols()))
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
