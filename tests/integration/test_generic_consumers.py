"""What Channels documents of its own consumers holds where they are streams."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels.consumer import AsyncConsumer, SyncConsumer
from channels.exceptions import (
    AcceptConnection,
    DenyConnection,
    InvalidChannelLayerError,
    StopConsumer,
)
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)
from channels.layers import get_channel_layer
from django.test import override_settings

from channels_demux_layer import Stream
from channels_demux_layer.testing import DemuxCommunicator

from . import consumers
from .harness import HOSTING_LOG, LIMIT, Place, closed, demultiplexer, until, within

#: A layer beside the default one, for consumers' own groups.
OWN_LAYER = {"own": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}


class Basic(AsyncConsumer):
    """A handler for each type of message, and messages as dictionaries."""

    async def websocket_connect(self, event: Any) -> None:
        await self.send({"type": "websocket.accept"})

    async def websocket_receive(self, event: Any) -> None:
        if event["text"] == '"stop"':
            raise StopConsumer
        await self.send({"type": "websocket.send", "text": event["text"]})

    async def websocket_disconnect(self, event: Any) -> None:
        raise StopConsumer


class SyncBasic(SyncConsumer):
    """The same, synchronous."""

    def websocket_connect(self, event: Any) -> None:
        self.send({"type": "websocket.accept"})

    def websocket_receive(self, event: Any) -> None:
        if event["text"] == '"stop"':
            raise StopConsumer
        self.send({"type": "websocket.send", "text": event["text"]})

    def websocket_disconnect(self, event: Any) -> None:
        raise StopConsumer


class Ending(AsyncWebsocketConsumer):
    """Ends as it is told, and notes what its disconnect() gets."""

    codes: asyncio.Queue[int]

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        action, arguments = json.loads(text_data or "")
        await getattr(self, action)(**arguments)

    async def disconnect(self, code: int) -> None:
        self.codes.put_nowait(code)


class SyncEnding(WebsocketConsumer):
    """The same, synchronous."""

    codes: asyncio.Queue[int]
    loop: asyncio.AbstractEventLoop

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        action, arguments = json.loads(text_data or "")
        getattr(self, action)(**arguments)

    def disconnect(self, code: int) -> None:
        self.loop.call_soon_threadsafe(self.codes.put_nowait, code)


class Accepting(AsyncJsonWebsocketConsumer):
    """Raises what Channels has for it, then echoes."""

    async def connect(self) -> None:
        raise AcceptConnection

    async def receive_json(self, content: Any) -> None:
        await self.send_json(content)


class SyncAccepting(consumers.SyncJson):
    """The same, synchronous."""

    def connect(self) -> None:
        raise AcceptConnection


class Denying(AsyncJsonWebsocketConsumer):
    """Raises what Channels has for it."""

    async def connect(self) -> None:
        raise DenyConnection


class Grouped(AsyncJsonWebsocketConsumer):
    """Says what its group hears, on a layer that is not the one of its stream."""

    channel_layer_alias = "own"
    groups = ("async",)

    async def said(self, event: dict[str, Any]) -> None:
        await self.send_json(event["what"])


class SyncGrouped(JsonWebsocketConsumer):
    """The same, synchronous, and says to the group what it hears."""

    channel_layer_alias = "own"
    groups = ("sync",)

    def receive_json(self, content: Any) -> None:
        message = {"type": "said", "what": content}
        async_to_sync(self.channel_layer.group_send)("sync", message)

    def said(self, event: dict[str, Any]) -> None:
        self.send_json(event["what"])


class Coded(AsyncJsonWebsocketConsumer):
    """Writes and reads JSON its own way, with what as_asgi() was told."""

    def __init__(self, greeting: str) -> None:
        super().__init__()
        self.greeting = greeting

    async def receive_json(self, content: Any) -> None:
        await self.send_json([self.greeting, content])

    @classmethod
    async def decode_json(cls, text_data: str) -> Any:
        return set(json.loads(text_data))

    @classmethod
    async def encode_json(cls, content: Any) -> str:
        return json.dumps(content, default=sorted)


class Choosing(AsyncJsonWebsocketConsumer):
    """Accepts with the first subprotocol that is offered, and says which were."""

    async def connect(self) -> None:
        offered = self.scope["subprotocols"]
        await self.accept(subprotocol=offered[0], headers=[(b"x-theme", b"dark")])
        await self.send_json(offered)


async def test_the_basic_consumers_handle_messages_by_their_type(
    quick_place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """AsyncConsumer and SyncConsumer serve streams, and StopConsumer ends them in peace."""
    streams = {"async": Basic, "sync": SyncBasic, "echo": consumers.Json}
    async with quick_place.client(streams) as client:
        for stream in ("async", "sync"):
            await client.send_to(stream, 1)
            assert await client.receive_from(stream) == 1
            await client.send_to(stream, "stop")
            assert await client.receive_event(stream) == closed(stream, 1000)
            await client.open(stream)
            await client.send_to(stream, 2)
            assert await client.receive_from(stream) == 2
            await client.close(stream)
            assert await client.receive_event(stream) == closed(stream, 1000)
    assert HOSTING_LOG not in {record.name for record in caplog.records}


async def test_every_way_to_close_has_its_code(quick_place: Place) -> None:
    """A payload sent with close= comes before the end, whose code disconnect() gets as well."""
    ways = [
        ("send", {"text_data": "1", "close": True}, 1, 1000, ""),
        ("send", {"text_data": "2", "close": 4123}, 2, 4123, ""),
        ("close", {}, None, 1000, ""),
        ("close", {"code": 4124}, None, 4124, ""),
        ("close", {"code": 4125, "reason": "enough"}, None, 4125, "enough"),
    ]
    codes: asyncio.Queue[int] = asyncio.Queue()
    own = {"codes": codes, "loop": asyncio.get_running_loop()}
    streams = {cls.__name__: type(cls.__name__, (cls,), own) for cls in (Ending, SyncEnding)}
    async with quick_place.client({**streams, "echo": consumers.Json}) as client:
        for stream in streams:
            for action, arguments, payload, code, reason in ways:
                await client.open(stream)
                await client.send_to(stream, [action, arguments])
                if payload is not None:
                    assert await client.receive_from(stream) == payload
                assert await client.receive_event(stream) == closed(stream, code, reason)
                assert await within(codes.get()) == code


async def test_accept_connection_and_deny_connection_may_be_raised(quick_place: Place) -> None:
    """What connect() raises opens the stream, or ends it with 1000."""
    streams = {"async": Accepting, "sync": SyncAccepting, "denied": Denying}
    async with quick_place.client(streams) as client:
        assert await client.receive_event("denied") == closed("denied", 1000)
        for stream in ("async", "sync"):
            await client.send_to(stream, 1)
            assert await client.receive_from(stream) == 1


async def test_groups_may_be_on_a_layer_of_the_consumers_own(
    quick_place: Place, settings: Any
) -> None:
    """Consumers join their `groups` on the layer of channel_layer_alias, and leave them."""
    settings.CHANNEL_LAYERS = {**settings.CHANNEL_LAYERS, **OWN_LAYER}
    streams = {"async": Grouped, "sync": SyncGrouped, "echo": consumers.Json}
    async with quick_place.client(streams) as client:
        layer = get_channel_layer("own")
        await until(lambda: set(layer.groups) == {"async", "sync"})
        await layer.group_send("async", {"type": "said", "what": "hello"})
        assert await client.receive_from("async") == "hello"
        await client.send_to("sync", "hi")
        assert await client.receive_from("sync") == "hi"
        for stream in ("async", "sync"):
            await client.close(stream)
            await client.receive_event(stream)
        await until(lambda: not any(layer.groups.values()))


async def test_groups_need_a_layer(caplog: pytest.LogCaptureFixture) -> None:
    """Without a channel layer a consumer with groups ends its own stream, and says why."""
    cls = demultiplexer({"grouped": consumers.Chat, "echo": consumers.Json})
    with override_settings(CHANNEL_LAYERS={}):
        async with DemuxCommunicator(cls.as_asgi(), timeout=LIMIT) as client:
            assert await client.receive_event("grouped") == closed("grouped", 1011)
            await client.send_to("echo", 1)
            assert await client.receive_from("echo") == 1
    (record,) = [record for record in caplog.records if record.name == HOSTING_LOG]
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], InvalidChannelLayerError)


async def test_json_is_what_the_consumer_makes_of_it(quick_place: Place) -> None:
    """encode_json(), decode_json() and what as_asgi() was given are the consumer's own."""
    coded = Coded.as_asgi(greeting="hello")
    async with quick_place.client({"coded": coded}) as client:
        await client.send_to("coded", [2, 1, 2])
        assert await client.receive_from("coded") == ["hello", [1, 2]]


async def test_a_consumer_of_json_errs_on_bytes(quick_place: Place) -> None:
    """A JSON consumer that is sent bytes raises, as it does on a socket of its own."""
    streams = {"async": Accepting, "sync": consumers.SyncJson, "echo": consumers.Json}
    async with quick_place.client(streams) as client:
        for stream in ("async", "sync"):
            await client.send_to(stream, b"\x00")
            assert await client.receive_event(stream) == closed(stream, 1011)


async def test_a_stream_may_have_a_subprotocol_of_its_own(quick_place: Place) -> None:
    """A consumer is offered its stream's subprotocol, else the socket's; it accepts for itself."""
    streams = {"own": Stream(Choosing, subprotocol="v1.chat"), "socket": Choosing}
    cls = demultiplexer(streams)
    async with quick_place.run(cls):
        client = DemuxCommunicator(cls.as_asgi(), subprotocols=["a", "b"], timeout=LIMIT)
        assert await client.connect() == (True, None)
        assert await client.receive_from("own") == ["v1.chat"]
        assert await client.receive_from("socket") == ["a", "b"]
        await client.disconnect()
