"""The pages: their snippets, tables, headings and links, and what is code in their prose."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import channels_demux_layer

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PACKAGE = Path(channels_demux_layer.__file__).parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts),
]
#: A fence, with backticks or colons, and what stands behind its opening.
FENCE = re.compile(r"^( *)(`{3,}|:{3,})([^`\n]*)\n(.*?)^\1\2$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)


class Snippet(NamedTuple):
    """What stands in one fence.

    Attributes:
        place: Its page and line.
        language: What stands behind the opening fence.
        code: Its text, without the indentation of the fence.
    """

    place: str
    language: str
    code: str


def name_of(page: Path) -> str:
    """Return a page's path from the root."""
    return page.relative_to(ROOT).as_posix()


def text_of(page: Path) -> str:
    """Return the text of a page."""
    return page.read_text(encoding="utf-8")


def all_snippets() -> Iterator[Snippet]:
    """Find what stands in fences, of all pages.

    Yields:
        Each of them.
    """
    for page in PAGES:
        text = text_of(page)
        for match in FENCE.finditer(text):
            line = text.count("\n", 0, match.start()) + 2
            code = re.sub(rf"^{match[1]}", "", match[4], flags=re.MULTILINE)
            yield Snippet(f"{name_of(page)}:{line}", match[3].strip(), code)


def snippets(*languages: str) -> list[Any]:
    """Find the code of some languages.

    Args:
        *languages: The words behind the opening fences.

    Returns:
        The code of each fence, as a parameter named after its page and line.
    """
    found = (snippet for snippet in all_snippets() if snippet.language in languages)
    return [pytest.param(snippet.code, id=snippet.place) for snippet in found]


def prose(page: Path) -> str:
    """Return the text of a page without its fences; each leaves its lines, empty."""
    return FENCE.sub(lambda match: "\n" * match[0].count("\n"), text_of(page))


def code_in_prose() -> Iterator[tuple[str, str]]:
    """Find what stands in backticks, of all pages.

    Yields:
        The name of the page, and the code with its line breaks made blanks.
    """
    for page in PAGES:
        for match in INLINE.finditer(prose(page)):
            yield name_of(page), " ".join(match[2].split())


def rows(page: str, heading: str) -> list[list[str]]:
    """Read the first table under a heading.

    Args:
        page: The file, below docs.
        heading: The text of the heading.

    Returns:
        The cells of each row below the table's own head.
    """
    text = text_of(DOCS / page)
    section = re.split(rf"^#+ {re.escape(heading)}$", text, flags=re.MULTILINE)[1]
    lines = [line for line in section.partition("\n#")[0].splitlines() if line.startswith("|")]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [cells for cells in table if set(cells[0]) != {"-"}][1:]


def words(page: str, heading: str) -> list[str]:
    """Read the first column of a table, without its backticks."""
    return [cells[0].strip("`") for cells in rows(page, heading)]
