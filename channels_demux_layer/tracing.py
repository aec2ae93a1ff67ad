"""Where a tracing library may stand: at the edge, where a payload comes in, and around a consumer.

Tracing is off unless a `Tracer` is put here. Whoever has a payload in hand looks at `tracer`, and
does nothing more where it is None; so nobody pays for what he has not asked for. This package
names no library: see ``contrib.opentelemetry`` for the one that it comes with.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sized
from typing import Any, Protocol, TypeVar

from .link.frames import Carrier

__all__ = ["CONTEXT", "ContextTrail", "Tracer", "apart", "traced", "tracer"]

Application = Callable[..., Awaitable[Any]]
Result = TypeVar("Result")

#: The type of the message that tells a traced application the context of the payloads behind it.
CONTEXT = "demux.context"


class Tracer(Protocol):
    """What a tracing library does here. A context is whatever it takes for one."""

    def current(self) -> object:
        """Return the context of what runs now: the same object for as long as it is the same."""

    def inject(self, context: Any) -> Carrier | None:
        """Write a context down, for another process; None where there is nothing to tell."""

    def extract(self, carrier: Carrier) -> object:
        """Read a context that another process has written down; an empty one is none."""

    def apart(self, call: Callable[..., Result], *args: Any) -> Result:
        """Call something, and what it starts, in the context of nobody."""

    def host(self, application: Application) -> Application:
        """Wrap the application of one consumer.

        What wraps it gets messages of the type `CONTEXT` beside those of ASGI, and keeps them to
        itself: their ``context`` is that of all payloads up to the next one.
        """


#: Traces frames, where the project has asked for it.
tracer: Tracer | None = None


def traced(application: Application) -> Application:
    """Wrap a consumer's application, if frames are traced.

    Args:
        application: The ASGI application.

    Returns:
        What to run in its place: itself where tracing is off.
    """
    return application if tracer is None else tracer.host(application)


def apart(call: Callable[..., Result], *args: Any) -> Result:
    """Call what starts something that serves others than its caller, or outlives it.

    Args:
        call: What to call.
        *args: Its arguments.

    Returns:
        What it returns.
    """
    return call(*args) if tracer is None else tracer.apart(call, *args)


class ContextTrail:
    """The contexts of a session's payloads, for as long as those may be sent again.

    Args:
        untaken: The payloads that were not taken, oldest first.
    """

    __slots__ = ("_carrier", "_carriers", "_context", "_untaken")

    def __init__(self, untaken: Sized) -> None:
        self._untaken = untaken
        self._carriers: deque[Carrier | None] = deque()
        self._context: object = None
        self._carrier: Carrier | None = None

    def note(self, tracer: Tracer) -> Carrier | None:
        """Note the context of the payload that is the latest of the untaken ones.

        Args:
            tracer: What knows the context.

        Returns:
            The context, written down.
        """
        context = tracer.current()
        if context is not self._context:  # a connection's frames have one and the same, mostly
            self._context, self._carrier = context, tracer.inject(context)
        self._carriers.append(self._carrier)
        while len(self._carriers) > len(self._untaken):
            self._carriers.popleft()
        return self._carrier

    def __iter__(self) -> Iterator[Carrier | None]:
        """Give the context of each untaken payload, None for those that came before tracing."""
        missing = len(self._untaken) - len(self._carriers)
        yield from [None] * missing
        yield from list(self._carriers)[max(0, -missing) :]  # what lies before has been taken
