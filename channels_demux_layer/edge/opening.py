"""Finds a worker for a stream: sends opens until one is claimed, and chooses among the claims."""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from channels_demux_layer.conf import get_settings
from channels_demux_layer.exceptions import ConfigurationError, DemuxError
from channels_demux_layer.logs import about
from channels_demux_layer.protocol.frames import VERSION
from channels_demux_layer.protocol.handshake import Claim, Open
from channels_demux_layer.protocol.naming import edge_group, stream_channel, stream_group
from channels_demux_layer.transport.background import Deadlines
from channels_demux_layer.transport.node import Node
from channels_demux_layer.transport.nodes import find_node, get_node

from .survival import suspects_on

__all__ = ["RemoteAccess", "ScopeFailed", "Search"]

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

#: The longest pause between two opens of a stream that nobody claims, in seconds, and by how
#: much each is longer than the one before (L2.7).
LONGEST_PAUSE = 30.0
PAUSE_GROWTH = 1.5
#: The shortest and the longest pause after a call that the layer refused, in seconds. It is
#: random, so that many clients do not retry at the same time.
REFUSED_PAUSE = (0.05, 0.5)
#: How long to wait for claims of all known workers after the first claim, in seconds (L2.4). On a
#: layer that gives an open to all workers, the fastest worker would otherwise host everything.
CLAIM_WINDOW = 0.025
#: The same while no worker is known. A worker connects to the layer only with its first open.
FIRST_WINDOW = 0.1
#: How old an open may be when a worker claims it, as a multiple of the pause before the next open
#: (L2.1). In a long queue, every open would otherwise be too old.
LATEST = 3


class ScopeFailed(DemuxError):  # noqa: N818 - it says what happened
    """The scope of a connection cannot be packed. The log has the traceback."""


class RemoteAccess:
    """What the remote sessions of one connection share: its node, its group and its packed scope.

    Args:
        connection: The connection's id.
        prefix: The demultiplexer's channel prefix.
        pack: Packs the connection's scope.
    """

    def __init__(self, connection: str, prefix: str, pack: Callable[[], Awaitable[bytes]]) -> None:
        self.connection = connection
        self.prefix = prefix
        self._group = edge_group(prefix, connection)
        self._pack = pack
        self._packing: asyncio.Future[bytes | None] | None = None
        self._lock = asyncio.Lock()
        self._node: Node | None = None
        self._has_left = False
        self._deadlines: Deadlines | None = None

    @property
    def deadlines(self) -> Deadlines:
        """The node's deadlines; where there is no channel layer, deadlines of this connection."""
        if self._deadlines is None:
            try:
                self._deadlines = find_node(get_settings().CHANNEL_LAYER).deadlines
            except ConfigurationError:
                self._deadlines = Deadlines(asyncio.get_running_loop())
        return self._deadlines

    async def get_node(self) -> Node:
        """Return the node, a member of the connection's edge group.

        Raises:
            Exception: Whatever the channel layer raises when it cannot be reached.
        """
        async with self._lock:
            # A search that waits here is not cancelled, and may come after the connection's end.
            if self._node is None and not self._has_left:
                await self._join()
        if self._node is None:
            raise asyncio.CancelledError("the connection has ended")
        return self._node

    async def _join(self) -> None:
        node = await get_node(get_settings().CHANNEL_LAYER)
        try:
            await node.groups.join(self._group)
        except BaseException:
            node.settle(self._group)
            raise
        if self._has_left:
            node.leave_after(self._group, [])
        else:
            self._node = node

    async def pack_scope(self) -> bytes:
        """Pack the connection's scope, as it is now; streams that open together share it.

        Raises:
            ScopeFailed: It cannot be packed.
        """
        packing = self._packing
        if packing is not None:
            await asyncio.wait([packing])
            packed = packing.result()
            if packed is None:
                raise ScopeFailed
            return packed
        loop = asyncio.get_running_loop()
        packing = self._packing = loop.create_future()
        # Streams that open together ask in the same turn of the event loop.
        loop.call_soon(self._forget_packing)
        packed = None
        try:
            packed = await self._try_to_pack()
        finally:
            packing.set_result(packed)
        return packed

    def _forget_packing(self) -> None:
        self._packing = None

    async def _try_to_pack(self) -> bytes:
        try:
            return await self._pack()
        # No search is cancelled in here, so a cancellation comes out of the project's code, too.
        except (Exception, asyncio.CancelledError) as error:
            logger.exception(
                "The scope of a connection cannot be packed for workers. The streams that it was "
                "packed for end with code 1011. Look into portable_scope() of the demultiplexer, "
                "and into the user and the session that middleware has put into the scope.",
                extra=about(connection=self.connection),
            )
            raise ScopeFailed from error

    def expel(self, group: str, channel: str) -> None:
        """Remove a dead worker's node from a group."""
        if self._node is not None:
            self._node.expel(group, channel)

    def turn(self) -> float:
        """Return the pause before a session is opened again, in seconds (L2.9)."""
        node = self._node
        return 0.0 if node is None else node.pacer.wait(node.loop.time(), random.uniform)

    def leave(self, ends: list[asyncio.Future[None]]) -> None:
        """Leave the connection's edge group, without waiting for it.

        Args:
            ends: What to wait for first. Until a session has ended, its worker publishes batches to
                the group, which may have frames for other connections.
        """
        self._has_left = True
        if self._node is not None:
            self._node.leave_after(self._group, ends)
            self._node = None

    def new_open(self, stream: str, attempt: int, patience: float, scope: bytes) -> Open:
        """Return an open of one of the connection's streams.

        Args:
            stream: The stream's name.
            attempt: How often the stream has been opened before, plus one.
            patience: How long it may be claimed, in seconds.
            scope: The packed scope.
        """
        assert self._node is not None
        return Open(
            version=VERSION,
            ref=uuid.uuid4().hex,
            connection=self.connection,
            stream=stream,
            channel=self._node.channel,
            edge_group=self._group,
            stream_group=stream_group(self.prefix, self.connection, stream),
            attempt=attempt,
            expires_at=time.time() + patience,
            scope=scope,
        )


class Search:
    """The search for a worker of one stream, from its first open to the grant.

    It sends opens until a worker claims one of them, and chooses among the claims. A claim of any
    of its opens counts.

    Args:
        stream: The stream's name.
        attempt: How often the stream has been opened before, plus one.
        access: What the connection's remote sessions share.
    """

    def __init__(self, stream: str, attempt: int, access: RemoteAccess) -> None:
        self._stream = stream
        self._attempt = attempt
        self._access = access
        self._channel = stream_channel(access.prefix, stream)
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._is_wanted = True
        # Whether the task is within a call that must not be cut off.
        self._is_calling = False
        self._claims: list[tuple[Claim, str]] = []
        self._refs: list[str] = []
        # Resolved by the next claim, or when waiting for it is over.
        self._news: asyncio.Future[None] | None = None
        self._node: Node

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Start a task for the coroutine that awaits `find()`."""
        self._task = asyncio.ensure_future(work)

    def stop(self) -> None:
        """End the search: no worker is wanted any more.

        A call of the channel layer that is under way is not cut off. redis-py leaves a connection
        open when the caller is cancelled while it connects, and clients that come and go at once
        would leave many. So the search ends after such a call.
        """
        self._is_wanted = False
        if self._task is not None and not self._is_calling:
            self._task.cancel()

    async def find(self) -> tuple[Node, Claim, str] | None:
        """Find a worker, however long it takes.

        Returns:
            The edge's node, the claim to grant, and the ref to grant it under. None where the
            search was stopped.

        Raises:
            ScopeFailed: The connection's scope cannot be packed.
        """
        settings = get_settings()
        slower_at = self._loop.time() + settings.OPEN_TIMEOUT
        patience = settings.OPEN_RETRY
        found = None
        try:
            scope = await self._call(self._access.pack_scope())
            while found is None and self._is_wanted:
                was_sent = await self._send_open(LATEST * patience, scope)
                found = await self._choose(patience if was_sent else _refused_pause())
                # An open that the layer refused reached no worker. If it made the next pause
                # longer, the first open after an outage would be followed by the longest pause.
                if was_sent and self._loop.time() >= slower_at:
                    patience = min(patience * PAUSE_GROWTH, max(LONGEST_PAUSE, settings.OPEN_RETRY))
        finally:
            for ref in self._refs:
                del self._node.claimable[ref]
        return (self._node, *found) if found is not None and self._is_wanted else None

    async def _call(self, call: Coroutine[Any, Any, Result]) -> Result:
        """Await a call that stop() must not cut off."""
        self._is_calling = True
        try:
            return await call
        finally:
            self._is_calling = False

    async def _send_open(self, patience: float, scope: bytes) -> bool:
        """Send one open; return whether the layer took it."""
        access = self._access
        try:
            node = await self._call(access.get_node())
        except Exception:  # The node has logged it.
            return False
        self._node = node
        if not self._is_wanted:
            return False
        opening = access.new_open(self._stream, self._attempt, patience, scope)
        self._refs.append(opening.ref)
        node.claimable[opening.ref] = partial(self._receive, ref=opening.ref)
        layer = find_node(get_settings().dispatch_layer)
        return await self._call(layer.publish(None, self._channel, opening.to_message()))

    def _receive(self, claim: Claim, ref: str) -> None:
        self._claims.append((claim, ref))
        self._wake()

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    async def _choose(self, patience: float) -> tuple[Claim, str] | None:
        """Wait for claims; return the one of the worker with the fewest sessions, if any came."""
        await self._wait_until(lambda: bool(self._claims), patience)
        if not self._claims:
            return None
        node = self._node
        known = node.claimants.get(self._channel, set())
        if len(known) != 1:  # Else the layer gives each open to one worker.
            window = CLAIM_WINDOW if known else FIRST_WINDOW
            await self._wait_until(lambda: bool(known) and known <= self._claimants, window)
            node.claimants[self._channel] = self._claimants
        return min(self._claims, key=self._preference)

    @property
    def _claimants(self) -> set[str]:
        return {claim.channel for claim, _ in self._claims}

    async def _wait_until(self, are_enough: Callable[[], bool], patience: float) -> None:
        deadline = self._access.deadlines.after(patience, self._wake)
        try:
            while self._is_wanted and not (are_enough() or deadline.is_cancelled):
                self._news = self._loop.create_future()
                await self._news
        finally:
            deadline.cancel()

    def _preference(self, claimed: tuple[Claim, str]) -> tuple[int, int, int, float]:
        claim, _ = claimed
        # First of all, keep suspects apart: a suspect may end its worker, and the others with it.
        suspects = suspects_on(self._node, claim.channel)
        # The sessions that this process has granted are known at once. The load of a worker is
        # only its last report, and all edges would run to the worker that reported the least. If
        # each edge spreads its own sessions evenly, all of them are spread evenly.
        sessions = self._node.sessions_with(claim.channel)
        return suspects, sessions, claim.load, random.random()


def _refused_pause() -> float:
    return random.uniform(*REFUSED_PAUSE)
