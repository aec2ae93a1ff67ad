"""The consumers of the demo's workers. They are ordinary Channels consumers.

Each reply names the process that the consumer runs in, so that the page can show it. Prices depend
only on the clock, so a stream of prices that moves to another worker continues without a jump.
"""

import asyncio
import contextlib
import hashlib
import math
import os
import random
import socket
import time
from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer

NAME_LENGTH = 40
TEXT_LENGTH = 500


def worker_name() -> str:
    """Return the host's name and the id of this process.

    In containers all workers may have the same process id, and only the host's name differs.
    """
    return f"{socket.gethostname()}:{os.getpid()}"


class EchoConsumer(AsyncJsonWebsocketConsumer):
    """Sends each payload back."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Send the payload back.

        Args:
            content: Any JSON.
            **kwargs: Unused.
        """
        await self.send_json({"echo": content, "worker": worker_name()})


class ChatConsumer(AsyncJsonWebsocketConsumer):
    """One chat room for everybody, which is a group on the channel layer."""

    groups = ["demo-chat"]

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Send a line to everybody in the room.

        Args:
            content: ``{"name": ..., "text": ...}``. Anything else gets an ``error`` in reply.
            **kwargs: Unused.
        """
        match content:
            case {"name": str(name), "text": str(text)} if name.strip() and text.strip():
                line = {"name": name.strip()[:NAME_LENGTH], "text": text.strip()[:TEXT_LENGTH]}
                await self.channel_layer.group_send(
                    "demo-chat", {"type": "chat.line", "line": line}
                )
            case _:
                await self.send_json({"error": "A line of the chat needs a name and a text."})

    async def chat_line(self, message: dict[str, Any]) -> None:
        """Send a line of the room to this client.

        Args:
            message: The group's message.
        """
        await self.send_json({**message["line"], "worker": worker_name()})


class PricesConsumer(AsyncJsonWebsocketConsumer):
    """Pushes prices for as long as the stream is open."""

    interval = 0.25
    """Seconds between two ticks."""
    past = 60.0
    """Seconds of earlier prices that a new page receives."""
    ticker: "asyncio.Task[None] | None" = None

    async def connect(self) -> None:
        """Accept, and start pushing."""
        await self.accept()
        self.ticker = asyncio.create_task(self.push_prices())

    async def disconnect(self, code: int) -> None:
        """Stop pushing.

        Args:
            code: The close code.
        """
        if self.ticker is not None:
            self.ticker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.ticker

    async def push_prices(self) -> None:
        """Push the prices of the last minute, then those of each tick, until cancelled."""
        # A tick's number follows from its time, so that it is the same in all workers.
        number = int(time.time() / self.interval)
        await self.send_ticks(range(number - int(self.past / self.interval), number))
        while True:
            await self.send_ticks(range(number, number + 1))
            number += 1
            await asyncio.sleep(max(number * self.interval - time.time(), 0))

    async def send_ticks(self, numbers: range) -> None:
        """Send the prices of some ticks.

        Args:
            numbers: The numbers of the ticks.
        """
        times = [number * self.interval for number in numbers]
        ticks = [{"at": at, "prices": prices_at(at)} for at in times]
        await self.send_json({"ticks": ticks, "worker": worker_name()})


class UploadConsumer(AsyncJsonWebsocketConsumer):
    """Receives files in chunks, and returns their SHA-256 digests. It stores no file.

    It answers each chunk, so that the page can limit how many chunks are on their way.
    """

    upload: Any = None
    """The page's id of the current file."""
    size = received = 0
    """The size of the file, and how much of it has been received, in bytes."""

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any
    ) -> None:
        """Receive the start of an upload, or a chunk.

        Args:
            text_data: The start of an upload, as JSON.
            bytes_data: A chunk.
            **kwargs: Unused.
        """
        if bytes_data is None:
            await super().receive(text_data=text_data, **kwargs)
        elif self.upload is not None:  # else another worker got the start, and the page restarts
            await self.take(bytes_data)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Start an upload.

        Args:
            content: ``{"upload": ..., "size": bytes}``. Each answer repeats the ``upload``.
                Anything else gets an ``error`` in reply.
            **kwargs: Unused.
        """
        match content:
            case {"upload": upload, "size": int(size)} if size >= 0:
                self.upload, self.size, self.received = upload, size, 0
                self.digest = hashlib.sha256()
                await self.take(b"")
            case _:
                await self.send_json({"error": "An upload starts with its id and its size."})

    async def take(self, chunk: bytes) -> None:
        """Add a chunk to the digest, and answer it.

        Args:
            chunk: Bytes of the file.
        """
        self.digest.update(chunk)
        self.received += len(chunk)
        answer = {"upload": self.upload, "received": self.received, "worker": worker_name()}
        if self.received >= self.size:
            answer["digest"] = self.digest.hexdigest()
            self.upload = None
        await self.send_json(answer)


OPENING_PRICES = {"Apples": 132.0, "Bread": 64.0, "Cocoa": 284.0, "Dates": 96.0}
"""The goods and their base prices."""
SWINGS = ((90.0, 0.07), (17.0, 0.03), (3.0, 0.009))
"""Three swings of a price: the period in seconds, and the amplitude as a fraction of the price."""


def prices_at(now: float) -> dict[str, float]:
    """Return the price of each of the goods, rounded to two decimals.

    Args:
        now: The time, in seconds.
    """
    return {name: _price(name, opening, now) for name, opening in OPENING_PRICES.items()}


def _price(name: str, opening: float, now: float) -> float:
    swing = sum(
        part * _wander(f"{name} {length}", now / length + index / 3)
        for index, (length, part) in enumerate(SWINGS)
    )
    return round(opening * (1 + swing), 2)


def _wander(seed: str, position: float) -> float:
    """Return the height, -1 to 1, of a smooth curve with a random value at each whole position."""
    before = math.floor(position)
    left, right = (random.Random(f"{seed} {at}").uniform(-1, 1) for at in (before, before + 1))
    way = (1 - math.cos(math.pi * (position - before))) / 2
    return left + (right - left) * way
