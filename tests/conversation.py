"""Many sessions that come, talk and go over one link, each end in its own time."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from functools import partial

from channels_demux_layer.protocol import events as ev
from channels_demux_layer.protocol.liveness import LinkConfig
from channels_demux_layer.protocol.session import SendWindow, Session
from tests.lossy_network import Agenda, End, Network, Weather


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
        while self._may_send():
            data = self.plan.payloads[len(self.sent)]
            self.session.outgoing.push(data)
            self.sent.append(data)
            self.end.link.send(self.session, data)
            self.end.flush()
            if self.rng.random() < 0.3:
                self.agenda.after(self.rng.uniform(*self.plan.pause), self.send_some)
                return
        self._close_if_done()

    def _may_send(self) -> bool:
        has_more = len(self.sent) < len(self.plan.payloads)
        return has_more and self.session.outgoing.has_room and self.session.state.sends

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
            self.agenda.at(self.rng.uniform(0, 3), partial(self._open, ref))

    def _end(self, *, is_edge: bool) -> End:
        return End(self.agenda, self.network, self.config, is_edge=is_edge, on_event=self._on_event)

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
