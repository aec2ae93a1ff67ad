"""The worker's side: it claims opens, and hosts the sessions that edges grant."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import Any

import msgspec

from channels_demux_layer.conf import get_settings
from channels_demux_layer.exceptions import ConfigurationError
from channels_demux_layer.hosting.applications import has_sync_consumer, layer_aliases
from channels_demux_layer.hosting.fetching import InWorker
from channels_demux_layer.logs import RepeatedLog, printable
from channels_demux_layer.protocol.frames import VERSION
from channels_demux_layer.protocol.handshake import OPEN, Claim, Open, parse_open
from channels_demux_layer.streams import ASGIApplication, Middleware, Stream, load_middleware
from channels_demux_layer.transport.background import Deadline, StandingTask
from channels_demux_layer.transport.node import Node
from channels_demux_layer.transport.nodes import get_node
from channels_demux_layer.transport.ports import SessionPort
from channels_demux_layer.transport.steadfast import install
from channels_demux_layer.transport.tally import get_tally

from .session import WorkerSession, opening_facts

__all__ = ["StreamWorker", "join_layer"]

logger = logging.getLogger(__name__)
repeated = RepeatedLog(logger)

#: The pause before claims are resent that the layer did not take, in seconds.
CLAIM_PAUSE = 0.02
#: The pause before the next attempt to join a channel layer that fails, in seconds.
JOIN_PAUSE = 1.0


async def join_layer() -> Node:
    """Return the process's node, started. Retry as long as the channel layer fails.

    Raises:
        ConfigurationError: There is no channel layer.
    """
    while True:
        try:
            node = await get_node(get_settings().CHANNEL_LAYER)
        except ConfigurationError:
            raise
        except Exception:  # The node has logged it.
            await asyncio.sleep(JOIN_PAUSE)
        else:
            return node


class StreamWorker:
    """The ASGI application behind one stream's channel, for Channels' runworker.

    Args:
        stream: The stream whose consumers it hosts.
        middleware: The demultiplexer's ``worker_middleware``, or its dotted path.
    """

    #: Distinguishes it from other applications on a channel.
    hosts_stream = True

    def __init__(self, stream: Stream, middleware: Middleware | str | None = None) -> None:
        self._stream = stream
        self._middleware = middleware
        self._application: ASGIApplication | None = None

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Handle the opens on the stream's channel, as long as the process runs.

        Args:
            scope: A scope of type ``channel``.
            receive: Returns the channel's messages.
            send: Not used: a scope of this type has no client.

        Raises:
            ConfigurationError: The stream's consumer cannot be imported, its middleware cannot
                be used, or there is no channel layer.
        """
        application = self.prepare()
        desk: ClaimDesk | None = None
        while True:
            message = await receive()
            if desk is None:
                node = await join_layer()
                _install_steadfast_layers(node, layer_aliases(application))
                desk = ClaimDesk(node, scope["channel"], application, self._stream)
            self._consider(message, desk)

    def prepare(self) -> ASGIApplication:
        """Import the stream's consumer and the middleware around it, once.

        Returns:
            The ASGI application of its consumers.

        Raises:
            ConfigurationError: One of them cannot be imported, or the middleware cannot be used.
        """
        if self._application is None:
            application = self._stream.application()
            if self._middleware is not None:
                application = InWorker(application, load_middleware(self._middleware))
            self._application = application
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


def _install_steadfast_layers(node: Node, aliases: set[str]) -> None:
    for alias in {node.alias, *aliases}:
        memory = install(alias, rejoins=alias != node.alias)
        if memory is not None and alias == node.alias:
            node.memories.append(memory)


class ClaimDesk:
    """Claims opens for one stream, and starts a session for each that is granted.

    Args:
        node: The process's node.
        channel: The stream's channel.
        application: The ASGI application of the stream's consumers.
        stream: The stream.

    Attributes:
        ignored: The node's count of messages that it dropped.
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
        self._sender = StandingTask(node)
        node.serves.add(channel)

    def consider(self, opening: Open) -> None:
        """Claim an open if its version fits, it has not expired, and there is room (L2.2)."""
        if not self._node.speaks(opening.version, "opens"):
            return
        late = time.time() - opening.expires_at
        if late > 0:
            # A few lines a minute: after an outage, a whole backlog has expired.
            repeated.warning(
                "late opens",
                "Dropped an open of stream %r that expired %.1f s ago. If this continues, compare "
                "the clocks of servers and workers.",
                opening.stream,
                late,
                extra=opening_facts(opening, self._node),
                level=logging.INFO,
            )
            return
        if self._node.is_draining or self._node.is_deaf or opening.ref in self._node.grantable:
            return  # Some layers deliver an open twice.
        if not self._node.has_room:
            text = "No room for a session of stream %r."
            logger.debug(text, opening.stream, extra=opening_facts(opening, self._node))
            return
        lapse = partial(self._lapse, opening.ref)
        lapses = self._node.deadlines.after(2 * get_settings().OPEN_RETRY, lapse)
        self._node.grantable[opening.ref] = partial(self._start, opening, lapses)
        self._claim(opening)

    def _lapse(self, ref: str) -> None:
        """Forget a claim that no edge has granted (L2.5)."""
        self._node.grantable.pop(ref, None)

    def _claim(self, opening: Open) -> None:
        # One message carries all claims that arise while the previous one is being sent.
        refs = self._refs.get(opening.channel)
        if refs is not None:
            refs.append(opening.ref)
            return
        self._refs[opening.channel] = [opening.ref]
        self._sender.run(partial(self._send_claims, opening.channel))

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
                # If many clients connect at once, the edge's channel may be full for a moment.
                await asyncio.sleep(CLAIM_PAUSE)
                self._refs[edge] += [ref for ref in refs if ref in self._node.grantable]
        del self._refs[edge]

    def _start(self, opening: Open, lapses: Deadline, port: SessionPort) -> None:
        lapses.cancel()
        tally = get_tally("worker", self._channel, printable(opening.stream))
        session = WorkerSession(opening, port, self._node, tally)
        # Add it before its task's first step, so that a drain which starts now moves it as well.
        self._node.hosted.add(session)
        running = session.run(self._application, self._stream, own_thread=self._own_thread)
        # A task that is cancelled before its first step never reaches its own `finally`.
        self._node.start_task(running).add_done_callback(lambda task: session.forget())
