"""The consumers that all of it is about."""

import asyncio
import time
from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer

from tests.benchmarks.numbers import BASE

#: Seconds between two ticks of one connection.
INTERVAL = 0.2

#: Makes a frame as long on the wire as the echo's.
TEXT = "x" * 63


class EchoConsumer(AsyncJsonWebsocketConsumer):
    """Sends everything back."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Echoes."""
        await self.send_json(content)


class TickerConsumer(AsyncJsonWebsocketConsumer):
    """Sends the time, again and again."""

    async def connect(self) -> None:
        """Begins."""
        await self.accept()
        self.ticking = asyncio.create_task(self.tick())

    async def disconnect(self, code: int) -> None:
        """Ends."""
        self.ticking.cancel()

    async def tick(self) -> None:
        """Numbers its frames, so that a lost one is missed."""
        number = BASE
        while True:
            await self.send_json({"n": number, "at": time.perf_counter(), "text": TEXT})
            number += 1
            await asyncio.sleep(INTERVAL)
