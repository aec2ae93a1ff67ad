"""Ordinary consumers, one of each kind: none of them knows that it is a stream."""

import asyncio
import json
import os
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from channels.db import database_sync_to_async
from channels.exceptions import DenyConnection
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)

from .journal import note

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def session_fields(scope: MutableMapping[str, Any]) -> dict[str, Any]:
    """Says which stream of which connection a scope belongs to.

    Args:
        scope: A consumer's scope.

    Returns:
        `stream` and `connection`, both None on a socket without a demultiplexer.
    """
    demux = scope.get("demux", {})
    return {"stream": demux.get("stream"), "connection": demux.get("connection")}


class EchoConsumer(AsyncJsonWebsocketConsumer):
    """Sends everything back, with the id of its process, and writes down its life."""

    async def connect(self) -> None:
        """Accepts."""
        note("connect", **session_fields(self.scope))
        await self.accept()

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Echoes."""
        await self.send_json({"echo": content, "pid": os.getpid()})

    async def disconnect(self, code: int) -> None:
        """Writes the code down."""
        note("disconnect", code=code, **session_fields(self.scope))


class SyncConsumer(JsonWebsocketConsumer):
    """Echoes from a thread."""

    def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Echoes."""
        in_thread = threading.current_thread() is not threading.main_thread()
        self.send_json({"sync": content, "pid": os.getpid(), "in_thread": in_thread})


class TextConsumer(AsyncWebsocketConsumer):
    """Turns text round; knows nothing of JSON."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Sends the text back to front."""
        assert text_data is not None
        await self.send(text_data=text_data[::-1])


class BytesConsumer(WebsocketConsumer):
    """Turns bytes round."""

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Sends the bytes back to front; text is answered with its type."""
        if bytes_data is None:
            self.send(text_data=json.dumps({"text": text_data}))
        else:
            self.send(bytes_data=bytes_data[::-1])


async def raw_application(scope: Message, receive: Receive, send: Send) -> None:
    """An ASGI application without any Channels in it."""
    message = await receive()
    assert message["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": json.dumps({"path": scope["path"]})})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})
    note("raw disconnect", code=message.get("code"), **session_fields(scope))


class RoutedConsumer(AsyncJsonWebsocketConsumer):
    """Says which route of its own URLRouter led to it."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Answers with the arguments of the route."""
        route = self.scope["url_route"]
        room = route["kwargs"].get("room")
        await self.send_json(
            {"room": str(room), "type": type(room).__name__, "extra": route["kwargs"].get("extra")}
        )


class ChatConsumer(AsyncJsonWebsocketConsumer):
    """Talks to other connections over a group of its own."""

    async def connect(self) -> None:
        """Joins the room that the path names."""
        self.room = f"chat.{self.scope['path'].strip('/').replace('/', '.')}"
        await self.channel_layer.group_add(self.room, self.channel_name)
        await self.accept()
        await self.send_json({"joined": self.room})

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Says it to the whole room."""
        message = {"type": "chat.said", "content": content, "pid": os.getpid()}
        await self.channel_layer.group_send(self.room, message)

    async def chat_said(self, event: Message) -> None:
        """Passes on what was said in the room."""
        await self.send_json({"said": event["content"], "by": event["pid"]})

    async def disconnect(self, code: int) -> None:
        """Leaves the room."""
        await self.channel_layer.group_discard(self.room, self.channel_name)


class FailingConsumer(AsyncJsonWebsocketConsumer):
    """Raises when told to."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Echoes, or raises what the client calls for."""
        if content == "raise":
            raise RuntimeError("the consumer was told to fail")
        await self.send_json(content)


class RefusingConsumer(AsyncJsonWebsocketConsumer):
    """Closes with a code of its own before it has accepted."""

    async def connect(self) -> None:
        """Closes."""
        await self.close(code=4001)


class DenyingConsumer(AsyncJsonWebsocketConsumer):
    """Denies the connection."""

    async def connect(self) -> None:
        """Denies."""
        raise DenyConnection


class ClosingConsumer(AsyncJsonWebsocketConsumer):
    """Closes itself with whatever code the client sends."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Says good-bye and closes."""
        await self.send_json("closing")
        await self.close(code=content)


class SlowConsumer(AsyncJsonWebsocketConsumer):
    """Holds each frame for as long as the test wants."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Waits for the file that the client named, then echoes."""
        note("holding", **session_fields(self.scope))
        # Another process makes the file: there is nothing to await.
        release = Path(content["until"])
        while not release.exists():  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.01)
        await self.send_json(content["payload"])


class ScopeConsumer(AsyncJsonWebsocketConsumer):
    """Reports on its scope, and uses its session."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Answers `report`, or stores the client's dict in the session and saves it."""
        if isinstance(content, dict):
            self.scope["session"].update(content)
            await database_sync_to_async(self.scope["session"].save)()
        await self.send_json(await self.report())

    async def report(self) -> dict[str, Any]:
        """Puts the scope into JSON.

        Returns:
            What a test compares with what the client sent.
        """
        scope = self.scope
        user, route = scope["user"], scope["url_route"]
        return {
            "pid": os.getpid(),
            "type": scope["type"],
            "path": scope["path"],
            "query_string": scope["query_string"].decode(),
            "headers": [
                [name.decode(), value.decode("latin-1")] for name, value in scope["headers"]
            ],
            "cookies": scope["cookies"],
            "client": list(scope["client"]),
            "subprotocols": list(scope["subprotocols"]),
            "user": {
                "class": user.__class__.__name__,
                "name": user.get_username(),
                "authenticated": user.is_authenticated,
                "email": getattr(user, "email", None),
            },
            "session": {
                "key": scope["session"].session_key,
                "data": {key: scope["session"].get(key) for key in ("colour", "visits")},
            },
            "room": [type(route["kwargs"].get("room")).__name__, str(route["kwargs"].get("room"))],
            "demux": session_fields(scope),
        }


class LingeringConsumer(AsyncJsonWebsocketConsumer):
    """Takes its time over its end if it is told to."""

    lingers = False

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Echoes."""
        self.lingers = content == "linger"
        await self.send_json(content)

    async def disconnect(self, code: int) -> None:
        """Writes down whether it was left in peace or cut short."""
        if not self.lingers:
            return
        try:
            await asyncio.sleep(2.5)
        except asyncio.CancelledError:
            note("cut short")
            raise
        note("finished")
