"""What a demultiplexer class says of itself, and what it makes of envelopes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer

from channels_demux_layer import Stream, WebsocketDemultiplexer
from channels_demux_layer import demultiplexer as module
from channels_demux_layer.exceptions import ConfigurationError
from channels_demux_layer.protocol.envelope import EnvelopeCodec
from channels_demux_layer.testing import DemuxCommunicator

REDIS = "channels_redis.core.RedisChannelLayer"
MEMORY = "channels.layers.InMemoryChannelLayer"


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """An application."""


class Placed(WebsocketDemultiplexer):
    """Streams that say where they are hosted, and one that does not."""

    consumer_classes = {
        "any": echo,
        "auto": Stream(echo, hosting="auto"),
        "inline": Stream(echo, hosting="inline"),
        "workers": Stream(echo, hosting="workers"),
    }


@pytest.mark.parametrize(
    ("hosting", "backend", "hosted"),
    [
        ("auto", REDIS, ["workers", "workers", "inline", "workers"]),
        ("auto", MEMORY, ["inline", "inline", "inline", "workers"]),
        ("auto", None, ["inline", "inline", "inline", "workers"]),
        ("inline", REDIS, ["inline", "workers", "inline", "workers"]),
        ("workers", MEMORY, ["workers", "inline", "inline", "workers"]),
    ],
)
def test_where_streams_are_hosted(
    settings: Any, hosting: str, backend: str | None, hosted: list[str]
) -> None:
    """A stream's own word counts before the setting, and "auto" looks at the layer."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend}} if backend else {}
    settings.CHANNELS_DEMUX_LAYER = {"HOSTING": hosting}
    assert [Placed.hosting_of(name) for name in Placed.stream_table()] == hosted


def test_the_table_of_streams_is_each_class_its_own() -> None:
    """A subclass with other streams has another table, made once."""

    class Other(Placed):
        consumer_classes = {"other": echo}

    assert list(Other.stream_table()) == ["other"]
    assert len(Placed.stream_table()) == 4
    assert Other.stream_table() is Other.stream_table()


def test_a_wrong_table_is_named_with_its_class() -> None:
    """The message says which demultiplexer and which stream."""

    class Wrong(WebsocketDemultiplexer):
        consumer_classes = {"echo": 1}

    with pytest.raises(ConfigurationError, match="Wrong: stream 'echo': 1 is neither"):
        Wrong.stream_table()


async def test_what_is_no_json_is_refused(settings: Any) -> None:
    """An override that passes on what cannot be an envelope gets its client an error event."""
    settings.CHANNEL_LAYERS = {}
    recursive: list[Any] = []
    recursive.append(recursive)
    contents = {"set": {1}, "circle": recursive}

    class Odd(WebsocketDemultiplexer):
        consumer_classes = {"echo": AsyncJsonWebsocketConsumer}

        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            await super().receive_json(contents[content])

    async with DemuxCommunicator(Odd.as_asgi()) as client:
        for content in contents:
            await client.send_frame(json.dumps(content))
            assert (await client.receive_event())["code"] == "invalid_json"


@pytest.mark.parametrize("is_coroutine", [False, True])
async def test_a_scope_that_is_no_dict_is_named(is_coroutine: bool) -> None:
    """An override that returns nothing, or has to be awaited, is told what to return."""

    class Odd(Placed):
        def portable_scope(self) -> Any:
            return asyncio.sleep(0) if is_coroutine else None

    demultiplexer = Odd()
    demultiplexer.scope = {"path": "/"}
    with pytest.raises(TypeError, match=r"Odd\.portable_scope\(\) returned a .* Make it a plain"):
        await demultiplexer.pack_scope()


def test_a_scope_travels_as_it_is_unless_told_otherwise() -> None:
    """portable_scope() gives a copy, which an override may change."""
    demultiplexer = Placed()
    demultiplexer.scope = {"path": "/"}
    assert demultiplexer.portable_scope() == {"path": "/"}
    assert demultiplexer.portable_scope() is not demultiplexer.scope


class FullConnection:
    """A connection that has no room for more, neither for payloads nor for answers."""

    def __init__(self) -> None:
        self.waited: list[str] = []

    async def _wait(self, what: str) -> None:
        self.waited.append(what)

    def receive(self, incoming: Any) -> Any:
        return self._wait(incoming.stream)

    def refuse(self, error: Any) -> Any:
        return self._wait(error.code)


class Decoding(Placed):
    """Decodes envelopes itself."""

    @classmethod
    async def decode_json(cls, text_data: str) -> Any:
        return json.loads(text_data)


@pytest.mark.parametrize(
    ("text", "waited"),
    [('{"stream": "any", "payload": 1}', "any"), ("[]", "not_an_object"), ("?", "invalid_json")],
)
async def test_who_decodes_envelopes_itself_is_held_up_too(text: str, waited: str) -> None:
    """The next frame waits for room, whether this one is passed on or refused."""
    demultiplexer: Any = Decoding()
    demultiplexer._connection = connection = FullConnection()
    demultiplexer._codec = EnvelopeCodec()
    await demultiplexer._receive_decoded(text, {})
    assert connection.waited == [waited]


def test_a_layer_that_needs_an_event_loop_is_for_many_processes(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checks run without a loop, where such a layer cannot be made."""

    def needs_a_loop(alias: str) -> Any:
        raise RuntimeError("no running event loop")

    monkeypatch.setattr(module, "get_channel_layer", needs_a_loop)
    assert Placed.hosting_of("any") == "workers"


async def test_a_server_may_cancel_the_decoding_of_a_frame() -> None:
    """That is no fault of the frame: the demultiplexer ends, and the client gets no error."""
    begun = asyncio.Event()

    class Slow(WebsocketDemultiplexer):
        consumer_classes = {"any": Stream(echo, lazy=True)}

        @classmethod
        async def decode_json(cls, text_data: str) -> Any:
            begun.set()
            await asyncio.Event().wait()

    received: asyncio.Queue[Any] = asyncio.Queue()
    received.put_nowait({"type": "websocket.connect"})
    received.put_nowait({"type": "websocket.receive", "text": '{"stream": "any", "payload": 1}'})
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/", "headers": []}
    edge = asyncio.ensure_future(Slow.as_asgi()(scope, received.get, send))
    await begun.wait()
    edge.cancel()
    await asyncio.wait([edge])
    assert edge.cancelled()
    assert [message["type"] for message in sent] == ["websocket.accept"]
