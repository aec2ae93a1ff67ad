"""The demo's page in a browser: what it shows is what happens."""

import hashlib
import os
import random
import re
import signal
from typing import Any

import pytest

from tests.acceptance.harness.demo import Demo

from .conftest import OpenPage
from .demo_page import DemoPage

pytestmark = pytest.mark.asyncio(loop_scope="session")

DROP = """([bytes, name]) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([new Uint8Array(bytes)], name));
    const drop = new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true });
    document.getElementById("upload-area").dispatchEvent(drop);
}"""


async def say(page: DemoPage, text: str) -> None:
    """Says a line in the chat."""
    await page.page.fill("#chat-text", text)
    await page.page.get_by_role("button", name="Post").click()


async def hears(page: DemoPage, text: str) -> None:
    """Waits for a line of the chat."""
    await page.expect(page.page.locator("#chat-log")).to_contain_text(text)


async def test_two_pages_chat(open_page: OpenPage) -> None:
    """What one page says both hear, under the name that was given."""
    ada, ben = await open_page(), await open_page()
    await ada.page.fill("#chat-name", "Ada")
    await say(ada, "Hello, Ben.")
    await hears(ben, "Ada: Hello, Ben.")
    await say(ben, "<b>Hello</b>, Ada.")
    await hears(ada, "<b>Hello</b>, Ada.")
    assert await ada.page.locator("#chat-log p").count() == 2


async def test_charts_move(open_page: OpenPage) -> None:
    """Each of the goods has a chart of the last minute at once, which goes on moving."""
    page = (await open_page()).page
    await page.locator("#prices canvas").nth(3).wait_for()
    assert await page.locator("#prices figcaption .change").all_inner_texts()
    charts = "() => [...document.querySelectorAll('#prices canvas')].map((c) => c.toDataURL())"
    before = await page.evaluate(charts)
    assert len(before) == 4
    changed = f"(before) => ({charts})().every((picture, at) => picture !== before[at])"
    await page.wait_for_function(changed, arg=before)


@pytest.mark.parametrize("size", [0, 3_000_000])
async def test_an_upload_arrives(open_page: OpenPage, size: int) -> None:
    """A chosen file arrives whole: for file, page and worker it has the same digest."""
    page = await open_page()
    content = random.Random(size).randbytes(size)
    file = {"name": "file.bin", "mimeType": "application/octet-stream", "buffer": content}
    await page.page.get_by_label("choose one").set_input_files(file)
    await page.shows("#upload-result", re.compile("^Digest matches"))
    await page.shows("#upload-digest", hashlib.sha256(content).hexdigest())
    await page.shows("#upload-name", f"file.bin, {size:,} bytes")
    assert await page.page.locator("#upload-progress").get_attribute("value") == "1"


async def test_a_file_can_be_dropped(open_page: OpenPage) -> None:
    """A file that is dropped on the page is taken as one that was chosen."""
    page = await open_page()
    await page.page.evaluate(DROP, [list(b"dropped"), "drop.txt"])
    await page.shows("#upload-result", re.compile("^Digest matches"))
    await page.shows("#upload-digest", hashlib.sha256(b"dropped").hexdigest())


async def test_a_killed_worker_loses_nothing(open_page: OpenPage) -> None:
    """When the worker that answers is killed, another one goes on, and no number is missing."""
    page = await open_page()
    await page.need_workers("echo", 2)
    await page.page.select_option("#echo-rate", "100")
    killed = await page.own_worker("echo").get_attribute("data-pid")
    await page.own_worker("echo").get_by_role("button", name="Kill").click()
    await page.counts("#echo-reopened")
    answered = await page.number("#echo-answered")
    await page.counts("#echo-answered", beyond=answered + 100)
    await page.tells(rf"echo moved from \S+:{killed} to")
    await page.expect(page.page.locator(f".node[data-pid='{killed}']")).to_have_count(0)
    await page.settle_echo()
    assert await page.number("#echo-missing") == 0


async def test_a_drained_worker_is_not_noticed(open_page: OpenPage) -> None:
    """When the worker that answers is drained, each number still comes once and in order."""
    page = await open_page()
    await page.need_workers("echo", 2)
    await page.page.select_option("#echo-rate", "100")
    drained = await page.own_worker("echo").get_attribute("data-pid")
    await page.own_worker("echo").get_by_role("button", name="Drain").click()
    await page.tells(rf"echo moved from \S+:{drained} to")
    await page.expect(page.page.locator(f".node[data-pid='{drained}']")).to_have_count(0)
    await page.settle_echo()
    await page.shows("#echo-verdict", "Every number came back once, in order")
    for name in ("missing", "repeated", "reopened"):
        assert await page.number(f"#echo-{name}") == 0


async def test_a_stream_without_a_worker_waits(open_page: OpenPage) -> None:
    """Streams whose last worker was killed say so, and go on with one that is added.

    What was said meanwhile arrives, and an upload begins anew.
    """
    page = await open_page()
    for stream in ("chat", "upload"):
        await page.need_workers(stream, 1)
        await page.workers(stream).get_by_role("button", name="Kill").click()
        await page.expect(page.workers(stream)).to_have_count(0)
    await page.page.get_by_role("button", name="random bytes").click()
    await say(page, "Is anybody there?")
    for stream in ("chat", "upload"):
        await page.shows(f"#{stream} .stream-state", "Unavailable")
        await page.expect(page.lane(stream).get_by_text("No worker")).to_be_visible()
    assert await page.number("#echo-reopened") == 0

    await page.need_workers("chat", 1)
    await hears(page, "Is anybody there?")
    await page.shows("#chat .stream-state", "Open")
    await page.need_workers("upload", 1)
    await page.tells("The upload restarts on another worker")
    await page.shows("#upload-result", re.compile("^Digest matches"))


async def test_the_page_comes_back(open_page: OpenPage, demo: Demo) -> None:
    """When the server restarts the page comes back by itself, and no number is missing."""
    page = await open_page()
    os.kill(demo.pids()["edge"], signal.SIGKILL)
    await page.shows("#connection", re.compile("^Reconnecting in "))
    await page.shows("#connection", "Connected")
    answered = await page.number("#echo-answered")
    await page.counts("#echo-answered", beyond=answered + 20)
    await page.settle_echo()
    assert await page.number("#echo-missing") == 0
    assert await page.number("#echo-reopened") == 1
    await say(page, "Here again.")
    await hears(page, "Here again.")
    await page.expect(page.page.locator("#servers .node")).to_have_count(1)


async def tab_to(page: Any, selector: str) -> None:
    """Presses Tab until an element has the focus, which can be seen there."""
    for _ in range(60):
        await page.keyboard.press("Tab")
        if await page.evaluate(f"document.activeElement.matches({selector!r})"):
            style = "getComputedStyle(document.activeElement).outlineStyle"
            assert await page.evaluate(style) == "solid"
            return
    pytest.fail(f"Tab does not lead to {selector}.")


async def test_the_keyboard_is_enough(open_page: OpenPage) -> None:
    """Workers, rate, pause, chat and upload need no mouse, and the focus is never lost."""
    page = await open_page()
    keyboard = page.page.keyboard
    workers = await page.workers("upload").count()
    await tab_to(page.page, ".lane[data-stream=upload] .add")
    await keyboard.press("Enter")
    await page.expect(page.workers("upload")).to_have_count(workers + 1)
    await keyboard.press("Tab")
    await keyboard.press("Tab")
    assert await page.page.evaluate("document.activeElement.matches('.kill')")
    await keyboard.press("Space")
    await page.expect(page.workers("upload")).to_have_count(workers)
    focused = "document.activeElement.matches('.lane[data-stream=upload] .add')"
    assert await page.page.evaluate(focused)

    await tab_to(page.page, "#echo-rate")
    await keyboard.press("ArrowDown")
    assert await page.page.input_value("#echo-rate") == "50"
    await keyboard.press("Tab")
    await keyboard.press("Enter")
    await page.shows("#echo-pause", "Resume")

    await tab_to(page.page, "#chat-text")
    await keyboard.type("By keyboard.")
    await keyboard.press("Enter")
    await hears(page, "By keyboard.")

    await tab_to(page.page, "#upload-file")
    await tab_to(page.page, "#upload-sample")
    await keyboard.press("Enter")
    await page.shows("#upload-result", re.compile("^Digest matches"))


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_everybody_can_read_it(open_page: OpenPage, scheme: str, width: int) -> None:
    """axe-core finds no barrier, and nothing is wider than the screen, in each size and colour."""
    from axe_playwright_python.async_playwright import Axe

    page = await open_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    await say(page, "Can you read this?")
    await hears(page, "Can you read this?")
    await page.page.get_by_role("button", name="random bytes").click()
    await page.shows("#upload-result", re.compile("^Digest matches"))
    await page.need_workers("echo", 2)
    violations = (await Axe().run(page.page)).response["violations"]
    assert {each["id"]: [node["target"] for node in each["nodes"]] for each in violations} == {}
    assert await page.page.evaluate("document.documentElement.scrollWidth") == width


async def test_only_this_server_is_asked(open_page: OpenPage) -> None:
    """The browser itself is told to let the page ask nobody else, and run no other script."""
    page = await open_page()
    policy = (await page.answer.all_headers())["content-security-policy"]
    assert policy.startswith("default-src 'self'; script-src 'self' 'nonce-")
    assert "unsafe" not in policy
    refused = "fetch('http://127.0.0.2:9/').then(() => 'answered', (error) => error.name)"
    assert await page.page.evaluate(refused) == "TypeError"
    assert page.faults
    assert all("Content Security Policy" in fault for fault in page.faults)
    page.faults.clear()
