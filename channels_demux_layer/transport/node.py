"""A process's endpoint on the channel layer.

One node serves one event loop and one channel-layer alias: one channel and one receive loop,
however many connections and sessions there are.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from typing import Any

import msgspec
from channels.layers import InMemoryChannelLayer

from channels_demux_layer import tracing
from channels_demux_layer.conf import get_settings
from channels_demux_layer.logs import about
from channels_demux_layer.protocol.frames import BATCH, Batch, parse_batch
from channels_demux_layer.protocol.handshake import CLAIM, Claim, Pacer, check_names, parse_claim
from channels_demux_layer.protocol.link import Link
from channels_demux_layer.protocol.liveness import LinkConfig
from channels_demux_layer.protocol.report import NODES, PROBE, STATUS, parse_question
from channels_demux_layer.protocol.session import SendWindow

from .background import Deadlines
from .calls import Publish, Publisher, messages, receive
from .groups import JOIN, LEAVE, GroupChores, NodeGroups
from .own import Hearing, OwnLayer
from .ports import Hosted, SessionPort
from .records import IgnoredMessages
from .reporter import Reporter
from .watchdog import Watchdog
from .wire import LinkWire

__all__ = ["Node"]

logger = logging.getLogger(__name__)

#: How long a node that stops may take to leave its groups, in seconds.
LEAVE_LIMIT = 2.0
CLEAR = "clear a group on the channel layer"
#: How many claiming workers are remembered for one channel.
MAX_CLAIMANTS = 1_000
#: How many of the latest links of edges are kept without a session. Anybody who can write to the
#: layer can begin links, and each would otherwise be kept for three PEER_TIMEOUTs.
MAX_TAKEN_UP = 1_000


class Node:
    """One process's endpoint on one channel layer.

    Args:
        layer: The project's channel layer. Not a steadfast one, since the node retries itself.
        config: The configuration of its links.
        alias: The layer's name in CHANNEL_LAYERS.

    Attributes:
        channel: The node's channel, known once started.
        heard_at: When it last received anything, on the loop's clock.
        groups: The groups that the node is a member of.
        publish: Sends a message to a group, or to a channel if there is no group. Returns whether
            the layer took it. It may be lost all the same.
        claimable: The opens that an edge of this process waits to have claimed, by ref.
        grantable: The claims that a worker of this process waits to have granted, by ref.
        claimants: For each stream's channel the nodes that claim one open of it, as far as is
            known: a single one where the layer gives each to one worker.
        hosted: The sessions that the workers of this process host.
        is_stopped: Whether the node ends what it has under way.
        is_draining: Whether the workers of this process take no more sessions.
        max_sessions: How many sessions its workers host at a time; 0 for no bound.
        ignored: How many messages of the layer were ignored, by reason.
        serves: The channels of the streams that the workers of this process host.
        reporter: Answers questions about the node.
        deadlines: Makes calls at their time.
        pacer: Spreads the opens of sessions that are opened anew.
        watchdog: Sends heartbeats while the event loop is blocked. None if there is none.
        blocks: How often the event loop was found blocked.
        memories: The groups of the process's consumers. The node rejoins them with its own.
    """

    def __init__(self, layer: Any, config: LinkConfig, alias: str = "default") -> None:
        self.layer = layer
        self.alias = alias
        self.config = config
        self.loop = asyncio.get_running_loop()
        self._context = tracing.apart(contextvars.copy_context)
        self.channel = ""
        self.claimable: dict[str, Callable[[Claim], None]] = {}
        self.grantable: dict[str, Callable[[SessionPort], None]] = {}
        self.claimants: dict[str, set[str]] = {}
        self.hosted: set[Hosted] = set()
        self.is_draining = False
        self.max_sessions = get_settings().MAX_SESSIONS
        self.serves: set[str] = set()
        self.reporter = Reporter(self)
        self.pacer = Pacer()
        self.is_stopped = False
        self.deadlines = Deadlines(self.loop, self._context.copy())
        self._chores = GroupChores(alias, self)
        self.watchdog: Watchdog | None = None
        self.blocks = 0
        self.heard_at = self.loop.time()
        self._wires: dict[tuple[str, bool], LinkWire] = {}
        self._edge_wires: dict[str, LinkWire] = {}
        self._taken_up: dict[str, LinkWire] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.ignored = IgnoredMessages()
        self._own = OwnLayer(alias, layer, config.peer_timeout)
        self._shortest_timeout = config.peer_timeout
        self._publisher = Publisher(self._own.typed, self._reconnected, self.start_task)
        self.publish: Publish = self._publisher.publish
        self.groups = NodeGroups(self._own.typed, self.publish, alias)
        self.memories = self.groups.memories
        self._started: asyncio.Future[None] | None = None
        self._receiving: asyncio.Task[None] | None = None
        self._hearing: Hearing | None = None

    # -- life ---------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take a channel and begin to receive. Further calls do nothing.

        Raises:
            Exception: Whatever the channel layer raises when it cannot be reached.
        """
        if self._started is None or (self._started.done() and self._started.exception()):
            self._started = self.start_task(self._start())
        await asyncio.shield(self._started)

    async def _start(self) -> None:
        self.channel = await self._own.typed.new_channel()
        self.ignored.node = self.groups.channel = self.channel
        self._receiving = self.start_task(self._receive_forever())
        if self._own.is_own:
            recovered = partial(self._reconnected, was_deaf=True)
            hearing = Hearing(self, self.config.peer_timeout, self._renew, recovered)
            self._hearing, self._own.typed.timed_out = hearing, hearing.doubt
            self.start_task(hearing.run())
        self._chores.run(JOIN, NODES, lambda: self.groups.join(NODES))
        if not isinstance(self.layer, InMemoryChannelLayer):  # That one forgets nothing.
            self.start_task(self.groups.run())

    def start_task(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine until it ends, or the node does."""
        # Not in the context of the caller, which may be a consumer that sends.
        context = self._context.copy()
        task = context.run(self.loop.create_task, coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard, context=context)
        return task

    async def stop(self) -> None:
        """End everything that the node has under way, and leave its groups."""
        self.is_stopped = True
        ends_at = self.loop.time() + LEAVE_LIMIT
        # Cancelled tasks may start others, which close sessions or leave groups.
        while self._tasks and self.loop.time() < ends_at:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            # If the layer hangs, they may not end. They are cancelled again then, and given up.
            ends = asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.wait([ends], timeout=LEAVE_LIMIT / 2)
        for wire in self._wires.values():
            wire.stop()
        await self.groups.leave_all(LEAVE_LIMIT)
        await self._own.close(LEAVE_LIMIT)
        self.deadlines.stop()

    # -- the layer ----------------------------------------------------------------------------

    def expel(self, group: str, channel: str) -> None:
        """Remove a dead node from a group, in the background (L1.3)."""
        self._chores.run(CLEAR, group, lambda: self.groups.expel(group, channel))

    def leave_after(self, group: str, ends: list[asyncio.Future[None]]) -> None:
        """Leave a group in the background, once all the futures are done."""
        if all(end.done() for end in ends):
            self._leave(group)
        else:
            self.start_task(self._leave_after(group, ends))

    async def _leave_after(self, group: str, ends: list[asyncio.Future[None]]) -> None:
        await asyncio.wait(ends)
        self._leave(group)

    def _leave(self, group: str) -> None:
        self.groups.unwant(group)
        self.settle(group)

    def settle(self, group: str) -> None:
        """Leave a group in the background, if the layer has carried out a join that failed."""
        self._chores.run(LEAVE, group, lambda: self.groups.settle(group))

    @property
    def is_cut_off(self) -> bool:
        """Whether the layer has failed and taken nothing since, or the node is deaf."""
        return self._publisher.is_cut_off or self.is_deaf

    @property
    def is_deaf(self) -> bool:
        """Whether the node does not receive what it sends to itself."""
        return self._hearing is not None and self._hearing.is_deaf

    @property
    def may_be_deaf(self) -> bool:
        """Whether the node is deaf, or has not heard a probe of its own that is overdue."""
        return self._hearing is not None and self._hearing.is_overdue

    def messages(self, channel: str) -> AsyncIterator[Any]:
        """Yield the messages of another channel, over the node's connections.

        Args:
            channel: The channel.
        """
        return messages(self._own, channel)

    def _renew(self) -> None:
        assert self._receiving is not None
        self._receiving.cancel()
        self._own.renew()
        self._receiving = self.start_task(self._receive_forever())

    def _reconnected(self, *, was_deaf: bool = False) -> None:
        for wire in self._wires.values():
            wire.excuse(was_deaf=was_deaf)
        self.groups.reconnected()

    async def _receive_forever(self) -> None:
        layer, failed, unreadable = (
            self._own.typed,
            self._publisher.cut_off,
            self.ignored.unreadable,
        )
        while True:
            message = await receive(layer, self.channel, failed, unreadable=unreadable)
            self.heard_at = self.loop.time()
            try:
                self._dispatch(message)
            except Exception as error:
                self.ignored.unhandled(error)
            del message  # It may be large, and the wait for the next one may be long.

    def _dispatch(self, message: Any) -> None:
        kind = message.get("type") if isinstance(message, dict) else message
        try:
            if kind == BATCH:
                self._receive_batch(parse_batch(message))
            elif kind == CLAIM:
                self._receive_claim(parse_claim(message))
            elif kind == STATUS:
                question = parse_question(message)
                check_names(question.channel)
                self.reporter.asked(question)
            elif kind == PROBE:
                self._probed(message.get("ref"))
            else:
                self.ignored.foreign(kind)
        except msgspec.ValidationError as error:
            self.ignored.malformed(kind, error)

    def _probed(self, ref: object) -> None:
        self.groups.probed(ref)
        if self._hearing is not None:
            self._hearing.probed(ref)

    def _receive_batch(self, batch: Batch) -> None:
        if not self.speaks(batch.version, "batches"):
            return
        wire = self._wires.get((batch.link, batch.to_edge))
        if batch.again and not (wire and wire.link.has_received(batch.seq)):
            # The first copy did not arrive by its group. The layer may have forgotten the member.
            self.groups.suspect(batch.group)
        if wire is None:  # (L3.2)
            if batch.to_edge or batch.base != 1 or not batch.seq:
                self.ignored["unknown_link"] += 1
                facts = about(node=self.channel, link=batch.link, peer=batch.channel)
                logger.debug("A batch of an unknown link was ignored.", extra=facts)
                return
            check_names(batch.channel)
            wire = self._take_up(batch)
        if 0 < batch.peer_timeout < self._shortest_timeout:
            self._shortest_timeout = batch.peer_timeout
            self._own.shorten_calls(batch.peer_timeout)
        wire.receive(batch)

    def _take_up(self, batch: Batch) -> LinkWire:
        wire = self._add_wire(batch.link, batch.channel, is_edge=False)
        self._taken_up[batch.link] = wire
        if len(self._taken_up) > MAX_TAKEN_UP:
            oldest = self._taken_up.pop(next(iter(self._taken_up)))
            if not oldest.link.sessions:
                self.forget(oldest)
        return wire

    def speaks(self, version: int, what: str) -> bool:
        """Tell whether this release understands a version of the layer wire. Log it if not.

        Args:
            version: The version of a message.
            what: The kind of message, in the plural.
        """
        return self.ignored.speaks(version, what)

    def _receive_claim(self, claim: Claim) -> None:
        if not self.speaks(claim.version, "claims"):
            return
        for ref in claim.refs:
            waiting = self.claimable.get(ref)
            if waiting is not None:
                waiting(claim)
            else:
                claimants = self.claimants.get(claim.stream_channel)
                if claimants is not None and len(claimants) < MAX_CLAIMANTS:
                    claimants.add(claim.channel)

    # -- links --------------------------------------------------------------------------------

    def grant(self, claim: Claim, ref: str, window: SendWindow) -> SessionPort:
        """Edge: grant a session to the worker that claimed it.

        Args:
            claim: The claim.
            ref: The ref in it that is granted.
            window: The window of the payloads towards the consumer.

        Returns:
            The edge's end of the session. Call attach() on it first.
        """
        wire = self._edge_wires.get(claim.channel)
        if wire is None:
            wire = self._add_wire(uuid.uuid4().hex, claim.channel, is_edge=True)
            self._edge_wires[claim.channel] = wire
        session = wire.link.open_session(ref, window, wire.now())
        wire.flush()
        return SessionPort(wire, session)

    def sessions_with(self, channel: str) -> int:
        """Return how many sessions the edges of this process have with a worker's node."""
        wire = self._edge_wires.get(channel)
        return len(wire.link.sessions) if wire else 0

    def granted(self, ref: str, port: SessionPort) -> None:
        """Worker: hand a granted session to the claim that it answers, if there is room (L2.5).

        A worker claims more than it has room for: on some layers every worker claims each open, and
        most claims are never granted. So the room is looked at again here.
        """
        waiting = self.grantable.pop(ref, None)
        if waiting is None or not self.has_room:
            port.reset()
        else:
            waiting(port)

    @property
    def load(self) -> int:
        """How many sessions the workers of this process host."""
        return len(self.hosted)

    @property
    def has_room(self) -> bool:
        """Whether the workers of this process may host one more session."""
        return not self.max_sessions or self.load < self.max_sessions

    @property
    def wires(self) -> list[LinkWire]:
        """The wires of its links."""
        return list(self._wires.values())

    @property
    def is_quiet(self) -> bool:
        """Whether all that was sent to peers has arrived."""
        return all(wire.link.is_quiet for wire in self._wires.values())

    def _add_wire(self, link_id: str, peer: str, *, is_edge: bool) -> LinkWire:
        link = Link(
            link_id,
            is_edge=is_edge,
            channel=self.channel,
            config=self.config,
            now=self.loop.time(),
        )
        wire = self._wires[link_id, is_edge] = LinkWire(self, link, peer)
        return wire

    def forget(self, wire: LinkWire) -> None:
        """Drop a wire whose link is over."""
        wire.stop()
        self.reporter.outlive(wire.link)
        del self._wires[wire.link.id, wire.link.is_edge]
        if not wire.link.is_edge:
            self._taken_up.pop(wire.link.id, None)
        if self._edge_wires.get(wire.peer) is wire:
            del self._edge_wires[wire.peer]
