"""What consumers have seen and said, kept outside of the system."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .process import Process, current

#: What names a reply: the consumer's number, the order's, and the reply's.
Label = tuple[int, int, int]


@dataclass(eq=False)
class Attempt:
    """One consumer instance."""

    number: int
    client: str
    stream: str
    attempt: int
    process: Process
    started_at: float
    #: Orders as they were received: chapter and number.
    received: list[tuple[int, int]] = field(default_factory=list)
    #: Replies that send() took, and the one that it may have taken when the consumer was cut off.
    sent: list[Label] = field(default_factory=list)
    sending: Label | None = None
    disconnects: list[int] = field(default_factory=list)
    #: How it ended: "disconnect", "closed" by itself, "cancelled"; None as long as it runs.
    end: str | None = None
    ended_at: float | None = None

    def has_outlived(self, when: float) -> bool:
        """Tell whether it ended after a time, or not at all."""
        return self.ended_at is None or self.ended_at > when


class Silence(NamedTuple):
    """A peer that was taken for dead.

    Attributes:
        since: When it was last heard, or its link began.
        at: When it was taken for dead.
        by: The name of the process that took it for dead.
        channel: The channel of the peer's node.
    """

    since: float
    at: float
    by: str
    channel: str


class Ledger:
    """All consumers of a run.

    Args:
        connect_time: How long a consumer takes to accept.
    """

    def __init__(self, connect_time: float) -> None:
        self.attempts: list[Attempt] = []
        self.violations: list[str] = []
        self._connect_time = connect_time
        #: Kills a process, as an order may.
        self.kill: Callable[[Process], None]

    def live(self) -> list[Attempt]:
        """Return the consumers that run."""
        return [a for a in self.attempts if a.end is None and not a.process.is_dead]

    async def consumer(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Do what the client's payloads say; the ASGI application of all streams."""
        demux, now = scope["demux"], asyncio.get_running_loop().time
        attempt = Attempt(
            len(self.attempts),
            scope["path"],
            demux["stream"],
            demux["attempt"],
            current(),
            now(),
        )
        self.attempts.append(attempt)
        end = "cancelled"
        try:
            end = await self._run(attempt, receive, send)
        finally:
            if not attempt.process.is_dead:
                attempt.end, attempt.ended_at = end, now()

    async def _run(self, attempt: Attempt, receive: Any, send: Any) -> str:
        message = await receive()
        if message["type"] != "websocket.connect":
            self.violations.append(f"consumer {attempt.number} began with {message}")
        await asyncio.sleep(self._connect_time)
        await send({"type": "websocket.accept"})
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                attempt.disconnects.append(message["code"])
                return "disconnect"
            order = json.loads(message.get("text") or message["bytes"])
            if await self._obey(attempt, order, send):
                return "closed"

    async def _obey(self, attempt: Attempt, order: dict[str, Any], send: Any) -> bool:
        attempt.received.append((order["chapter"], order["number"]))
        if order["think"]:
            await asyncio.sleep(order["think"])
        if order["kills"]:
            self.kill(attempt.process)
            await asyncio.sleep(0)
        for index in range(order["replies"]):
            label = (attempt.number, order["number"], index)
            text = json.dumps({"chapter": order["chapter"], "label": label, "x": order["x"]})
            attempt.sending = label
            is_bytes = index % 2 == 1
            key, value = ("bytes", text.encode()) if is_bytes else ("text", text)
            await send({"type": "websocket.send", key: value})
            if attempt.process.is_dead:
                return False
            attempt.sent.append(label)
            attempt.sending = None
        if order["ends"]:
            await send({"type": "websocket.close", "code": 4000 + order["chapter"]})
        return bool(order["ends"])
