"""The consumer that all of it is about."""

from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer


class EchoConsumer(AsyncJsonWebsocketConsumer):
    """Sends everything back."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Echoes."""
        await self.send_json(content)
