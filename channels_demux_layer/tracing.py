"""Hooks for a tracing library: at the edge, where a payload arrives, and around each consumer.

Tracing is on when `tracer` holds a `Tracer`. While it is None, a frame costs one comparison. The
package includes an implementation for OpenTelemetry, ``contrib.opentelemetry``.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sized
from typing import Any, Protocol, TypeVar

from .logs import RepeatedLog, about
from .protocol.frames import Carrier

__all__ = ["CONTEXT", "ContextTrail", "Tracer", "apart", "ask", "traced", "tracer"]

repeated = RepeatedLog(logging.getLogger(__name__))

Application = Callable[..., Awaitable[Any]]
Result = TypeVar("Result")

#: The type of the message with the context of the payloads that follow it.
CONTEXT = "demux.context"


class Tracer(Protocol):
    """The interface of a tracing library. A context may be any object."""

    def current(self) -> object:
        """Return the current context. The same context must be the same object."""

    def inject(self, context: Any) -> Carrier | None:
        """Serialize a context for another process; None if there is nothing to send."""

    def extract(self, carrier: Carrier) -> object:
        """Deserialize a context from another process. An empty carrier means no context."""

    def apart(self, call: Callable[..., Result], *args: Any) -> Result:
        """Call a function without a current context, and return its result."""

    def host(self, application: Application) -> Application:
        """Wrap the application of one consumer.

        The wrapper receives messages of type `CONTEXT` beside those of ASGI, and must not pass
        them on. Their ``context`` applies to all payloads up to the next such message. It is
        None if `current()` or `extract()` raised.
        """


#: The tracer of this process; None while tracing is off.
tracer: Tracer | None = None


def ask(call: Callable[..., Result], *args: Any) -> Result | None:
    """Call a method of the tracer, and return its result.

    A tracing library may raise anything. That costs a trace and no connection, so the exception is
    logged, and None is returned.

    Args:
        call: The method.
        *args: The method's arguments.
    """
    try:
        return call(*args)
    except Exception as error:
        name = getattr(call, "__qualname__", repr(call))
        text = "%s() raised %r. The payload goes on without its trace. Correct the tracer."
        repeated.warning("tracer", text, name, error, extra=about(), exc=error)
        return None


def traced(application: Application) -> Application:
    """Return a consumer's application, wrapped if tracing is on.

    Args:
        application: The ASGI application.
    """
    return application if tracer is None else ask(tracer.host, application) or application


def apart(call: Callable[..., Result], *args: Any) -> Result:
    """Call a function outside of the caller's trace, and return its result.

    Use it to start tasks that serve other callers too, or outlive the caller.

    Args:
        call: The function.
        *args: The function's arguments.
    """
    return call(*args) if tracer is None else tracer.apart(call, *args)


def _inject(tracer: Tracer, context: object) -> Carrier | None:
    """Serialize a context, and drop what cannot travel: a propagator may write down anything."""
    carrier = tracer.inject(context)
    if not carrier or all(type(key) is type(carrier[key]) is str for key in carrier):
        return carrier
    return {
        str.__str__(key): str.__str__(value)
        for key, value in carrier.items()
        if isinstance(key, str) and isinstance(value, str)
    }


class ContextTrail:
    """Keeps the contexts of a session's payloads, as long as those may be resent.

    Args:
        untaken: The payloads that the consumer has not taken, oldest first.
    """

    __slots__ = ("_carrier", "_carriers", "_context", "_untaken")

    def __init__(self, untaken: Sized) -> None:
        self._untaken = untaken
        self._carriers: deque[Carrier | None] = deque()
        self._context: object = None
        self._carrier: Carrier | None = None

    def note(self, tracer: Tracer) -> Carrier | None:
        """Record the current context as that of the newest untaken payload.

        Args:
            tracer: The tracer.

        Returns:
            The serialized context.
        """
        context = ask(tracer.current)
        if context is not self._context:  # usually all frames of a connection share one context
            self._context = context
            self._carrier = None if context is None else ask(_inject, tracer, context)
        self._carriers.append(self._carrier)
        while len(self._carriers) > len(self._untaken):
            self._carriers.popleft()
        return self._carrier

    def __iter__(self) -> Iterator[Carrier | None]:
        """Iterate over the contexts of the untaken payloads; None for those before tracing."""
        missing = len(self._untaken) - len(self._carriers)
        yield from [None] * missing
        yield from list(self._carriers)[max(0, -missing) :]  # skip those of taken payloads
