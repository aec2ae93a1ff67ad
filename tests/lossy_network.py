"""Two ends of a link and a channel layer that loses, repeats, reorders and delays, without I/O.

Time is virtual and all chance comes from one seed, so a run is the same each time and takes
milliseconds. An `End` does what the shell around a link does: one publish at a time, one timer.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from channels_demux_layer.protocol import events as ev
from channels_demux_layer.protocol.frames import Batch, parse_batch
from channels_demux_layer.protocol.link import Link
from channels_demux_layer.protocol.liveness import LinkConfig

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
