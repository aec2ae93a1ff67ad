"""Chromium, the demo, and pages of it whose faults are failures."""

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.acceptance.conftest import (  # noqa: F401 - the logs of processes, for failed tests
    pytest_runtest_makereport,
    pytest_runtest_setup,
)
from tests.acceptance.harness.demo import READY, Demo, running
from tests.installed import need

from .demo_page import DemoPage

OpenPage = Callable[..., Awaitable[DemoPage]]

#: Names that Debian and others give it.
NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what needs a browser."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("browser")


@pytest.fixture(scope="package")
def chromium() -> str:
    """Skips what needs a browser where there is none; on CI that is a failure.

    Returns:
        The program.
    """
    found = next(filter(None, map(shutil.which, NAMES)), None)
    return need(found, "chromium", "chromium")


@pytest.fixture(scope="package")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: a folder of this run, or what DEMUX_ARTIFACTS says.

    Returns:
        The folder.
    """
    chosen = os.environ.get("DEMUX_ARTIFACTS")
    folder = Path(chosen) if chosen else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def browser(chromium: str) -> AsyncIterator[Any]:
    """The browser that all tests share.

    Yields:
        Playwright's browser.
    """
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest.fixture(scope="package")
def demo(chromium: str) -> Iterator[Demo]:
    """The demo that all tests share, with the stand-in for Redis.

    Yields:
        The demo, ready.
    """
    with running() as demo:
        demo.process.wait_for_line(READY)
        yield demo


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(
    browser: Any, demo: Demo, artifacts: Path, request: pytest.FixtureRequest
) -> AsyncIterator[OpenPage]:
    """A function that opens the demo's page, in a browser of its own as it were.

    Its arguments are those of Playwright's contexts: ``viewport``, ``color_scheme``. In the end
    each page has its screenshot taken, and must have had no fault.
    """
    pages: list[DemoPage] = []

    async def open_one(**options: Any) -> DemoPage:
        context = await browser.new_context(
            **{"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce", **options}
        )
        pages.append(DemoPage(await context.new_page(), f"http://127.0.0.1:{demo.port}"))
        await pages[-1].open()
        return pages[-1]

    yield open_one
    for number, page in enumerate(pages):
        suffix = f"-{number}" if number else ""
        await page.screenshot(artifacts / f"{request.node.name}{suffix}.png")
        await page.page.context.close()
    for page in pages:
        page.assert_faultless()
