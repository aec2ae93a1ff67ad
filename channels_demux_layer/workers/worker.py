"""The worker's side: claims opens, and hosts the sessions that edges grant."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import msgspec

from channels_demux_layer import tracing
from channels_demux_layer.codes import CloseCode
from channels_demux_layer.conf import get_settings
from channels_demux_layer.exceptions import ConfigurationError
from channels_demux_layer.faults import FaultLog
from channels_demux_layer.hosting.consumer import Host, has_sync_consumer, stream_scope, text_writer
from channels_demux_layer.hosting.flow import Outflow, Stalled
from channels_demux_layer.hosting.scope import unpack_scope
from channels_demux_layer.layer.handshake import OPEN, Claim, Open, parse_open
from channels_demux_layer.layer.node import Node, get_node
from channels_demux_layer.layer.wire import SessionPort
from channels_demux_layer.link.frames import VERSION, Carrier
from channels_demux_layer.logs import about
from channels_demux_layer.reports.tally import Tally, get_tally
from channels_demux_layer.streams import ASGIApplication, Stream

__all__ = ["StreamWorker", "join_layer"]

logger = logging.getLogger(__name__)
faults = FaultLog(logger)

#: How long to wait before claims that the layer refused are sent again, in seconds.
CLAIM_PAUSE = 0.02
#: How long to wait before the next try to join a channel layer that fails, in seconds.
JOIN_PAUSE = 1.0


async def join_layer() -> Node:
    """Return the process's node, started, however long the channel layer fails.

    Raises:
        ConfigurationError: There is no channel layer.
    """
    while True:
        try:
            node = await get_node(get_settings().CHANNEL_LAYER)
        except ConfigurationError:
            raise
        except Exception as error:
            faults.failed("join the channel layer", error)
            await asyncio.sleep(JOIN_PAUSE)
        else:
            faults.worked("join the channel layer")
            return node


class StreamWorker:
    """The ASGI application behind one stream's channel, for Channels' runworker.

    Args:
        stream: The stream whose consumers it hosts.
    """

    #: Tells it from other applications on a channel.
    hosts_stream = True

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._application: ASGIApplication | None = None

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Take the opens of the stream's channel, for as long as the process runs.

        Args:
            scope: A scope of type ``channel``.
            receive: Gives the channel's messages.
            send: Not used: a worker has nobody to send to.

        Raises:
            ConfigurationError: The stream's consumer cannot be imported, or there is no
                channel layer.
        """
        application = self.prepare()
        desk: ClaimDesk | None = None
        while True:
            message = await receive()
            if desk is None:
                desk = ClaimDesk(await join_layer(), scope["channel"], application, self._stream)
            self._consider(message, desk)

    def prepare(self) -> ASGIApplication:
        """Import the stream's consumer, if that has not been done.

        Returns:
            The ASGI application of its consumers.

        Raises:
            ConfigurationError: It cannot be imported.
        """
        if self._application is None:
            self._application = self._stream.application()
        return self._application

    def _consider(self, message: Any, desk: ClaimDesk) -> None:
        kind = message.get("type") if isinstance(message, dict) else message
        if kind != OPEN:
            desk.ignored.foreign(kind)
            return
        try:
            opening = parse_open(message)
        except msgspec.ValidationError as error:
            desk.ignored.malformed(kind, error)
            return
        desk.consider(opening)


class ClaimDesk:
    """Claims opens for one stream, and starts a session for each that is granted.

    Args:
        node: The process's node.
        channel: The stream's channel.
        application: The ASGI application of the stream's consumers.
        stream: The stream.

    Attributes:
        ignored: The node's count of what makes no sense.
    """

    def __init__(
        self, node: Node, channel: str, application: ASGIApplication, stream: Stream
    ) -> None:
        self._node = node
        self.ignored = node.ignored
        self._channel = channel
        self._application = application
        self._stream = stream
        self._own_thread = (
            has_sync_consumer(application) if stream.own_thread is None else stream.own_thread
        )
        self._refs: dict[str, list[str]] = {}
        node.serves.add(channel)

    def consider(self, opening: Open) -> None:
        """Claim an open, if it is of our version, young enough, and there is room (L2.2)."""
        if not self._node.speaks(opening.version, "opens"):
            return
        late = time.time() - opening.expires_at
        if late > 0:
            logger.info(
                "An open of stream %r came %.1f s after its edge had stopped waiting; not "
                "claimed. Where this goes on, the clocks of servers and workers differ.",
                opening.stream,
                late,
                extra=_about(opening, self._node),
            )
            return
        if self._node.is_draining or opening.ref in self._node.grantable:
            return  # Some layers deliver a message twice.
        if not self._node.has_room:
            text = "No room for a session of stream %r."
            logger.debug(text, opening.stream, extra=_about(opening, self._node))
            return
        # Lapses where it is not granted (L2.5).
        self._node.grantable[opening.ref] = lambda port: self._start(opening, port)
        self._node.loop.call_later(
            2 * get_settings().OPEN_RETRY, self._node.grantable.pop, opening.ref, None
        )
        self._claim(opening)

    def _claim(self, opening: Open) -> None:
        # One message takes along all claims that gather while the one before is on its way.
        refs = self._refs.get(opening.channel)
        if refs is not None:
            refs.append(opening.ref)
            return
        self._refs[opening.channel] = [opening.ref]
        self._node.start_task(self._send_claims(opening.channel))

    async def _send_claims(self, edge: str) -> None:
        while refs := self._refs[edge]:
            claim = Claim(
                version=VERSION,
                refs=refs,
                stream_channel=self._channel,
                channel=self._node.channel,
                load=self._node.load,
            )
            self._refs[edge] = []
            if not await self._node.publish(None, edge, claim.to_message()):
                # Many clients come at once: an edge whose channel is full is not gone.
                await asyncio.sleep(CLAIM_PAUSE)
                self._refs[edge] += [ref for ref in refs if ref in self._node.grantable]
        del self._refs[edge]

    def _start(self, opening: Open, port: SessionPort) -> None:
        tally = get_tally("worker", self._channel, opening.stream)
        session = WorkerSession(opening, port, self._node, tally)
        # Known at once: a drain that comes before its first step moves it, too.
        self._node.hosted.add(session)
        running = session.run(self._application, self._stream, own_thread=self._own_thread)
        # A task that is cancelled before its first step never gets to its own end.
        self._node.start_task(running).add_done_callback(lambda task: session.forget())


class WorkerSession:
    """One consumer instance and its end of the session.

    Args:
        opening: The open that it answers.
        port: This end of the session.
        node: The process's node.
        tally: Counts what happens to the stream.

    Attributes:
        over: Set when the consumer has ended and nothing of the session is left here.
    """

    def __init__(self, opening: Open, port: SessionPort, node: Node, tally: Tally) -> None:
        settings = get_settings()
        self._opening = opening
        self._port = port
        self._node = node
        self._tally = tally
        self._flow = Outflow(port.window, settings.STALL_TIMEOUT, tally.outward)
        self._host: Host | None = None
        self._is_moving = False
        self._is_lost = False
        self._closed: tuple[int, str] | None = None
        self._gone = asyncio.Event()
        self.over = asyncio.Event()
        tally.sessions.add(self)
        port.attach(self, opening.edge_group)

    async def run(self, application: ASGIApplication, stream: Stream, *, own_thread: bool) -> None:
        """Host the consumer from its connect to its end (L2.6)."""
        node, group = self._node, self._opening.stream_group
        try:
            if await self._join(group):
                try:
                    if not self._is_lost:
                        await self._run_host(application, stream, own_thread)
                    await self._gone.wait()
                finally:
                    node.leave_after(group, [])
        except Exception:
            facts = _about(self._opening, node)
            logger.exception("Stream %r could not be hosted.", self._opening.stream, extra=facts)
            self.close(CloseCode.INTERNAL_ERROR, "")
        finally:
            self.forget()

    def forget(self) -> None:
        """Leave nothing of the session here."""
        self._node.hosted.discard(self)
        self._tally.sessions.discard(self)
        self.over.set()

    async def _join(self, group: str) -> bool:
        try:
            await self._node.groups.join(group)
        except Exception as error:
            # Nothing has begun: the edge opens the stream again, here or elsewhere.
            faults.failed("join a group on the channel layer", error)
            self._node.settle(group)
            self._port.reset()
            return False
        faults.worked("join a group on the channel layer")
        return True

    async def _run_host(
        self, application: ASGIApplication, stream: Stream, own_thread: bool
    ) -> None:
        settings = get_settings()
        opening = self._opening
        scope = stream_scope(
            await unpack_scope(opening.scope),
            stream,
            connection=opening.connection,
            name=opening.stream,
            attempt=opening.attempt,
        )
        self._host = Host(
            application,
            scope,
            self,
            write_text=text_writer(stream, manage_envelope=settings.MANAGE_ENVELOPE),
            max_payload=settings.MAX_PAYLOAD,
            close_timeout=settings.CONSUMER_CLOSE_TIMEOUT,
            stall_timeout=settings.STALL_TIMEOUT,
            own_thread=own_thread,
        )
        if self._closed is not None:
            self._host.disconnect(*self._closed)
        await self._host.run()

    # -- what is looked at --------------------------------------------------------------------

    @property
    def is_pending(self) -> bool:
        """Never: what waits for a worker is known at the edge."""
        return False

    @property
    def in_flight(self) -> int:
        """How many payloads of the consumer were not taken by the client yet."""
        return len(self._flow.window.untaken)

    # -- what the edge says -------------------------------------------------------------------

    def accepted(self) -> None:
        """Does not come: it is the worker that accepts."""

    def received(self, data: str | bytes) -> None:
        """Hand a payload to the consumer."""
        self._tally.inward.frames += 1
        if self._host is not None:
            self._host.deliver(data)

    def traced(self, carrier: Carrier) -> None:
        """Note the trace context of the payloads that follow."""
        if tracing.tracer is not None and self._host is not None:
            self._host.trace(tracing.tracer.extract(carrier))

    def writable(self) -> None:
        """Let the consumer's send() go on."""
        self._flow.resume()

    def closed(self, code: int, reason: str) -> None:
        """Tell the consumer that the client, or the edge, has closed its stream."""
        self._end(code, reason)

    def moved(self) -> None:
        """Does not come: it is the worker that asks."""

    def lost(self, *, peer_is_dead: bool) -> None:
        """Tell the consumer that its edge is gone (L4.8)."""
        if peer_is_dead:
            self._node.expel(self._opening.edge_group, self._port.peer)
        self._is_lost = True
        self._flow.finish()
        self._end(CloseCode.ABNORMAL, "")

    def move(self) -> None:
        """Have the session go on with another worker, once the consumer is done with its own."""
        self._is_moving = True
        self._port.move()

    def disown(self) -> None:
        """Have the session go on with another worker, whatever the consumer is doing."""
        self._port.reset()
        self._flow.finish()
        self._end(CloseCode.SERVICE_RESTART, "")

    def _end(self, code: int, reason: str) -> None:
        self._closed = (code, reason)
        self._gone.set()
        if self._host is not None:
            self._host.disconnect(code, reason)

    # -- what the consumer does ---------------------------------------------------------------

    def accept(self) -> None:
        """Open the way for payloads."""
        if self._closed is None:
            self._port.accept()

    async def send(self, data: str | bytes) -> None:
        """Send a payload to the edge, once there is room for it."""
        try:
            if await self._flow.push(data):
                self._port.send(data)
        except Stalled:
            self.close(CloseCode.STALLED, "the client does not read")

    def consumed(self, size: int) -> None:
        """Give the edge its credit back."""
        self._port.take(size)

    def finished(self, code: int) -> None:
        """Say this end's last word: the consumer has none."""
        moves = self._is_moving and self._closed is not None
        self.close(self._closed[0] if moves and self._closed else code, "")

    def close(self, code: int, reason: str) -> None:
        """Say this end's last word."""
        self._port.close(code, reason)
        self._flow.finish()


def _about(opening: Open, node: Node) -> dict[str, str | None]:
    return about(
        connection=opening.connection,
        stream=opening.stream,
        node=node.channel,
        peer=opening.channel,
        ref=opening.ref,
    )
