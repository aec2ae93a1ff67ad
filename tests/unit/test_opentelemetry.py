"""Spans of OpenTelemetry around the frames of one consumer."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import baggage, trace
from opentelemetry.context import Context, attach, get_current
from opentelemetry.sdk.trace import ReadableSpan

from channels_demux_layer import tracing
from channels_demux_layer.contrib.opentelemetry import FrameTracer, instrument, uninstrument
from channels_demux_layer.tracing import CONTEXT
from tests.spans import Spans, current_id, parent_id, recorded, span_id

SCOPE = {"type": "websocket", "demux": {"connection": "c1", "stream": "s", "attempt": 2}}
FRAME = {"type": "websocket.receive", "text": "x"}
END = {"type": "websocket.disconnect", "code": 1000}
NAME = "process s"


@pytest.fixture
def spans() -> Iterator[Spans]:
    """What is traced during the test."""
    with recorded() as found:
        yield found


async def run(application: Any, *messages: dict[str, Any]) -> None:
    """Run an application on messages, each of which comes a little later than it is asked for."""
    waiting = list(messages)

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0)
        return waiting.pop(0)

    async def send(message: Any) -> None:
        raise NotImplementedError

    await tracing.traced(application)(SCOPE, receive, send)


async def listening(scope: Any, receive: Any, send: Any) -> None:
    """Take everything until the end."""
    while (await receive()) is not END:
        pass


def only(spans: list[ReadableSpan]) -> ReadableSpan:
    """Return the one span that there is."""
    (span,) = spans
    return span


def test_instrumenting_twice_is_instrumenting_once() -> None:
    """The first call counts, and one call undoes it."""
    instrument()
    first = tracing.tracer
    instrument()
    assert isinstance(first, FrameTracer)
    assert tracing.tracer is first
    uninstrument()
    assert tracing.tracer is None


async def test_a_span_says_what_was_handled(spans: Spans) -> None:
    """Its kind, name and attributes are those that the conventions have for messages."""
    await run(listening, FRAME, END)
    span = only(spans.named(NAME))
    assert span.kind is trace.SpanKind.CONSUMER
    assert dict(span.attributes or {}) == {
        "messaging.system": "channels_demux_layer",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "s",
        "demux.connection": "c1",
        "demux.attempt": 2,
    }
    assert span.status.status_code is trace.StatusCode.UNSET
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "channels_demux_layer"


async def test_a_span_ends_when_the_next_message_is_asked_for(spans: Spans) -> None:
    """What is no payload has none, and a span is current from its frame to the next question."""
    seen = []

    async def looking(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(4):
            asked = receive()
            seen.append((current_id(), len(spans.named(NAME))))
            await asked
            seen.append((current_id(), len(spans.named(NAME))))

    await run(looking, {"type": "websocket.connect"}, FRAME, FRAME, END)
    one, two = map(span_id, spans.named(NAME))
    assert seen == [(0, 0), (0, 0), (0, 0), (one, 0), (0, 1), (two, 1), (0, 2), (0, 2)]


async def test_a_context_holds_until_the_next_one(spans: Spans) -> None:
    """Frames have the parent that was named last, with its baggage; an empty one is none."""
    seen = []

    async def looking(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()) is not END:
            seen.append(baggage.get_baggage("who"))

    tracer = tracing.tracer
    assert tracer is not None
    with spans.tracer.start_as_current_span("edge") as edge:
        carrier = tracer.inject(baggage.set_baggage("who", "me"))
    assert carrier is not None
    assert carrier.keys() == {"traceparent", "baggage"}
    contexts = [{"type": CONTEXT, "context": tracer.extract(each)} for each in (carrier, {})]
    with spans.tracer.start_as_current_span("host") as host:
        await run(looking, FRAME, contexts[0], FRAME, FRAME, contexts[1], FRAME, END)
    edge_id, host_id = (each.get_span_context().span_id for each in (edge, host))
    parents = [parent_id(span) for span in spans.named(NAME)]
    assert parents == [host_id, edge_id, edge_id, None]
    assert seen == [None, "me", "me", None]


async def test_nothing_is_written_where_nothing_is_current(spans: Spans) -> None:
    """A context without a span has nothing that could travel."""
    assert tracing.tracer is not None
    assert tracing.tracer.inject(tracing.tracer.current()) is None


async def test_what_raises_has_an_error(spans: Spans) -> None:
    """The exception is recorded in the span of its frame, and goes on its way."""

    async def raising(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await asyncio.sleep(0)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await run(raising, FRAME)
    span = only(spans.named(NAME))
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.status.description == "ValueError: no"
    assert (span.attributes or {})["error.type"] == "ValueError"
    assert [event.name for event in span.events] == ["exception"]


async def test_what_raises_between_frames_has_no_span(spans: Spans) -> None:
    """A frame that was handled well stays so."""

    async def raising(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await receive()
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await run(raising, FRAME, END)
    assert only(spans.named(NAME)).status.status_code is trace.StatusCode.UNSET


async def test_what_is_cancelled_has_an_error(spans: Spans) -> None:
    """A cancellation reaches the handler, and the frame in hand counts as failed."""
    has_frame, was_cancelled = asyncio.Event(), []

    async def hanging(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        has_frame.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            was_cancelled.append(True)
            raise

    task = asyncio.ensure_future(run(hanging, FRAME))
    await has_frame.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert was_cancelled == [True]
    span = only(spans.named(NAME))
    assert (span.attributes or {})["error.type"] == "asyncio.exceptions.CancelledError"


async def test_what_a_consumer_attaches_itself_stays(spans: Spans) -> None:
    """Between frames the context is the application's own again."""
    seen = []

    async def attaching(scope: Any, receive: Any, send: Any) -> None:
        attach(baggage.set_baggage("mine", "1"))
        await receive()
        seen.append(baggage.get_baggage("mine"))
        receive().close()
        seen.append(baggage.get_baggage("mine"))

    await run(attaching, FRAME)
    assert seen == ["1", "1"]
    assert baggage.get_baggage("mine") is None


async def test_what_is_apart_has_no_context(spans: Spans) -> None:
    """A task that is started apart sees no span, and whoever starts it keeps his own."""

    async def look() -> int:
        return current_id()

    with spans.tracer.start_as_current_span("mine") as mine:
        task = tracing.apart(asyncio.ensure_future, look())
        assert await task == 0
        assert current_id() == mine.get_span_context().span_id


@pytest.mark.skipif(sys.version_info < (3, 12), reason="No task begins at once there.")
async def test_a_task_that_begins_at_once_has_its_spans_all_the_same(spans: Spans) -> None:
    """With eager tasks a message that is there already has a span, which is current for nobody."""
    seen = []

    async def eager(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.ensure_future(receive())
        seen.append(current_id())

    async def receive() -> Any:
        return FRAME

    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    try:
        await tracing.traced(eager)(SCOPE, receive, None)
    finally:
        loop.set_task_factory(None)
    assert only(spans.named(NAME)).parent is None
    assert seen == [0]
    assert get_current() == Context()
