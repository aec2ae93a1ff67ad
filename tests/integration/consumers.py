"""Consumers of every kind, none of which knows that it is demultiplexed."""

from __future__ import annotations

from typing import Any

from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)
from channels.middleware import BaseMiddleware
from channels.routing import URLRouter
from django.urls import path


class Json(AsyncJsonWebsocketConsumer):
    """Says what it hears."""

    async def receive_json(self, content: Any) -> None:
        await self.send_json(content)


class SyncJson(JsonWebsocketConsumer):
    """Says what it hears."""

    def receive_json(self, content: Any) -> None:
        self.send_json(content)


class Plain(AsyncWebsocketConsumer):
    """Says what it hears, text and bytes."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data=text_data, bytes_data=bytes_data)


class SyncPlain(WebsocketConsumer):
    """Says what it hears, text and bytes."""

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        self.send(text_data=text_data, bytes_data=bytes_data)


async def raw(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """An ASGI application that knows nothing of Channels, and says what it hears."""
    while True:
        message = await receive()
        if message["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})
        elif message["type"] == "websocket.disconnect":
            return
        else:
            answer = {key: message[key] for key in ("text", "bytes") if key in message}
            await send({"type": "websocket.send", **answer})


class Marking(BaseMiddleware):
    """Puts something into the scope, as middleware does."""

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> Any:
        return await super().__call__({**scope, "marked": True}, receive, send)


class Marked(AsyncJsonWebsocketConsumer):
    """Says whether the middleware was there."""

    async def receive_json(self, content: Any) -> None:
        await self.send_json([content, self.scope["marked"]])


class Room(AsyncJsonWebsocketConsumer):
    """Says which room it serves, and the type of its id."""

    async def receive_json(self, content: Any) -> None:
        room = self.scope["url_route"]["kwargs"]["room"]
        await self.send_json([str(room), type(room).__name__])


class Chat(AsyncJsonWebsocketConsumer):
    """Says what it hears to everybody, through a group of its own."""

    groups = ("chat",)

    async def receive_json(self, content: Any) -> None:
        await self.channel_layer.group_send("chat", {"type": "chat.message", "said": content})

    async def chat_message(self, event: dict[str, Any]) -> None:
        await self.send_json(event["said"])


class SyncChat(JsonWebsocketConsumer):
    """Tells its channel name, and passes on what comes there."""

    def connect(self) -> None:
        self.accept()
        self.send_json(self.channel_name)

    def poke(self, event: dict[str, Any]) -> None:
        self.send_json(event["said"])


marked = Marking(Marked.as_asgi())
router = URLRouter([path("rooms/<uuid:room>/", Room.as_asgi())])
