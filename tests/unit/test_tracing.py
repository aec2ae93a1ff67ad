"""The place where a tracing library may stand."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from django.utils.safestring import SafeString

from channels_demux_layer import tracing
from channels_demux_layer.tracing import ContextTrail


class Fixed:
    """A tracer to whom a test says what the context is.

    Attributes:
        context: The present one.
        written: Those that were written down, in order.
    """

    def __init__(self) -> None:
        self.context = "a"
        self.written: list[str] = []

    def current(self) -> object:
        """Return the present one."""
        return self.context

    def inject(self, context: str) -> dict[str, str]:
        """Write it down."""
        self.written.append(context)
        return {"context": context}

    def extract(self, carrier: Any) -> object:
        """Read it."""
        return carrier["context"]

    def apart(self, call: Any, *args: Any) -> Any:
        """Say that it was asked to."""
        return "apart", call(*args)

    def host(self, application: Any) -> Any:
        """Say that it was asked to."""
        return "hosted", application


def test_nothing_is_traced_unless_asked_for() -> None:
    """With no tracer, what could be traced stays as it is."""
    application: Any = object()
    assert tracing.tracer is None
    assert tracing.traced(application) is application
    assert tracing.apart(max, 1, 2) == 2


def test_a_tracer_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one, it wraps what is hosted, and calls what belongs to nobody."""
    application: Any = object()
    monkeypatch.setattr(tracing, "tracer", Fixed())
    assert tracing.traced(application) == ("hosted", application)
    assert tracing.apart(max, 1, 2) == ("apart", 2)


def test_a_context_is_written_down_once() -> None:
    """While it stays the same, all payloads share what was written."""
    untaken: deque[str] = deque()
    tracer, trail = Fixed(), ContextTrail(untaken)
    carriers = []
    for context in "aabba":
        tracer.context = context
        untaken.append("payload")
        carriers.append(trail.note(tracer))
    assert [carrier and carrier["context"] for carrier in carriers] == list("aabba")
    assert tracer.written == ["a", "b", "a"]


def test_a_context_that_is_no_text_does_not_travel() -> None:
    """A propagator may write down what no frame carries: the payload goes without that."""

    class Careless(Fixed):
        def inject(self, context: Any) -> Any:
            return {"kept": SafeString("1"), "number": 1, 2: "two", "none": None}

    carrier = ContextTrail(deque(["payload"])).note(Careless())
    assert carrier == {"kept": "1"}
    assert type(carrier["kept"]) is str


@pytest.mark.parametrize("untraced", [0, 2])
@pytest.mark.parametrize("taken", range(6))
def test_a_trail_is_as_long_as_what_may_be_sent_again(untraced: int, taken: int) -> None:
    """Each untaken payload has its context; None are those from before there was a tracer."""
    payloads = ["" for _ in range(untraced)] + list("abcd")
    untaken, tracer = deque(payloads[:untraced]), Fixed()
    trail = ContextTrail(untaken)
    for tracer.context in payloads[untraced:]:
        untaken.append(tracer.context)
        trail.note(tracer)
    for _ in range(min(taken, len(untaken))):
        untaken.popleft()
    assert [carrier["context"] if carrier else "" for carrier in trail] == list(untaken)


def test_a_trail_forgets_what_was_taken() -> None:
    """However many payloads pass, no more contexts are kept than payloads."""
    untaken: deque[str] = deque()
    tracer, trail = Fixed(), ContextTrail(untaken)
    for _ in range(100):
        untaken.append("payload")
        trail.note(tracer)
        if len(untaken) > 3:
            untaken.popleft()
    assert len(trail._carriers) == 4


class Broken(Fixed):
    """A tracer that raises in one of its methods."""

    def __init__(self, method: str) -> None:
        super().__init__()

        def fail(*args: Any) -> Any:
            raise RuntimeError("a fault of the tracer's")

        setattr(self, method, fail)


@pytest.mark.parametrize("method", ["current", "inject"])
def test_a_tracer_that_raises_costs_a_trace(method: str, caplog: pytest.LogCaptureFixture) -> None:
    """The payload goes without a context, and the log says why."""
    trail = ContextTrail(deque(["payload"]))
    assert trail.note(Broken(method)) is None
    assert list(trail) == [None]
    assert 'raised RuntimeError("a fault of the tracer\'s")' in caplog.text


def test_an_application_that_cannot_be_traced_is_hosted(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is as if tracing were off."""
    application: Any = object()
    monkeypatch.setattr(tracing, "tracer", Broken("host"))
    assert tracing.traced(application) is application
