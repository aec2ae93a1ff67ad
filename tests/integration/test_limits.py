"""What a client may do, and what becomes of one who does more."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from channels.generic.websocket import AsyncWebsocketConsumer

from channels_demux_layer import Stream
from channels_demux_layer.edge.limits import MOST_REFUSALS
from channels_demux_layer.testing import DemuxCommunicator

from . import consumers
from .harness import LIMIT, Place, configure, demultiplexer, until, within

LAZY = Stream(consumers.Json, lazy=True)


async def test_too_many_streams_are_refused(quick_place: Place, settings: Any) -> None:
    """One more than MAX_OPEN_STREAMS gets an error; after a close there is room again."""
    configure(settings, {"MAX_OPEN_STREAMS": 2})
    streams = {"first": consumers.Json, "second": LAZY, "third": LAZY}
    async with quick_place.client(streams) as client:
        await client.send_to("second", 2)
        assert await client.receive_from("second") == 2
        for ask in (client.open("third"), client.send_to("third", 3)):
            await ask
            error = await client.receive_event("third")
            assert error["code"] == "too_many_streams"
            assert error["message"].startswith("2 streams may be open at a time.")
        await client.close("second")
        assert (await client.receive_event("second"))["event"] == "closed"
        await client.send_to("third", 3)
        assert await client.receive_from("third") == 3


async def test_a_stream_that_opens_again_keeps_its_place(inline: Place) -> None:
    """It is open until it has ended, and counts once."""
    async with inline.client({"s": LAZY, "t": LAZY}, max_open_streams=1) as client:
        await client.send_to("s", 1)
        assert await client.receive_from("s") == 1
        await client.close("s")
        for _ in range(3):
            await client.open("s")
        assert (await client.receive_event("s"))["code"] == 1000
        await client.send_to("s", 2)
        assert await client.receive_from("s") == 2


async def test_streams_that_open_with_the_connection_are_never_refused(inline: Place) -> None:
    """They are the server's choice, not the client's."""
    streams = {"one": consumers.Json, "two": consumers.Json}
    limits = {"max_open_streams": 1, "opens_per_minute": 1}
    async with inline.client(streams, **limits) as client:
        for stream in streams:
            await client.send_to(stream, stream)
            assert await client.receive_from(stream) == stream


async def test_too_many_opens_are_refused_and_then_end_the_connection(
    quick_place: Place,
) -> None:
    """Who goes on gets 4429, in the socket's close and in the disconnect of each consumer."""
    codes: asyncio.Queue[int] = asyncio.Queue()

    class Noting(consumers.Json):
        async def disconnect(self, code: int) -> None:
            codes.put_nowait(code)

    streams = {"stays": Noting, "s": LAZY}
    async with quick_place.client(streams, opens_per_minute=3) as client:
        await client.send_to("stays", 1)
        assert await client.receive_from("stays") == 1
        for _ in range(3):
            await client.open("s")
            await client.close("s")
            assert (await client.receive_event("s"))["event"] == "closed"
        for _ in range(MOST_REFUSALS):
            await client.open("s")
            assert (await client.receive_event("s"))["code"] == "too_many_opens"
        await client.open("s")
        assert (await client.receive_close()).code == 4429
        assert await within(codes.get()) == 4429


async def test_a_payload_may_be_what_is_too_much(inline: Place) -> None:
    """The first payload of a lazy stream asks for an open like any other."""
    lazy = {"stays": consumers.Json, **{str(number): LAZY for number in range(100)}}
    async with inline.client(lazy, opens_per_minute=1) as client:
        await client.send_to("0", 0)
        assert await client.receive_from("0") == 0
        for number in range(1, MOST_REFUSALS + 2):
            await client.send_to(str(number), number)
        assert (await client.receive_event("1"))["code"] == "too_many_opens"
        assert (await client.receive_close()).code == 4429


class Holding(AsyncWebsocketConsumer):
    """Takes payloads when it is told to.

    Attributes:
        taken: What it has got.
        goes: Set while it takes some.
    """

    taken: list[Any]
    goes: asyncio.Event

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        self.taken.append(text_data)
        await self.goes.wait()


async def test_a_connection_buffers_no_more_than_it_may(quick_place: Place) -> None:
    """Over all streams; each may still have one payload on its way, and nothing is lost."""
    parts = {name: {"taken": [], "goes": asyncio.Event()} for name in ("a", "b")}
    kinds = {name: type("Kind", (Holding,), part) for name, part in parts.items()}
    large = "x" * 1000
    async with quick_place.client(kinds, max_buffered=2500) as client:
        for name in ("a", "a", "a", "b", "b"):
            await client.send_to(name, large)
        await client.send_frame("this is no envelope")
        await until(lambda: parts["b"]["taken"])
        assert await client.receive_nothing(0.05)
        parts["b"]["goes"].set()  # type: ignore[attr-defined]
        await until(lambda: len(parts["b"]["taken"]) == 2)  # type: ignore[arg-type]
        assert (await client.receive_event())["code"] == "invalid_json"
        parts["a"]["goes"].set()  # type: ignore[attr-defined]
        await until(lambda: len(parts["a"]["taken"]) == 3)  # type: ignore[arg-type]


async def test_what_an_ended_stream_had_counts_no_longer(inline: Place) -> None:
    """Whatever its consumer had not taken."""
    part: dict[str, Any] = {"taken": [], "goes": asyncio.Event()}

    class Ending(Holding):
        async def receive(self, **data: Any) -> None:
            await super().receive(**data)
            await self.close()

    streams = {"a": type("A", (Ending,), part), "b": consumers.Json}
    async with inline.client(streams, max_buffered=100) as client:
        for _ in range(2):
            await client.send_to("a", "x" * 60)
        await until(lambda: part["taken"])
        part["goes"].set()
        assert (await client.receive_event("a"))["event"] == "closed"
        for number in range(200):
            await client.send_to("b", number)
        assert [await client.receive_from("b") for _ in range(200)] == list(range(200))


async def test_rates_hold_for_a_demultiplexer_that_receives_itself(inline: Place) -> None:
    """An overridden receive() that calls its base is held up as well, and loses nothing."""
    cls = demultiplexer({"s": consumers.Json}, frames_per_second=100.0)

    class Receiving(cls):  # type: ignore[misc,valid-type]
        async def receive(self, *args: Any, **kwargs: Any) -> None:
            await super().receive(*args, **kwargs)

    loop = asyncio.get_running_loop()
    for kind in (cls, Receiving):
        async with DemuxCommunicator(kind.as_asgi(), timeout=LIMIT) as client:
            begun = loop.time()
            for number in range(320):
                await client.send_to("s", number)
            await client.send_frame(b"\x01s")
            assert [await client.receive_from("s") for _ in range(320)] == list(range(320))
            assert loop.time() - begun >= 0.19


@pytest.mark.parametrize("attribute", ["scope_headers", "scope_cookies"])
async def test_what_travels_to_workers_can_be_cut(
    quick_layer: Place, settings: Any, attribute: str
) -> None:
    """By a setting, or by an attribute that goes before it, whatever portable_scope() gives."""
    scopes: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    class Watching(consumers.Json):
        async def connect(self) -> None:
            scopes.put_nowait(self.scope)
            await self.accept()

    async def scope_of(**attributes: Any) -> dict[str, Any]:
        cls = demultiplexer({"s": Watching}, **attributes)
        headers = [(b"x-mark", b"1"), (b"cookie", b"theme=dark; secret=1")]
        async with quick_layer.run(cls):
            client = DemuxCommunicator(cls.as_asgi(), "/", headers=headers, timeout=LIMIT)
            client.scope["cookies"] = {"theme": "dark", "secret": "1"}
            async with client:
                return await within(scopes.get())

    configure(settings, {attribute.upper(): ["x-mark", "theme"]})
    cut = await scope_of(portable_scope=lambda self: dict(self.scope))
    assert (b"x-mark", b"1") in [tuple(pair) for pair in cut["headers"]]
    assert b"secret" not in dict(cut["headers"]).get(b"cookie", b"")
    assert ("secret" in cut["cookies"]) is (attribute == "scope_headers")
    nothing = await scope_of(**{attribute: []})
    assert b"cookie" not in dict(nothing["headers"])
