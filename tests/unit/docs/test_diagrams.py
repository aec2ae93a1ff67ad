"""The pictures in the documentation are those of the code."""

import runpy

import pytest

from .pages import DOCS

DIAGRAMS = DOCS / "topics" / "diagrams"
DRAWINGS = runpy.run_path(str(DIAGRAMS / "draw.py"))["DRAWINGS"]


@pytest.mark.parametrize("name", DRAWINGS)
def test_pictures_are_up_to_date(name: str) -> None:
    """Each picture is what its table in the code draws; if not, run draw.py."""
    assert (DIAGRAMS / f"{name}.svg").read_text(encoding="utf-8") == DRAWINGS[name]()


def test_every_picture_is_shown() -> None:
    """No picture is left that nothing draws, and none that no page shows."""
    page = (DIAGRAMS.parent / "architecture.md").read_text(encoding="utf-8")
    assert {path.stem for path in DIAGRAMS.glob("*.svg")} == set(DRAWINGS)
    assert all(f"(diagrams/{name}.svg)" in page for name in DRAWINGS)
