"""Sends heartbeats for a node whose event loop is blocked (L3.7).

A synchronous call in a consumer blocks the event loop of its process, and with it the heartbeats of
all links. Peers would take the process for dead and open its sessions elsewhere, although it goes
on as soon as the call returns. A thread notices that the loop is blocked. It sends the heartbeats
over an event loop and a channel layer of its own until the loop runs again.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, Protocol

from channels.exceptions import ChannelFull
from channels.layers import channel_layers

from channels_demux_layer.conf import get_settings
from channels_demux_layer.logs import about, facts_of
from channels_demux_layer.protocol.liveness import LinkConfig

__all__ = ["Watchdog"]

logger = logging.getLogger(__name__)

#: The name of its threads.
THREAD = "demux-watchdog"
#: The longest time between two checks of the loop, in seconds. Threads have a longest wait.
LONGEST_PAUSE = 3600.0
#: How many frames of the blocked call's stack are logged, counted from the innermost.
STACK_DEPTH = 20


class Watched(Protocol):
    """What a watchdog reads of a node, from its own thread."""

    loop: asyncio.AbstractEventLoop
    config: LinkConfig
    #: How often the loop was found blocked.
    blocks: int

    @property
    def channel(self) -> str:
        """The node's channel."""

    @property
    def wires(self) -> list[Any]:
        """What its links run on."""


class Watchdog:
    """Checks from a daemon thread whether one node's event loop is blocked.

    Make it in the thread that runs the loop.

    Args:
        node: The node.
        alias: The name of the node's channel layer in CHANNEL_LAYERS.
    """

    def __init__(self, node: Watched, alias: str) -> None:
        self._node = node
        self._alias = alias
        self._loop_thread = threading.get_ident()
        self._set_interval()
        self._patience = get_settings().STALL_TIMEOUT
        self._stopped = threading.Event()

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._watch, name=THREAD, daemon=True).start()

    def stop(self) -> None:
        """Have the thread end soon."""
        self._stopped.set()

    def _watch(self) -> None:
        loop = self._node.loop
        while not self._stopped.wait(self._interval):
            self._set_interval()
            turned = threading.Event()
            asked_at = monotonic()
            try:
                loop.call_soon_threadsafe(turned.set)
            except RuntimeError:  # The loop is closed.
                return
            # Half an interval: the last heartbeat may be one and a half intervals old by now, and a
            # peer waits for four.
            if turned.wait(self._interval / 2) or not loop.is_running():
                continue
            # After SIGSTOP this thread's own pause was too long. Then check again.
            if monotonic() < asked_at + self._interval:
                self._stand_in(turned, asked_at)

    def _set_interval(self) -> None:
        # The shortest, since peers may have a shorter PEER_TIMEOUT than this process.
        intervals = [wire.link.heartbeat_interval for wire in self._watched_wires()]
        self._interval = min([self._node.config.heartbeat_interval, LONGEST_PAUSE, *intervals])

    # -- while the loop is blocked ------------------------------------------------------------

    def _stand_in(self, turned: threading.Event, since: float) -> None:
        self._node.blocks += 1
        facts = self._report(since)
        with _own_loop() as loop:
            self._vouch(loop, turned, since, facts)
        while not (turned.wait(self._interval) or self._is_over):
            pass
        if turned.is_set():
            text = "The event loop turns again; it was blocked for %.1f s."
            logger.info(text, monotonic() - since, extra=facts)

    @property
    def _is_over(self) -> bool:
        return self._stopped.is_set() or not self._node.loop.is_running()

    def _report(self, since: float) -> dict[str, str | None]:
        task = asyncio.current_task(self._node.loop)
        facts = {**(facts_of(task) or about()), "demux_node": self._node.channel}
        stream = facts["demux_stream"]
        frame = sys._current_frames().get(self._loop_thread)
        stack = traceback.format_stack(frame)[-STACK_DEPTH:] if frame else []
        logger.warning(
            "The event loop has been blocked for %.1f s, by %s. All streams of this process wait; "
            "heartbeats go on for up to %g s (STALL_TIMEOUT). Make the blocking call in a thread, "
            "as with sync_to_async(). It is here:\n%s",
            monotonic() - since,
            f"the consumer of stream {stream!r}" if stream else "code outside of consumers",
            self._patience,
            "".join(stack).rstrip(),
            extra=facts,
        )
        return facts

    def _vouch(
        self,
        loop: asyncio.AbstractEventLoop,
        turned: threading.Event,
        since: float,
        facts: dict[str, str | None],
    ) -> None:
        layer = None
        has_failed = False
        while not self._is_over:
            if monotonic() >= since + self._patience:
                # It may be a deadlock. Without heartbeats, other workers can take over.
                text = "The event loop has been blocked for %.1f s: no more heartbeats go out."
                logger.error(text, monotonic() - since, extra=facts)
                return
            try:
                layer = layer or loop.run_until_complete(self._make_layer())
                sending = asyncio.wait_for(self._send_heartbeats(layer), self._interval)
                loop.run_until_complete(sending)
            except Exception as error:
                if not has_failed:
                    text = (
                        "Cannot send heartbeats for the blocked event loop over channel layer %r: "
                        "%r. Retrying until the loop runs again."
                    )
                    logger.warning(text, self._alias, error, extra=facts)
                has_failed = True
            if turned.wait(self._interval):
                return

    async def _make_layer(self) -> Any:
        # Some layers can be made only in a running event loop.
        return channel_layers.make_backend(self._alias)

    async def _send_heartbeats(self, layer: Any) -> None:
        for wire in self._watched_wires():
            try:
                await layer.send(wire.peer, wire.link.heartbeat().to_message())
            except ChannelFull:
                logger.debug("Channel %s is full.", wire.peer, extra=about(peer=wire.peer))

    def _watched_wires(self) -> list[Any]:
        # A peer still has a session whose end has not arrived, though this end has none.
        wires = self._node.wires
        return [wire for wire in wires if wire.link.sessions or not wire.link.is_quiet]


@contextmanager
def _own_loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    try:
        yield loop
    finally:
        loop.run_until_complete(_cancel_all())
        loop.close()  # channels_redis closes its connections with it.


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
