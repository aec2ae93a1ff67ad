"""Spans that OpenTelemetry's own SDK has recorded, for tests of what is traced."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from channels_demux_layer.contrib.opentelemetry import instrument, uninstrument


class Spans:
    """A provider whose finished spans stay in memory.

    Attributes:
        tracer: Makes spans of the test's own.
    """

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.provider.get_tracer("tests")

    def named(self, name: str) -> list[ReadableSpan]:
        """Return the finished spans of a name, in the order in which they ended."""
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    def around(self, application: Any) -> Any:
        """Wrap an application as an instrumentation of ASGI does: one span for each connection."""

        async def traced(scope: Any, receive: Any, send: Any) -> None:
            with self.tracer.start_as_current_span("websocket"):
                await application(scope, receive, send)

        return traced


def span_id(span: ReadableSpan) -> int:
    """Return the id of a finished span."""
    context = span.get_span_context()
    assert context is not None
    return context.span_id


def parent_id(span: ReadableSpan) -> int | None:
    """Return the id of a finished span's parent."""
    return None if span.parent is None else span.parent.span_id


def current_id() -> int:
    """Return the id of the span that is current; 0 where there is none."""
    return trace.get_current_span().get_span_context().span_id


@contextlib.contextmanager
def recorded() -> Iterator[Spans]:
    """Trace what sessions that begin meanwhile are given.

    Yields:
        The spans.
    """
    spans = Spans()
    instrument(spans.provider)
    try:
        yield spans
    finally:
        uninstrument()
