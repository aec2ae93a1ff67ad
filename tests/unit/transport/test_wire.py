"""Running a link over a node."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock, call

import pytest
from django.utils.safestring import SafeString

from channels_demux_layer.protocol.frames import (
    Accept,
    Batch,
    Close,
    Grant,
    Text,
    decode_frames,
    encode_frames,
    parse_batch,
)
from channels_demux_layer.protocol.link import Link
from channels_demux_layer.protocol.liveness import LinkConfig
from channels_demux_layer.transport import wire as wire_module
from channels_demux_layer.transport.background import Deadlines
from channels_demux_layer.transport.ports import SessionPort
from channels_demux_layer.transport.records import IgnoredMessages
from channels_demux_layer.transport.wire import LinkWire, link_config
from tests.batches import make_batch
from tests.integration.harness import until


class Timer:
    """What a clock calls when its time has come, unless it is cancelled."""

    def __init__(self, when: float, ring: Callable[[], None]) -> None:
        self.when = when
        self.ring = ring
        self.is_cancelled = False

    def cancel(self) -> None:
        """Does not ring."""
        self.is_cancelled = True


class Clock:
    """A clock that goes on when the test says so.

    Attributes:
        timers: Those that were set, in order.
    """

    def __init__(self) -> None:
        self._now = 1000.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        """The present time in seconds."""
        return self._now

    def call_at(
        self, when: float, ring: Callable[[], None], context: contextvars.Context | None = None
    ) -> Timer:
        """Ring at a time."""
        self.timers.append(Timer(when, ring))
        return self.timers[-1]

    def call_soon(self, call: Callable[..., None], *arguments: Any) -> asyncio.Handle:
        """Call at the end of this turn of the event loop."""
        return asyncio.get_running_loop().call_soon(call, *arguments)

    @property
    def next(self) -> Timer:
        """The timer that rings next: there is one at a time."""
        (timer,) = (timer for timer in self.timers if not timer.is_cancelled)
        return timer

    def advance(self, seconds: float) -> None:
        """Let time pass, and ring what is due."""
        until = self._now + seconds
        while due := [t for t in self.timers if not t.is_cancelled and t.when <= until]:
            timer = min(due, key=lambda t: t.when)
            timer.is_cancelled = True
            self._now = max(self._now, timer.when)
            timer.ring()
        self._now = until


class Host:
    """The node, as far as a wire needs it.

    Attributes:
        published: What was published, in order.
        ports: The sessions that were granted, in order.
        forgotten: The wires that are over.
        heard_at: When anything was heard.
        is_cut_off: Whether nobody can be heard.
        may_be_deaf: Whether that is not sure.
    """

    def __init__(self) -> None:
        self.loop = Clock()
        loop: Any = self.loop
        self.deadlines = Deadlines(loop)
        self.is_stopped = False
        self.channel = "here"
        self.ignored = IgnoredMessages()
        self.heard_at = self.loop.time()
        self.is_cut_off = self.may_be_deaf = False
        self.published: list[tuple[str | None, dict[str, Any]]] = []
        self.ports: list[SessionPort] = []
        self.forgotten: list[Any] = []
        self.gate = asyncio.Event()

    def start_task(self, coroutine: Any) -> asyncio.Task[None]:
        """Run it."""
        return asyncio.ensure_future(coroutine)

    async def publish(self, group: str | None, channel: str, message: dict[str, Any]) -> bool:
        """Note the message, and take as long as the test wants."""
        self.published.append((group, message))
        await self.gate.wait()
        return True

    def forget(self, wire: Any) -> None:
        """Note the wire."""
        self.forgotten.append(wire)

    def granted(self, ref: str, port: Any) -> None:
        """Note the session; nobody disowns it."""
        self.ports.append(port)

    @property
    def texts(self) -> list[list[str]]:
        """The payloads of each batch that was published and has some."""
        batches = (decode_frames(parse_batch(m).frames) for _, m in self.published if m["seq"])
        texts = ([frame.text for frame in batch if isinstance(frame, Text)] for batch in batches)
        return [each for each in texts if each]


class Echo:
    """The owner of a session whose consumer echoes, and takes a payload in two turns of the loop.

    Attributes:
        heard: The payloads that have been passed on, in order.
        closed: Called with the peer's last word.
    """

    def __init__(self, port: SessionPort) -> None:
        self.closed = Mock()
        self.heard: list[str] = []
        self._port = port
        self._waiting: deque[str] = deque()
        self._is_busy = False
        port.attach(self, "group")
        port.accept()

    def received(self, data: str) -> None:
        """Take a payload after those before."""
        self.heard.append(data)
        self._waiting.append(data)
        if not self._is_busy:
            self._is_busy = True
            asyncio.get_running_loop().call_soon(self._answer)

    def _answer(self) -> None:
        self._port.send(self._waiting[0])
        asyncio.get_running_loop().call_soon(self._take)

    def _take(self) -> None:
        self._port.take(len(self._waiting.popleft()))
        self._is_busy = bool(self._waiting)
        if self._is_busy:
            asyncio.get_running_loop().call_soon(self._answer)


async def pass_turns(turns: int) -> None:
    """Let the event loop turn."""
    for _ in range(turns):
        await asyncio.sleep(0)


def a_batch(seq: int, *frames: Any) -> Batch:
    """A batch of an edge."""
    return make_batch(link="l", channel="edge!1", seq=seq, frames=encode_frames(list(frames)))


@pytest.fixture
async def host() -> Host:
    """The node."""
    return Host()


def a_wire(host: Host, *, is_edge: bool) -> LinkWire:
    """A wire with a link of the defaults."""
    now = host.loop.time()
    link = Link("l", is_edge=is_edge, channel="node!1", config=LinkConfig(), now=now)
    return LinkWire(host, link, "peer!1")


async def test_what_gathers_during_a_publish_goes_as_one(host: Host) -> None:
    """One publish is under way at a time, and the next takes all that has come meanwhile."""
    wire = a_wire(host, is_edge=True)
    for number in range(10):
        wire.link.open_session(str(number), wire.link.new_window(), wire.now())
        wire.flush()
        await asyncio.sleep(0)
    assert len(host.published) == 1
    assert wire.deadline == float("inf")
    host.gate.set()
    await until(lambda: len(host.published) == 2 and wire.deadline < float("inf"))
    assert len(host.published) == 2
    assert host.loop.next.when == wire.link.deadline


async def test_the_timer_rings_at_the_earliest_time(host: Host) -> None:
    """An earlier time replaces a later one; a later one is seen to when it rings."""
    wire = a_wire(host, is_edge=False)
    wire.flush()
    idle = host.loop.next
    wire.receive(a_batch(1, Grant(1, "ref")))
    acknowledging = host.loop.next
    assert idle.is_cancelled
    assert acknowledging.when < idle.when
    wire.link.accept(*wire.link.sessions.values())
    host.gate.set()
    wire.flush()
    await until(lambda: wire.deadline < float("inf"))
    assert host.loop.next is acknowledging
    assert wire.link.deadline > acknowledging.when
    host.loop.advance(acknowledging.when - wire.now())
    assert host.loop.next.when == wire.link.deadline


async def test_no_time_passes_while_the_layer_hangs(host: Host) -> None:
    """A publish that is under way is no fault of the peer's."""
    wire = a_wire(host, is_edge=True)
    wire.flush()
    wire.link.open_session("ref", wire.link.new_window(), wire.now())
    wire.flush()
    await asyncio.sleep(0)
    host.loop.advance(1000.0)
    assert not wire.link.is_over
    host.gate.set()
    await until(lambda: wire.deadline < float("inf"))
    assert host.loop.next


async def test_an_edge_is_told_once_of_all_that_came_together(host: Host) -> None:
    """Each session that has received something, when all have: it is written together then."""
    wire = a_wire(host, is_edge=True)
    told = Mock()
    for name in ("a", "b", "c"):
        window = wire.link.new_window()
        session = wire.link.open_session(name, window, wire.now())
        session.owner = getattr(told, name)
    wire.receive(
        make_batch(
            link="l",
            to_edge=True,
            frames=encode_frames(
                [*map(Accept, (1, 2, 3)), Text(2, "1"), Text(1, "2"), Text(2, "3"), Close(1, 1000)]
            ),
        )
    )
    assert told.mock_calls[3:] == [
        call.b.received("1"),
        call.a.received("2"),
        call.b.received("3"),
        call.a.closed(1000, ""),
        call.b.delivered(),
        call.a.delivered(),
    ]
    host.gate.set()
    await asyncio.sleep(0)


async def test_a_silent_peer_is_given_up(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    """Its sessions are lost, and the wire with them."""
    wire = a_wire(host, is_edge=True)
    host.gate.set()
    session = wire.link.open_session("ref", wire.link.new_window(), wire.now())
    owner = session.owner = Mock()
    wire.flush()
    while not host.forgotten:
        await asyncio.sleep(0)
        host.loop.advance(0.1)
    owner.lost.assert_called_once_with(peer_is_dead=True)
    assert host.forgotten == [wire]
    assert "Node peer!1 has been silent" in caplog.text


@pytest.mark.parametrize("reason", ["is_cut_off", "may_be_deaf"])
async def test_who_cannot_hear_accuses_nobody(host: Host, reason: str) -> None:
    """While the layer fails, or a probe is overdue, no peer is dead, unless others were heard."""
    wire = a_wire(host, is_edge=True)
    host.gate.set()
    wire.link.open_session("ref", wire.link.new_window(), wire.now())
    wire.flush()
    setattr(host, reason, True)
    for _ in range(1000):
        await asyncio.sleep(0)
        host.loop.advance(0.1)
    assert not wire.link.is_over
    while not wire.link.is_over:
        await asyncio.sleep(0)
        host.loop.advance(0.1)
        host.heard_at = host.loop.time()
    assert host.forgotten == [wire]


async def test_a_wire_that_is_stopped_rings_no_more(host: Host) -> None:
    """A node that ends leaves no timer behind."""
    wire = a_wire(host, is_edge=True)
    wire.stop()
    wire.flush()
    wire.stop()
    host.loop.advance(1000.0)
    assert host.published == []
    assert all(timer.is_cancelled for timer in host.loop.timers)


async def test_what_is_said_in_a_session_without_owner_is_moot(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    """A session that was granted in vain has nobody to tell."""
    wire = a_wire(host, is_edge=False)
    wire.receive(a_batch(1, Grant(1, "ref")))
    (session,) = wire.link.sessions.values()
    assert session.owner is None
    wire.receive(a_batch(2, Accept(1)))
    assert "ignored" in caplog.text
    wire.receive(a_batch(3, Close(1, 1000)))
    host.gate.set()
    await asyncio.sleep(0)


@pytest.mark.parametrize(("peer_timeout", "longest"), [(60.0, 5.0), (8.0, 2.0), (0.1, 0.2)])
def test_who_is_heard_badly_has_several_tries(
    settings: Any, peer_timeout: float, longest: float
) -> None:
    """A batch that is lost again and again goes four times before its sender is taken for dead."""
    settings.CHANNELS_DEMUX_LAYER = {"PEER_TIMEOUT": peer_timeout}
    assert link_config().max_timeout == longest


async def test_a_link_that_cannot_be_sent_is_given_up(
    host: Host, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault in the link ends it once, with its sessions, and is not tried for ever."""
    wire = a_wire(host, is_edge=True)
    session = wire.link.open_session("ref", wire.link.new_window(), wire.now())
    owner = session.owner = Mock()

    def fail(now: float) -> None:
        raise OverflowError("a number too large")

    monkeypatch.setattr(wire.link, "batch_to_send", fail)
    wire.flush()
    await until(lambda: owner.lost.called)
    owner.lost.assert_called_once_with(peer_is_dead=False)
    assert wire.link.is_over
    assert not wire.link.sessions
    assert caplog.text.count("Cannot publish to node peer!1.") == 1
    assert host.forgotten == [wire]
    wire.flush()
    assert not host.published


async def test_a_payload_that_cannot_be_encoded_ends_its_own_session(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    """The link lives, and the session's owner hears of it; one without an owner is logged."""
    wire = a_wire(host, is_edge=False)
    host.gate.set()
    wire.receive(a_batch(1, Grant(1, "one"), Grant(2, "two"), Grant(3, "three")))
    first, second, third = wire.link.sessions.values()
    owners = Mock()
    for session, owner in ((first, owners.first), (second, owners.second)):
        session.owner = owner
    for session, payload in ((first, SafeString("x")), (second, "2"), (third, SafeString("y"))):
        wire.link.accept(session)
        wire.link.send(session, payload)
    wire.flush()
    await until(lambda: "was dropped" in caplog.text)
    (problem,) = owners.first.spoiled.call_args.args
    assert "a text frame cannot be encoded" in problem
    owners.second.spoiled.assert_not_called()
    assert host.texts == [["2"]]
    assert not wire.link.is_over
    assert host.forgotten == []


@pytest.mark.parametrize("told", ["accepted", "received", "delivered"])
async def test_an_owner_that_raises_ends_its_own_session(
    host: Host, caplog: pytest.LogCaptureFixture, told: str
) -> None:
    """What others have in the batch arrives, and the peer hears of 1011."""
    wire = a_wire(host, is_edge=True)
    host.gate.set()
    owners = [Mock(), Mock()]
    for owner in owners:
        session = wire.link.open_session("ref", wire.link.new_window(), wire.now())
        session.owner = owner
    getattr(owners[0], told).side_effect = LookupError("a fault of ours")
    frames = encode_frames([Accept(1), Accept(2), Text(1, "a"), Text(2, "b")])
    wire.receive(make_batch(link="l", to_edge=True, frames=frames))
    owners[1].received.assert_called_once_with("b")
    owners[1].delivered.assert_called_once_with()
    assert "a fault of ours" in caplog.text
    await until(lambda: host.published)
    sent = decode_frames(parse_batch(host.published[0][1]).frames)
    assert Close(1, 1011) in sent
    assert not [frame for frame in sent if isinstance(frame, Close) and frame.session == 2]
    assert not wire.link.is_over


async def test_a_report_that_cannot_be_passed_on_ends_nothing(
    host: Host, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is about no session has none to end."""
    wire = a_wire(host, is_edge=True)
    host.gate.set()
    monkeypatch.setattr(host.ignored, "note", Mock(side_effect=LookupError("a fault of ours")))
    wire.receive(make_batch(link="l", to_edge=True, frames=encode_frames([Grant(1, "ref")])))
    assert "a fault of ours" in caplog.text
    assert not wire.link.is_over


#: More turns than any consumer here needs, and any portion has.
MANY_TURNS = 50
#: The turns after which the answer to a payload is on its way: in one it is given, in the next it
#: is published.
SOON = 2


async def an_echo(host: Host, wire: LinkWire) -> Echo:
    """A session of a worker, open."""
    wire.receive(a_batch(1, Grant(1, "ref")))
    echo = Echo(host.ports[0])
    host.gate.set()
    await pass_turns(MANY_TURNS)
    return echo


async def an_answer_that_hangs(host: Host, wire: LinkWire) -> None:
    """A session of a worker, open, and its first answer on a layer that does not take it."""
    await an_echo(host, wire)
    host.gate.clear()
    wire.receive(a_batch(2, *texts_of("1")))
    await pass_turns(MANY_TURNS)
    assert host.texts == [["1"]]


def texts_of(*payloads: str) -> list[Text]:
    """Payloads of the session."""
    return [Text(1, payload) for payload in payloads]


async def test_answers_to_what_came_together_leave_together(host: Host) -> None:
    """A client that sends four frames at once gets four answers at once."""
    wire = a_wire(host, is_edge=False)
    await an_echo(host, wire)
    wire.receive(a_batch(2, *texts_of("1", "2", "3", "4")))
    await pass_turns(SOON)
    assert host.texts == []
    await pass_turns(MANY_TURNS)
    assert host.texts == [["1", "2", "3", "4"]]


async def test_the_answer_to_a_lone_payload_waits_for_nothing(host: Host) -> None:
    """It may be all that its client waits for."""
    wire = a_wire(host, is_edge=False)
    await an_echo(host, wire)
    wire.receive(a_batch(2, *texts_of("1")))
    await pass_turns(SOON)
    assert host.texts == [["1"]]


async def test_what_comes_behind_a_portion_waits_for_its_end(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the first answers do not wait for the last; whatever comes meanwhile goes behind."""
    monkeypatch.setattr(wire_module, "PORTION_SIZE", 2)
    wire = a_wire(host, is_edge=False)
    echo = await an_echo(host, wire)
    wire.receive(a_batch(2, *texts_of("1", "2", "3")))
    wire.receive(a_batch(3, *texts_of("4", "5"), Close(1, 1000)))
    assert echo.heard == ["1", "2"]
    echo.closed.assert_not_called()
    await pass_turns(MANY_TURNS)
    assert echo.heard == ["1", "2", "3", "4", "5"]
    assert host.texts == [["1", "2"], ["3", "4"], ["5"]]
    echo.closed.assert_called_once_with(1000, "")


async def test_a_publish_that_ends_within_a_portion_takes_nothing_of_it(host: Host) -> None:
    """Its answers leave at its end, even if those before took long."""
    wire = a_wire(host, is_edge=False)
    await an_answer_that_hangs(host, wire)
    wire.receive(a_batch(3, *texts_of("2", "3", "4")))
    await pass_turns(SOON)
    host.gate.set()
    await pass_turns(SOON)
    assert host.texts == [["1"]]
    await pass_turns(MANY_TURNS)
    assert host.texts == [["1"], ["2", "3", "4"]]


async def test_answers_that_gather_while_the_layer_hangs_go_when_it_has_done(host: Host) -> None:
    """A portion that is over by then holds up nothing."""
    wire = a_wire(host, is_edge=False)
    await an_answer_that_hangs(host, wire)
    wire.receive(a_batch(3, *texts_of("2", "3")))
    await pass_turns(MANY_TURNS)
    assert host.texts == [["1"]]
    host.gate.set()
    await pass_turns(MANY_TURNS)
    assert host.texts == [["1"], ["2", "3"]]


@pytest.mark.parametrize(("took", "pause"), [(0.002, 0.002), (3.0, wire_module.LONGEST_PAUSE)])
async def test_frames_that_gather_during_a_publish_wait_for_more(
    host: Host, monkeypatch: pytest.MonkeyPatch, took: float, pause: float
) -> None:
    """They wait as long as the publish took, but not for long. A lone frame waits for nothing."""
    wire = a_wire(host, is_edge=False)
    echo = await an_echo(host, wire)
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        echo._port.send("3")

    with monkeypatch.context() as patch:
        patch.setattr(wire_module.asyncio, "sleep", sleep)
        host.gate.clear()
        echo._port.send("1")
        await until_published(host, ["1"])
        echo._port.send("2")
        host.loop.advance(took)
        host.gate.set()
        await until_published(host, ["2", "3"])
        assert pauses == [pytest.approx(pause)]
        echo._port.send("4")
        await until_published(host, ["4"])
        assert len(pauses) == 1


async def until_published(host: Host, batch: list[str]) -> None:
    """Wait for a batch without the sleep() of asyncio."""
    turn = asyncio.Event()
    while batch not in host.texts:
        asyncio.get_running_loop().call_soon(turn.set)
        await turn.wait()
        turn.clear()


async def test_a_wire_that_is_stopped_ends_no_portion(host: Host) -> None:
    """A node that ends publishes nothing more, and waits for no consumer."""
    wire = a_wire(host, is_edge=False)
    await an_echo(host, wire)
    wire.receive(a_batch(2, *texts_of("1", "2")))
    wire.stop()
    await pass_turns(MANY_TURNS)
    assert host.texts == []


async def test_a_heartbeat_is_no_answer(host: Host) -> None:
    """It comes from a blocked process as well: an answer acknowledges something, or has frames."""
    host.gate.set()
    wire = a_wire(host, is_edge=True)
    port = SessionPort(wire, wire.link.open_session("ref", wire.link.new_window(), wire.now()))
    wire.flush()
    await until(lambda: wire.deadline < float("inf"))
    made_at = port.answered_at
    for batch, is_answer in (
        (make_batch(link="l", to_edge=True, seq=0, frames=b""), False),
        (make_batch(link="l", to_edge=True, seq=0, frames=b"", ack=1), True),
        (make_batch(link="l", to_edge=True, seq=0, frames=b"", ack=1), False),
        (make_batch(link="l", to_edge=True, seq=1, frames=encode_frames([]), ack=1), True),
    ):
        before = port.answered_at
        host.loop.advance(1.0)
        wire.receive(batch)
        assert port.heard_at == wire.now() > made_at
        assert (port.answered_at == wire.now()) == is_answer
        assert is_answer or port.answered_at == before
