"""What is shipped: the version, the extras, the files of the distributions."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import metadata, version
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


@pytest.mark.parametrize(
    "extra", ["redis", "client", "demo", "status", "prometheus", "test", "docs"]
)
def test_extras_exist(extra: str) -> None:
    """Every extra that the documentation names can be installed."""
    assert extra in (metadata("channels-demux-layer").get_all("Provides-Extra") or [])


def test_classifiers_match_the_environments(pyproject: dict[str, Any]) -> None:
    """Every Python and Django that is promised is one that tox tests, and the other way round."""
    tox = (ROOT / "tox.ini").read_text(encoding="utf-8")
    classifiers = pyproject["project"]["classifiers"]
    pythons = {c.rpartition(" ")[2] for c in classifiers if re.search(r"Python :: 3\.\d+$", c)}
    djangos = {c.rpartition(" ")[2] for c in classifiers if re.search(r"Django :: \d+\.\d+$", c)}
    env_list = tox.partition("env_list =")[2].partition("\n\n")[0]
    assert pythons == {f"3.{minor}" for minor in re.findall(r"\b3(\d\d)\b", env_list)}
    assert djangos == {
        f"{major}.{minor}" for major, minor in re.findall(r"django(\d)(\d)", env_list)
    }


@needs_source
@pytest.mark.filterwarnings("default")
def test_wheel_holds_the_package(tmp_path: Path) -> None:
    """The wheel has every file of the package, templates and static files too, and no other."""
    from hatchling.builders.wheel import WheelBuilder

    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == files_below(PACKAGE)


@needs_source
@pytest.mark.filterwarnings("default")
def test_sdist_holds_tests_and_documentation(tmp_path: Path) -> None:
    """Whoever has the sdist can build the wheel, run the tests and read the documentation."""
    from hatchling.builders.sdist import SdistBuilder

    (sdist,) = SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    folders = [files_below(ROOT / name) for name in ("channels_demux_layer", "tests", "docs")]
    alone = {"README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "pyproject.toml", "tox.ini"}
    assert set().union(alone, *folders) - names == set()


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
    assert (package["name"], package["license"]) == (project["name"], project["license"])
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
