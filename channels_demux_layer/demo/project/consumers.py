"""The consumers of the demo's workers, ordinary ones: nothing in them knows of the demultiplexer.

Each says which process it runs in, so that the page can show it.
"""

import asyncio
import contextlib
import hashlib
import os
import socket
import time
from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer

from channels_demux_layer.demo.project.market import prices_at

NAME_LENGTH = 40
TEXT_LENGTH = 500


def worker_name() -> str:
    """Name the process that a consumer runs in.

    Returns:
        The host and the process number: in containers only the first tells them apart.
    """
    return f"{socket.gethostname()}:{os.getpid()}"


class EchoConsumer(AsyncJsonWebsocketConsumer):
    """Sends back what it gets."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Answer.

        Args:
            content: Any JSON.
            **kwargs: Unused.
        """
        await self.send_json({"echo": content, "worker": worker_name()})


class ChatConsumer(AsyncJsonWebsocketConsumer):
    """One room for everybody: a group on the channel layer."""

    groups = ["demo-chat"]

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Pass a line on to everybody in the room.

        Args:
            content: ``{"name": ..., "text": ...}``; anything else is answered with an ``error``.
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
        """Show a line of the room to this client.

        Args:
            message: What the group was sent.
        """
        await self.send_json({**message["line"], "worker": worker_name()})


class PricesConsumer(AsyncJsonWebsocketConsumer):
    """Pushes prices for as long as the stream is open."""

    interval = 0.25
    """Seconds between two ticks."""
    past = 60.0
    """Seconds before its first tick that a new page is told of."""
    ticker: "asyncio.Task[None] | None" = None

    async def connect(self) -> None:
        """Accept, and start to push."""
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
        """Push the prices of the last minute, then all prices once per tick, until cancelled."""
        # A tick is numbered by its time, so that all workers have the same ones.
        number = int(time.time() / self.interval)
        await self.send_ticks(range(number - int(self.past / self.interval), number))
        while True:
            await self.send_ticks(range(number, number + 1))
            number += 1
            await asyncio.sleep(max(number * self.interval - time.time(), 0))

    async def send_ticks(self, numbers: range) -> None:
        """Send some ticks.

        Args:
            numbers: Which ones.
        """
        times = [number * self.interval for number in numbers]
        ticks = [{"at": at, "prices": prices_at(at)} for at in times]
        await self.send_json({"ticks": ticks, "worker": worker_name()})


class UploadConsumer(AsyncJsonWebsocketConsumer):
    """Takes files in chunks, and says what their SHA-256 digests are. Nothing is kept.

    It answers each chunk: a page that waits for these answers is never far ahead of it.
    """

    upload: Any = None
    """The page's name of the file that comes in."""
    size = received = 0
    """Its bytes: all of them, and those that were taken."""

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any
    ) -> None:
        """Take the beginning of a file, or a chunk of it.

        Args:
            text_data: The beginning, as JSON.
            bytes_data: A chunk.
            **kwargs: Unused.
        """
        if bytes_data is None:
            await super().receive(text_data=text_data, **kwargs)
        elif self.upload is not None:  # else another worker had the beginning: it comes again
            await self.take(bytes_data)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Begin with a file.

        Args:
            content: ``{"upload": ..., "size": bytes}``; the page's name of it comes with each
                answer. Anything else is answered with an ``error``.
            **kwargs: Unused.
        """
        match content:
            case {"upload": upload, "size": int(size)} if size >= 0:
                self.upload, self.size, self.received = upload, size, 0
                self.digest = hashlib.sha256()
                await self.take(b"")
            case _:
                await self.send_json({"error": "An upload begins with its name and its size."})

    async def take(self, chunk: bytes) -> None:
        """Take a chunk.

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
