"""How streams begin and end: accepting, denying, closing, raising, and what the client is told."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from channels.exceptions import DenyConnection
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer

from channels_demux_layer import Stream
from channels_demux_layer.testing import DemuxCommunicator
from channels_demux_layer.transport.nodes import running_nodes
from channels_demux_layer.workers.drain import drain_workers

from . import consumers
from .harness import HOSTING_LOG, LIMIT, Place, closed, configure, demultiplexer, until, within


class Denying(AsyncJsonWebsocketConsumer):
    """Closes instead of accepting."""

    async def connect(self) -> None:
        await self.close(4001, "not you")


class SyncDenying(JsonWebsocketConsumer):
    """Raises what Channels has for it, instead of accepting."""

    def connect(self) -> None:
        raise DenyConnection


class Leaving(AsyncJsonWebsocketConsumer):
    """Does what it is told, then leaves; what it says afterwards is not heard."""

    async def receive_json(self, content: Any) -> None:
        await self.send_json("bye")
        await self.close(content["code"], content["reason"])
        await self.send_json("too late")


class Raising(AsyncJsonWebsocketConsumer):
    """Raises at the first payload."""

    async def receive_json(self, content: Any) -> None:
        raise ValueError("a fault of the consumer's")


async def returning(scope: Any, receive: Any, send: Any) -> None:
    """An application that has nothing to do."""


async def accepting(scope: Any, receive: Any, send: Any) -> None:
    """An application that is done as soon as it has accepted."""
    await send({"type": "websocket.accept"})


async def test_a_consumer_that_denies_ends_its_own_stream_alone(place: Place) -> None:
    """A denial is a closed event with the consumer's code; other streams go on."""
    streams = {"deny": Denying, "sync": SyncDenying, "echo": consumers.Json}
    async with place.client(streams) as client:
        assert await client.receive_event("deny") == closed("deny", 4001, "not you")
        assert await client.receive_event("sync") == closed("sync", 1000)
        await client.send_to("deny", 1)
        assert (await client.receive_event("deny"))["code"] == "stream_closed"
        await client.send_to("echo", 1)
        assert await client.receive_from("echo") == 1


async def test_a_consumer_closes_with_its_code_and_reason(place: Place) -> None:
    """Replies before the close arrive before the closed event, and none after it."""
    async with place.client({"leave": Leaving, "echo": consumers.Json}) as client:
        await client.send_to("leave", {"code": 4002, "reason": "enough"})
        assert await client.receive_frame() == '{"stream":"leave","payload":"bye"}'
        assert await client.receive_event("leave") == closed("leave", 4002, "enough")
        await client.send_to("echo", 1)
        assert await client.receive_from("echo") == 1
        assert await client.receive_nothing()


async def test_the_socket_closes_with_the_last_stream(place: Place) -> None:
    """When the last stream has ended the socket closes with its code, after its closed event."""
    async with place.client({"deny": Denying, "leave": Leaving}) as client:
        await client.receive_event("deny")
        await client.send_to("leave", {"code": 4003, "reason": "the end"})
        assert await client.receive_close() == (4003, "the end")
        assert await client.receive_from("leave") == "bye"
        assert await client.receive_event("leave") == closed("leave", 4003, "the end")


async def test_a_consumer_that_raises_ends_its_own_stream_alone(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception is a closed event with 1011, and a traceback in the log of its process."""
    async with place.client({"raise": Raising, "echo": consumers.Json}) as client:
        await client.send_to("raise", 1)
        assert await client.receive_event("raise") == closed("raise", 1011)
        await client.send_to("echo", 1)
        assert await client.receive_from("echo") == 1
    (record,) = [record for record in caplog.records if record.name == HOSTING_LOG]
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ValueError)
    assert "'raise'" in record.getMessage()


async def test_a_consumer_that_returns_is_told_from_one_that_forgot_to_accept(
    quick_place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """Returning after accepting is a normal end; returning without is a fault, and logged."""
    streams = {"forgot": returning, "done": accepting, "echo": consumers.Json}
    async with quick_place.client(streams) as client:
        assert await client.receive_event("forgot") == closed("forgot", 1011)
        assert await client.receive_event("done") == closed("done", 1000)
    (record,) = [record for record in caplog.records if record.name == HOSTING_LOG]
    assert record.getMessage() == "The consumer of stream 'forgot' returned without accepting."


async def test_what_no_consumer_may_send_ends_it(
    quick_place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """Accepting twice, sending before accepting and unknown messages are the consumer's faults."""

    async def twice(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.accept"})

    async def early(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.send", "text": "1"})

    async def unknown(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})

    streams = {"twice": twice, "early": early, "unknown": unknown, "echo": consumers.Json}
    async with quick_place.client(streams) as client:
        for stream in ("twice", "early", "unknown"):
            assert await client.receive_event(stream) == closed(stream, 1011)
    raised = {str(record.exc_info[1]) for record in caplog.records if record.exc_info}
    assert raised == {
        "The consumer of stream 'twice' accepted twice.",
        "The consumer of stream 'early' sent before it accepted.",
        "The consumer of stream 'unknown' sent an unexpected 'http.response.start'.",
    }


async def test_a_client_closes_one_stream_and_opens_it_again(place: Place) -> None:
    """A stream closed by the client has answered what came before, and can be opened again."""
    disconnects: list[int] = []

    class Counting(consumers.Json):
        async def disconnect(self, code: int) -> None:
            disconnects.append(code)

    async with place.client({"one": Counting, "two": consumers.Json}) as client:
        for number in range(3):
            await client.send_to("one", number)
        await client.receive_from("one")  # it is open
        await client.close("one")
        assert [await client.receive_from("one") for _ in range(2)] == [1, 2]
        assert await client.receive_event("one") == closed("one", 1000)
        assert disconnects == [1000]
        await client.send_to("one", "lost")
        assert (await client.receive_event("one"))["code"] == "stream_closed"
        await client.open("one")
        await client.send_to("one", "again")
        assert await client.receive_from("one") == "again"
        await client.send_to("two", 2)
        assert await client.receive_from("two") == 2


async def test_closing_and_opening_at_once_gives_a_new_consumer(place: Place) -> None:
    """An open right behind a close is done when the old consumer has ended."""
    seen: list[int] = []

    class Remembering(consumers.Json):
        async def connect(self) -> None:
            seen.append(id(self))
            await self.accept()

    async with place.client({"one": Remembering, "two": consumers.Json}) as client:
        await client.send_to("one", 1)
        await client.receive_from("one")
        await client.close("one")
        await client.open("one")
        assert await client.receive_event("one") == closed("one", 1000)
        await client.send_to("one", 2)
        assert await client.receive_from("one") == 2
        assert len(seen) == 2


async def test_repeated_events_change_nothing(quick_place: Place) -> None:
    """Opening what is open and closing what is closed is nothing, and an open can be undone."""
    async with quick_place.client({"one": consumers.Json, "two": consumers.Json}) as client:
        await client.open("one")
        await client.send_to("one", 1)
        assert await client.receive_from("one") == 1
        await client.close("one")
        await client.close("one")
        await client.open("one")
        await client.close("one")
        assert await client.receive_event("one") == closed("one", 1000)
        await client.close("one")
        await client.send_to("two", 2)
        assert await client.receive_from("two") == 2
        assert await client.receive_nothing(stream="one")


async def test_a_payload_behind_a_close_is_refused(quick_place: Place) -> None:
    """What comes between a client's close and the stream's end is refused, not lost in silence."""
    ending = asyncio.Event()

    class Slow(consumers.Json):
        async def disconnect(self, code: int) -> None:
            await ending.wait()

    async with quick_place.client({"slow": Slow, "echo": consumers.Json}) as client:
        await client.send_to("slow", 1)
        await client.receive_from("slow")
        await client.close("slow")
        await client.send_to("slow", 2)
        assert (await client.receive_event("slow"))["code"] == "stream_closed"
        ending.set()
        assert await client.receive_event("slow") == closed("slow", 1000)


async def test_a_lazy_stream_opens_with_its_first_payload(place: Place) -> None:
    """Nothing of a lazy stream runs before it is used or asked for."""
    opened: list[str] = []

    class Noting(consumers.Json):
        async def connect(self) -> None:
            opened.append(self.scope["demux"]["stream"])
            await self.accept()
            await self.send_json("open")

    lazy = Stream(Noting, lazy=True)
    async with place.client({"used": lazy, "asked": lazy, "never": lazy, "now": Noting}) as client:
        assert await client.receive_from("now") == "open"
        assert opened == ["now"]
        await client.send_to("used", 1)
        assert [await client.receive_from("used") for _ in range(2)] == ["open", 1]
        await client.open("asked")
        assert await client.receive_from("asked") == "open"
        assert opened == ["now", "used", "asked"]


async def test_payloads_before_the_stream_is_open_wait_for_it(place: Place) -> None:
    """What comes while connect() still runs is handled after it, in order."""
    release = asyncio.Event()

    class Pondering(consumers.Json):
        async def connect(self) -> None:
            await release.wait()
            await self.accept()

    async with place.client({"slow": Pondering, "echo": consumers.Json}) as client:
        for number in range(10):
            await client.send_to("slow", number)
        await client.send_to("echo", "through")
        assert await client.receive_from("echo") == "through"
        release.set()
        assert [await client.receive_from("slow") for _ in range(10)] == list(range(10))


async def test_a_client_that_leaves_disconnects_every_consumer(place: Place) -> None:
    """Each consumer gets the client's code once, and has ended when the edge has."""
    ended: list[tuple[str, int]] = []

    class Noting(consumers.Json):
        async def disconnect(self, code: int) -> None:
            ended.append((self.scope["demux"]["stream"], code))
            await self.send_json("not heard")

    cls = demultiplexer({"one": Noting, "two": Noting})
    async with place.run(cls):
        client = DemuxCommunicator(cls.as_asgi(), timeout=LIMIT)
        async with client:
            for stream in ("one", "two"):
                await client.send_to(stream, 1)
                await client.receive_from(stream)
            await client.disconnect(4005)
        assert sorted(ended) == [("one", 4005), ("two", 4005)]


async def test_a_client_that_leaves_at_once_leaves_no_consumer(place: Place) -> None:
    """A client that leaves while its streams are being opened leaves nothing running."""
    running: set[object] = set()

    class Noting(consumers.Json):
        async def connect(self) -> None:
            running.add(self)
            await self.accept()

        async def disconnect(self, code: int) -> None:
            running.discard(self)

    cls = demultiplexer({"one": Noting, "two": Noting})
    async with place.run(cls):
        for _ in range(10):
            async with DemuxCommunicator(cls.as_asgi(), timeout=LIMIT):
                pass
        await until(lambda: not running)


async def test_a_disconnect_that_hangs_is_cut_off(
    place: Place, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """CONSUMER_CLOSE_TIMEOUT bounds a consumer's disconnect(), and the log says so."""
    configure(settings, {"CONSUMER_CLOSE_TIMEOUT": 0.1})
    cancelled = asyncio.Event()

    class Hanging(consumers.Json):
        async def disconnect(self, code: int) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

    async with place.client({"hang": Hanging, "echo": consumers.Json}) as client:
        await client.send_to("hang", 1)
        await client.receive_from("hang")
        await client.close("hang")
        assert await client.receive_event("hang") == closed("hang", 1000)
        await within(cancelled.wait())
    assert "The consumer of stream 'hang' did not end in time; cancelled." in caplog.messages


async def test_without_a_bound_a_disconnect_takes_as_long_as_it_takes(
    quick_place: Place, settings: Any
) -> None:
    """CONSUMER_CLOSE_TIMEOUT = None waits for disconnect() without end."""
    configure(settings, {"CONSUMER_CLOSE_TIMEOUT": None})
    begun, ending, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    class Slow(consumers.Json):
        async def disconnect(self, code: int) -> None:
            begun.set()
            await ending.wait()
            ended.set()

    cls = demultiplexer({"slow": Slow})
    async with quick_place.run(cls):
        async with DemuxCommunicator(cls.as_asgi(), timeout=LIMIT) as client:
            await client.send_to("slow", 1)
            await client.receive_from("slow")
            leaving = asyncio.ensure_future(client.disconnect())
            await within(begun.wait())
            ending.set()
            await within(leaving)
        assert ended.is_set()


async def test_what_was_handled_is_not_given_to_the_next_consumer(layered: Place) -> None:
    """A drain that runs out of time has the next consumer begin where this one hangs."""
    handled: list[tuple[int, str]] = []
    may_end = asyncio.Event()

    class Hanging(consumers.Json):
        async def receive_json(self, content: str, **kwargs: Any) -> None:
            handled.append((self.scope["demux"]["attempt"], content))
            if handled[-1] == (1, "hang"):
                await may_end.wait()
            await self.send_json(content)

    async with layered.client({"echo": Hanging}) as client:
        for word in ("a", "b", "hang", "last"):
            await client.send_to("echo", word)
        await until(lambda: (1, "hang") in handled)
        await drain_workers(0.0)
        for node in running_nodes():
            node.is_draining = False
        await until(lambda: (2, "last") in handled)
        may_end.set()
    assert handled == [(1, "a"), (1, "b"), (1, "hang"), (2, "hang"), (2, "last")]
