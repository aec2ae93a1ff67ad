"""Traces frames through servers and workers with OpenTelemetry (extra ``otel``).

Call :func:`instrument` once in each process, in ``asgi.py`` or an application's ``ready()``. Each
frame then carries the edge's current trace context to its consumer. Each frame also has a span,
which is current while the consumer handles the frame.

Spans follow the semantic conventions for messaging, with the operation "process".
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
from channels_demux_layer.protocol.frames import Carrier

__all__ = ["instrument", "uninstrument"]

#: The name of the instrumentation scope, and of the messaging system in its spans.
NAME = "channels_demux_layer"

Message = dict[str, Any]
Application = Callable[..., Awaitable[Any]]
Result = TypeVar("Result")


def instrument(tracer_provider: trace.TracerProvider | None = None) -> None:
    """Trace the frames of this process, in sessions that begin from now on.

    Further calls do nothing.

    Args:
        tracer_provider: The provider of the tracer; None for the global one.
    """
    if tracing.tracer is None:
        version = channels_demux_layer.__version__
        tracing.tracer = FrameTracer(trace.get_tracer(NAME, version, tracer_provider))


def uninstrument() -> None:
    """Stop tracing the frames of new sessions. For tests."""
    tracing.tracer = None


class FrameTracer:
    """Implements `tracing.Tracer` with OpenTelemetry.

    Args:
        tracer: Makes the spans.
    """

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    def current(self) -> Context:
        """Return the current context."""
        return get_current()

    def inject(self, context: Context) -> Carrier | None:
        """Serialize a context with the configured propagators, by default those of the W3C."""
        carrier: Carrier = {}
        propagate.inject(carrier, context)
        return carrier or None

    def extract(self, carrier: Carrier) -> Context:
        """Deserialize a context from another process."""
        return propagate.extract(carrier, Context())

    def apart(self, call: Callable[..., Result], *args: Any) -> Result:
        """Call a function in a context without a span, and return its result."""
        variables = contextvars.copy_context()
        variables.run(attach, Context())
        return variables.run(call, *args)

    def host(self, application: Application) -> Application:
        """Wrap a consumer's application so that each of its frames has a span."""

        async def traced(scope: dict[str, Any], receive: Any, send: Any) -> None:
            frames = HostedFrames(self._tracer, scope["demux"], receive)
            await frames.run(lambda: application(scope, frames.receive, send))

        return traced


class HostedFrames:
    """Gives each frame of one consumer a span.

    Channels calls receive() in another task than the consumer's handler, and a task does not see
    the context variables that another one sets. So the application runs in a `contextvars.Context`
    of its own, which receive() enters while the application waits.

    Args:
        tracer: Makes the spans.
        demux: The value of ``scope["demux"]``.
        receive: Returns the session's messages, including those of type `tracing.CONTEXT`.
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
        """Run the application. Its end also ends the last span."""

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
        """End the span of the handled message, and return an awaitable for the next one."""
        # The span must end now, not when the result is awaited: Channels awaits it in another task,
        # and may call another handler before.
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
        """Call a function so that the application sees the context variables that it sets."""
        assert self._steps is not None
        if self._steps.is_running:
            # Usually the application itself calls, in its own context. An eager task of it may call
            # too; then only that task sees the span.
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
    """An awaitable that runs each step of a coroutine in a given context.

    Args:
        coroutine: The coroutine.
        context: The context.

    Attributes:
        is_running: Whether a step is running.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, None], context: contextvars.Context) -> None:
        self.is_running: bool = False
        self._coroutine = coroutine
        self._context = context

    def __await__(self) -> Generator[Any, Any, None]:
        return self

    def send(self, value: Any) -> Any:
        """Run the next step with a value."""
        return self._step(self._coroutine.send, value)

    def throw(self, *error: Any) -> Any:
        """Run the next step with an exception."""
        return self._step(self._coroutine.throw, *error)

    def _step(self, call: Callable[..., Any], *args: Any) -> Any:
        self.is_running = True
        try:
            return self._context.run(call, *args)
        finally:
            self.is_running = False
