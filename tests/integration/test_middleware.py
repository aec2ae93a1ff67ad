"""Middleware of the routes and of workers, and what consumers see of it."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Any

import pytest
from channels.middleware import BaseMiddleware
from django.utils import timezone, translation

from channels_demux_layer import Stream, WebsocketDemultiplexer
from channels_demux_layer.testing import DemuxCommunicator
from tests.spans import current_id, parent_id, recorded, span_id

from . import consumers
from .harness import LIMIT, Place, closed, until

tenant: ContextVar[str] = ContextVar("tenant", default="nobody's")


def report() -> list[Any]:
    """Say what is active."""
    zone = timezone.get_current_timezone_name()
    return [translation.get_language(), zone, tenant.get(), str(current_id())]


class Reporting(consumers.Json):
    """Says what is active, and what the scope holds."""

    async def receive_json(self, content: Any) -> None:
        await self.send_json([*report(), self.scope.get("mark")])


class SyncReporting(consumers.SyncJson):
    """Says what is active in its thread, and what the scope holds."""

    def receive_json(self, content: Any) -> None:
        self.send_json([*report(), self.scope.get("mark")])


class AtTheEdge(BaseMiddleware):
    """Stands around the routes."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        tenant.set("acme")
        with translation.override("de"), timezone.override("Asia/Tokyo"):
            return await super().__call__(scope, receive, send)


def in_the_worker(inner: Any) -> Any:
    """Stand around consumers in workers, and around receive() and send()."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        tenant.set(scope["tenant"])

        async def receive_through() -> Any:
            return await receive()

        async def send_through(message: Any) -> None:
            await send(message)

        await inner({**scope, "mark": "of middleware"}, receive_through, send_through)

    return application


class Tenants(WebsocketDemultiplexer):
    """Selects the tenant in workers, by what travels."""

    consumer_classes = {"async": Reporting, "sync": SyncReporting}
    worker_middleware = in_the_worker

    def portable_scope(self) -> dict[str, Any]:
        return {**super().portable_scope(), "tenant": tenant.get()}


@pytest.fixture(autouse=True)
def _nothing_active() -> None:
    """Begin with the defaults."""
    translation.deactivate()
    timezone.deactivate()


@pytest.mark.parametrize("stream", ["async", "sync"])
async def test_consumers_run_within_middleware_everywhere(quick_place: Place, stream: str) -> None:
    """Language and time zone come by themselves, and the rest with worker_middleware."""
    async with (
        quick_place.run(Tenants),
        DemuxCommunicator(AtTheEdge(Tenants.as_asgi()), timeout=LIMIT) as client,
    ):
        await client.send_to(stream, 1)
        *active, _, mark = await client.receive_from(stream)
        assert active == ["de", "Asia/Tokyo", "acme"]
        assert mark == (None if quick_place.is_inline else "of middleware")


@pytest.mark.parametrize("stream", ["async", "sync"])
async def test_frames_are_traced_through_middleware(memory: Place, stream: str) -> None:
    """Each has its span, current in the consumer, below that of its connection."""
    with recorded() as spans:
        edge = spans.around(AtTheEdge(Tenants.as_asgi()))
        async with memory.run(Tenants), DemuxCommunicator(edge, timeout=LIMIT) as client:
            seen = []
            for number in range(2):
                await client.send_to(stream, number)
                seen.append((await client.receive_from(stream))[3])
            await until(lambda: len(spans.named(f"process {stream}")) == 2)
    (connection,) = spans.named("websocket")
    frames = spans.named(f"process {stream}")
    assert [str(span_id(frame)) for frame in frames] == [str(one) for one in seen]
    assert {parent_id(frame) for frame in frames} == {span_id(connection)}


async def test_a_stream_sees_the_scope_as_it_is_when_it_opens(quick_place: Place) -> None:
    """What the demultiplexer has changed since the connection began is there, and only then."""

    class Marking(WebsocketDemultiplexer):
        consumer_classes = {"first": Reporting, "later": Stream(Reporting, lazy=True)}

        async def receive(self, *args: Any, **kwargs: Any) -> None:
            await super().receive(*args, **kwargs)
            self.scope["mark"] = "changed"

    async with quick_place.client(Marking) as client:
        for stream, mark in (("first", None), ("later", "changed"), ("first", None)):
            await client.send_to(stream, 1)
            assert (await client.receive_from(stream))[-1] == mark
        await client.close("first")
        assert await client.receive_event("first") == closed("first", 1000)
        await client.open("first")
        await client.send_to("first", 1)
        assert (await client.receive_from("first"))[-1] == "changed"


async def test_middleware_that_raises_ends_its_stream(
    memory: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """As a consumer that raises: 1011 for that stream, with its traceback in the log."""

    def failing(inner: Any) -> Any:
        async def application(scope: Any, receive: Any, send: Any) -> None:
            raise LookupError("no such tenant")

        return application

    streams = {"one": consumers.Json, "inline": Stream(consumers.Json, hosting="inline")}
    async with memory.client(streams, worker_middleware=failing) as client:
        assert await client.receive_event("one") == closed("one", 1011)
        await client.send_to("inline", 1)
        assert await client.receive_from("inline") == 1
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert record.exc_info[0] is LookupError


async def test_a_scope_that_cannot_be_packed_ends_its_streams(
    quick_layer: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """With 1011 and one traceback; inline streams go on, and the layer is not blamed."""

    class Failing(WebsocketDemultiplexer):
        consumer_classes = {
            "one": consumers.Json,
            "two": consumers.Json,
            "inline": Stream(consumers.Json, hosting="inline"),
        }

        def portable_scope(self) -> dict[str, Any]:
            raise RuntimeError("by the project")

    async with quick_layer.client(Failing) as client:
        for stream in ("one", "two"):
            assert await client.receive_event(stream) == closed(stream, 1011)
        await client.send_to("inline", 1)
        assert await client.receive_from("inline") == 1
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.exc_info is not None
    assert record.exc_info[0] is RuntimeError
