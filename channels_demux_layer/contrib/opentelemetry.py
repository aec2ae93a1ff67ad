"""Traces frames with OpenTelemetry (extra ``otel``), through servers and workers.

Call :func:`instrument` once in each process, in ``asgi.py`` or an application's ``ready()``. The
trace context that is current at the edge then travels with each frame to its consumer, and each
frame that is hosted has a span, which is current while the consumer handles it.

Spans follow the semantic conventions for messaging: a consumer "processes" what comes by its
stream.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, TypeVar

from opentelemetry import propagate, trace
from opentelemetry.context import Context, attach, get_current

import channels_demux_layer
from channels_demux_layer import tracing
from channels_demux_layer.link.frames import Carrier

__all__ = ["instrument", "uninstrument"]

#: The name of the instrumentation, and of the messaging system in its spans.
NAME = "channels_demux_layer"

Message = dict[str, Any]
Application = Callable[..., Awaitable[Any]]
Result = TypeVar("Result")


def instrument(tracer_provider: trace.TracerProvider | None = None) -> None:
    """Trace the frames of this process from here on; sessions that live already stay as they are.

    To call it again changes nothing.

    Args:
        tracer_provider: Who makes the tracer; the global one where it is None.
    """
    if tracing.tracer is None:
        version = channels_demux_layer.__version__
        tracing.tracer = FrameTracer(trace.get_tracer(NAME, version, tracer_provider))


def uninstrument() -> None:
    """Trace the frames of new sessions no longer. For tests."""
    tracing.tracer = None


class FrameTracer:
    """What tracing is to the package, in the terms of OpenTelemetry.

    Args:
        tracer: Makes the spans.
    """

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    def current(self) -> Context:
        """Return the context of what runs now."""
        return get_current()

    def inject(self, context: Context) -> Carrier | None:
        """Write a context down as the project's propagators do, by default those of the W3C."""
        carrier: Carrier = {}
        propagate.inject(carrier, context)
        return carrier or None

    def extract(self, carrier: Carrier) -> Context:
        """Read what the propagators of another process have written."""
        return propagate.extract(carrier, Context())

    def apart(self, call: Callable[..., Result], *args: Any) -> Result:
        """Call something where no span is current."""
        variables = contextvars.copy_context()
        variables.run(attach, Context())
        return variables.run(call, *args)

    def host(self, application: Application) -> Application:
        """Give each frame of a consumer a span."""

        async def traced(scope: dict[str, Any], receive: Any, send: Any) -> None:
            frames = HostedFrames(self._tracer, scope["demux"], receive)
            await frames.run(lambda: application(scope, frames.receive, send))

        return traced


class HostedFrames:
    """The frames that one consumer is given, one after the other, each with its span.

    The consumer's handler runs in the task of its application; receive() of Channels' consumers
    in another, whose context variables nobody else sees. So the application has a `Context` of
    context variables that can be entered from outside, whenever it does not run itself.

    Args:
        tracer: Makes the spans.
        demux: What the consumer's scope says of its session.
        receive: Gives the session's messages, and those of the type `tracing.CONTEXT`.
    """

    def __init__(
        self,
        tracer: trace.Tracer,
        demux: dict[str, Any],
        receive: Callable[[], Awaitable[Message]],
    ) -> None:
        self._tracer = tracer
        self._receive = receive
        self._name = f"process {demux['stream']}"
        self._attributes = {
            "messaging.system": NAME,
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": demux["stream"],
            "demux.connection": demux["connection"],
            "demux.attempt": demux["attempt"],
        }
        self._variables = contextvars.copy_context()
        self._steps: Steps | None = None
        self._task: asyncio.Task[Any] | None = None
        self._parent: Context | None = None
        self._outer = Context()
        self._span: trace.Span | None = None

    async def run(self, call: Callable[[], Awaitable[Any]]) -> None:
        """Run the application, and end its last span with it."""

        async def application() -> None:
            await call()

        self._task = asyncio.current_task()
        self._steps = Steps(application(), self._variables)
        try:
            await self._steps
        except BaseException as error:
            self._end(error)
            raise
        self._end()

    def receive(self) -> Awaitable[Message]:
        """Give the next message; the one before has been handled."""
        # At once, and not when what is returned is awaited: Channels does that in another task, and
        # may call a handler of something else before.
        self._end()
        return self._next()

    async def _next(self) -> Message:
        while (message := await self._receive())["type"] == tracing.CONTEXT:
            self._parent = message["context"]
        if message["type"] == "websocket.receive":
            self._with_variables(self._begin)
        return message

    def _begin(self) -> None:
        self._outer = get_current()
        parent = self._outer if self._parent is None else self._parent
        self._span = self._tracer.start_span(
            self._name, parent, kind=trace.SpanKind.CONSUMER, attributes=self._attributes
        )
        attach(trace.set_span_in_context(self._span, parent))

    def _end(self, error: BaseException | None = None) -> None:
        span, self._span = self._span, None
        if span is None:
            return
        if error is not None:
            _record(error, span)
        span.end()
        self._with_variables(lambda: attach(self._outer))

    def _with_variables(self, call: Callable[[], object]) -> None:
        """Call something where the application sees what context variables it sets."""
        assert self._steps is not None
        if self._steps.is_running:
            # By the application itself, mostly. A task that began at once, within it, cannot be
            # helped: it sees the span alone.
            call()
        else:
            self._variables.run(call)


def _record(error: BaseException, span: trace.Span) -> None:
    kind = type(error)
    named = kind.__qualname__
    if kind.__module__ != "builtins":
        named = f"{kind.__module__}.{named}"
    span.record_exception(error)
    span.set_attribute("error.type", named)
    span.set_status(trace.StatusCode.ERROR, f"{kind.__name__}: {error}")


class Steps(Generator[Any, Any, None]):
    """A coroutine, to be awaited, whose steps run in a context that is entered for each of them.

    Args:
        coroutine: The coroutine.
        context: The context.

    Attributes:
        is_running: Whether a step is under way.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, None], context: contextvars.Context) -> None:
        self.is_running: bool = False
        self._coroutine = coroutine
        self._context = context

    def __await__(self) -> Generator[Any, Any, None]:
        return self

    def send(self, value: Any) -> Any:
        """Take the next step."""
        return self._step(self._coroutine.send, value)

    def throw(self, *error: Any) -> Any:
        """Take the next step with an exception."""
        return self._step(self._coroutine.throw, *error)

    def _step(self, call: Callable[..., Any], *args: Any) -> Any:
        self.is_running = True
        try:
            return self._context.run(call, *args)
        finally:
            self.is_running = False
