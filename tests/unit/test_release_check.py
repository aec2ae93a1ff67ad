"""What .ci/release_check.py says of a tag, a changelog and distributions."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / ".ci" / "release_check.py"
HOME = "https://example.org/demux"

CHANGELOG = f"""\
# Changelog

## [Unreleased]

## [0.2.0] - 2026-12-01

### Added

- More.

## [0.1.0] - 2026-11-24

The first release.

[Unreleased]: {HOME}/compare/v0.2.0...HEAD
[0.2.0]: {HOME}/compare/v0.1.0...v0.2.0
[0.1.0]: {HOME}/releases/tag/v0.1.0
"""
PYPROJECT = """\
[project]
name = "channels-demux-layer"

[tool.hatch.version]
path = "version.py"
"""
METADATA = f"""\
Metadata-Version: 2.4
Name: channels-demux-layer
Version: 0.2.0
Project-URL: Changelog, {HOME}/changelog
Project-URL: Documentation, {HOME}/docs
Project-URL: Source, {HOME}

[Documentation]({HOME}/docs), [below](#below)
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository that is about to release 0.2.0.

    Returns:
        Its root.
    """
    (tmp_path / "pyproject.toml").write_text(PYPROJECT, encoding="utf-8")
    (tmp_path / "version.py").write_text('__version__ = "0.2.0"\n', encoding="utf-8")
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG, encoding="utf-8")
    return tmp_path


@pytest.fixture
def dist(repository: Path) -> Path:
    """The distributions of 0.2.0.

    Returns:
        The folder that they are in.
    """
    folder = repository / "dist"
    folder.mkdir()
    (folder / "channels_demux_layer-0.2.0.tar.gz").touch()
    write_wheel(folder, METADATA)
    return folder


def write_wheel(folder: Path, metadata: str) -> None:
    """Write a wheel that has metadata and nothing else."""
    with zipfile.ZipFile(folder / "channels_demux_layer-0.2.0-py3-none-any.whl", "w") as archive:
        archive.writestr("channels_demux_layer-0.2.0.dist-info/METADATA", metadata)


def complaints(root: Path, *arguments: str) -> list[str]:
    """Run the script.

    Args:
        root: The root of the repository.
        *arguments: Its command line.

    Returns:
        What it complains of, a sentence each.
    """
    command = [sys.executable, str(SCRIPT), "--root", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stderr.splitlines()
    assert done.returncode == bool(lines), done.stderr
    return lines


@pytest.mark.skipif(
    not (ROOT / "channels_demux_layer").exists(), reason="There is nothing to release here."
)
def test_here() -> None:
    """This repository's changelog is in form."""
    assert complaints(ROOT) == []


def test_all_in_step(repository: Path, dist: Path) -> None:
    """Where tag, version, changelog and distributions agree there is nothing to say."""
    assert complaints(repository, "v0.2.0", "--dist", str(dist)) == []


def test_another_tag(repository: Path) -> None:
    """A tag that is not the version's is named, with the right one."""
    (said,) = complaints(repository, "v0.3.0")
    assert said == "The tag v0.3.0 is not that of the package's version: v0.2.0."


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("[0.2.0] - 2026-12-01", "[0.2.0]", "0.2.0 has no date"),
        ("[0.2.0] - 2026-12-01", "[0.2.0] - 2026-13-01", "0.2.0 has no date"),
        ("## [Unreleased]\n", "## [Unreleased]\n\n- Left.\n", "Unreleased still has notes"),
        ("v0.1.0...v0.2.0", "v0.0.9...v0.2.0", "/compare/v0.1.0...v0.2.0' is not at its end"),
        ("/releases/tag/v0.1.0", "", "/releases/tag/v0.1.0' is not at its end"),
        ("v0.2.0...HEAD", "v0.1.0...HEAD", "/compare/v0.2.0...HEAD' is not at its end"),
        ("## [0.1.0]", "## [first]", "first is neither a version nor Unreleased"),
    ],
)
def test_changelog(repository: Path, old: str, new: str, expected: str) -> None:
    """Whatever is amiss in the changelog is named, and nothing beside it."""
    assert old in CHANGELOG
    (repository / "CHANGELOG.md").write_text(CHANGELOG.replace(old, new), encoding="utf-8")
    (said,) = complaints(repository, "v0.2.0")
    assert expected in said


def test_version_without_notes(repository: Path) -> None:
    """A version that the changelog has not got cannot be released, nor can one below another."""
    (repository / "version.py").write_text('__version__ = "0.2.1rc1"\n', encoding="utf-8")
    assert complaints(repository, "v0.2.1rc1") == [
        "CHANGELOG.md: its newest version is not 0.2.1rc1."
    ]
    candidate = "## [0.2.0rc1] - 2026-11-30\n\n## [0.2.0] -"
    text = CHANGELOG.replace("## [0.2.0] -", candidate)
    (repository / "CHANGELOG.md").write_text(text, encoding="utf-8")
    assert "CHANGELOG.md: the newest version does not come first." in complaints(repository)


@pytest.mark.skipif(shutil.which("git") is None, reason="There is no git here.")
def test_tags(repository: Path) -> None:
    """Every tag has its notes and every version that is noted its tag, but the one at hand."""

    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=n", "-c", "user.email=e@example.org")
        subprocess.run(
            ["git", "-C", str(repository), *identity, *arguments], check=True, capture_output=True
        )

    git("init")
    git("commit", "--allow-empty", "--message", "first")
    git("tag", "v0.1.1")
    assert complaints(repository, "v0.2.0") == [
        "CHANGELOG.md: it says nothing of the tag v0.1.1.",
        "CHANGELOG.md: there is no tag v0.1.0.",
    ]
    git("tag", "--delete", "v0.1.1")
    git("tag", "v0.1.0")
    assert complaints(repository, "v0.2.0") == []


def test_distributions(repository: Path, dist: Path) -> None:
    """What PyPI's page would lack is named, and files that don't belong to the release."""
    bare = METADATA.replace(f"Project-URL: Source, {HOME}\n", "").replace("(#below)", "(docs/a.md)")
    write_wheel(dist, bare)
    assert complaints(repository, "--dist", str(dist)) == [
        "pyproject.toml: [project.urls] lacks Source.",
        "PyPI's page would have 1 links that lead nowhere, as docs/a.md.",
    ]
    (dist / "channels_demux_layer-0.1.0.tar.gz").touch()
    (said,) = complaints(repository, "--dist", str(dist))
    assert "channels_demux_layer-0.1.0.tar.gz" in said
