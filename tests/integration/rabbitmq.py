"""channels_rabbitmq's layer, with the normal channels that it lacks borrowed from memory.

A deployment has `DISPATCH_LAYER` name another layer for them; all of a test is in one process.
"""

from __future__ import annotations

from typing import Any

from channels.layers import InMemoryChannelLayer
from channels_rabbitmq.core import RabbitmqChannelLayer

__all__ = ["RabbitmqWithDispatch"]


class RabbitmqWithDispatch(RabbitmqChannelLayer):
    """RabbitMQ for groups and for processes' own channels, memory for normal channels."""

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        self._dispatch = InMemoryChannelLayer()

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        layer = super() if "!" in channel else self._dispatch
        await layer.send(channel, message)

    async def receive(self, channel: str) -> dict[str, Any]:
        layer = super() if "!" in channel else self._dispatch
        message: dict[str, Any] = await layer.receive(channel)
        return message

    async def flush(self) -> None:
        """Close the connection: what a process leaves here goes with it."""
        await self.close()
