"""One stream of a connection, hosted by one worker after the other."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import math
from collections.abc import Callable
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

from channels_demux_layer import tracing
from channels_demux_layer.codes import CloseCode
from channels_demux_layer.conf import Settings, get_settings
from channels_demux_layer.edge import remote, survival
from channels_demux_layer.edge.opening import ScopeFailed, Search
from channels_demux_layer.edge.remote import RemoteSession
from channels_demux_layer.protocol.liveness import LinkConfig
from channels_demux_layer.protocol.session import SendWindow
from channels_demux_layer.transport.background import Deadlines
from tests.integration.harness import deliver, until

#: How long an edge waits for the answer to a grant, by default.
PATIENCE = Settings().OPEN_RETRY


class Access:
    """What the sessions of a connection share."""

    prefix = "demux"
    connection = "0" * 32

    @property
    def deadlines(self) -> Deadlines:
        """Return deadlines of the loop."""
        return Deadlines(asyncio.get_running_loop())

    def turn(self) -> float:
        """Wait for nobody."""
        return 0.0

    def expel(self, *args: Any) -> None:
        """Do nothing."""


ACCESS: Any = Access()


class Port:
    """The edge's end of a session.

    Args:
        peer: The channel of the worker's node.

    Attributes:
        peer: The channel of the worker's node.
        said: What the edge said, in order.
        heard_at: When the worker was last heard.
        answered_at: When it last answered.
    """

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.said: list[Any] = []
        self.heard_at = self.answered_at = -math.inf

    def attach(self, owner: Any, group: str) -> None:
        """Take the owner."""

    def send(self, data: str | bytes) -> None:
        """Note a payload."""
        self.said.append(data)

    def trace(self, carrier: Any) -> None:
        """Note a trace context, where there is one."""
        if carrier is not None:
            self.said.append(carrier)

    def take(self, size: int) -> None:
        """Note what was taken."""
        self.said.append(("take", size))

    def reset(self) -> None:
        """Note it."""
        self.said.append("reset")

    def close(self, code: int, reason: str) -> None:
        """Note a close."""
        self.said.append((code, reason))


class Listener:
    """The connection.

    Attributes:
        told: What it was told, in order.
    """

    def __init__(self) -> None:
        self.told: list[Any] = []

    def new_window(self, name: str) -> SendWindow:
        """Return the default one."""
        return SendWindow(get_settings().WINDOW_FRAMES, get_settings().WINDOW_BYTES)

    def __getattr__(self, name: str) -> Any:
        return lambda *args: self.told.append((name, *args[1:]))


class Clock:
    """The time of a loop, which passes when it is told to."""

    def __init__(self) -> None:
        self._now = 0.0
        self._timers: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        """Return the present time in seconds."""
        return self._now

    def call_at(self, when: float, call: Callable[[], None], context: Any) -> Any:
        """Call something at a time."""
        timer = when, call
        self._timers.append(timer)
        return SimpleNamespace(cancel=lambda: self._timers.remove(timer))

    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds
        due = [call for at, call in self._timers if at <= self._now]
        self._timers = [timer for timer in self._timers if timer[0] > self._now]
        for call in due:
            call()


class FakeSearch(Search):
    """A search that finds what a function finds.

    Args:
        name: The stream's name.
        find: Called with it.
    """

    def __init__(self, name: str, find: Callable[[str], Any]) -> None:
        self._name = name
        self._find = find
        self._is_calling = False

    async def find(self) -> Any:
        """Find a worker."""
        return await self._find(self._name)


class Finder:
    """Finds workers when it is told to.

    Attributes:
        ports: The ends of the sessions that were granted.
        loop: The time of who waits for a worker's answer.
        is_cut_off: Whether the layer fails.
        may_be_deaf: Whether the node may not hear.
        worker: The channel of the one worker there is; None where each find gives another one.
    """

    def __init__(self) -> None:
        self.ports: list[Port] = []
        self.worker: str | None = None
        self.loop = Clock()
        loop: Any = self.loop
        self.deadlines = Deadlines(loop)
        self.is_cut_off = self.may_be_deaf = False
        self.config = LinkConfig()
        self._found = asyncio.Event()

    def search(self, name: str, *args: Any) -> Any:
        """Begin a search."""
        return FakeSearch(name, self.find)

    async def find(self, name: str) -> Any:
        """Wait for a worker; a cancellation is swallowed, as some libraries do."""
        try:
            await self._found.wait()
        except asyncio.CancelledError:
            return None
        self._found.clear()
        return self, SimpleNamespace(channel=self.worker or f"worker{len(self.ports)}"), "ref"

    def grant(self, claim: Any, *args: Any) -> Port:
        """Give a session to it."""
        self.ports.append(Port(claim.channel))
        return self.ports[-1]

    async def let(self) -> Port:
        """Let one worker be found."""
        count = len(self.ports)
        self._found.set()
        await until(lambda: len(self.ports) > count)
        return self.ports[-1]


@pytest.fixture
async def finder(monkeypatch: pytest.MonkeyPatch) -> Finder:
    """Who finds workers."""
    finder = Finder()
    monkeypatch.setattr(remote, "Search", finder.search)
    monkeypatch.setattr(survival, "FIRST_PAUSE", 0.0)
    return finder


@pytest.fixture
def listener() -> Listener:
    """The connection."""
    return Listener()


async def test_a_session_outlives_its_worker(finder: Finder, listener: Listener) -> None:
    """What was not taken is sent again, and the client hears of it once it is open."""
    session = RemoteSession("s", ACCESS, listener)
    first = await finder.let()
    await deliver(session, "1")
    assert first.said == []
    session.accepted()
    await deliver(session, "2")
    assert first.said == ["1", "2"]
    session.lost(peer_is_dead=False)
    await deliver(session, "3")
    second = await finder.let()
    session.accepted()
    assert second.said == ["1", "2", "3"]
    assert listener.told == [("session_reopened",)]
    session.end(1000, "")
    session.closed(1000, "")


async def test_a_stateful_session_ends_with_its_worker(finder: Finder, listener: Listener) -> None:
    """No other consumer goes on where one has begun, whether its worker dies or leaves."""
    end = ("session_closed", 1012, "its worker is gone")
    lost = RemoteSession("s", ACCESS, listener, stateful=True)
    await finder.let()
    lost.lost(peer_is_dead=False)  # Nobody has begun: it is opened elsewhere.
    await finder.let()
    lost.accepted()
    assert listener.told == []
    lost.lost(peer_is_dead=False)
    assert lost.ended.done()
    assert listener.told == [end]
    left = RemoteSession("s", ACCESS, listener, stateful=True)
    port = await finder.let()
    left.accepted()
    left.moved()
    assert port.said == [(1012, "")]
    assert not left.ended.done()  # Its consumer is not done yet.
    left.closed(1012, "")
    assert left.ended.done()
    assert listener.told == [end, end]


async def test_a_session_that_is_spoiled_ends_at_once(
    finder: Finder, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    """The client is told of 1011, the log of the stream, and what comes behind is taken (L4.10)."""
    session = RemoteSession("s", ACCESS, listener)
    port = await finder.let()
    session.accepted()
    session.spoiled("a text frame cannot be encoded: it is odd")
    assert port.said == [(1011, "")]
    session.received("late")
    session.closed(1000, "")
    assert listener.told == [("session_closed", 1011, "")]
    assert port.said == [(1011, ""), ("take", 4), (1000, "")]
    assert "Stream 's' ends with 1011: a text frame cannot be encoded: it is odd." in caplog.text


@pytest.mark.parametrize("code", [0, -1, 1006, 2**63])
async def test_a_code_that_a_peer_forged_is_1011(
    finder: Finder, listener: Listener, code: int
) -> None:
    """No WebSocket carries it, and nobody counts streams by it."""
    session = RemoteSession("s", ACCESS, listener)
    await finder.let()
    session.accepted()
    session.closed(code, "r" * 1000)
    assert listener.told == [("session_closed", 1011, "r" * 123)]
    assert session.ended.done()


class Numbering:
    """A tracer for whom every payload has a context of its own, with a number."""

    def __init__(self) -> None:
        self._numbers = count(1)

    def current(self) -> object:
        """Give the next number."""
        return next(self._numbers)

    def inject(self, context: Any) -> Any:
        """Write it down."""
        return {"number": str(context)}


async def test_payloads_keep_their_contexts(
    finder: Finder, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each goes with the context in which the client sent it, to the first worker and the next."""
    session = RemoteSession("s", ACCESS, listener)
    await deliver(session, "0")
    monkeypatch.setattr(tracing, "tracer", Numbering())
    await deliver(session, "1")
    first = await finder.let()
    session.accepted()
    await deliver(session, "2")
    assert first.said == ["0", {"number": "1"}, "1", {"number": "2"}, "2"]
    session._flow.window.taken(2)
    session.lost(peer_is_dead=False)
    await deliver(session, "3")
    second = await finder.let()
    session.accepted()
    assert second.said == [{"number": "2"}, "2", {"number": "3"}, "3"]
    session.end(1000, "")
    session.closed(1000, "")


async def test_a_session_without_a_worker_ends_at_once(finder: Finder, listener: Listener) -> None:
    """Nothing waits for a consumer, so there is nothing to wait for."""
    session = RemoteSession("s", ACCESS, listener)
    session.end(4000, "r")
    assert session.ended.done()
    assert listener.told == [("session_closed", 4000, "r")]
    await deliver(session, "1")
    session.end(4001, "")
    session.abandon()
    assert len(listener.told) == 1


async def test_payloads_that_wait_find_their_consumer_first(
    finder: Finder, listener: Listener
) -> None:
    """A session that ends before it is open is opened, and closed behind its payloads."""
    session = RemoteSession("s", ACCESS, listener)
    await deliver(session, "1")
    session.end(1000, "")
    assert not session.ended.done()
    port = await finder.let()
    session.accepted()
    assert port.said == ["1", (1000, "")]
    session.closed(1011, "")
    session.abandon()
    assert session.ended.done()
    assert listener.told == [("session_closed", 1000, "")]


async def test_payloads_that_wait_do_so_for_a_while(
    finder: Finder, listener: Listener, settings: Any
) -> None:
    """After CONSUMER_CLOSE_TIMEOUT, or without the client, nobody waits for a worker any more."""
    settings.CHANNELS_DEMUX_LAYER = {"CONSUMER_CLOSE_TIMEOUT": 0.01}
    session = RemoteSession("s", ACCESS, listener)
    await deliver(session, "1")
    session.end(1000, "")
    await asyncio.wait_for(session.ended, 20.0)
    settings.CHANNELS_DEMUX_LAYER = {"CONSUMER_CLOSE_TIMEOUT": None}
    session = RemoteSession("s", ACCESS, listener)
    await deliver(session, "1")
    session.end(4000, "r")
    session.end(1001, "")
    assert not session.ended.done()
    session.abandon()
    assert session.ended.done()
    assert listener.told == [("session_closed", 1000, ""), ("session_closed", 4000, "r")]


async def test_a_session_that_is_lost_while_it_ends_has_ended(
    finder: Finder, listener: Listener
) -> None:
    """Nobody looks for another worker for a stream that is being closed."""
    session = RemoteSession("s", ACCESS, listener)
    port = await finder.let()
    session.accepted()
    session.end(1000, "")
    assert port.said == [(1000, "")]
    session.lost(peer_is_dead=False)
    assert session.ended.done()
    assert listener.told == [("session_closed", 1000, "")]


async def test_a_consumer_that_takes_nothing_is_given_up(
    finder: Finder, listener: Listener, settings: Any
) -> None:
    """Where nobody hosts the stream for STALL_TIMEOUT, its client is told so."""
    settings.CHANNELS_DEMUX_LAYER = {"WINDOW_FRAMES": 1, "STALL_TIMEOUT": 0.01}
    session = RemoteSession("s", ACCESS, listener)
    await deliver(session, "1")
    await deliver(session, "2")
    assert listener.told == [("session_closed", 4408, "the consumer takes nothing")]


async def test_an_accept_that_crosses_a_move_is_moot(finder: Finder, listener: Listener) -> None:
    """The stream goes on with the next worker, silently, and nothing is sent to the old one."""
    session = RemoteSession("s", ACCESS, listener)
    first = await finder.let()
    await deliver(session, "1")
    session.moved()
    session.accepted()
    session.closed(1012, "")
    assert first.said == [(1012, "")]
    second = await finder.let()
    session.accepted()
    assert second.said == ["1"]
    assert listener.told == []
    session.end(1000, "")
    session.closed(1000, "")


async def test_a_session_that_was_given_up_is_not_opened_again(
    finder: Finder, listener: Listener
) -> None:
    """Once it has been closed for good, a lost worker is its end."""
    session = RemoteSession("s", ACCESS, listener)
    await deliver(session, "1")
    session.end(1000, "")
    port = await finder.let()
    session.abandon()
    assert port.said == [(1000, "")]
    session.lost(peer_is_dead=False)
    assert session.ended.done()
    assert listener.told == [("session_closed", 1000, "")]


async def test_a_consumer_that_stands_still_holds_nobody_up(
    finder: Finder, listener: Listener, settings: Any
) -> None:
    """The client hears at once, and nothing more of this consumer, however long that lasts."""
    settings.CHANNELS_DEMUX_LAYER = {"WINDOW_FRAMES": 1, "STALL_TIMEOUT": 0.01}
    session = RemoteSession("s", ACCESS, listener)
    port = await finder.let()
    session.accepted()
    await deliver(session, "1")
    await deliver(session, "2")
    told = [("session_closed", 4408, "the consumer takes nothing")]
    assert listener.told == told
    assert port.said == ["1", (4408, "the consumer takes nothing")]
    assert not session.ended.done()
    session.received("late")
    assert port.said[2:] == [("take", 4)]
    session.closed(4408, "")
    assert session.ended.done()
    assert listener.told == told


async def test_a_worker_that_does_not_answer_its_grant_is_left(
    finder: Finder, listener: Listener
) -> None:
    """It died as soon as it had claimed, and had been given nothing."""
    session = RemoteSession("s", ACCESS, listener)
    await deliver(session, "1")
    first = await finder.let()
    finder.loop.pass_time(PATIENCE)
    assert first.said == ["reset"]
    second = await finder.let()
    second.answered_at = math.inf
    finder.loop.pass_time(PATIENCE)
    assert second.said == []
    session.accepted()
    assert second.said == ["1"]
    assert listener.told == []
    session.end(1000, "")
    session.closed(1000, "")


async def test_a_scope_that_cannot_be_packed_ends_the_stream(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No worker is looked for any more, and payloads that wait hold nobody up."""

    async def fail(name: str) -> Any:
        raise ScopeFailed

    monkeypatch.setattr(remote, "Search", lambda name, *args: FakeSearch(name, fail))
    session = RemoteSession("s", ACCESS, listener)
    await deliver(session, "1")
    await asyncio.wait_for(session.ended, 20.0)
    assert listener.told == [("session_closed", 1011, "")]


async def test_an_end_is_told_once(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that has ended takes no other end: none of its search, and none of its edge."""
    goes_on, searched = asyncio.Event(), asyncio.Event()

    async def fail(name: str) -> Any:
        with contextlib.suppress(asyncio.CancelledError):
            await goes_on.wait()
        searched.set()
        raise ScopeFailed

    monkeypatch.setattr(remote, "Search", lambda name, *args: FakeSearch(name, fail))
    session = RemoteSession("s", ACCESS, listener)
    await asyncio.sleep(0)
    session.abandon()
    goes_on.set()
    await searched.wait()
    await asyncio.sleep(0)
    session.cut_off(4408, "late")
    assert listener.told == [("session_closed", 1001, "")]


async def test_a_session_is_opened_again_in_its_own_context(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scope is packed with what middleware has activated, whoever notices the loss."""
    activated = contextvars.ContextVar("activated", default="")
    seen: list[str] = []

    async def find(name: str) -> Any:
        seen.append(activated.get())

    monkeypatch.setattr(remote, "Search", lambda name, *args: FakeSearch(name, find))
    activated.set("de")
    session = RemoteSession("s", ACCESS, listener)
    activated.set("of the link")
    await until(lambda: len(seen) == 1)
    session.lost(peer_is_dead=False)
    await until(lambda: len(seen) == 2)
    assert seen == ["de", "de"]
    session.end(1000, "")


async def test_who_cannot_hear_doubts_nobody(finder: Finder, listener: Listener) -> None:
    """While the layer fails, no worker can answer."""
    session = RemoteSession("s", ACCESS, listener)
    finder.is_cut_off = True
    port = await finder.let()
    finder.loop.pass_time(PATIENCE)
    assert port.said == []
    session.end(1000, "")
    session.closed(1000, "")


@pytest.mark.parametrize("is_leaving", [False, True])
async def test_who_has_accepted_is_not_doubted(
    finder: Finder, listener: Listener, is_leaving: bool
) -> None:
    """However close together the grant and its answer are, and though it has to go at once."""
    session = RemoteSession("s", ACCESS, listener)
    port = await finder.let()
    session.accepted()
    if is_leaving:
        session.moved()
    finder.loop.pass_time(PATIENCE)
    assert port.said == [(1012, "")] * is_leaving
    session.end(1000, "")
    session.closed(1000, "")


async def test_a_session_that_is_opened_anew_waits_for_its_turn(
    finder: Finder, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes behind others whose worker has gone; where it ends meanwhile, it opens nothing."""
    asked: list[str] = []

    def find(name: str) -> Any:
        asked.append(name)
        return finder.find(name)

    monkeypatch.setattr(remote, "Search", lambda name, *args: FakeSearch(name, find))
    for name, turn in (("soon", 0.001), ("never", 3_600.0)):
        session = RemoteSession(name, ACCESS, listener)
        await finder.let()
        monkeypatch.setattr(ACCESS, "turn", lambda turn=turn: turn)
        session.lost(peer_is_dead=False)
        if name == "soon":
            await until(lambda: asked == ["soon", "soon"])
        session.end(1000, "")
        assert session.ended.done()
    assert asked == ["soon", "soon", "never"]


@pytest.mark.parametrize("has_worker", [False, True])
async def test_a_stream_that_nobody_accepts_is_unavailable(
    finder: Finder, listener: Listener, settings: Any, has_worker: bool
) -> None:
    """Once, whether there is no worker or one whose consumer does not accept."""
    settings.CHANNELS_DEMUX_LAYER = {"OPEN_TIMEOUT": 0.01}
    session = RemoteSession("s", ACCESS, listener)
    if has_worker:
        await finder.let()
    await until(lambda: bool(listener.told))
    assert listener.told == [("session_unavailable",)]
    session.abandon()


@pytest.mark.parametrize("end", ["accepted", "closed"])
async def test_a_stream_that_opens_or_ends_in_time_is_not_unavailable(
    finder: Finder, listener: Listener, end: str
) -> None:
    """Nothing is left that would say so later."""
    session = RemoteSession("s", ACCESS, listener)
    await finder.let()
    assert session._alarm is not None
    if end == "accepted":
        session.accepted()
    else:
        session.closed(1000, "")
    assert session._alarm is None
    session.abandon()


#: What the client is told of a stream that its workers do not survive.
POISONED = ("session_closed", 4422, "its workers do not survive it")


async def test_a_payload_that_ends_its_workers_ends_its_stream(
    finder: Finder, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    """MAX_DELIVERIES workers get it, no more; the log names stream, connection and their number."""
    session = RemoteSession("s", ACCESS, listener)
    await deliver(session, "poison")
    await deliver(session, "behind it")
    for _ in range(3):
        port = await finder.let()
        session.accepted()
        assert port.said == ["poison", "behind it"]
        session.lost(peer_is_dead=True)
    await until(session.ended.done)
    assert listener.told == [("session_reopened",), ("session_reopened",), POISONED]
    record = caplog.records[-1]
    assert "Stream 's' is closed: 3 workers in a row died with it." in record.getMessage()
    assert record.__dict__["demux_connection"] == "0" * 32
    assert session._tally.report().poisoned >= 1


async def test_a_move_goes_on_where_the_next_worker_does_not_begin(
    finder: Finder, listener: Listener
) -> None:
    """A stream that moves is not reopened for its client, whichever worker takes it."""
    session = RemoteSession("s", ACCESS, listener)
    await finder.let()
    session.accepted()
    session.moved()
    session.closed(CloseCode.SERVICE_RESTART, "")
    await finder.let()
    session.lost(peer_is_dead=False)
    await finder.let()
    session.accepted()
    assert session._tally.reopened == 0
    session.lost(peer_is_dead=False)
    await finder.let()
    session.accepted()
    assert session._tally.reopened == 1
    session.abandon()
    session.closed(1001, "")


async def test_a_stream_that_gets_on_is_opened_again(finder: Finder, listener: Listener) -> None:
    """Deaths do not count once all is taken that the dead workers had, however many die."""
    session = RemoteSession("s", ACCESS, listener)
    for number in range(6):
        await deliver(session, str(number))
        await finder.let()
        session.accepted()
        if number % 2:
            session._flow.window.taken(2)
        session.lost(peer_is_dead=True)
    await finder.let()
    assert not session.ended.done()
    session.abandon()
    session.closed(1001, "")


async def test_whoever_has_nothing_in_hand_is_no_suspect(
    finder: Finder, listener: Listener
) -> None:
    """A consumer that waits for payloads is not what its workers die of."""
    session = RemoteSession("s", ACCESS, listener)
    for _ in range(5):
        await finder.let()
        session.accepted()
        session.lost(peer_is_dead=True)
    await finder.let()
    assert not session.ended.done()
    session.abandon()
    session.closed(1001, "")


async def test_a_consumer_that_ends_its_worker_before_it_accepts(
    finder: Finder, listener: Listener
) -> None:
    """Its workers do not even answer the grant: it is known later whether they are dead."""
    session = RemoteSession("s", ACCESS, listener)
    for _ in range(3):
        await finder.let()
        finder.loop.pass_time(PATIENCE)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not session.ended.done()
    finder.loop.pass_time(finder.config.peer_timeout)
    await until(session.ended.done)
    assert len(finder.ports) == 3
    assert listener.told == [POISONED]


@pytest.mark.parametrize("reason", ["is_cut_off", "may_be_deaf"])
async def test_who_cannot_hear_counts_nobody_as_dead(
    finder: Finder, listener: Listener, reason: str
) -> None:
    """Workers that could not be heard may be alive."""
    session = RemoteSession("s", ACCESS, listener)
    for _ in range(3):
        await finder.let()
        finder.loop.pass_time(PATIENCE)
    setattr(finder, reason, True)
    finder.loop.pass_time(finder.config.peer_timeout)
    await finder.let()
    assert not session.ended.done()
    session.abandon()
    session.closed(1001, "")


async def test_one_worker_that_never_answers_ends_no_stream(
    finder: Finder, listener: Listener
) -> None:
    """However often it is granted the stream and found dead, it is one worker."""
    finder.worker = "half-open"
    session = RemoteSession("s", ACCESS, listener)
    for _ in range(6):
        await finder.let()
        finder.loop.pass_time(PATIENCE)
    finder.loop.pass_time(finder.config.peer_timeout)
    await finder.let()
    session.lost(peer_is_dead=True)
    finder.worker = None
    await finder.let()
    session.accepted()
    assert session._survival.deaths == 1
    assert listener.told == []
    session.abandon()
    session.closed(1001, "")


async def test_a_worker_that_answers_late_is_alive(finder: Finder, listener: Listener) -> None:
    """Workers that were blocked do not count as dead, and the stream is opened again."""
    session = RemoteSession("s", ACCESS, listener)
    for _ in range(3):
        port = await finder.let()
        finder.loop.pass_time(PATIENCE)
        port.heard_at = finder.loop.time() + 1
    for _ in range(5):
        await asyncio.sleep(0)
    finder.loop.pass_time(finder.config.peer_timeout)
    await finder.let()
    assert not session.ended.done()
    session.abandon()
    session.closed(1001, "")


async def test_without_a_bound_a_stream_is_opened_for_ever(
    finder: Finder, listener: Listener, settings: Any
) -> None:
    """With MAX_DELIVERIES 0 no number of deaths closes a stream."""
    settings.CHANNELS_DEMUX_LAYER = {"MAX_DELIVERIES": 0}
    session = RemoteSession("s", ACCESS, listener)
    await deliver(session, "poison")
    for _ in range(8):
        await finder.let()
        session.accepted()
        session.lost(peer_is_dead=True)
    await finder.let()
    assert not session.ended.done()
    session.abandon()
    session.closed(1001, "")
