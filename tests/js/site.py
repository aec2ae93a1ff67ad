"""The site that the browser's client talks to: every kind of stream, in the server's process."""

from typing import Any

import django
from channels.generic.websocket import AsyncWebsocketConsumer

django.setup()

from channels_demux_layer import Stream, WebsocketDemultiplexer  # noqa: E402


class Echo(AsyncWebsocketConsumer):
    """Says what it hears, text and bytes."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data=text_data, bytes_data=bytes_data)


class Greeting(Echo):
    """Speaks first, and closes with the code that it hears."""

    async def connect(self) -> None:
        await self.accept()
        await self.send(self.scope["query_string"].decode())

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.close(int(text_data or 0))


class Demultiplexer(WebsocketDemultiplexer):
    """Has one stream of each kind."""

    consumer_classes: Any = {
        "echo": Stream(Echo, hosting="inline"),
        "text": Stream(Echo, hosting="inline", text=True),
        "greeting": Stream(Greeting, hosting="inline", lazy=True),
    }


application = Demultiplexer.as_asgi()
