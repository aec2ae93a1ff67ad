"""The README's quickstart as its readers follow it: its commands, and a project of its files."""

import os
import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
#: A reader's environment says nothing of settings; that of the tests has their own.
ENVIRONMENT = {"DJANGO_SETTINGS_MODULE": "mysite.settings"}
#: What a reader does before there is a project; for the tests it is done.
INSTALLS = ("python3 -m venv", "pip install")
FILE = re.compile(r"^`mysite/(\w+\.py)`.*?```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def section() -> str:
    """Return the text of the quickstart."""
    text = README.read_text(encoding="utf-8")
    return text.partition("\n## Quickstart\n")[2].partition("\n## ")[0]


def commands() -> list[list[str]]:
    """Return the words of each command, in order, but for those that install."""
    lines = [line for snippet in CONSOLE.findall(section()) for line in snippet.splitlines()]
    return [line.split() for line in lines if not line.startswith(INSTALLS)]


def argv(words: list[str]) -> list[str]:
    """Return a command with this interpreter's programs in place of the path's."""
    modules = {"django-admin": ["-m", "django"], "uvicorn": ["-m", "uvicorn"], "python": []}
    return [sys.executable, *modules[words[0]], *words[1:]]


def make_project(folder: Path) -> Path:
    """Make the quickstart's project: a new one, with each file as the README has it.

    Args:
        folder: An empty folder.

    Returns:
        The folder, which holds the project's package and manage.py.
    """
    start = next(words for words in commands() if "startproject" in words)
    without = {key: value for key, value in os.environ.items() if key not in ENVIRONMENT}
    subprocess.run(argv(start), cwd=folder, env=without, check=True)
    for name, code in FILE.findall(section()):
        file = folder / "mysite" / name
        before = file.read_text(encoding="utf-8") if name == "settings.py" else ""
        file.write_text(before + code, encoding="utf-8")
    return folder
