"""Connections to Redis that pass nothing on any more, and do not end either."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from channels.layers import get_channel_layer

from channels_demux_layer.monitoring.readiness import DEAF, SILENT, find_problems
from channels_demux_layer.testing import DemuxCommunicator, run_workers
from channels_demux_layer.transport.node import Node
from channels_demux_layer.transport.nodes import find_node
from channels_demux_layer.transport.own import close_layer
from channels_demux_layer.transport.steadfast import inner_of
from tests.acceptance.harness.layers import KINDS, channel_layers
from tests.acceptance.harness.redis_server import RedisServer

from . import consumers
from .harness import LIMIT, configure, demultiplexer, until, within


class Proxy:
    """A TCP proxy before a Redis.

    Attributes:
        port: Where it listens.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._tasks: set[asyncio.Task[None]] = set()
        self._gates: list[asyncio.Event] = []
        self._writers: list[asyncio.StreamWriter] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what comes on a connection, both ways."""
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self._target)
        gate = asyncio.Event()
        gate.set()
        self._gates.append(gate)
        self._writers += [writer, other_writer]
        for source, sink in ((reader, other_writer), (other_reader, writer)):
            task = asyncio.ensure_future(self._pump(source, sink, gate))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, gate: asyncio.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65_536):
                await gate.wait()
                sink.write(data)
                await sink.drain()
        sink.transport.abort()

    def freeze(self) -> None:
        """Have all connections that there are pass nothing on, for ever."""
        for gate in self._gates:
            gate.clear()

    async def close(self) -> None:
        """End."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)


@pytest.fixture(params=KINDS)
async def proxy(
    request: pytest.FixtureRequest, redis_server: RedisServer, settings: Any
) -> AsyncIterator[Proxy]:
    """Each of the layers in turn, behind a proxy.

    Yields:
        The proxy.
    """
    proxy = Proxy(redis_server.port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    url = f"redis://127.0.0.1:{proxy.port}/0"
    settings.CHANNEL_LAYERS = channel_layers(request.param, url, prefix=f"half{proxy.port}")
    configure(settings, {"PEER_TIMEOUT": 1.2})
    yield proxy
    await proxy.close()  # What hangs ends.
    close = close_layer(inner_of(get_channel_layer()))
    assert close is not None
    await within(close())
    server.close()
    await server.wait_closed()
    await proxy.close()


async def deaf_node(proxy: Proxy) -> Node:
    """Freeze all connections, and wait until the node of this process has found out."""
    node = find_node("default")
    await until(lambda: node.reporter.has_joined)
    proxy.freeze()
    await until(lambda: node.is_deaf)
    return node


@pytest.mark.redis
async def test_a_session_outlasts_connections_that_hang(
    proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is lost, no stream is opened again, and the log has one line for each outage."""
    caplog.set_level("INFO")
    cls = demultiplexer({"echo": consumers.Json})
    async with run_workers(cls), DemuxCommunicator(cls.as_asgi(), timeout=LIMIT) as client:
        await client.send_to("echo", 0)
        assert await client.receive_from("echo") == 0
        node = await deaf_node(proxy)
        for number in range(1, 20):
            await client.send_to("echo", number)
        assert [await client.receive_from("echo") for _ in range(19)] == list(range(1, 20))
        await until(lambda: not node.is_deaf)
        assert await find_problems(node) == []
    told = [text for text in caplog.messages if "this process's own messages" in text]
    assert len(told) == 2
    assert str(proxy.port) in told[0]


@pytest.mark.redis
async def test_a_node_that_hears_nothing_is_not_ready(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It claims no opens meanwhile, and says so."""
    cls = demultiplexer({"echo": consumers.Json})
    async with run_workers(cls):
        node = find_node("default")
        await within(node.start())
        monkeypatch.setattr(node._own, "renew", lambda: None)
        node = await deaf_node(proxy)
        assert node.is_cut_off
        assert await find_problems(node) in ([DEAF], [SILENT])
