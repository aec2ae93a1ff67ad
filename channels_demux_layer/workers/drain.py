"""Empties a worker process: its sessions go on elsewhere, and nobody notices."""

from __future__ import annotations

import asyncio
import logging

from channels_demux_layer.logs import about
from channels_demux_layer.transport.node import Node
from channels_demux_layer.transport.nodes import running_nodes
from channels_demux_layer.transport.wire import Hosted

__all__ = ["drain_workers"]

logger = logging.getLogger(__name__)

#: How long to wait until what was said last has arrived, in seconds: so long even where no time is
#: left, and up to the time after which a peer takes us for dead where there is.
LAST_WORDS = 2.0
#: How often to look, in seconds.
GLANCE = 0.01


async def drain_workers(timeout: float) -> bool:
    """Move all sessions that this event loop's workers host to other workers.

    No open is claimed any more. Each consumer finishes what it has got, sends its last replies,
    and is disconnected with 1012; then its session opens elsewhere. Consumers that take longer
    than the timeout are given up: their sessions open elsewhere all the same, with what they had
    not taken.

    Args:
        timeout: How long that may take, in seconds.

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
        text = "%d consumers did not end in time; they are given up."
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
            give_up_at = now() + patience  # Nobody can be heard.
        await asyncio.sleep(GLANCE)
