"""What consumers and the project's hooks hand over, of whatever type: neighbours never notice."""

from __future__ import annotations

import array
import asyncio
import json
from typing import Any

import pytest
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    WebsocketConsumer,
)
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy

from channels_demux_layer import Stream, WebsocketDemultiplexer
from channels_demux_layer.codes import CloseCode
from channels_demux_layer.testing import DemuxCommunicator

from . import consumers
from .harness import HOSTING_LOG, LIMIT, Place, closed, demultiplexer, within

TEXTS: dict[str, tuple[Any, str]] = {
    "html": (mark_safe("<b>5</b>"), "<b>5</b>"),
    "code": (CloseCode, ""),
    "lazy": (gettext_lazy("Welcome"), "Welcome"),
}
BYTES: dict[str, tuple[Any, bytes]] = {
    "bytearray": (bytearray(b"xy"), b"xy"),
    "strided": (memoryview(b"abcdef")[::2], b"ace"),
    "array": (array.array("B", [1, 2]), b"\x01\x02"),
}
#: What close() is given, and what comes of it: None where the consumer raises.
CLOSES: dict[str, tuple[Any, Any, tuple[int, str] | None]] = {
    "huge": (2**70, "", (1011, "")),
    "negative": (-1, "", (1011, "")),
    "reserved": (1006, "", (1011, "")),
    "word": ("4001", "", (1011, "")),
    "member": (CloseCode.STALLED, "", (4408, "")),
    "lazy": (4001, gettext_lazy("Welcome"), (4001, "Welcome")),
    "long": (4001, "é" * 80, (4001, "é" * 61)),
    "bytes": (4001, b"bye", None),
    "error": (4001, ValueError("no"), None),
}


class Odd(AsyncWebsocketConsumer):
    """Sends, or closes with, what it is asked for."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        kind, name = json.loads(text_data or "")
        if kind == "text":
            await self.send(text_data=TEXTS[name][0])
        elif kind == "bytes":
            await self.send(bytes_data=BYTES[name][0])
        else:
            code, reason, _ = CLOSES[name]
            await self.close(code, reason)


class SyncOdd(WebsocketConsumer):
    """The same in a thread."""

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        kind, name = json.loads(text_data or "")
        if kind == "text":
            self.send(text_data=TEXTS[name][0])
        elif kind == "bytes":
            self.send(bytes_data=BYTES[name][0])
        else:
            code, reason, _ = CLOSES[name]
            self.close(code, reason)


STREAMS = {"odd": Odd, "sync": SyncOdd, "echo": consumers.Json}


async def test_whatever_servers_take_is_sent(place: Place) -> None:
    """Text that is more than a str, and whatever has a buffer, reaches the client."""
    async with place.client(STREAMS) as client:
        for stream in ("odd", "sync"):
            for name, (_, text) in TEXTS.items():
                if text:
                    await client.send_to(stream, ["text", name])
                    assert await client.receive_from(stream) == text
            for name, (_, data) in BYTES.items():
                await client.send_to(stream, ["bytes", name])
                assert await client.receive_from(stream) == data


async def test_what_nobody_can_send_ends_its_own_stream(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """The consumer has the traceback, and a neighbour on the same worker notices nothing."""
    async with place.client(STREAMS) as client:
        await client.send_to("echo", 0)
        assert await client.receive_from("echo") == 0
        await client.send_to("odd", ["text", "code"])
        assert await client.receive_event("odd") == closed("odd", 1011)
        await client.send_to("echo", 1)
        assert await client.receive_from("echo") == 1
    text = caplog.text
    assert HOSTING_LOG in {record.name for record in caplog.records}
    assert "A value of type enum.EnumMeta" in text or "A value of type enum.EnumType" in text


@pytest.mark.parametrize("stream", ["odd", "sync"])
async def test_a_close_is_what_a_websocket_can_carry(quick_place: Place, stream: str) -> None:
    """Any code and reason ends the stream alone, and the stream can be opened again."""
    async with quick_place.client(STREAMS) as client:
        for name, (_, _, carried) in CLOSES.items():
            await client.send_to(stream, ["close", name])
            code, reason = carried or (1011, "")
            assert await client.receive_event(stream) == closed(stream, code, reason)
            await client.open(stream)
            await client.send_to("echo", name)
            assert await client.receive_from("echo") == name


@pytest.mark.parametrize("name", CLOSES)
async def test_the_socket_closes_after_its_last_stream(quick_place: Place, name: str) -> None:
    """With an exact int, whatever the consumer closed with (C1.3)."""
    async with quick_place.client({"odd": Odd}) as client:
        await client.send_to("odd", ["close", name])
        closure = await client.receive_close()
        assert closure == (CLOSES[name][2] or (1011, ""))
        assert type(closure.code) is int


async def test_an_encoder_may_give_bytes(quick_place: Place) -> None:
    """orjson.dumps() as encode_json(): text for the client, also on a stream of plain text."""

    class Fast(AsyncJsonWebsocketConsumer):
        @classmethod
        async def encode_json(cls, content: Any) -> Any:
            return json.dumps(content).encode()

        @classmethod
        async def decode_json(cls, text_data: str) -> Any:
            return text_data

        async def receive_json(self, content: Any) -> None:
            await self.send_json({"got": content})

    async with quick_place.client({"fast": Fast, "text": Stream(Fast, text=True)}) as client:
        await client.send_to("fast", 1)
        assert await client.receive_frame() == '{"stream":"fast","payload":{"got": "1"}}'
        await client.send_to("text", "1")
        assert json.loads(await client.receive_from("text")) == {"got": "1"}


async def test_figures_with_gaps_keep_their_type(quick_place: Place) -> None:
    """NaN is null for the client, whose payload stays an object (C2.7)."""

    class Prices(AsyncJsonWebsocketConsumer):
        async def receive_json(self, content: Any) -> None:
            await self.send_json({"price": float(content), "n": 1})

    async with quick_place.client({"prices": Prices}) as client:
        for said, heard in (("1.5", 1.5), ("nan", None), ("-inf", None)):
            await client.send_to("prices", said)
            assert await client.receive_from("prices") == {"price": heard, "n": 1}


async def test_a_hook_may_give_what_servers_do_not_take(
    inline: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """An encode_json() of bytes is text, and what wrap_payload() spoils costs its payload."""

    class Hooked(WebsocketDemultiplexer):
        consumer_classes = {"echo": consumers.Json}

        @classmethod
        async def encode_json(cls, content: Any) -> Any:
            return json.dumps(content).encode()

        def wrap_payload(self, stream: str, data: str | bytes) -> Any:
            if data == '"bad"':
                return {"type": "websocket.send", "text": 5}
            if data == '"late"':
                return super().wrap_payload(stream, data)
            return {
                "type": "websocket.send",
                "text": mark_safe(f'{{"stream":"echo","payload":{data}}}'),
            }

    async with inline.client(Hooked) as client:
        for payload in ("bad", "good", "late"):
            await client.send_to("echo", payload)
        assert await client.receive_frame() == '{"stream":"echo","payload":"good"}'
        assert await client.receive_from("echo") == "late"
    assert "A value of type builtins.int cannot be sent as text" in caplog.text


async def test_a_demultiplexer_closes_with_what_a_websocket_carries(inline: Place) -> None:
    """Its own close() is told the same as a consumer's."""

    class Shut(WebsocketDemultiplexer):
        consumer_classes = {"echo": consumers.Json}

        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            code, reason = content["payload"]
            await self.close(True if code == "none" else code, gettext_lazy(reason))

    for code, carried in (("none", 1000), (2**70, 1011), (4001, 4001)):
        async with inline.client(Shut) as client:
            await client.send_to("echo", [code, "r" * 200])
            assert await client.receive_close() == (carried, "r" * 123)


@pytest.mark.parametrize("said", [{}, {"code": None, "reason": None}, {"code": "x", "reason": 5}])
async def test_a_server_may_say_anything_of_a_client_that_has_left(
    quick_place: Place, said: Any
) -> None:
    """Consumers get a code, and neighbours on the same worker notice nothing."""
    codes: list[int] = []
    has_left = asyncio.Event()

    class Noting(consumers.Json):
        async def disconnect(self, code: int) -> None:
            codes.append(code)
            has_left.set()

    cls = demultiplexer({"echo": Noting})
    async with quick_place.run(cls), DemuxCommunicator(cls.as_asgi(), timeout=LIMIT) as neighbour:
        client = DemuxCommunicator(cls.as_asgi(), timeout=LIMIT)
        await client.connect()
        await client.send_to("echo", 1)
        assert await client.receive_from("echo") == 1
        await client.send_input({"type": "websocket.disconnect", **said})
        await within(has_left.wait())
        await client.wait(LIMIT)
        assert codes == [1006 if said.get("code") else 1005]
        await neighbour.send_to("echo", 2)
        assert await neighbour.receive_from("echo") == 2


async def test_frames_of_a_subclass_may_be_more_than_str_and_bytes(inline: Place) -> None:
    """A subclass may hand receive() what it has made itself."""

    class Making(WebsocketDemultiplexer):
        consumer_classes = {"plain": consumers.Plain}

        async def receive(self, text_data: Any = None, bytes_data: Any = None, **kw: Any) -> None:
            if text_data is not None:
                await super().receive(mark_safe(text_data), None, **kw)
            else:
                await super().receive(None, memoryview(bytes_data), **kw)

    async with inline.client(Making) as client:
        for payload in ("text", b"bytes"):
            await client.send_to("plain", payload)
            received = await client.receive_from("plain")
            assert received == payload


class Refusing:
    """A server that closes with few codes, as Daphne does, around an application."""

    def __init__(self, application: Any, error: type[Exception]) -> None:
        self._application = application
        self._error = error

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            if message["type"] == "websocket.close" and message["code"] < 3000:
                raise self._error("invalid close code")
            await send(message)

        await self._application(scope, receive, sending)


async def test_a_server_that_refuses_a_code_ends_the_socket_itself(inline: Place) -> None:
    """The application raises what the server has raised, as a lone consumer's close() would."""
    cls = demultiplexer({"odd": Odd})
    client = DemuxCommunicator(Refusing(cls.as_asgi(), ValueError), timeout=LIMIT)
    await client.connect()
    await client.send_to("odd", ["close", "huge"])
    assert await client.receive_event("odd") == closed("odd", 1011)
    with pytest.raises(ValueError, match="invalid close code"):
        await client.wait(LIMIT)


async def test_a_client_that_has_left_ends_nothing(inline: Place) -> None:
    """A server then raises an OSError, and tells of the client's end by itself."""
    cls = demultiplexer({"odd": Odd})
    async with DemuxCommunicator(Refusing(cls.as_asgi(), OSError), timeout=LIMIT) as client:
        await client.send_to("odd", ["close", "huge"])
        assert await client.receive_event("odd") == closed("odd", 1011)
        assert await client.receive_nothing()
