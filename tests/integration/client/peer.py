"""A WebSocket server that plays the demultiplexer's part by hand, socket by socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from typing import Any, TypeVar

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from channels_demux_layer.client import Backoff, ClientStream, DemuxClient, connect
from tests.acceptance.harness.waiting import LIMIT

__all__ = [
    "NO_PROXY",
    "Peer",
    "PeerServer",
    "dial",
    "everything",
    "opening",
    "peer_server",
    "quiet",
    "soon",
    "until",
]

Value = TypeVar("Value")

#: What keeps tests from a proxy that the environment names.
NO_PROXY: dict[str, Any] = {"proxy": None}


def soon(awaitable: Awaitable[Value]) -> Awaitable[Value]:
    """Bound a wait for what is to happen."""
    return asyncio.wait_for(awaitable, LIMIT)


async def until(look: Callable[[], object]) -> None:
    """Wait for what can't be awaited, letting everything else go on."""
    now = asyncio.get_running_loop().time
    deadline = now() + LIMIT
    while not look():  # in this task: it may be tasks that are looked at
        assert now() < deadline, f"Waited {LIMIT} s in vain."
        await asyncio.sleep(0)


async def quiet() -> None:
    """Let everything go on that goes on without the test: many times as long as it takes."""
    for _ in range(1000):
        await asyncio.sleep(0)


class Peer:
    """The server's end of one socket.

    Args:
        socket: The open socket.

    Attributes:
        socket: The open socket.
    """

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket

    async def receive(self) -> Any:
        """Give the next frame of the client: JSON decoded, or bytes."""
        frame = await soon(self.socket.recv())
        return json.loads(frame) if isinstance(frame, str) else frame

    async def expect(self, *frames: Any) -> None:
        """Receive exactly these frames."""
        assert [await self.receive() for _ in frames] == list(frames)

    async def send(self, stream: str, *payloads: Any) -> None:
        """Send payloads of a stream: bytes as binary, all else as JSON."""
        for payload in payloads:
            if isinstance(payload, bytes):
                await self.socket.send(bytes([len(stream)]) + stream.encode() + payload)
            else:
                await self.say(stream=stream, payload=payload)

    async def say(self, **members: Any) -> None:
        """Send an envelope as it is."""
        await self.socket.send(json.dumps(members))

    async def close(self, code: int, reason: str = "") -> None:
        """Close the socket."""
        await soon(self.socket.close(code, reason))

    def drop(self) -> None:
        """Drop the socket without a word, as a network does."""
        self.socket.transport.abort()

    async def closed(self) -> int | None:
        """Read until the client has closed the socket; give its code."""
        await soon(self.socket.wait_closed())
        return self.socket.close_code


class PeerServer:
    """The server, which hands each socket over to the test.

    Attributes:
        requests: The requests that came, in order.
        statuses: HTTP statuses to answer the next requests with, in place of a WebSocket.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.statuses: list[int] = []
        self._peers: asyncio.Queue[Peer] = asyncio.Queue()
        self._server: Server | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """The server's address."""
        return f"ws://127.0.0.1:{self._port}/"

    async def start(self) -> None:
        """Listen, at the same address as before."""
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            self._port,
            process_request=self._answer,
            max_size=None,
            ping_interval=None,
        )
        self._port = next(iter(self._server.sockets)).getsockname()[1]

    async def stop(self) -> None:
        """Listen no more, and close all sockets with 1001."""
        if self._server is not None:
            self._server.close()
            await soon(self._server.wait_closed())

    async def accepted(self) -> Peer:
        """Give the next socket that a client has opened."""
        return await soon(self._peers.get())

    @property
    def is_unvisited(self) -> bool:
        """Whether no socket was opened that the test has not seen."""
        return self._peers.empty()

    async def _serve(self, socket: ServerConnection) -> None:
        self._peers.put_nowait(Peer(socket))
        await socket.wait_closed()

    def _answer(self, socket: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        if self.statuses:
            return socket.respond(HTTPStatus(self.statuses.pop(0)), "Not now.\n")
        return None


@contextlib.asynccontextmanager
async def peer_server() -> AsyncIterator[PeerServer]:
    """Run a server for the length of a block."""
    server = PeerServer()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def dial(server: PeerServer, **options: Any) -> DemuxClient:
    """Make a client of a server, which comes back without a wait."""
    options = {"url": server.url, "backoff": Backoff(first=0.0), **NO_PROXY, **options}
    return connect(**options)


def opening(*names: str) -> list[Any]:
    """What a client sends first on a socket for streams of these names."""
    return [{"stream": name, "event": "open"} for name in names]


async def everything(stream: ClientStream[Any]) -> list[Any]:
    """Read a stream to its end."""
    return [payload async for payload in stream]
