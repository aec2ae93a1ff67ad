"""The package with one mechanism broken: a test of the simulation, which must notice each."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from channels_demux_layer.edge import opening
from channels_demux_layer.edge.remote import RemoteSession
from channels_demux_layer.edge.survival import Survival
from channels_demux_layer.hosting.consumer import Host
from channels_demux_layer.protocol.backlog import Portion
from channels_demux_layer.protocol.delivery import Recovery, SentBatch
from channels_demux_layer.protocol.frames import Batch
from channels_demux_layer.protocol.link import Link
from channels_demux_layer.protocol.liveness import Liveness
from channels_demux_layer.protocol.session import ReceiveWindow, SendWindow
from channels_demux_layer.transport.groups import Memberships, NodeGroups
from channels_demux_layer.transport.node import Node
from channels_demux_layer.transport.own import Hearing, OwnLayer
from channels_demux_layer.transport.watchdog import Watchdog
from channels_demux_layer.workers import drain
from channels_demux_layer.workers.session import WorkerSession
from tests.link_mutants import no_dedupe, no_order

Mutant = Callable[[pytest.MonkeyPatch], None]


def skipped_retransmission(patch: pytest.MonkeyPatch) -> None:
    """Every fifth batch that is lost is taken for sent again, and is not."""
    original = Recovery.resend

    def resend(self: Recovery, now: float) -> SentBatch:
        batch = original(self, now)
        if batch.seq % 5 == 0:
            batch.frames = b"\x90"  # no frames
        return batch

    patch.setattr(Recovery, "resend", resend)


def lost_credit(patch: pytest.MonkeyPatch) -> None:
    """One credit in ten is not told."""
    original = ReceiveWindow.tell

    def tell(self: ReceiveWindow) -> int:
        frames = original(self)
        return frames - 1 if frames > 2 else frames

    patch.setattr(ReceiveWindow, "tell", tell)


def credit_too_soon(patch: pytest.MonkeyPatch) -> None:
    """A consumer counts as having taken what it has just been given."""
    original = Host.deliver

    def deliver(self: Host, data: str | bytes) -> None:
        original(self, data)
        self._outlet.consumed(len(data))

    patch.setattr(Host, "deliver", deliver)


def no_window(patch: pytest.MonkeyPatch) -> None:
    """There is always room."""
    patch.setattr(SendWindow, "has_room", True)


def forgotten_untaken(patch: pytest.MonkeyPatch) -> None:
    """What a lost consumer had not taken is forgotten."""
    original = RemoteSession.lost

    def lost(self: RemoteSession, *, peer_is_dead: bool) -> None:
        self._flow.window.untaken.clear()
        original(self, peer_is_dead=peer_is_dead)

    patch.setattr(RemoteSession, "lost", lost)


def drain_without_waiting(patch: pytest.MonkeyPatch) -> None:
    """A worker that drains ends its consumers at once."""

    async def all_over(sessions: Any, timeout: float) -> bool:
        return True

    patch.setattr(drain, "_all_over", all_over)


def no_last_words(patch: pytest.MonkeyPatch) -> None:
    """A worker that drains does not wait until its last words have arrived."""

    async def last_words(nodes: Any, time_left: float) -> None:
        return None

    patch.setattr(drain, "_last_words", last_words)


def moved_too_soon(patch: pytest.MonkeyPatch) -> None:
    """A stream moves to another worker before the old consumer is done."""
    original = RemoteSession.moved

    def moved(self: RemoteSession) -> None:
        original(self)
        self._replace()

    patch.setattr(RemoteSession, "moved", moved)


def left_too_early(patch: pytest.MonkeyPatch) -> None:
    """A worker leaves a stream's group as soon as it has joined it, and nothing else helps."""
    original = NodeGroups.join

    async def join(self: NodeGroups, group: str) -> None:
        await original(self, group)
        await self.leave(group)

    patch.setattr(NodeGroups, "join", join)
    patch.setattr(Link, "_resend", lambda self, now: self._next_batch(now))


def never_left(patch: pytest.MonkeyPatch) -> None:
    """A worker stays in the groups of streams that have ended."""
    patch.setattr(Node, "leave_after", lambda self, group, ends: None)


def never_rejoined(patch: pytest.MonkeyPatch) -> None:
    """Retransmissions go to the group again, and nobody joins it anew."""

    async def rejoin(self: Memberships, only: Any = None) -> None:
        return None

    original = Link._resend

    def resend(self: Link, now: float) -> Any:
        outgoing = original(self, now)
        groups = [session.group for session in self.sessions.values() if session.group]
        return outgoing._replace(group=groups[0]) if groups else outgoing

    patch.setattr(Memberships, "rejoin", rejoin)
    patch.setattr(Link, "_resend", resend)


def two_grants(patch: pytest.MonkeyPatch) -> None:
    """An open that the layer delivers twice is granted to whoever claims it, each time."""
    original = opening.Search.find

    async def find(self: opening.Search) -> Any:
        found = await original(self)
        for other, ref in self._claims[1:]:
            self._node.grant(other, ref, SendWindow(1, 1))
        return found

    patch.setattr(opening.Search, "find", find)


def consumer_not_told(patch: pytest.MonkeyPatch) -> None:
    """The consumers of an edge that has died are not told."""
    patch.setattr(WorkerSession, "lost", lambda self, peer_is_dead: None)


def immortal_peers(patch: pytest.MonkeyPatch) -> None:
    """A peer that is silent is taken for alive."""
    patch.setattr(Liveness, "is_dead", lambda self, now: False)


def no_reset(patch: pytest.MonkeyPatch) -> None:
    """A worker that cannot take a granted session keeps that to itself."""
    patch.setattr(WorkerSession, "disown", lambda self: None)
    patch.setattr(Link, "reset_session", lambda self, session, now: None)


def forgotten_batches(patch: pytest.MonkeyPatch) -> None:
    """Of the batches found lost only the first is kept."""
    original = Recovery._lose

    def lose(self: Recovery, batches: list[SentBatch]) -> None:
        original(self, batches)
        self._lost = deque(list(self._lost)[:1])

    patch.setattr(Recovery, "_lose", lose)


def deaf_to_early(patch: pytest.MonkeyPatch) -> None:
    """Batches that come early count as arrived, and are not kept."""
    original = Link.receive_batch

    def receive_batch(self: Link, batch: Batch, now: float) -> None:
        original(self, batch, now)
        for seq in self._receiver._early:
            self._receiver._early[seq] = b"\x90"

    patch.setattr(Link, "receive_batch", receive_batch)


def disconnected_twice(patch: pytest.MonkeyPatch) -> None:
    """A consumer that has been disconnected runs on until it is killed."""
    original = Host._receive

    async def receive(self: Host) -> Any:
        message = await original(self)
        if message["type"] == "websocket.disconnect" and message["code"] == 1006:
            await asyncio.Event().wait()
        return message

    patch.setattr(Host, "_receive", receive)


def endless_portion(patch: pytest.MonkeyPatch) -> None:
    """A worker waits for consumers that wait for something else, before it publishes."""
    original = Portion.is_over

    def is_over(self: Portion, taken: int, now: float) -> bool:
        return original(self, taken, now) and taken >= self._goal

    patch.setattr(Portion, "is_over", is_over)


def unbounded_deliveries(patch: pytest.MonkeyPatch) -> None:
    """A payload goes to yet another worker, however many it has killed."""
    patch.setattr(Survival, "is_exhausted", False)


def progress_forgives(patch: pytest.MonkeyPatch) -> None:
    """The deaths of a payload do not count any more once an earlier one is taken."""
    original = Survival.worker_died

    def worker_died(self: Survival, worker: str, *, was_accepted: bool) -> None:
        original(self, worker, was_accepted=was_accepted)
        taken = self._window.taken_frames
        self._ends = tuple((name, min(end, taken + 1)) for name, end in self._ends)

    patch.setattr(Survival, "worker_died", worker_died)


def silent_watchdog(patch: pytest.MonkeyPatch) -> None:
    """Nothing is heard of a process whose event loop is blocked."""

    async def send_heartbeats(self: Watchdog, layer: Any) -> None:
        return None

    patch.setattr(Watchdog, "_send_heartbeats", send_heartbeats)


def idle_in_an_outage(patch: pytest.MonkeyPatch) -> None:
    """A worker forgets a link while the layer is down, with the end of a session in it."""
    patch.setattr(Link, "excuse_peer", lambda self, now: self._liveness.heard(now))


def hasty_after_a_block(patch: pytest.MonkeyPatch) -> None:
    """A process that was blocked takes its peers for dead when it goes on."""

    def watch(self: Liveness, now: float) -> None:
        self._watched_at = now

    patch.setattr(Liveness, "watch", watch)


def never_renewed(patch: pytest.MonkeyPatch) -> None:
    """A node that does not hear itself keeps its layer object."""
    patch.setattr(OwnLayer, "renew", lambda self: None)


def no_probe_is_missed(patch: pytest.MonkeyPatch) -> None:
    """A node does not find out that it does not hear itself."""
    patch.setattr(Hearing, "_be_deaf", lambda self: None)


def channels_of_another_object(patch: pytest.MonkeyPatch) -> None:
    """A new layer object does not receive on the channel of the one before."""
    original = OwnLayer.renew

    def renew(self: OwnLayer) -> None:
        original(self)
        self.typed.inner.client_prefix += "x"

    patch.setattr(OwnLayer, "renew", renew)


MUTANTS: list[Mutant] = [
    skipped_retransmission,
    no_dedupe,
    no_order,
    lost_credit,
    credit_too_soon,
    no_window,
    forgotten_untaken,
    drain_without_waiting,
    no_last_words,
    moved_too_soon,
    left_too_early,
    never_left,
    never_rejoined,
    two_grants,
    consumer_not_told,
    immortal_peers,
    no_reset,
    forgotten_batches,
    deaf_to_early,
    disconnected_twice,
    endless_portion,
    unbounded_deliveries,
    progress_forgives,
    silent_watchdog,
    idle_in_an_outage,
    hasty_after_a_block,
    never_renewed,
    no_probe_is_missed,
    channels_of_another_object,
]
