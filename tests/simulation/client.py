"""A client with its WebSocket, and the server's end of it."""

from __future__ import annotations

import asyncio
import json
import random
from collections import deque
from collections.abc import Callable
from typing import Any

from .ledger import Label
from .process import Process
from .scenario import Chapter, ClientPlan, Order


class StreamStory:
    """What a client has heard of one stream, in the order in which it came."""

    def __init__(self) -> None:
        self.replies: list[tuple[int, Label]] = []
        self.events: list[dict[str, Any]] = []
        #: The code of each chapter's end.
        self.codes: list[int] = []
        self.finished = 0
        self.news = asyncio.Event()

    async def until(self, is_true: Callable[[], bool]) -> None:
        """Wait until something is true."""
        while not is_true():
            self.news.clear()
            await self.news.wait()


class Client:
    """One client.

    Args:
        number: Its number.
        plan: What it does.
        edge: The process that it connects to.
        application: The demultiplexer.
        rng: Where chance comes from.
    """

    def __init__(
        self, number: int, plan: ClientPlan, edge: Process, application: Any, rng: random.Random
    ) -> None:
        self.path = f"/{number}"
        self.plan = plan
        self.edge = edge
        self.stories: dict[str, StreamStory] = {}
        self.errors: list[dict[str, Any]] = []
        self.has_left = False
        self.close_code: int | None = None
        self.is_done = False
        self._application = application
        self._rng = rng
        self._inbox: deque[dict[str, Any]] = deque()
        self._arrived = asyncio.Event()
        self._closed = asyncio.Event()
        self._accepted = asyncio.Event()

    @property
    def is_cut(self) -> bool:
        """Whether its server has died."""
        return self.edge.is_dead

    # -- the server's end ---------------------------------------------------------------------

    def _put(self, message: dict[str, Any]) -> None:
        self._inbox.append(message)
        self._arrived.set()

    async def _receive(self) -> dict[str, Any]:
        while not self._inbox:
            self._arrived.clear()
            await self._arrived.wait()
        return self._inbox.popleft()

    async def _send(self, message: dict[str, Any]) -> None:
        if self.plan.reading and message["type"] == "websocket.send":
            await asyncio.sleep(self._rng.uniform(0, self.plan.reading))
        if self.edge.is_dead or self.has_left:
            return
        if message["type"] == "websocket.accept":
            self._accepted.set()
        elif message["type"] == "websocket.close":
            self.close_code = message.get("code") or 1000
            self._closed.set()
            self._put({"type": "websocket.disconnect", "code": self.close_code})
        else:
            self._hear(message)

    def _hear(self, message: dict[str, Any]) -> None:
        if message.get("text") is None:
            data = message["bytes"]
            name, payload = data[1 : 1 + data[0]].decode(), json.loads(data[1 + data[0] :])
            self._hear_payload(name, payload)
            return
        envelope = json.loads(message["text"])
        name = envelope.get("stream")
        if "payload" in envelope:
            self._hear_payload(name, envelope["payload"])
        elif envelope["event"] == "error":
            self.errors.append(envelope)
        else:
            story = self.stories[name]
            story.events.append(envelope)
            if envelope["event"] == "closed":
                story.codes.append(envelope["code"])
            story.news.set()

    def _hear_payload(self, name: str, payload: dict[str, Any]) -> None:
        story = self.stories[name]
        chapter, label = payload["chapter"], tuple(payload["label"])
        story.replies.append((chapter, label))
        story.news.set()

    # -- the client ---------------------------------------------------------------------------

    async def run(self) -> None:
        """Live from connect to disconnect."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self.plan.arrives_at)
        if not self.edge.is_over:
            for stream in self._all_streams():
                self.stories[stream] = StreamStory()
            scope = {"type": "websocket", "path": self.path, "headers": [], "subprotocols": []}
            serving = self.edge.start(self._application(scope, self._receive, self._send))
            leaving = None
            if self.plan.leaves_at is not None:
                leaving = loop.call_later(self.plan.leaves_at, self._leave)
            await self._talk(serving)
            if leaving is not None:
                leaving.cancel()
        self.is_done = True

    def _all_streams(self) -> list[str]:
        from .scenario import STREAMS

        return list(STREAMS)

    async def _talk(self, serving: asyncio.Task[Any]) -> None:
        self._put({"type": "websocket.connect"})
        talking = [
            asyncio.ensure_future(self._tell(stream, chapters))
            for stream, chapters in self.plan.chapters.items()
        ]
        ends = asyncio.ensure_future(self._all_told(talking))
        await asyncio.wait([serving, ends], return_when=asyncio.FIRST_COMPLETED)
        for task in [*talking, ends]:
            task.cancel()
        self._leave()
        await asyncio.wait([serving])

    async def _all_told(self, talking: list[asyncio.Task[None]]) -> None:
        await asyncio.gather(*talking)

    def _leave(self) -> None:
        if not self.has_left:
            self.has_left = True
            self._put({"type": "websocket.disconnect", "code": 1001})

    async def _tell(self, stream: str, chapters: list[Chapter]) -> None:
        await self._accepted.wait()
        story = self.stories[stream]
        for number, chapter in enumerate(chapters):
            if number:
                self._put_text({"stream": stream, "event": "open"})
            await self._tell_chapter(stream, number, chapter)
            if chapter.closer in ("client", "nobody"):
                await story.until(
                    lambda n=number, c=chapter: is_answered(story, n, c) or len(story.codes) > n
                )
            if chapter.closer in ("client", "at once") and len(story.codes) == number:
                self._put_text({"stream": stream, "event": "close"})
            if chapter.closer != "nobody":
                await story.until(lambda n=number: len(story.codes) > n)
            story.finished += 1

    async def _tell_chapter(self, stream: str, number: int, chapter: Chapter) -> None:
        for order in chapter.orders:
            await asyncio.sleep(order.pause)
            if len(self.stories[stream].codes) > number:
                return  # Its workers did not survive it.
            self._put_order(stream, number, order)

    def _put_order(self, stream: str, chapter: int, order: Order) -> None:
        payload = {
            "chapter": chapter,
            "number": order.number,
            "replies": order.replies,
            "think": order.think,
            "ends": order.ends,
            "kills": order.kills,
            "x": "x" * order.filler,
        }
        if order.binary:
            name = stream.encode()
            data = bytes([len(name)]) + name + json.dumps(payload).encode()
            self._put({"type": "websocket.receive", "bytes": data})
        else:
            self._put_text({"stream": stream, "payload": payload})

    def _put_text(self, envelope: dict[str, Any]) -> None:
        self._put({"type": "websocket.receive", "text": json.dumps(envelope)})


def expected(chapter: Chapter) -> set[tuple[int, int]]:
    """Return all replies of a chapter: the number of the order and of the reply."""
    return {(o.number, index) for o in chapter.orders for index in range(o.replies)}


def is_answered(story: StreamStory, number: int, chapter: Chapter) -> bool:
    """Tell whether all orders of a chapter have been answered."""
    got = {label[1:] for of, label in story.replies if of == number}
    return len(got) >= len(expected(chapter))
