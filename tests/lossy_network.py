"""Two ends of a link and a channel layer that loses, repeats, reorders and delays, without I/O.

Time is virtual and all chance comes from one seed, so a run is the same each time and takes
milliseconds. An `End` does what the shell around a link does: one publish at a time, one timer.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from channels_demux_layer.link import events as ev
from channels_demux_layer.link.config import LinkConfig
from channels_demux_layer.link.frames import Batch, parse_batch
from channels_demux_layer.link.machine import Link
from channels_demux_layer.link.session import Session
from channels_demux_layer.link.window import SendWindow

#: Steps after which a conversation is taken to go on for ever.
MAX_STEPS = 30_000
#: Timeouts at one instant that show that the deadline does not move.
MAX_SPIN = 20


class Agenda:
    """What is to happen, in order of virtual time in seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.steps = 0
        self._entries: list[tuple[float, int, Callable[[], None]]] = []
        self._added = 0

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Have something happen so many seconds from now."""
        self.at(self.now + seconds, action)

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Have something happen at a time, or now where that is past."""
        self._added += 1
        heapq.heappush(self._entries, (max(when, self.now), self._added, action))

    def run_until(self, is_done: Callable[[], bool], limit: float) -> bool:
        """Let things happen until all is done.

        Returns:
            Whether it was done before the time limit.
        """
        while not is_done():
            if not self._entries or self._entries[0][0] > limit:
                self.now = limit
                return False
            self.steps += 1
            assert self.steps < MAX_STEPS, "the conversation does not come to an end"
            self.now, _, action = heapq.heappop(self._entries)
            action()
        return True


@dataclass(frozen=True)
class Weather:
    """How a network treats batches: chances from 0 to 1, times in seconds."""

    loss: float = 0.0
    repeat: float = 0.0
    #: Each batch travels for a time between these two: a wide range reorders.
    delay: tuple[float, float] = (0.001, 0.002)
    #: How long a publish takes.
    publish: tuple[float, float] = (0.0, 0.002)
    #: Nothing gets through between these two times.
    outage: tuple[float, float] = (0.0, 0.0)
    #: Nothing is lost or repeated any more from this time on.
    heals_at: float = 15.0


class Network:
    """Carries batches, well or badly.

    Args:
        agenda: Virtual time.
        rng: Where chance comes from.
        weather: How batches are treated.
    """

    def __init__(self, agenda: Agenda, rng: random.Random, weather: Weather) -> None:
        self.lost: Counter[End] = Counter()
        self._agenda = agenda
        self._rng = rng
        self._weather = weather

    def carry(self, batch: Batch, sender: End, receiver: End) -> None:
        """Deliver a batch once, several times, or not at all, some time later."""
        weather, now = self._weather, self._agenda.now
        healed = now >= weather.heals_at
        is_out = weather.outage[0] <= now < weather.outage[1]
        if is_out or (not healed and self._rng.random() < weather.loss):
            self.lost[sender] += 1
            return
        copies = 1 if healed or self._rng.random() >= weather.repeat else self._rng.randint(2, 4)
        message = batch.to_message()
        for _ in range(copies):
            self._agenda.after(
                self._rng.uniform(*weather.delay), lambda: receiver.receive(parse_batch(message))
            )

    def publish_time(self) -> float:
        """Return how long the next publish takes."""
        return self._rng.uniform(*self._weather.publish)


@dataclass
class Traffic:
    """What an end has sent: batches of new frames, such sent again, and those without frames."""

    new: int = 0
    again: int = 0
    alone: int = 0
    furthest_ahead: int = 0
    most_early: int = 0


class End:
    """One end of the link, run as the shell runs it.

    Args:
        agenda: Virtual time.
        network: What carries its batches.
        config: The link's numbers.
        is_edge: Which end this is.
        on_event: Gets what the link reports.
    """

    def __init__(
        self,
        agenda: Agenda,
        network: Network,
        config: LinkConfig,
        *,
        is_edge: bool,
        on_event: Callable[[ev.Event], None],
    ) -> None:
        self.link = Link("link", is_edge=is_edge, channel="node", config=config, now=agenda.now)
        self.peer: End
        self.traffic = Traffic()
        self._agenda = agenda
        self._network = network
        self._max_timeout = config.max_timeout
        self._on_event = on_event
        self._is_publishing = False
        self._wake_at = float("inf")
        self._spins: Counter[float] = Counter()

    @property
    def now(self) -> float:
        """The virtual time."""
        return self._agenda.now

    @property
    def is_quiet(self) -> bool:
        """Whether there are no sessions, and nothing awaits anything but the end of the link."""
        link = self.link
        if link.sessions or self._is_publishing:
            return False
        return link.is_over or link.deadline > self.now + self._max_timeout

    def flush(self) -> None:
        """Publish what waits, unless a publish is under way; set the timer."""
        if self._is_publishing:
            return
        outgoing = self.link.batch_to_send(self.now)
        if outgoing is None:
            self._arm()
            return
        self._count(outgoing.batch)
        self._is_publishing = True
        self._network.carry(outgoing.batch, self, self.peer)
        self._agenda.after(self._network.publish_time(), self._published)

    def _published(self) -> None:
        self._is_publishing = False
        self.flush()

    def _count(self, batch: Batch) -> None:
        traffic = self.traffic
        if not batch.seq:
            traffic.alone += 1
        elif batch.again:
            traffic.again += 1
        else:
            traffic.new += 1
        traffic.furthest_ahead = max(traffic.furthest_ahead, batch.seq - batch.base)
        traffic.most_early = max(traffic.most_early, len(batch.early))

    def receive(self, batch: Batch) -> None:
        """Take a batch from the network."""
        if not self.link.is_over:
            self.link.receive_batch(batch, self.now)
            self._pass_on_events()
            self.flush()

    def _arm(self) -> None:
        deadline = max(self.link.deadline, self.now)
        if deadline < self._wake_at and not self.link.is_over:
            self._wake_at = deadline
            self._agenda.at(deadline, self._wake)

    def _wake(self) -> None:
        if self.now < self._wake_at:
            return  # Overtaken by an earlier one.
        self._wake_at = float("inf")
        if self._is_publishing or self.link.is_over:
            return
        if self.now >= self.link.deadline:
            self._spins[self.now] += 1
            assert self._spins[self.now] < MAX_SPIN, "the deadline stands still"
            self.link.handle_timeout(self.now)
            self._pass_on_events()
        self.flush()

    def _pass_on_events(self) -> None:
        events = self.link.events()
        while events:
            self._on_event(events.popleft())


@dataclass
class Plan:
    """What one end does in a session; times in seconds."""

    payloads: list[str | bytes]
    #: How long it takes over each payload that it receives; as ranges.
    take: tuple[float, float]
    pause: tuple[float, float]
    #: When it closes, after the session's start; None: when all has been sent and received.
    closes_at: float | None
    #: Whether it closes at all without having been told.
    closes_first: bool


@dataclass
class Talker:
    """One end of a session: sends its payloads, takes the other's in its own time."""

    end: End
    session: Session
    plan: Plan
    expected: int
    agenda: Agenda
    rng: random.Random
    sent: list[str | bytes] = field(default_factory=list)
    received: list[str | bytes] = field(default_factory=list)
    untaken: deque[str | bytes] = field(default_factory=deque)
    most_untaken: tuple[int, int] = (0, 0)
    is_closed: bool = False

    def begin(self) -> None:
        """Have the close happen where its time is set."""
        if self.plan.closes_at is not None:
            self.agenda.after(self.plan.closes_at, self.close)

    def send_some(self) -> None:
        """Send as long as there is room, with a pause now and then."""
        window = self.session.outgoing
        while len(self.sent) < len(self.plan.payloads) and window.has_room and self.session.sends:
            data = self.plan.payloads[len(self.sent)]
            window.push(data)
            self.sent.append(data)
            self.end.link.send(self.session, data)
            self.end.flush()
            if self.rng.random() < 0.3:
                self.agenda.after(self.rng.uniform(*self.plan.pause), self.send_some)
                return
        self._close_if_done()

    def on_received(self, data: str | bytes) -> None:
        """Note a payload, and take it later."""
        self.received.append(data)
        self.untaken.append(data)
        frames, size = self.most_untaken
        # The last payload may cross the line of the window in bytes.
        before = sum(map(len, self.untaken)) - len(data)
        self.most_untaken = max(frames, len(self.untaken)), max(size, before)
        if len(self.untaken) == 1:
            self.agenda.after(self.rng.uniform(*self.plan.take), self._take)

    def _take(self) -> None:
        data = self.untaken.popleft()
        self.end.link.take(self.session, len(data), self.agenda.now)
        self.end.flush()
        if self.untaken:
            self.agenda.after(self.rng.uniform(*self.plan.take), self._take)
        self._close_if_done()

    def _close_if_done(self) -> None:
        is_done = len(self.sent) == len(self.plan.payloads) and not self.untaken
        has_heard_all = len(self.received) == self.expected
        if self.plan.closes_first and self.plan.closes_at is None and is_done and has_heard_all:
            self.close()

    def close(self) -> None:
        """Say the last word."""
        self.end.link.close_session(self.session, 4000, "done", self.agenda.now)
        self.end.flush()

    def on_closed(self) -> None:
        """Answer the other's last word, not always at once."""
        assert not self.is_closed, "a session was closed twice"
        self.is_closed = True
        self.agenda.after(self.rng.choice([0.0, 0.02, 0.5]), self.close)


class Conversation:
    """A link with many sessions that come, talk and go.

    Args:
        seed: What all chance comes from.
        weather: How the network is.
        config: The link's numbers.
        sessions: How many there are.
    """

    def __init__(
        self, seed: int, weather: Weather, config: LinkConfig, *, sessions: int = 6
    ) -> None:
        self.agenda = Agenda()
        self.rng = random.Random(seed)
        self.config = config
        self.network = Network(self.agenda, self.rng, weather)
        self.edge = self._end(is_edge=True)
        self.worker = self._end(is_edge=False)
        self.edge.peer, self.worker.peer = self.worker, self.edge
        self.talkers: dict[Session, Talker] = {}
        #: The two talkers of each session, by its ref: the edge's and then the worker's.
        self.pairs: dict[str, list[Talker]] = {}
        self.surprises: list[ev.Event] = []
        self._plans: dict[str, tuple[Plan, Plan]] = {}
        self._to_come = sessions
        for number in range(sessions):
            ref = f"session {number}"
            self._plans[ref] = self._make_plans(ref)
            self.agenda.at(self.rng.uniform(0, 3), lambda ref=ref: self._open(ref))

    def _end(self, *, is_edge: bool) -> End:
        return End(
            self.agenda, self.network, self.config, is_edge=is_edge, on_event=self._on_event
        )

    def _make_plans(self, ref: str) -> tuple[Plan, Plan]:
        rng = self.rng
        abrupt = rng.random() < 0.3
        first = rng.choice([(True, False), (False, True), (True, True)])
        edge, worker = (
            Plan(
                payloads=[self._payload(f"{ref} {side} {n}") for n in range(rng.randint(0, 40))],
                take=rng.choice([(0.0, 0.0), (0.0, 0.01), (0.02, 0.2)]),
                pause=rng.choice([(0.0, 0.005), (0.0, 0.2)]),
                closes_at=rng.uniform(0, 3) if abrupt and closes_first else None,
                closes_first=closes_first,
            )
            for side, closes_first in zip(("edge", "worker"), first, strict=True)
        )
        return edge, worker

    def _payload(self, label: str) -> str | bytes:
        filling = self.rng.choice(["", "x", "é"]) * self.rng.choice([1, 20, 300])
        text = label + filling
        return text.encode() if self.rng.random() < 0.3 else text

    def _open(self, ref: str) -> None:
        self._to_come -= 1
        window = SendWindow(self.config.window_frames, self.config.window_bytes)
        session = self.edge.link.open_session(ref, window, self.agenda.now)
        self._add_talker(self.edge, session, ref)
        self.edge.flush()

    def _add_talker(self, end: End, session: Session, ref: str) -> Talker:
        mine, other = self._plans[ref] if end is self.edge else self._plans[ref][::-1]
        talker = Talker(end, session, mine, len(other.payloads), self.agenda, self.rng)
        self.talkers[session] = talker
        self.pairs.setdefault(ref, []).append(talker)
        talker.begin()
        return talker

    def _on_event(self, event: ev.Event) -> None:
        if isinstance(event, ev.Granted):
            talker = self._add_talker(self.worker, event.session, event.ref)
            self.agenda.after(self.rng.choice([0.0, 0.01, 0.3]), lambda: self._accept(talker))
        elif isinstance(event, ev.Received):
            self.talkers[event.session].on_received(event.data)
        elif isinstance(event, (ev.Writable, ev.Accepted)):
            self.talkers[event.session].send_some()
        elif isinstance(event, ev.Closed):
            self.talkers[event.session].on_closed()
        else:
            self.surprises.append(event)

    def _accept(self, talker: Talker) -> None:
        self.worker.link.accept(talker.session)
        self.worker.flush()
        talker.send_some()

    def run(self, limit: float = 300.0) -> bool:
        """Let everything happen.

        Returns:
            Whether all sessions came to their end and both ends fell silent before the limit.
        """
        return self.agenda.run_until(self._is_done, limit)

    def _is_done(self) -> bool:
        return not self._to_come and self.edge.is_quiet and self.worker.is_quiet
