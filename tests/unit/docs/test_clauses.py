"""The specification and the code that implements it cite one another rightly."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from channels_demux_layer import streams
from channels_demux_layer.edge import limits, opening, outbox
from channels_demux_layer.protocol import backlog, portable
from channels_demux_layer.protocol.delivery import REORDER_THRESHOLD
from channels_demux_layer.protocol.envelope import MAX_DEPTH
from channels_demux_layer.protocol.liveness import LinkConfig
from channels_demux_layer.transport import reporter

from .pages import DOCS, PACKAGE, ROOT, text_of

WIRES = {
    "C": DOCS / "specification" / "client-wire.md",
    "L": DOCS / "specification" / "layer-wire.md",
}
#: A clause: its number, at the beginning of a paragraph, and the text up to the next one.
CLAUSE = re.compile(
    r"^\*\*([CL]\d+\.\d+)\*\* (.*?)(?=^\*\*[CL]\d|^## |\Z)", re.MULTILINE | re.DOTALL
)
NUMBER = re.compile(r"\b[CL]\d+\.\d+\b")
#: The one form of a citation.
CITATION = re.compile(r"\((?:[CL]\d+\.\d+)(?:, [CL]\d+\.\d+)*\)")
#: The words of RFC 2119, in capitals.
NORMATIVE = re.compile(r"\b(?:MUST|SHOULD|MAY)\b")


def clauses() -> dict[str, str]:
    """Return the text of each clause, with its line breaks made blanks, by its number."""
    found = {}
    for letter, page in WIRES.items():
        for number, text in CLAUSE.findall(text_of(page)):
            assert number not in found, f"{number} stands twice"
            assert number.startswith(letter), f"{number} is in the other page"
            found[number] = " ".join(text.split())
    return found


def sources() -> Iterator[tuple[str, str]]:
    """Find what may cite clauses.

    Yields:
        The name and the text of each file of the package, and of each of the tests'.
    """
    for folder in (PACKAGE, ROOT / "tests"):
        for path in sorted(folder.rglob("*")):
            if path.suffix in (".py", ".js", ".mjs", ".ts", ".json") and "vendor" not in path.parts:
                yield path.as_posix(), path.read_text(encoding="utf-8")


def citing_tests() -> set[str]:
    """Return the numbers that docstrings of tests cite."""
    found: set[str] = set()
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                found |= set(NUMBER.findall(ast.get_docstring(node) or ""))
    return found


def cited_by_package() -> set[str]:
    """Return the numbers that the package cites."""
    return {
        number
        for name, text in sources()
        if Path(name).is_relative_to(PACKAGE)
        for number in NUMBER.findall(text)
    }


def test_what_is_cited_is_there() -> None:
    """Each clause that code, tests or the pages themselves cite exists."""
    known = clauses()
    here = Path(__file__).as_posix()
    cited = {(name, n) for name, text in sources() if name != here for n in NUMBER.findall(text)}
    cited |= {(page.name, n) for page in WIRES.values() for n in NUMBER.findall(text_of(page))}
    assert {(name, number) for name, number in cited if number not in known} == set()


def test_every_clause_is_cited() -> None:
    """Each clause is cited where it is implemented, or by a test where that is no single place."""
    assert set(clauses()) - cited_by_package() - citing_tests() == set()


def test_citations_have_one_form() -> None:
    """A citation stands in brackets: (C2.4), or several of them with commas."""
    here = Path(__file__).as_posix()
    bare = {
        (name, number)
        for name, text in sources()
        if name != here
        for number in NUMBER.findall(CITATION.sub("", text))
    }
    assert bare == set()


def test_numbers_follow_one_another() -> None:
    """The clauses of each section are numbered from 1, and stand under its heading."""
    for letter, page in WIRES.items():
        for section in re.split(r"^## ", text_of(page), flags=re.MULTILINE)[1:]:
            title = section.partition(".")[0]
            numbers = [number for number, _ in CLAUSE.findall(section)]
            assert title[0] == letter
            assert numbers == [f"{title}.{count}" for count in range(1, len(numbers) + 1)]


def test_keywords_are_used() -> None:
    """Most clauses say who must do what, in the words of RFC 2119, and each page names it."""
    known = clauses()
    assert len([text for text in known.values() if NORMATIVE.search(text)]) > len(known) * 0.7
    assert all("RFC 2119" in text_of(page) for page in WIRES.values())


#: What clauses say in numbers, made of those that the code runs by.
CONFIG = LinkConfig()
FIGURES = [
    ("C1.5", f"1 to {streams.MAX_STREAM_NAME} bytes"),
    ("C2.5", f"more than {MAX_DEPTH} levels"),
    ("C6.2", f"{streams.MAX_STREAM_NAME} characters"),
    ("C6.4", f"{limits.MOST_REFUSALS} opens"),
    ("C6.5", f"more than {outbox.MUCH} frames"),
    ("L2.4", f"{opening.CLAIM_WINDOW * 1000:.0f} ms"),
    ("L2.4", f"{opening.FIRST_WINDOW * 1000:.0f} ms"),
    ("L2.7", f"{opening.LONGEST_PAUSE:.0f} s"),
    ("L3.3", f"at most {CONFIG.max_early}"),
    ("L3.4", f"after {CONFIG.ack_delay * 1000:.0f} ms, after {CONFIG.ack_every} batches"),
    ("L3.5", f"At most {CONFIG.max_in_flight} batches"),
    ("L3.5", f"none {CONFIG.max_early} or more above"),
    ("L3.6", f"{CONFIG.ack_delay * 1000:.0f} ms more, {CONFIG.initial_timeout:.0f} s before"),
    ("L3.6", f"from {CONFIG.min_timeout} s to {CONFIG.max_timeout:.0f} s"),
    ("L3.6", f"{ {3: 'three'}[REORDER_THRESHOLD] } or more"),
    ("L3.9", f"or has {CONFIG.batch_frames:,}"),
    ("L3.10", f"longer than {backlog.MAX_TIME * 1000:.0f} ms"),
    ("L5.3", f"after {CONFIG.ack_delay * 1000:.0f} ms"),
    ("L6.3", f"more than {portable.MAX_DEPTH} levels"),
    ("L7.4", f"answers {reporter.MAX_ANSWERS} questions"),
]


@pytest.mark.parametrize(("number", "figure"), FIGURES)
def test_figures_are_those_of_the_code(number: str, figure: str) -> None:
    """The numbers that a clause has are those that the code runs by."""
    assert figure in clauses()[number]
