"""Three ordinary Channels consumers: nothing in them knows of the demultiplexer.

Each says which process it runs in, so that the page can show it.
"""

import asyncio
import contextlib
import os
import random
import socket
from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer

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
    """Pushes prices, a random walk, for as long as the stream is open."""

    interval = 1.0
    """Seconds between two ticks."""
    opening_prices = {"Apples": 3.20, "Bread": 2.80, "Cocoa": 8.40, "Dates": 6.10}
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
        """Push all prices once per tick, until cancelled."""
        prices = dict(self.opening_prices)
        while True:
            await self.send_json({"prices": prices, "worker": worker_name()})
            await asyncio.sleep(self.interval)
            prices = {name: next_price(price) for name, price in prices.items()}


def next_price(price: float) -> float:
    """Take one step of a random walk.

    Args:
        price: The price before.

    Returns:
        A price up to two per cent away, in whole cents, never below one.
    """
    return max(round(price * random.uniform(0.98, 1.02), 2), 0.01)
