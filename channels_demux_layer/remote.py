"""A session whose consumer runs in a worker: finds the worker, and outlives it."""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
from collections.abc import Awaitable, Callable

from .codes import CloseCode
from .conf import Settings, get_settings
from .faults import FaultLog
from .flow import Outflow, Stalled
from .handshake import Claim, Open
from .inline import SessionListener
from .link.frames import VERSION
from .link.window import SendWindow
from .naming import edge_group, stream_channel, stream_group
from .node import Node, find_node, get_node
from .wire import SessionPort

__all__ = ["RemoteAccess", "RemoteSession"]

logger = logging.getLogger(__name__)
faults = FaultLog(logger)

#: The longest pause between two opens of a stream that nobody claims, in seconds.
LONGEST_PAUSE = 30.0
#: The pause after an open that the layer would not take, in seconds: at least, and at most.
#: Random, so that a crowd of clients does not come back as one.
FULL_PAUSE = (0.05, 0.5)


class RemoteAccess:
    """What the remote sessions of one connection share: its node, its group, its packed scope.

    Args:
        connection: The connection's id.
        prefix: The demultiplexer's channel prefix.
        pack: Packs the connection's scope.
    """

    def __init__(self, connection: str, prefix: str, pack: Callable[[], Awaitable[bytes]]) -> None:
        self.connection = connection
        self.prefix = prefix
        self.scope = b""
        self._group = edge_group(prefix, connection)
        self._pack = pack
        self._lock = asyncio.Lock()
        self._node: Node | None = None

    async def get_node(self) -> Node:
        """Return the node, a member of the connection's edge group.

        Raises:
            Exception: Whatever the channel layer raises when it cannot be reached.
        """
        async with self._lock:
            if self._node is None:
                node = await get_node(get_settings().CHANNEL_LAYER)
                self.scope = await self._pack()
                await node.groups.join(self._group)
                self._node = node
        return self._node

    def leave(self) -> None:
        """Leave the connection's edge group, without waiting for it."""
        if self._node is not None:
            self._node.start_task(self._node.groups.leave(self._group))
            self._node = None

    def new_open(self, stream: str, ref: str, attempt: int, patience: float) -> Open:
        """Return an open of one of the connection's streams.

        Args:
            stream: The stream's name.
            ref: The ref of this open.
            attempt: How often the stream has been opened before, plus one.
            patience: How long a claim will be waited for, in seconds.
        """
        assert self._node is not None
        return Open(
            version=VERSION,
            ref=ref,
            connection=self.connection,
            stream=stream,
            channel=self._node.channel,
            edge_group=self._group,
            stream_group=stream_group(self.prefix, self.connection, stream),
            attempt=attempt,
            expires_at=time.time() + patience,
            scope=self.scope,
        )


class RemoteSession:
    """One stream of a connection, hosted by one worker after the other.

    Args:
        name: The stream's name.
        access: What the connection's remote sessions share.
        listener: The connection.

    Attributes:
        ended: Set when the consumer has ended, or there was none.
    """

    def __init__(self, name: str, access: RemoteAccess, listener: SessionListener) -> None:
        self.ended = asyncio.Event()
        self._name = name
        self._access = access
        self._listener = listener
        self._settings: Settings = get_settings()
        self._channel = stream_channel(access.prefix, name)
        self._group = stream_group(access.prefix, access.connection, name)
        window = SendWindow(self._settings.WINDOW_FRAMES, self._settings.WINDOW_BYTES)
        self._flow = Outflow(window, self._settings.STALL_TIMEOUT)
        self._port: SessionPort | None = None
        self._attempt = 0
        self._was_accepted = False
        self._is_accepted = False
        self._code: tuple[int, str] | None = None
        self._start()

    # -- finding a worker ---------------------------------------------------------------------

    def _start(self) -> None:
        self._attempt += 1
        self._opening = asyncio.ensure_future(self._open())

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        alarm = loop.call_later(
            self._settings.OPEN_TIMEOUT, self._listener.session_unavailable, self._name
        )
        try:
            pause, give_up_at = self._settings.OPEN_RETRY, loop.time() + self._settings.OPEN_TIMEOUT
            while not await self._try_open(pause):
                if loop.time() >= give_up_at:
                    pause = min(pause * 1.5, max(LONGEST_PAUSE, self._settings.OPEN_RETRY))
        finally:
            alarm.cancel()

    async def _try_open(self, patience: float) -> bool:
        try:
            node = await self._access.get_node()
        except Exception as error:
            faults.failed("join the channel layer", error)
            await asyncio.sleep(random.uniform(*FULL_PAUSE))
            return False
        faults.worked("join the channel layer")
        ref = uuid.uuid4().hex
        claimed: asyncio.Future[Claim] = node.loop.create_future()
        node.claimable[ref] = lambda claim: None if claimed.done() else claimed.set_result(claim)
        try:
            opening = self._access.new_open(self._name, ref, self._attempt, patience)
            layer = find_node(self._settings.dispatch_layer)
            if not await layer.publish(None, self._channel, opening.to_message()):
                patience = random.uniform(*FULL_PAUSE)
            await asyncio.wait([claimed], timeout=patience)
        finally:
            del node.claimable[ref]
        if not claimed.done():
            return False
        self._port = node.grant(claimed.result(), ref, self._flow.window)
        self._port.attach(self, self._group)
        return True

    # -- what the client does -----------------------------------------------------------------

    async def deliver(self, data: str | bytes) -> None:
        """Send the consumer a payload, once there is room for it."""
        try:
            if await self._flow.push(data) and self._is_accepted and self._port is not None:
                self._port.send(data)
        except Stalled:
            self.end(CloseCode.STALLED, "the consumer takes nothing")

    def end(self, code: int, reason: str) -> None:
        """Tell the consumer that its stream is over."""
        self._code = (code, reason)
        self._flow.finish()
        self._opening.cancel()
        if self._port is None:
            self._finish(code, reason)
        else:
            self._port.close(code, reason)

    def _finish(self, code: int, reason: str) -> None:
        if not self.ended.is_set():
            self.ended.set()
            self._flow.finish()
            self._listener.session_closed(self._name, *(self._code or (code, reason)))

    # -- what the worker says -----------------------------------------------------------------

    def accepted(self) -> None:
        """Send what has waited for the consumer."""
        assert self._port is not None
        self._is_accepted = True
        for data in self._flow.window.untaken:
            self._port.send(data)
        if self._was_accepted:
            self._listener.session_reopened(self._name)
        self._was_accepted = True

    def received(self, data: str | bytes) -> None:
        """Pass on what the consumer sends."""
        assert self._port is not None
        self._listener.session_received(self._name, data, self._port)

    def writable(self) -> None:
        """Let the client send on."""
        self._flow.resume()

    def closed(self, code: int, reason: str) -> None:
        """Answer the worker's last word, and tell the client."""
        assert self._port is not None
        self._port.close(code, reason)
        self._finish(code, reason)

    def lost(self) -> None:
        """Find another worker; it gets what this one had not taken."""
        self._port = None
        self._is_accepted = False
        if self._code is not None:
            self._finish(*self._code)
        else:
            self._start()
