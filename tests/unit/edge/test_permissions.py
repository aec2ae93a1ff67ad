"""Who may open a stream."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from channels_demux_layer.edge.permissions import GuardedSession, is_permitted
from channels_demux_layer.protocol.session import SendWindow
from tests.integration.harness import within

DEMUX = {"connection": "c" * 32, "stream": "s", "attempt": 1}


class User:
    """A user with one permission."""

    def has_perm(self, name: str) -> bool:
        """Tell whether it is that one."""
        return name == "market.view_price"


async def yes(scope: Any) -> bool:
    """Say yes, later."""
    await asyncio.sleep(0)
    return True


FAILURES = [
    ZeroDivisionError("it broke"),
    TimeoutError(),
    asyncio.TimeoutError(),
    asyncio.CancelledError(),
    SystemExit(1),
    KeyboardInterrupt(),
    GeneratorExit(),
    BaseException("anything"),
]


def failing(error: BaseException, how: str) -> Any:
    """Return a permission that raises at once, when it is awaited, or after a while."""

    def fail(scope: Any) -> bool:
        raise error

    async def fail_later(scope: Any) -> bool:
        if how == "later":
            await asyncio.sleep(0)
        raise error

    return fail if how == "called" else fail_later


async def hang(scope: Any) -> bool:
    """Say nothing."""
    await asyncio.Event().wait()
    return True


@pytest.mark.parametrize(
    ("permission", "answer"),
    [
        (lambda scope: True, True),
        (lambda scope: scope["demux"]["stream"] == "s", True),
        (yes, True),
        ("market.view_price", True),
        ("market.add_price", False),
    ],
)
async def test_a_permission_is_asked_with_the_scope(permission: Any, answer: bool) -> None:
    """At once, to be awaited, or of the scope's user by name."""
    assert await is_permitted(permission, {"user": User(), "demux": DEMUX}) is answer


@pytest.fixture
def signal_handled() -> Iterator[None]:
    """A handler of Ctrl-C, as asyncio has one from Python 3.11 on.

    Python's own raises KeyboardInterrupt, which a permission's could not be told from.
    """
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("signal_handled")
@pytest.mark.parametrize("how", ["called", "awaited", "later"])
@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
async def test_a_permission_that_raises_refuses(
    error: BaseException, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it raises; the log says what, with a traceback, and the process goes on."""
    assert await within(is_permitted(failing(error, how), {"demux": DEMUX})) is False
    (record,) = caplog.records
    assert "The permission of stream 's' failed, which refuses it" in record.getMessage()
    assert record.exc_info
    assert record.exc_info[1] is error
    assert vars(record)["demux_connection"] == "c" * 32


async def test_a_permission_without_a_user_refuses(caplog: pytest.LogCaptureFixture) -> None:
    """The log says what to put around the routes."""
    assert await is_permitted("market.view_price", {"demux": DEMUX}) is False
    assert "AuthMiddlewareStack" in caplog.text


class OddUser:
    """A user whose has_perm() was written as a coroutine, which Django's is not."""

    async def has_perm(self, name: str) -> bool:
        """Say no, to who awaits it."""
        return False


@pytest.mark.parametrize(
    "answer",
    [None, 0, 1, "no", [], [1], object(), lambda: True, asyncio.Lock()],
    ids=lambda answer: type(answer).__name__,
)
@pytest.mark.parametrize("is_awaited", [False, True])
async def test_an_answer_that_is_neither_true_nor_false_refuses(
    answer: object, is_awaited: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """What counts as true may have come by mistake, as an object that nobody has called."""

    async def later(scope: Any) -> Any:
        return answer

    permission: Any = later if is_awaited else lambda scope: answer
    assert await is_permitted(permission, {"demux": DEMUX}) is False
    assert f"returned {type(answer).__name__}, which refuses it" in caplog.text


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
async def test_a_user_that_answers_with_a_coroutine_is_refused() -> None:
    """A coroutine counts as true, whatever it would return."""
    scope = {"user": OddUser(), "demux": DEMUX}
    assert await is_permitted("market.view_price", scope) is False


async def deaf(scope: Any) -> bool:
    """Say nothing, and ignore every cancellation but the test's own."""
    while not scope["is_over"].is_set():
        with contextlib.suppress(asyncio.CancelledError):
            await scope["is_over"].wait()
    return True


@pytest.mark.parametrize("permission", [hang, deaf])
async def test_a_permission_that_never_answers_refuses(
    settings: Any, permission: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """OPEN_TIMEOUT is enough to answer, also for one that cannot be cancelled."""
    settings.CHANNELS_DEMUX_LAYER = {"OPEN_TIMEOUT": 0.01}
    is_over = asyncio.Event()
    assert await within(is_permitted(permission, {"demux": DEMUX, "is_over": is_over})) is False
    assert "no answer within 0.01 s" in caplog.text
    is_over.set()


def test_a_signal_in_a_permission_ends_the_process() -> None:
    """What the handler of a signal raises is no answer."""

    def handler(number: int, frame: Any) -> None:
        raise SystemExit

    def signalled(scope: Any) -> bool:
        signal.raise_signal(signal.SIGUSR1)
        return True

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(SystemExit):
            asyncio.run(is_permitted(signalled, {"demux": DEMUX}))
    finally:
        signal.signal(signal.SIGUSR1, before)


async def test_a_caller_that_is_cancelled_is_no_refusal() -> None:
    """And the permission is cancelled with it."""
    cancelled = asyncio.Event()

    async def wait(scope: Any) -> bool:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return True

    asking = asyncio.ensure_future(is_permitted(wait, {"demux": DEMUX}))
    await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await within(cancelled.wait())


class Door:
    """The connection, and the session that it begins.

    Attributes:
        told: What it was told, in order.
        ended: Done when the session has ended.
    """

    def __init__(self, frames: int = 2) -> None:
        self.told: list[Any] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._frames = frames

    def new_window(self, name: str) -> SendWindow:
        """Return a small one."""
        return SendWindow(self._frames, 1_000)

    def session_permitted(self, name: str) -> Door:
        """Begin a session, which notes payloads."""
        self.told.append("permitted")
        return self

    def pass_on(self, data: str | bytes) -> None:
        """Note a payload that has waited."""
        self.told.append(data)

    def deliver(self, data: str | bytes) -> Any:
        """Note a payload; every second has no room yet."""
        self.told.append(data)
        return asyncio.sleep(0) if data == "4" else None

    def end(self, code: int, reason: str) -> None:
        """Note it."""
        self.told.append(("end", code, reason))
        self.ended.set_result(None)

    def session_refused(self, name: str, payloads: int) -> None:
        """Note it."""
        self.told.append(payloads)

    def session_closed(self, name: str, code: int, reason: str) -> None:
        """Note it."""
        self.told.append((name, code, reason))


def a_session(permission: Any, door: Door) -> GuardedSession:
    """Start to ask."""
    return GuardedSession("s", permission, {"demux": DEMUX}, door)


async def test_payloads_wait_for_the_answer() -> None:
    """As many as the window has room for hold nobody up; all go to the session, in order."""
    door = Door()
    session = a_session(yes, door)
    assert [session.deliver(text) for text in ("1", "2")] == [None, None]
    rooms = [session.deliver(text) for text in ("3", "4")]
    await within(asyncio.gather(*(room for room in rooms if room is not None)))
    assert door.told == ["permitted", "1", "2", "3", "4"]
    assert session.ended.done()
    session.abandon()
    assert len(door.told) == 5


async def test_payloads_keep_their_context() -> None:
    """What waits is handed on in the context that it came in, where a tracer finds its trace."""
    variable = contextvars.ContextVar[str]("variable")
    seen = []

    class Tracing(Door):
        def pass_on(self, data: str | bytes) -> None:
            seen.append(variable.get())

    session = a_session(yes, Tracing())
    for text in ("1", "2"):
        variable.set(text)
        session.deliver(text)
    await within(session.ended)
    assert seen == ["1", "2"]


async def test_payloads_of_a_refused_stream_are_counted() -> None:
    """Each of them is to have its error, also the one without room."""
    door = Door(frames=1)
    session = a_session(lambda scope: False, door)
    assert session.deliver("1") is None
    room = session.deliver("2")
    assert room is not None
    await within(room)  # type: ignore[arg-type]
    assert door.told == [2]
    assert session.ended.done()


async def test_a_stream_may_end_before_the_answer() -> None:
    """Where nothing waits it ends at once; what comes later is let go."""
    door = Door(frames=0)
    session = a_session(hang, door)
    session.end(1000, "r")
    assert door.told == [("s", 1000, "r")]
    assert session.ended.done()
    session = a_session(hang, door)
    waiting = asyncio.ensure_future(session.deliver("1"))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    session.abandon()
    session.abandon()
    await within(waiting)
    assert door.told[1:] == [("s", 1001, "")]


async def test_an_end_comes_after_what_has_waited() -> None:
    """The consumer takes what was sent before the close, if its client may use the stream."""
    door = Door()
    session = a_session(yes, door)
    session.deliver("1")
    session.end(1000, "r")
    session.end(1001, "")
    assert not session.ended.done()
    await within(session.ended)
    assert door.told == ["permitted", "1", ("end", 1000, "r")]


async def test_an_end_that_waits_can_be_cut_short() -> None:
    """With the code that was said first."""
    door = Door()
    session = a_session(hang, door)
    session.deliver("1")
    session.end(4000, "r")
    session.abandon()
    assert door.told == [("s", 4000, "r")]
