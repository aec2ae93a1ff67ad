"""Makes a node's report, and sends it to processes that ask for it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from collections.abc import Coroutine
from typing import Any, Literal, Protocol

import msgspec

from channels_demux_layer import __version__
from channels_demux_layer.protocol.delivery import LinkFigures, add_up
from channels_demux_layer.protocol.frames import VERSION
from channels_demux_layer.protocol.link import Link
from channels_demux_layer.protocol.report import (
    NODES,
    REPORT_VERSION,
    Answer,
    LinkReport,
    NodeReport,
    Question,
)

from .calls import Publish
from .groups import NodeGroups
from .records import REASONS
from .tally import tallies_of
from .wire import LinkWire

__all__ = ["Reported", "Reporter"]

#: How many questions are answered at a time. Further questions get no answer (L7.4).
MAX_ANSWERS = 16
#: The pauses before an answer that the layer did not take is sent again, in seconds. When a large
#: fleet answers, the asker's channel is full for a moment.
PAUSES = (0.1, 0.2, 0.4)


class Reported(Protocol):
    """What a reporter needs of its node."""

    channel: str
    groups: NodeGroups
    ignored: Counter[str]
    loop: asyncio.AbstractEventLoop
    is_draining: bool
    max_sessions: int
    serves: set[str]
    blocks: int
    #: Sends a message to a group, or to a channel if there is no group.
    publish: Publish

    @property
    def wires(self) -> list[LinkWire]:
        """The wires of its links."""

    @property
    def is_cut_off(self) -> bool:
        """Whether the layer has failed, and taken nothing since."""

    @property
    def load(self) -> int:
        """How many sessions the workers of the process host."""

    def start_task(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine until it ends, or the node does."""


class Reporter:
    """Reports on a node.

    Args:
        node: The node.
    """

    def __init__(self, node: Reported) -> None:
        self._node = node
        self._made_at = node.loop.time()
        self._answering = 0
        self._past = add_up([])

    @property
    def has_joined(self) -> bool:
        """Whether the node has a channel, and is in the group of all nodes."""
        return bool(self._node.channel) and self._node.groups.has_joined(NODES)

    def outlive(self, link: Link) -> None:
        """Keep the counts of a link that is over."""
        self._past = add_up([self._past, link.figures])

    def report(self) -> NodeReport:
        """Return the node's report. Thread-safe."""
        node, wires = self._node, self._node.wires
        streams = [tally.report() for tally in tallies_of(node.loop)]
        figures = [wire.link.figures for wire in wires]
        total = add_up([self._past, *figures])
        return NodeReport(
            node=node.channel,
            kind=_kind(bool(node.serves), any(stream.side != "worker" for stream in streams)),
            release=__version__,
            wire=VERSION,
            host=socket.gethostname(),
            pid=os.getpid(),
            uptime=node.loop.time() - self._made_at,
            is_draining=node.is_draining,
            is_cut_off=node.is_cut_off,
            load=node.load,
            max_sessions=node.max_sessions,
            channels=sorted(node.serves),
            batches_sent=total.batches_sent,
            batches_received=total.batches_received,
            retransmits=total.retransmits,
            repeats=total.repeats,
            blocks=node.blocks,
            ignored={reason: node.ignored[reason] for reason in REASONS},
            streams=streams,
            links=[_link(*pair) for pair in zip(wires, figures, strict=True)],
        )

    def asked(self, question: Question) -> None:
        """Answer a question of any version, in the background."""
        if self._answering < MAX_ANSWERS:
            self._answering += 1
            self._node.start_task(self._answer(question))

    async def _answer(self, question: Question) -> None:
        try:
            report = msgspec.msgpack.encode(self.report())
            answer = Answer(version=REPORT_VERSION, ref=question.ref, report=report)
            message = answer.to_message()
            for pause in PAUSES:
                if await self._node.publish(None, question.channel, message):
                    return
                await asyncio.sleep(pause)
        finally:
            self._answering -= 1


def _kind(is_worker: bool, is_server: bool) -> Literal["server", "worker", "both"]:
    if is_worker:
        return "both" if is_server else "worker"
    return "server"


def _link(wire: LinkWire, figures: LinkFigures) -> LinkReport:
    return LinkReport(
        peer=wire.peer,
        is_edge=wire.link.is_edge,
        sessions=len(wire.link.sessions),
        **figures._asdict(),
    )
