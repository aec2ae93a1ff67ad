"""The demo's page, as those who use it see it."""

import re
from pathlib import Path
from typing import Any

#: Milliseconds that anything on a page may take. Reaching them means that it never comes.
LIMIT = 60_000


class DemoPage:
    """One tab with the demo's page.

    Args:
        page: Playwright's page.
        url: The server's address.

    Attributes:
        page: Playwright's page.
        requests: The URLs of all that the page has asked for.
        faults: What the page has thrown or the browser has complained about.
    """

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        self.requests: list[str] = []
        self.faults: list[str] = []
        self._url = url
        page.set_default_timeout(LIMIT)
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("websocket", lambda socket: self.requests.append(socket.url))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", self._hear)

    def _hear(self, message: Any) -> None:
        # A socket that a server's end takes along is what some tests are about.
        if message.type in {"error", "warning"} and "WebSocket connection to" not in message.text:
            self.faults.append(message.text)

    def assert_faultless(self) -> None:
        """Looks whether anything went wrong, unseen by the test."""
        assert self.faults == []
        host = self._url.partition("://")[2]
        assert {re.split("/+", url)[1] for url in self.requests} == {host}

    async def open(self) -> None:
        """Goes there, and waits until all streams have begun."""
        from playwright.async_api import expect

        self.answer = await self.page.goto(self._url)
        self.expect = expect
        expect.set_options(timeout=LIMIT)
        await self.shows("#connection", "Connected")
        await expect(self.page.locator(".lane[data-stream] .node").nth(3)).to_be_visible()
        await self.counts("#echo-answered")

    async def shows(self, selector: str, text: "str | re.Pattern[str]") -> None:
        """Waits until an element has a text, or contains a match of a pattern."""
        await self.expect(self.page.locator(selector)).to_have_text(text)

    async def counts(self, selector: str, beyond: int = 0) -> int:
        """Waits until an element's number is beyond another one.

        Args:
            selector: The element's.
            beyond: The other number.

        Returns:
            The number.
        """
        handle = await self.page.wait_for_function(
            """([selector, beyond]) => {
                const text = document.querySelector(selector).textContent.replaceAll(",", "");
                return Number(text) > beyond && text;
            }""",
            arg=[selector, beyond],
        )
        return int(await handle.json_value())

    async def number(self, selector: str) -> int:
        """Reads an element's number."""
        return int((await self.page.inner_text(selector)).replace(",", ""))

    async def tells(self, pattern: str) -> None:
        """Waits until the log of what happens has a line."""
        line = self.page.locator("#events-log p").filter(has_text=re.compile(pattern))
        await self.expect(line.first).to_be_visible()

    def lane(self, stream: str) -> Any:
        """Finds what is shown of a stream's workers."""
        return self.page.locator(f".lane[data-stream={stream}]")

    def workers(self, stream: str) -> Any:
        """Finds the workers of a stream that don't drain."""
        return self.lane(stream).locator(".node[data-draining=false]")

    def own_worker(self, stream: str) -> Any:
        """Finds the worker that serves this page."""
        return self.workers(stream).filter(has_text="this page")

    async def need_workers(self, stream: str, count: int) -> None:
        """Adds workers until a stream has as many as a test needs."""
        while await self.workers(stream).count() < count:
            before = await self.workers(stream).count()
            await self.lane(stream).get_by_role("button", name="Add a worker").click()
            # The page may learn of a worker of an earlier test meanwhile, and have two more.
            await self.expect(self.workers(stream).nth(before)).to_be_visible()

    async def settle_echo(self) -> None:
        """Stops sending, and waits for each number that was sent."""
        await self.page.get_by_role("button", name="Pause").click()
        await self.page.wait_for_function(
            """() => {
                const [sent, answered] = ["sent", "answered"].map((name) =>
                    document.getElementById(`echo-${name}`).textContent);
                return sent === answered;
            }"""
        )

    async def screenshot(self, path: Path) -> None:
        """Takes a picture of the whole page."""
        await self.page.screenshot(path=path, full_page=True)
