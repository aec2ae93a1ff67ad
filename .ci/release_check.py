"""Tells whether what is here may be released: its tag, version, changelog and distributions agree.

Without a tag it looks at what must hold between releases, too: the form of the changelog.
"""

import argparse
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from datetime import date
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any, NamedTuple

from project import ROOT, read_project

HEADING = re.compile(r"^## \[(?P<name>[^\]]+)\](?: - (?P<date>\S+))?[ \t]*$", re.MULTILINE)
FOOTER = re.compile(r"^\[(?P<name>[^\]]+)\]: (?P<url>\S+)$", re.MULTILINE)
RELEASE = re.compile(r"(\d+)\.(\d+)\.(\d+)(?:(a|b|rc)(\d+))?")
RELATIVE_LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)]+)\)")
#: The links that PyPI shows beside the page, by the labels that it knows.
URLS = ("Changelog", "Documentation", "Source")


class Changelog(NamedTuple):
    """A changelog in the form of Keep a Changelog.

    Attributes:
        dates: For each heading, in order, what stands behind it for a date.
        unreleased: What is noted under Unreleased.
        urls: The links that its headings lead to.
    """

    dates: dict[str, str | None]
    unreleased: str
    urls: dict[str, str]

    @property
    def releases(self) -> list[str]:
        """The versions that have a heading, the newest first."""
        return [name for name in self.dates if name != "Unreleased"]


def read_changelog(text: str) -> Changelog:
    """Takes a changelog apart.

    Args:
        text: The file.

    Returns:
        Its parts.
    """
    body = FOOTER.sub("", text)
    headings = list(HEADING.finditer(body))
    ends = [*(heading.start() for heading in headings[1:]), len(body)]
    sections = {
        heading["name"]: body[heading.end() : end].strip()
        for heading, end in zip(headings, ends, strict=False)
    }
    return Changelog(
        dates={heading["name"]: heading["date"] for heading in headings},
        unreleased=sections.get("Unreleased", ""),
        urls={footer["name"]: footer["url"] for footer in FOOTER.finditer(text)},
    )


def order(version: str) -> tuple[Any, ...]:
    """Gives what versions are sorted by: a candidate is older than its release.

    Args:
        version: A version.

    Returns:
        A key.
    """
    found = RELEASE.fullmatch(version)
    assert found, version
    *numbers, kind, candidate = found.groups()
    return (*map(int, numbers), kind or "z", int(candidate or 0))


def form_problems(changelog: Changelog) -> Iterator[str]:
    """Finds what is wrong with the changelog at any time.

    Args:
        changelog: The changelog.

    Yields:
        Sentences.
    """
    releases = changelog.releases
    misnamed = [name for name in releases if not RELEASE.fullmatch(name)]
    if misnamed:
        yield f"CHANGELOG.md: {', '.join(misnamed)} is neither a version nor Unreleased."
        return
    if releases != sorted(releases, key=order, reverse=True):
        yield "CHANGELOG.md: the newest version does not come first."
    for name in releases:
        if not is_date(changelog.dates[name]):
            yield f"CHANGELOG.md: {name} has no date: write '## [{name}] - YYYY-MM-DD'."
    befores = dict(zip(releases, [*releases, None][1:], strict=True))
    for name, before in befores.items():
        end = f"/compare/v{before}...v{name}" if before else f"/releases/tag/v{name}"
        if not changelog.urls.get(name, "").endswith(end):
            yield f"CHANGELOG.md: '[{name}]: ...{end}' is not at its end."
    if releases and "Unreleased" in changelog.dates:
        end = f"/compare/v{releases[0]}...HEAD"
        if not changelog.urls.get("Unreleased", "").endswith(end):
            yield f"CHANGELOG.md: '[Unreleased]: ...{end}' is not at its end."


def is_date(text: str | None) -> bool:
    """Tells whether a heading has a date."""
    try:
        return date.fromisoformat(text or "").isoformat() == text
    except ValueError:
        return False


def release_problems(changelog: Changelog, version: str, tag: str) -> Iterator[str]:
    """Finds what keeps a version from being released.

    Args:
        changelog: The changelog.
        version: The package's version.
        tag: The tag that names the release.

    Yields:
        Sentences.
    """
    if tag != f"v{version}":
        yield f"The tag {tag} is not that of the package's version: v{version}."
    if changelog.releases[:1] != [version]:
        yield f"CHANGELOG.md: its newest version is not {version}."
    if changelog.unreleased:
        yield "CHANGELOG.md: Unreleased still has notes: they belong under the version."


def tag_problems(root: Path, releases: list[str], tag: str) -> Iterator[str]:
    """Finds tags without notes, and notes without a tag, where the history is here.

    Args:
        root: The root of the repository.
        releases: The versions in the changelog.
        tag: The tag that is about to be made, or was made just now.

    Yields:
        Sentences.
    """
    if not (root / ".git").exists():
        return
    command = ["git", "-C", str(root), "tag", "--list", "v*"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    tags = set(listed.stdout.split())
    noted = {f"v{name}" for name in releases}
    for name in sorted(tags - noted):
        yield f"CHANGELOG.md: it says nothing of the tag {name}."
    for name in sorted(noted - tags - {tag}):
        yield f"CHANGELOG.md: there is no tag {name}."


def dist_problems(folder: Path, version: str) -> Iterator[str]:
    """Finds what keeps built distributions from being published.

    Args:
        folder: Where they are.
        version: The package's version.

    Yields:
        Sentences.
    """
    stem = f"channels_demux_layer-{version}"
    wanted = {f"{stem}-py3-none-any.whl", f"{stem}.tar.gz"}
    found = {path.name for path in folder.iterdir()}
    if found != wanted:
        yield f"{folder} has {sorted(found)}, not just {sorted(wanted)}."
        return
    metadata = wheel_metadata(folder / f"{stem}-py3-none-any.whl")
    labels = {url.partition(",")[0] for url in metadata.get_all("Project-URL", [])}
    missing = [label for label in URLS if label not in labels]
    if missing:
        yield f"pyproject.toml: [project.urls] lacks {', '.join(missing)}."
    links = RELATIVE_LINK.findall(str(metadata.get_payload()))
    if links:
        yield f"PyPI's page would have {len(links)} links that lead nowhere, as {links[0]}."


def wheel_metadata(wheel: Path) -> Message:
    """Reads the metadata of a wheel.

    Args:
        wheel: The file.

    Returns:
        Its METADATA; the payload is the description.
    """
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_bytes(archive.read(name))


def find_problems(root: Path, tag: str | None, dist: Path | None) -> Iterator[str]:
    """Finds all that is wrong.

    Args:
        root: The root of the repository.
        tag: The release's tag; None between releases.
        dist: The folder with the built distributions; None where there is none.

    Yields:
        Sentences.
    """
    version = read_project(root).version
    changelog = read_changelog((root / "CHANGELOG.md").read_text(encoding="utf-8"))
    problems = list(form_problems(changelog))
    yield from problems
    if tag is not None:
        yield from release_problems(changelog, version, tag)
        if not problems:
            yield from tag_problems(root, changelog.releases, tag)
    if dist is not None:
        yield from dist_problems(dist, version)


def main() -> int:
    """Prints what is wrong.

    Returns:
        The exit code: 1 where anything is.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tag", nargs="?", help="the release's tag, vX.Y.Z")
    parser.add_argument("--dist", type=Path, help="the folder with the built distributions")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    options = parser.parse_args()
    problems = list(find_problems(options.root, options.tag, options.dist))
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
