"""What is shipped: the version, the extras, the files of the distributions."""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import channels_demux_layer

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "channels_demux_layer"
#: The suite also runs beside the built wheel, in a copy of the repository without the package.
needs_source = pytest.mark.skipif(not PACKAGE.exists(), reason="There is nothing to build here.")
ROOT_FILES = {
    *("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md"),
    *("pyproject.toml", "tox.ini", "Dockerfile", "docker-compose.yml", ".gitignore"),
}
LEFT_BY_TOOLS = {"__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", "_build"}


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    """The project's pyproject.toml.

    Returns:
        Its tables.
    """
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def files_below(folder: Path) -> set[str]:
    """List what belongs to the repository.

    Args:
        folder: A folder of it.

    Returns:
        Paths from the root, with slashes.
    """
    return {
        path.relative_to(ROOT).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not LEFT_BY_TOOLS.intersection(path.parts)
    }


def test_version_stands_in_one_place(pyproject: dict[str, Any]) -> None:
    """The version of the distribution is that of the package, and is written nowhere else."""
    assert pyproject["project"]["dynamic"] == ["version"]
    assert version("channels-demux-layer") == channels_demux_layer.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", channels_demux_layer.__version__)


def test_version_is_in_the_changelog() -> None:
    """The changelog speaks of the version that is shipped."""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert channels_demux_layer.__version__ in changelog


def test_types_are_shipped() -> None:
    """Type checkers see the package's annotations."""
    assert Path(channels_demux_layer.__file__).with_name("py.typed").is_file()


def test_documentation_has_the_version() -> None:
    """The documentation is that of the version that is installed."""
    names = runpy.run_path(str(ROOT / "docs" / "conf.py"))
    assert names["release"] == names["version"] == channels_demux_layer.__version__


def test_documented_extras_exist(pyproject: dict[str, Any]) -> None:
    """Whatever the documentation tells to install exists."""
    extras = set(pyproject["project"]["optional-dependencies"])
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    named = re.findall(r"(?:channels-demux-layer|'\.)\[([\w,]+)\]", text)
    assert {"redis", "client", "demo", "test"} <= set(",".join(named).split(",")) <= extras


def test_classifiers_match_the_environments(pyproject: dict[str, Any]) -> None:
    """What is promised is what tox and CI test, what README says, and what tools are told."""
    pythons, djangos = promised(pyproject, "Python"), promised(pyproject, "Django")
    tox = (ROOT / "tox.ini").read_text(encoding="utf-8")
    env_list = tox.partition("env_list =")[2].partition("\n\n")[0]
    pairs = re.findall(r"py(?:{([\d,]+)}|(\d+))-django(\d)(\d)", env_list)
    tested = {f"3.{name[1:]}" for many, one, *_ in pairs for name in (many or one).split(",")}
    assert tested == set(pythons)
    assert [f"{major}.{minor}" for *_, major, minor in pairs] == djangos

    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert f"\nversions=({' '.join(reversed(pythons))})\n" in ci
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"\n| Python | {', '.join(pythons)} |\n" in readme
    (said,) = re.findall(r"\n\| Django \| ([^(|]*)", readme)
    assert re.findall(r"\d+\.\d+", said) == djangos


def test_oldest_python_is_what_tools_are_told(pyproject: dict[str, Any]) -> None:
    """pip, mypy and ruff are told of the oldest Python that is promised."""
    oldest = promised(pyproject, "Python")[0]
    assert pyproject["project"]["requires-python"] == f">={oldest}"
    assert pyproject["tool"]["mypy"]["python_version"] == oldest
    assert pyproject["tool"]["ruff"]["target-version"] == f"py{oldest.replace('.', '')}"


def promised(pyproject: dict[str, Any], name: str) -> list[str]:
    """Read which versions of Python or Django the classifiers name.

    Args:
        pyproject: The tables of pyproject.toml.
        name: Python or Django.

    Returns:
        The versions, in order.
    """
    found = [
        re.search(rf":: {name} :: (\d+\.\d+)$", line)
        for line in pyproject["project"]["classifiers"]
    ]
    return [match[1] for match in found if match]


# -- the distributions ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist and the wheel, both built from the repository.

    Returns:
        The folder that they are in.
    """
    folder = tmp_path_factory.mktemp("dist")
    build("sdist", ROOT, folder)
    build("wheel", ROOT, folder)
    return folder


def build(kind: str, root: Path, folder: Path) -> None:
    """Build a distribution, in a process of its own, as front ends do.

    Args:
        kind: ``sdist`` or ``wheel``.
        root: The root of the source.
        folder: Where to put it.
    """
    command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "-d", str(folder)]
    subprocess.run(command, cwd=root, check=True, capture_output=True)


def wheel_files(folder: Path) -> dict[str, bytes]:
    """Read the wheel in a folder.

    Args:
        folder: Where it is.

    Returns:
        What it holds, by name.
    """
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@needs_source
def test_wheel_holds_the_package(dist: Path) -> None:
    """The wheel has every file of the package, its licences and its metadata, and no other."""
    info = f"channels_demux_layer-{channels_demux_layer.__version__}.dist-info"
    package = files_below(PACKAGE)
    licences = {"LICENSE", *(name for name in package if name.endswith(".LICENSE"))}
    names = {"METADATA", "RECORD", "WHEEL", *(f"licenses/{name}" for name in licences)}
    assert len(licences) == 2
    assert set(wheel_files(dist)) == package | {f"{info}/{name}" for name in names}
    kinds = {path.rpartition(".")[2] for path in package}
    assert {"py", "typed", "js", "ts", "css", "html", "svg", "LICENSE"} == kinds


@needs_source
def test_what_is_vendored_has_its_licence() -> None:
    """Beside each file of others is the licence that it came with, which the metadata name."""
    vendored = [path for path in PACKAGE.rglob("vendor/*") if path.suffix != ".LICENSE"]
    assert len(vendored) == 2
    for path in vendored:
        licence = path.with_name(f"{path.name.partition('.')[0]}.LICENSE")
        assert "MIT License" in licence.read_text(encoding="utf-8")


@needs_source
def test_sdist_holds_tests_and_documentation(dist: Path) -> None:
    """Whoever has the sdist can build, run the tests and read the documentation; that is all."""
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    folders = ("channels_demux_layer", "tests", "docs", ".ci")
    assert names == ROOT_FILES.union({"PKG-INFO"}, *(files_below(ROOT / name) for name in folders))


@needs_source
def test_sdist_builds_the_same_wheel(dist: Path, tmp_path: Path) -> None:
    """The wheel that the sdist builds is that of the repository, byte by byte."""
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        for member in archive:
            path = tmp_path / member.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.extractfile(member).read())  # type: ignore[union-attr]
    (root,) = tmp_path.iterdir()
    build("wheel", root, tmp_path)
    assert wheel_files(tmp_path) == wheel_files(dist)


@needs_source
def test_metadata(pyproject: dict[str, Any], dist: Path) -> None:
    """The metadata say what pyproject.toml does, and have the README for a description."""
    project = pyproject["project"]
    (text,) = (text for name, text in wheel_files(dist).items() if name.endswith("/METADATA"))
    told = message_from_bytes(text)
    assert told["Version"] == channels_demux_layer.__version__
    assert told["Summary"] == project["description"]
    assert told["Requires-Python"] == project["requires-python"]
    assert told["License-Expression"] == project["license"]
    assert told.get_all("Classifier") == project["classifiers"]
    assert set(told.get_all("Provides-Extra", [])) == set(project["optional-dependencies"])
    plain = [line for line in told.get_all("Requires-Dist", []) if ";" not in line]
    assert sorted(plain) == sorted(project["dependencies"])
    urls = [url.partition(", ") for url in told.get_all("Project-URL", [])]
    assert {label: url for label, _, url in urls} == project.get("urls", {})
    assert told["Description-Content-Type"] == "text/markdown"
    assert told.get_payload(decode=True) == (ROOT / "README.md").read_bytes()


def npm_package(target: Path) -> dict[str, Any]:
    """Write the folder for npm.

    Args:
        target: Where to.

    Returns:
        Its package.json.
    """
    script = ROOT / ".ci" / "npm_package.py"
    subprocess.run([sys.executable, str(script), str(target)], check=True)
    package: dict[str, Any] = json.loads((target / "package.json").read_text(encoding="utf-8"))
    return package


@needs_source
def test_npm_package(pyproject: dict[str, Any], tmp_path: Path) -> None:
    """The package for npm has the distribution's name, version and licence, and what it exports."""
    package = npm_package(tmp_path)
    project = pyproject["project"]
    assert package["name"] == project["name"]
    assert package["license"] == project["license"]
    assert re.sub(r"-(a|b|rc)\.", r"\1", package["version"]) == channels_demux_layer.__version__
    exported = {*package["exports"]["."].values(), package["types"]}
    assert {name.removeprefix("./") for name in exported} == set(package["files"])
    static = PACKAGE / "static" / "channels_demux_layer"
    assert set(package["files"]) == {path.name for path in static.iterdir()}
    for name in package["files"]:
        assert (tmp_path / name).read_bytes() == (static / name).read_bytes()


@needs_source
@pytest.mark.skipif(shutil.which("npm") is None, reason="There is no npm here.")
def test_npm_packs_it(tmp_path: Path) -> None:
    """From the folder npm packs the client, its types and the licence, and no other file."""
    folder = tmp_path / "package"
    npm_package(folder)
    environ = {**os.environ, "npm_config_cache": str(tmp_path / "cache")}
    packed = subprocess.run(
        ["npm", "pack", "--dry-run", "--json", "--offline"],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    listed = json.loads(packed.stdout)
    (entry,) = listed.values() if isinstance(listed, dict) else listed
    assert {file["path"] for file in entry["files"]} == {
        *("demultiplexer.js", "demultiplexer.d.ts"),
        *("package.json", "README.md", "LICENSE"),
    }
