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
from channels_demux_layer.exceptions import DemuxError
from channels_demux_layer.logs import about
from channels_demux_layer.protocol.frames import VERSION
from channels_demux_layer.protocol.handshake import Claim, Open
from channels_demux_layer.protocol.naming import edge_group, stream_channel, stream_group
from channels_demux_layer.transport.node import Node
from channels_demux_layer.transport.nodes import find_node, get_node

from .survival import suspects_on

__all__ = ["RemoteAccess", "ScopeFailed", "find_worker"]

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

#: The longest pause between two opens of a stream that nobody claims, in seconds, and by how
#: much each is longer than the one before (L2.7).
LONGEST_PAUSE = 30.0
PAUSE_GROWTH = 1.5
#: The pause after a call that the layer refused, in seconds: at least, and at most. Random, so
#: that a crowd of clients does not come back as one.
REFUSED_PAUSE = (0.05, 0.5)
#: How long to wait for more claims after the first, in seconds (L2.4): where not all of those come
#: who are known to claim. A layer that gives an open to all workers would otherwise have the
#: quickest host everything.
CLAIM_WINDOW = 0.025
#: The same where nobody is known yet: a worker of Channels begins to connect with its first open.
FIRST_WINDOW = 0.1
#: How old an open may be when it is claimed, in times of the pause before the next one (L2.1): in a
#: long queue, each would be too old otherwise.
LATEST = 3


class ScopeFailed(DemuxError):  # noqa: N818 - it says what happened
    """The scope of a connection cannot be packed; the log has the traceback."""


class RemoteAccess:
    """What the remote sessions of one connection share: its node, its group, how to pack its scope.

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
        self._packing: asyncio.Future[bytes] | None = None
        self._lock = asyncio.Lock()
        self._node: Node | None = None
        self._has_left = False

    async def get_node(self) -> Node:
        """Return the node, a member of the connection's edge group.

        Raises:
            Exception: Whatever the channel layer raises when it cannot be reached.
        """
        async with self._lock:
            if self._node is None:
                await _finish(self._join())
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
        if self._packing is None:
            self._packing = asyncio.ensure_future(self._try_to_pack())
            # Streams that open together ask in the same turn of the event loop.
            asyncio.get_running_loop().call_soon(self._forget_packing)
        return await asyncio.shield(self._packing)

    def _forget_packing(self) -> None:
        self._packing = None

    async def _try_to_pack(self) -> bytes:
        try:
            return await self._pack()
        # Nobody cancels this task, so a cancellation comes out of the project's code as well.
        except (Exception, asyncio.CancelledError) as error:
            logger.exception(
                "The scope of a connection cannot be packed for workers. The streams that it was "
                "packed for end with code 1011. Look into portable_scope() of the demultiplexer, "
                "and into the user and the session that middleware has put into the scope.",
                extra=about(connection=self.connection),
            )
            raise ScopeFailed from error

    def expel(self, group: str, channel: str) -> None:
        """Have a dead worker's node leave a group."""
        if self._node is not None:
            self._node.expel(group, channel)

    def turn(self) -> float:
        """Return for how long a session that is opened anew is to wait, in seconds (L2.9)."""
        node = self._node
        return 0.0 if node is None else node.pacer.wait(node.loop.time(), random.uniform)

    def leave(self, ends: list[asyncio.Event]) -> None:
        """Leave the connection's edge group, without waiting for it.

        Args:
            ends: What to wait for in the background first: until its session has ended, a
                worker may publish to the group, and what it sends to others with it.
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


async def find_worker(
    stream: str,
    attempt: int,
    access: RemoteAccess,
    is_wanted: Callable[[], bool],
) -> tuple[Node, Claim, str] | None:
    """Find a worker for a stream, however long it takes.

    Args:
        stream: The stream's name.
        attempt: How often the stream has been opened before, plus one.
        access: What the connection's remote sessions share.
        is_wanted: Tells whether to go on. Cancelling is not enough: below a channel layer there
            are libraries that swallow it.

    Returns:
        The edge's node, the claim to grant, and the ref to grant it under; None where no worker
        is wanted any more.

    Raises:
        ScopeFailed: The connection's scope cannot be packed.
    """
    settings = get_settings()
    loop = asyncio.get_running_loop()
    slower_at = loop.time() + settings.OPEN_TIMEOUT
    patience = settings.OPEN_RETRY
    claims = Claims(stream_channel(access.prefix, stream))
    found = None
    try:
        scope = await access.pack_scope()
        while found is None and is_wanted():
            opening = partial(access.new_open, stream, attempt, LATEST * patience, scope)
            found = await _try_open(opening, access, patience, claims)
            # An open that the layer refused reached no worker. If it made the next pause longer,
            # the first open after an outage would be followed by the longest pause.
            if claims.was_sent and loop.time() >= slower_at:
                patience = min(patience * PAUSE_GROWTH, max(LONGEST_PAUSE, settings.OPEN_RETRY))
    finally:
        claims.end()
    return found if is_wanted() else None


async def _try_open(
    new_open: Callable[[], Open], access: RemoteAccess, patience: float, claims: Claims
) -> tuple[Node, Claim, str] | None:
    claims.was_sent = False
    try:
        node = await access.get_node()
    except Exception:  # The node has logged it.
        await asyncio.sleep(random.uniform(*REFUSED_PAUSE))
        return None
    found = await claims.call_for(node, new_open(), patience)
    return None if found is None else (node, *found)


async def _finish(call: Coroutine[Any, Any, Result]) -> Result:
    """Await calls of the channel layer, and finish them even if cancelled meanwhile.

    A connection that redis-py is just making is left open when its caller is cancelled, and
    clients that come and go at once cancel a lot.
    """
    task = asyncio.ensure_future(call)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise


class Claims:
    """The claims of all opens of one search.

    Args:
        channel: The stream's channel.

    Attributes:
        was_sent: Whether the layer took the last open.
    """

    def __init__(self, channel: str) -> None:
        self.was_sent = False
        self._channel = channel
        self._claims: list[tuple[Claim, str]] = []
        self._refs: list[str] = []
        self._loop = asyncio.get_running_loop()
        self._arrived: asyncio.Future[None] = self._loop.create_future()
        self._node: Node

    def _receive(self, claim: Claim, ref: str) -> None:
        self._claims.append((claim, ref))
        if not self._arrived.done():
            self._arrived.set_result(None)

    def end(self) -> None:
        """Take no further claim."""
        for ref in self._refs:
            del self._node.claimable[ref]

    async def call_for(
        self, node: Node, opening: Open, patience: float
    ) -> tuple[Claim, str] | None:
        """Send an open, and wait for claims of it and of those before.

        Args:
            node: The edge's node, always the same one.
            opening: The open.
            patience: How long to wait for the first, in seconds.

        Returns:
            The claim of the worker with the fewest sessions, and the ref to grant it under; None
            where nobody claimed.
        """
        self._node = node
        self._refs.append(opening.ref)
        node.claimable[opening.ref] = partial(self._receive, ref=opening.ref)
        layer = find_node(get_settings().dispatch_layer)
        publishing = layer.publish(None, self._channel, opening.to_message())
        self.was_sent = await _finish(publishing)
        if not self.was_sent:
            patience = random.uniform(*REFUSED_PAUSE)
        await self._wait_until(lambda: bool(self._claims), patience)
        if not self._claims:
            return None
        known = node.claimants.get(self._channel, set())
        if len(known) != 1:  # Else each open is claimed once, whoever does it.
            window = CLAIM_WINDOW if known else FIRST_WINDOW
            await self._wait_until(lambda: bool(known) and known <= self._claimants, window)
            node.claimants[self._channel] = self._claimants
        return min(self._claims, key=self._preference)

    @property
    def _claimants(self) -> set[str]:
        return {claim.channel for claim, _ in self._claims}

    async def _wait_until(self, are_enough: Callable[[], bool], patience: float) -> None:
        ends_at = self._loop.time() + patience
        while not are_enough() and (left := ends_at - self._loop.time()) > 0:
            self._arrived = self._loop.create_future()
            # Not wait_for(), which before Python 3.12 may swallow a cancellation.
            await asyncio.wait([self._arrived], timeout=left)

    def _preference(self, claimed: tuple[Claim, str]) -> tuple[int, int, int, float]:
        claim, _ = claimed
        # What this process has granted it knows at once, and what others have only by report:
        # if each spreads its own sessions evenly, the whole is even, and no herd runs to whoever
        # reported least.
        # First of all, whoever may end its worker is given apart: from others, and from its like.
        sessions = self._node.sessions_with(claim.channel)
        return suspects_on(self._node, claim.channel), sessions, claim.load, random.random()
