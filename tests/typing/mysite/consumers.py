"""Consumers as Channels documents them."""

from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer, WebsocketConsumer


class ChatConsumer(AsyncJsonWebsocketConsumer):
    """Answers JSON with JSON."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Answer."""
        scope: Any = self.scope  # the types of Channels name the keys of its own alone
        await self.send_json({"stream": scope["demux"]["stream"], "content": content})


class ReportConsumer(WebsocketConsumer):
    """Answers text with text, in a thread."""

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Answer."""
        self.send(text_data=text_data, bytes_data=bytes_data)
