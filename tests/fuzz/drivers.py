"""What is fuzzed: a whole connection and a whole node, and what must be true of them after."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

from channels.layers import InMemoryChannelLayer

from channels_demux_layer import Stream, WebsocketDemultiplexer
from channels_demux_layer.codes import ServerEvent
from channels_demux_layer.protocol.frames import VERSION
from channels_demux_layer.protocol.liveness import LinkConfig
from channels_demux_layer.transport.node import Node
from channels_demux_layer.transport.records import REASONS
from channels_demux_layer.transport.tally import get_tally
from channels_demux_layer.workers.worker import ClaimDesk, StreamWorker
from tests.batches import make_batch

#: Seconds after which something that never comes counts as a finding.
LIMIT = 30.0
#: A stream that there is not. Its error tells that all frames before it have been taken.
END = "the end"
#: Stands behind all that a connection has written, once it is over.
OVER: dict[str, Any] = {}


class Traceback(AssertionError):  # noqa: N818 - says what was found
    """An input showed a traceback in the log."""


@contextlib.contextmanager
def no_traceback() -> Iterator[None]:
    """Have every error of the log fail the run.

    Raises:
        Traceback: One was written meanwhile.
    """
    found: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(logging.Formatter().format(record))

    logger = logging.getLogger("channels_demux_layer")
    collector = Collector(logging.ERROR)
    logger.addHandler(collector)
    propagates, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.removeHandler(collector)
        logger.propagate = propagates
    if found:
        raise Traceback("\n".join(found))


# ---- clients ----------------------------------------------------------------------------


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Say what comes."""
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        kept = {key: message[key] for key in ("text", "bytes") if key in message}
        await send({"type": "websocket.send", **kept})


class Fuzzed(WebsocketDemultiplexer):
    """A stream of each kind, and one that nobody may use."""

    consumer_classes = {
        "s": Stream(echo, hosting="inline"),
        "lazy": Stream(echo, hosting="inline", lazy=True),
        "text": Stream(echo, hosting="inline", text=True, lazy=True),
        "no": Stream(echo, hosting="inline", lazy=True, permission=lambda scope: False),
    }


async def converse(frames: Sequence[str | bytes]) -> list[dict[str, Any]]:
    """Have a client send frames to a connection, and leave.

    Args:
        frames: Text and binary frames of whatever content.

    Returns:
        What was written to the socket.

    Raises:
        AssertionError: Something was written that no client could read, or the connection did not
            outlive the frames.
    """
    incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    outgoing: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    incoming.put_nowait({"type": "websocket.connect"})
    last = json.dumps({"stream": END, "payload": None})
    for frame in [*frames, last]:
        key = "text" if isinstance(frame, str) else "bytes"
        incoming.put_nowait({"type": "websocket.receive", key: frame})
    scope = {"type": "websocket", "path": "/", "headers": []}
    serving = asyncio.ensure_future(Fuzzed.as_asgi()(scope, incoming.get, outgoing.put))
    serving.add_done_callback(lambda done: outgoing.put_nowait(OVER))
    written: list[dict[str, Any]] = []
    try:
        while not (written and _is_end(written[-1])):
            written.append(await asyncio.wait_for(outgoing.get(), LIMIT))
            if written[-1] is OVER:
                await serving  # raises what it has raised
                raise AssertionError("The connection has ended.")
        incoming.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await asyncio.wait_for(serving, LIMIT)
    finally:
        serving.cancel()
    return written


def _is_end(message: dict[str, Any]) -> bool:
    if "text" not in message:
        # Where all streams were closed, nothing after that is heard.
        return message["type"] == "websocket.close"
    message["text"].encode()
    said = json.loads(message["text"])
    assert isinstance(said, dict), said
    return said.get("stream") == END and said.get("event") == ServerEvent.ERROR


# ---- nodes ------------------------------------------------------------------------------


class SilentLayer(InMemoryChannelLayer):  # type: ignore[misc]
    """Takes everything, and has nothing to say."""

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Take a message that a layer would take."""
        self.require_valid_channel_name(channel)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Take a message that a layer would take."""
        self.require_valid_group_name(group)


def a_batch(**fields: Any) -> dict[str, Any]:
    """Return the first batch of a link, some of its fields as they are given."""
    return {**make_batch(link="0" * 32, channel="specific.peer!1").to_message(), **fields}


def an_open(**fields: Any) -> dict[str, Any]:
    """Return an open that may be claimed, some of its fields as they are given."""
    return {
        "type": "demux.open",
        "version": VERSION,
        "ref": "r",
        "connection": "0" * 32,
        "stream": "s",
        "channel": "specific.peer!1",
        "edge_group": "demux.c.edge",
        "stream_group": "demux.c.s",
        "attempt": 1,
        "expires_at": time.time() + 60,
        "scope": b"\x81\xa6values\x80",
        **fields,
    }


async def feed(messages: Sequence[Any]) -> Node:
    """Give a node and its worker layer messages, and then some that it must take.

    Args:
        messages: Layer messages of whatever content.

    Returns:
        The node, stopped.

    Raises:
        AssertionError: It did not take those that are right, or counted for no reason.
    """
    node = Node(SilentLayer(), LinkConfig())
    await node.start()
    stream = Stream(echo)
    worker = StreamWorker(stream)
    desk = ClaimDesk(node, "demux.s", worker.prepare(), stream)
    try:
        for message in messages:
            node._dispatch(message)
            worker._consider(message, desk)
            await asyncio.sleep(0)
        worker._consider(an_open(ref="the last"), desk)
        assert "the last" in node.grantable
        grant = b"\x91\x93\x00\x01\xa8the last"
        node._dispatch(a_batch(link="f" * 32, frames=grant))
        assert "the last" not in node.grantable
        assert node.hosted
        assert set(node.ignored) <= set(REASONS)
        assert not node.is_cut_off
    finally:
        await asyncio.wait_for(node.stop(), LIMIT)
    await asyncio.sleep(0)
    assert not node.hosted
    assert not get_tally("worker", "demux.s", "s").sessions
    return node
