"""A page written for a plain WebSocket, ported by its constructor."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.harness.processes import Process
from tests.acceptance.harness.redis_server import free_port

from .demo_page import LIMIT

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture(scope="module")
def site(chromium: str) -> Iterator[str]:
    """The site of Channels' tutorial.

    Yields:
        Its address.
    """
    port = free_port()
    command = ["python", "-m", "uvicorn", "tests.browser.tutorial:application", "--port", str(port)]
    process = Process("tutorial", [*command, "--lifespan", "off"])
    process.wait_for_line("Uvicorn running on")
    yield f"http://127.0.0.1:{port}"
    process.stop()


async def sockets_open(page: Any, url: str) -> None:
    """Goes to a page, and waits until the server has answered over its WebSocket."""
    await page.goto(url)
    # A plain socket must not be sent to before it is open; a stream may be.
    is_open = "() => typeof chatSocket === 'undefined' || chatSocket.readyState === WebSocket.OPEN"
    await page.wait_for_function(is_open, timeout=LIMIT)
    heard = "() => document.querySelector('#chat-log').value.includes('ping')"
    await page.fill("#chat-message-input", "ping")
    await page.keyboard.press("Enter")
    await page.wait_for_function(heard, timeout=LIMIT)


@pytest.mark.parametrize("kinds", [("plain", "plain"), ("ported", "ported"), ("plain", "ported")])
async def test_the_tutorials_page_chats(browser: Any, site: str, kinds: tuple[str, str]) -> None:
    """Two pages of the tutorial chat, as they were and with the constructor changed, and mixed."""
    context = await browser.new_context()
    faults: list[str] = []
    pages = []
    for number, kind in enumerate(kinds):
        page = await context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        await sockets_open(page, f"{site}/{kind}/{'-'.join(kinds)}/")
        pages.append(page)
        await page.fill("#chat-message-input", f"Hello from {number}.")
        await page.click("#chat-message-submit")
    for page in pages:
        said = "() => document.querySelector('#chat-log').value.includes('Hello from 1.')"
        await page.wait_for_function(said, timeout=LIMIT)
    assert faults == []
    await context.close()
