"""What settings and overridden methods change on the client's side."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer

from channels_demux_layer import Stream, WebsocketDemultiplexer
from channels_demux_layer.testing import DemuxCommunicator

from . import consumers
from .harness import LIMIT, Place, configure, within
from .test_lifecycle import Denying


async def test_the_keys_of_envelopes_are_configurable(quick_place: Place, settings: Any) -> None:
    """Envelopes and events use the configured keys, both ways."""
    configure(
        settings,
        {
            "MULTIPLEX_KEY": "to",
            "PAYLOAD_KEY": "what",
            "EVENT_KEY": "note",
        },
    )
    async with quick_place.client({"echo": consumers.Json, "deny": Denying}) as client:
        await client.send_to("echo", 1)
        assert await client.receive_from("echo") == 1
        await client.send_frame('{"to": "echo", "what": 2}')
        assert await client.receive_frame() in (
            '{"to":"echo","what":2}',
            '{"to":"deny","note":"closed","code":4001,"reason":"not you"}',
        )
        await client.close("echo")
        event = await client.receive_event("echo")
        assert event == {"to": "echo", "note": "closed", "code": 1000, "reason": ""}


async def test_without_managed_envelopes_consumers_get_and_send_them_whole(
    quick_place: Place, settings: Any
) -> None:
    """With MANAGE_ENVELOPE off a frame reaches its consumer, and a reply the client, unchanged."""
    configure(settings, {"MANAGE_ENVELOPE": False})
    async with quick_place.client({"plain": consumers.Plain}) as client:
        frames = ['{ "stream": "plain", "payload": [1, 2], "more": null }', b"\x05plainbytes"]
        for frame in frames:
            await client.send_frame(frame)
            assert await client.receive_frame() == frame


async def test_a_payload_passes_byte_for_byte(quick_place: Place) -> None:
    """Neither way is a payload decoded and encoded anew."""
    payload = '{"b" :1.50e+00,"a":"\\u00fc ü", "n": 123456789012345678901234567890}'
    async with quick_place.client({"plain": consumers.Plain}) as client:
        await client.send_frame(f'{{"payload": {payload}, "stream": "plain"}}')
        assert await client.receive_frame() == f'{{"stream":"plain","payload":{payload}}}'


async def test_text_that_is_no_json_travels_as_a_string(quick_place: Place) -> None:
    """A consumer may send any text, even one that no WebSocket can carry."""

    class Speaking(AsyncWebsocketConsumer):
        async def connect(self) -> None:
            await self.accept()
            for text in ("plain", "NaN", "half \ud800 a pair", "ü", ""):
                await self.send(text)
            await self.close(4000, "half \ud800 a pair")

    async with quick_place.client({"speak": Speaking, "echo": consumers.Json}) as client:
        said = [await client.receive_from("speak") for _ in range(5)]
        assert said == ["plain", "NaN", "half \ufffd a pair", "ü", ""]
        assert (await client.receive_event("speak"))["reason"] == "half \ufffd a pair"
        await client.send_to("echo", 1)
        assert await client.receive_from("echo") == 1


async def test_with_events_off_clients_get_payloads_only(quick_place: Place) -> None:
    """send_events = False keeps every event from the client; the socket closes all the same."""
    has_denied = asyncio.Event()

    class Telling(Denying):
        async def close(self, code: Any = None, reason: str | None = None) -> None:
            await super().close(code, reason)
            has_denied.set()

    streams = {"deny": Telling, "leave": Stream(consumers.Json)}
    async with quick_place.client(streams, send_events=False) as client:
        await client.send_frame("nonsense")
        # Else either stream may be the last, whose code the socket closes with. What the other one
        # says from here on comes after it.
        await within(has_denied.wait())
        await client.send_to("leave", 1)
        assert await client.receive_frame() == '{"stream":"leave","payload":1}'
        await client.close("leave")
        assert await client.receive_close() == (1000, "")


class Encoded(WebsocketDemultiplexer):
    """Speaks base64 with its clients, as a demultiplexer with an encoding of its own may."""

    consumer_classes = {"echo": consumers.Json, "text": Stream(consumers.Plain, text=True)}

    @classmethod
    async def decode_json(cls, text_data: str) -> Any:
        return json.loads(base64.b64decode(text_data, validate=True))

    @classmethod
    async def encode_json(cls, content: Any) -> str:
        return base64.b64encode(json.dumps(content).encode()).decode()


class EncodedCommunicator(DemuxCommunicator):
    """A client of it."""

    def encode(self, envelope: Any) -> str:
        return base64.b64encode(json.dumps(envelope).encode()).decode()

    def decode(self, frame: str | bytes) -> Any:
        return json.loads(base64.b64decode(frame, validate=True))


async def test_a_demultiplexer_may_have_its_own_encoding(quick_place: Place) -> None:
    """Overridden decode_json and encode_json see every envelope with a payload."""
    client = EncodedCommunicator(Encoded.as_asgi(), timeout=LIMIT)
    async with quick_place.run(Encoded), client:
        await client.send_to("echo", {"a": [1, 2**70]})
        assert await client.receive_from("echo") == {"a": [1, 2**70]}
        await client.send_to("text", "bare")
        assert await client.receive_from("text") == "bare"


@pytest.mark.parametrize(
    "content",
    ["{", '{"stream": "echo", "payload": NaN}', '{"stream": "echo", "payload": "\\ud800"}', "[]"],
)
async def test_its_own_encoding_is_not_trusted(inline: Place, content: str) -> None:
    """What decode_json makes of a frame is checked like a frame; nothing ends the connection."""
    async with EncodedCommunicator(Encoded.as_asgi(), timeout=LIMIT) as client:
        await client.send_frame("not base64")
        assert json.loads(await client.receive_frame())["code"] == "invalid_json"
        await client.send_frame(base64.b64encode(content.encode()).decode())
        assert json.loads(await client.receive_frame())["event"] == "error"
        await client.send_to("echo", 1)
        assert await client.receive_from("echo") == 1


async def test_its_encoding_may_be_synchronous_code(quick_place: Place) -> None:
    """An encode_json in a thread works for synchronous consumers as well, which have their own."""

    class Threaded(WebsocketDemultiplexer):
        consumer_classes = {"sync": consumers.SyncJson, "async": consumers.Json}

        @classmethod
        async def encode_json(cls, content: Any) -> str:
            return await sync_to_async(json.dumps)(content)

    async with quick_place.client(Threaded) as client:
        for stream in ("sync", "async"):
            for number in range(20):
                await client.send_to(stream, number)
            assert [await client.receive_from(stream) for _ in range(20)] == list(range(20))


async def test_receive_json_may_be_overridden_alone(quick_place: Place) -> None:
    """An override sees each decoded envelope, and may change it or swallow it."""

    class Doubling(WebsocketDemultiplexer):
        consumer_classes = {"echo": consumers.Json}

        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            if content["payload"]:
                await super().receive_json({**content, "payload": content["payload"] * 2})

    async with quick_place.client(Doubling) as client:
        for number in (1, 0, 3):
            await client.send_to("echo", number)
        assert [await client.receive_from("echo") for _ in range(2)] == [2, 6]


@pytest.mark.parametrize("fault", [ValueError, asyncio.CancelledError])
async def test_what_cannot_be_encoded_ends_nothing(
    inline: Place, fault: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """An encode_json that raises costs its payload, with a traceback in the log."""

    class Picky(WebsocketDemultiplexer):
        consumer_classes = {"echo": consumers.Json}

        @classmethod
        async def encode_json(cls, content: Any) -> str:
            if content["payload"] == "bad":
                raise fault("a fault of the project's")
            return json.dumps(content)

    async with inline.client(Picky) as client:
        for payload in ("bad", "good"):
            await client.send_to("echo", payload)
        assert await client.receive_from("echo") == "good"
    assert "could not be put into an envelope" in caplog.text
    assert "a fault of the project's" in caplog.text


BAD_FRAMES = {
    "nonsense": "invalid_json",
    "": "invalid_json",
    "[]": "not_an_object",
    "{}": "missing_key",
    '{"stream": "echo"}': "missing_key",
    '{"stream": 1, "payload": 1}': "wrong_type",
    '{"stream": "none", "payload": 1}': "unknown_stream",
    '{"stream": "none", "event": "open"}': "unknown_stream",
    '{"stream": "echo", "event": "explode"}': "unknown_event",
    '{"stream": "echo", "payload": NaN}': "invalid_json",
    "[" * 10_000: "not_an_object",
    b"": "invalid_binary",
    b"\xffshort": "invalid_binary",
    b"\x04none": "unknown_stream",
}


async def test_no_frame_ends_the_connection(inline: Place) -> None:
    """Every malformed frame gets its error event, and the streams go on."""
    async with inline.client({"echo": consumers.Json}) as client:
        for frame, code in BAD_FRAMES.items():
            await client.send_frame(frame)
            event = json.loads(await client.receive_frame())
            assert event["event"] == "error"
            assert event["code"] in (code, "invalid_json", "too_deep"), frame
        await client.send_to("echo", 1)
        assert await client.receive_from("echo") == 1
