"""Every link leads somewhere: to a file of the repository, to a heading, or to an address."""

import re
from pathlib import Path
from urllib.parse import urlsplit

from .pages import PAGES, ROOT, name_of, prose, text_of

LINK = re.compile(r"\]\(\s*<?([^()<>\s]*(?:\([^()\s]*\))?[^()<>\s]*)>?\s*\)")
REFERENCE = re.compile(r"^\[[^\]^]+\]: +(\S+)", re.MULTILINE)
BARE = re.compile(r"<(https?://[^>]+)>")
HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
CLAUSE = re.compile(r"^\*\*([CL]\d+)\.(\d+)\*\*", re.MULTILINE)
INCLUDE = re.compile(r"^```\{include\} (\S+)$", re.MULTILINE)
TOCTREE = re.compile(r"^```\{toctree\}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: Where the reader's own server is.
OWN_MACHINE = {"127.0.0.1", "localhost"}


def links(page: Path) -> list[str]:
    """Return where the links of a page lead."""
    text = re.sub(r"(?<!`)`[^`\n]+`(?!`)", "``", prose(page))
    return [*LINK.findall(text), *REFERENCE.findall(text), *BARE.findall(text)]


def slug(heading: str) -> str:
    """Return the anchor that GitHub and MyST give a heading."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page, those of what it includes among them."""
    text = text_of(page)
    found = {slug(heading) for heading in HEADING.findall(prose(page))}
    found |= {f"{section}-{number}".lower() for section, number in CLAUSE.findall(text)}
    for included in INCLUDE.findall(text):
        found |= anchors((page.parent / included).resolve())
    return found


def test_links_within_the_repository() -> None:
    """A link to a file of the repository leads to one that is there, and to a heading of it."""
    broken = []
    for page in PAGES:
        for link in links(page):
            path, _, anchor = link.partition("#")
            if urlsplit(link).scheme:
                continue
            target = (page.parent / path).resolve() if path else page
            is_there = target.exists() and target.is_relative_to(ROOT)
            if not is_there or (anchor and anchor not in anchors(target)):
                broken.append(f"{name_of(page)}: {link}")
    assert broken == []


def test_addresses() -> None:
    """A link to somewhere else is an https address; `tox -e links` opens all of them."""
    wrong = []
    for page in PAGES:
        for link in links(page):
            parts = urlsplit(link)
            is_safe = parts.scheme == "https" and "." in (parts.hostname or "")
            if parts.scheme and not is_safe and parts.hostname not in OWN_MACHINE:
                wrong.append(f"{name_of(page)}: {link}")
    assert wrong == []


def test_there_are_links() -> None:
    """The patterns above find links of each kind."""
    found = [link for page in PAGES for link in links(page)]
    assert [link for link in found if "#" in link and not urlsplit(link).scheme]
    assert [link for link in found if urlsplit(link).scheme == "https"]
    assert "docs/index.md" in links(ROOT / "README.md")


def test_every_page_can_be_found() -> None:
    """Each page of the documentation stands in a table of contents, and the README leads there."""
    index = ROOT / "docs" / "index.md"
    pages = {page for page in PAGES if ROOT / "docs" in page.parents} - {index}
    listed = set()
    for page in [index, *pages]:
        for entries in TOCTREE.findall(text_of(page)):
            for line in entries.splitlines():
                entry = re.sub(r"^.*<(.*)>$", r"\1", line.strip())
                if entry and not entry.startswith(":"):
                    listed.add((page.parent / f"{entry.removesuffix('.md')}.md").resolve())
    assert listed == pages
