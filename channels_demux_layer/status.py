"""Asks all nodes of a deployment for their reports, over the channel layer and from any process.

>>> fleet = await ask_nodes()
>>> [(node.kind, node.host, len(node.links)) for node in fleet.nodes]
[('server', 'web-1', 2), ('worker', 'web-2', 1), ('worker', 'web-3', 1)]
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable
from typing import Any, TypeVar

import msgspec
from channels.layers import get_channel_layer

from .conf import get_settings
from .exceptions import ConfigurationError, LayerFailed
from .logs import about, printable
from .monitoring.fleet import FleetReport, StreamSummary
from .protocol.report import (
    NODES,
    REPORT,
    REPORT_VERSION,
    LinkReport,
    NodeReport,
    Question,
    StreamReport,
    parse_answer,
)
from .transport.steadfast import unsteady
from .transport.typed import Unreadable, failure_of, new_own_channel

__all__ = [
    "FleetReport",
    "LinkReport",
    "NodeReport",
    "StreamReport",
    "StreamSummary",
    "ask_nodes",
]

logger = logging.getLogger(__name__)

#: How long to wait for answers, in seconds.
LIMIT = 2.0
#: Stop early if no further answer arrives for this long, in seconds. It is not a multiple of 0.1,
#: because channels_redis' pub/sub layer waits for messages in steps of 0.1 s. On Python 3.10, a
#: task that is cancelled at the end of such a step ignores it.
QUIET = 0.35
#: How long a cancelled receive may take to end before it is cancelled again, in seconds.
PATIENCE = 0.15

Result = TypeVar("Result")


async def ask_nodes(
    alias: str | None = None, *, limit: float = LIMIT, quiet: float = QUIET
) -> FleetReport:
    """Ask all nodes on a channel layer for their reports.

    A server answers from its first connection with a stream that workers host. A worker of this
    package's ``runworker`` answers from its start.

    Args:
        alias: The layer's alias in CHANNEL_LAYERS; None for the setting CHANNEL_LAYER.
        limit: How long to wait for answers, in seconds.
        quiet: Stop early if no further answer arrives for this long, in seconds.

    Returns:
        The reports, and the number of answers that this release cannot read.

    Raises:
        ConfigurationError: There is no such layer.
        LayerFailed: The layer raises, or does not answer in time.
    """
    alias = get_settings().CHANNEL_LAYER if alias is None else alias
    layer = get_channel_layer(alias)
    if layer is None:
        raise ConfigurationError(f"CHANNEL_LAYERS has no {alias!r}, so no node can be asked.")
    asking = _Asking(unsteady(layer), limit)
    try:
        await asking.ask()
        await asking.listen(quiet)
    finally:
        await asking.end()
    return asking.fleet()


class _Asking:
    """One question and its answers.

    Args:
        layer: The channel layer.
        limit: How long it may take, in seconds.
    """

    def __init__(self, layer: Any, limit: float) -> None:
        self._layer = layer
        self._now = asyncio.get_running_loop().time
        self._ends_at = self._now() + limit
        self._ref = uuid.uuid4().hex
        self._nodes: dict[str, NodeReport] = {}
        self._unreadable = 0
        self._receiving: asyncio.Task[Any] | None = None
        self._channel = ""

    async def ask(self) -> None:
        """Send the question to all nodes."""
        self._channel = await self._in_time(new_own_channel(self._layer))
        question = Question(version=REPORT_VERSION, ref=self._ref, channel=self._channel)
        self._receive()
        await self._in_time(self._layer.group_send(NODES, question.to_message()))

    async def listen(self, quiet: float) -> None:
        """Collect answers until none has arrived for a while."""
        assert self._receiving is not None
        patience = self._ends_at - self._now()
        while (await asyncio.wait([self._receiving], timeout=max(patience, 0)))[0]:
            error = self._receiving.exception()
            if error is None:
                self._take(self._receiving.result())
            elif isinstance(error, Exception) and _is_unreadable(error):
                self._pass_over(error)
            else:
                raise _failure(error) from error
            self._receive()
            patience = min(quiet, self._ends_at - self._now())

    def _receive(self) -> None:
        self._receiving = asyncio.ensure_future(self._layer.receive(self._channel))

    def _take(self, message: Any) -> None:
        try:
            if not isinstance(message, dict) or message.get("type") != REPORT:
                return
            answer = parse_answer(message)
            if answer.ref != self._ref:
                return
            if answer.version == REPORT_VERSION:
                report = _printable(answer.unpack())
                self._nodes[report.node] = report
                return
            problem: object = f"it has version {answer.version}"
        except msgspec.DecodeError as error:
            problem = error
        self._pass_over(problem)

    def _pass_over(self, problem: object) -> None:
        logger.debug("Ignored a report that this release cannot read: %s.", problem, extra=about())
        self._unreadable += 1

    async def _in_time(self, call: Awaitable[Result]) -> Result:
        try:
            return await asyncio.wait_for(call, max(self._ends_at - self._now(), 0))
        except Exception as error:
            raise _failure(error) from error

    async def end(self) -> None:
        """Stop receiving."""
        receiving = self._receiving
        while receiving is not None and not receiving.done():
            receiving.cancel()  # repeatedly, because a layer may swallow it
            await asyncio.wait([receiving], timeout=PATIENCE)
        if receiving is not None and not receiving.cancelled():
            receiving.exception()  # retrieve it, so that asyncio does not log it

    def fleet(self) -> FleetReport:
        """Return the reports."""
        nodes = sorted(self._nodes.values(), key=lambda node: (node.kind, node.host, node.pid))
        return FleetReport(nodes=nodes, unreadable=self._unreadable)


def _is_unreadable(error: Exception) -> bool:
    return isinstance(failure_of(error, receives=True), Unreadable)


def _printable(report: NodeReport) -> NodeReport:
    # Every process on the layer can answer, and its strings are printed on terminals.
    return msgspec.convert(_shown(msgspec.to_builtins(report)), NodeReport)


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [_shown(each) for each in value]
    if isinstance(value, dict):
        return {_shown(key): _shown(each) for key, each in value.items()}
    return value


def _failure(error: BaseException) -> LayerFailed:
    if isinstance(error, (TimeoutError, asyncio.TimeoutError)):
        return LayerFailed("The channel layer does not answer in time.")
    detail = str(error).rstrip(".") or type(error).__name__
    return LayerFailed(f"The channel layer cannot be asked: {detail}.")
