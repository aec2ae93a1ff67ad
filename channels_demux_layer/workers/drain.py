"""Moves the sessions of a worker process to other workers, without an event for clients."""

from __future__ import annotations

import asyncio
import logging

from channels_demux_layer.logs import about
from channels_demux_layer.transport.node import Node
from channels_demux_layer.transport.nodes import running_nodes
from channels_demux_layer.transport.ports import Hosted

__all__ = ["drain_workers"]

logger = logging.getLogger(__name__)

#: How long to wait until peers have acknowledged the last frames, in seconds. The wait is at least
#: as long, even after the timeout of the drain, and ends when a peer would count this node as dead.
LAST_WORDS = 2.0
#: The interval of polling, in seconds.
GLANCE = 0.01


async def drain_workers(timeout: float) -> bool:
    """Move all sessions that this event loop's workers host to other workers.

    From now on, no open is claimed. Each consumer handles the payloads that it has received, sends
    its last replies, and is disconnected with 1012. Then its session opens elsewhere. A consumer
    that takes longer than the timeout is abandoned: its session opens elsewhere with the payloads
    that the consumer had not taken.

    Args:
        timeout: The time limit for consumers, in seconds.

    Returns:
        Whether all consumers ended in time.
    """
    nodes = running_nodes()
    now = asyncio.get_running_loop().time
    late_at = now() + timeout
    for node in nodes:
        node.is_draining = True
        node.grantable.clear()
    sessions = [session for node in nodes for session in node.hosted]
    text = "Draining: %d sessions move to other workers."
    logger.info(text, len(sessions), extra=about())
    for session in sessions:
        session.move()
    in_time = await _all_over(sessions, timeout)
    for session in [session for node in nodes for session in node.hosted]:
        session.disown()
    await _last_words(nodes, late_at - now())
    return in_time


async def _all_over(sessions: list[Hosted], timeout: float) -> bool:
    waits = [asyncio.ensure_future(session.over.wait()) for session in sessions]
    if not waits:
        return True
    _, late = await asyncio.wait(waits, timeout=timeout)
    for wait in late:
        wait.cancel()
    if late:
        text = "%d consumers did not end in time. Their sessions reopen on other workers."
        logger.warning(text, len(late), extra=about())
    return not late


async def _last_words(nodes: list[Node], time_left: float) -> None:
    now = asyncio.get_running_loop().time
    silences = (wire.link.longest_silence for node in nodes for wire in node.wires)
    patience = max([LAST_WORDS, *(node.config.peer_timeout for node in nodes), *silences])
    late_at = now() + max(LAST_WORDS, time_left)
    give_up_at = now() + patience
    while not all(node.is_quiet for node in nodes) and now() < min(give_up_at, late_at):
        if any(node.is_cut_off for node in nodes):
            give_up_at = now() + patience  # No acknowledgement can arrive.
        await asyncio.sleep(GLANCE)
