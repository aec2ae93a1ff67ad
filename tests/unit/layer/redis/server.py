"""A Redis server that says what a test wants it to say, over real connections."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from tests.integration.harness import until

HOST = "127.0.0.1"
#: What redis-py says before anybody has asked for anything.
HANDSHAKE = (b"HELLO", b"CLIENT", b"AUTH", b"SELECT")
#: What it obeys; what it answers to any other command is for the test to say.
PUBSUB = (b"PUBLISH", b"SUBSCRIBE", b"UNSUBSCRIBE")
REFUSAL = b"-NOPERM You may not.\r\n"


def bulk(data: bytes) -> bytes:
    """Write a string."""
    return b"$%d\r\n%b\r\n" % (len(data), data)


class ServerEnd:
    """The server's end of a connection.

    Attributes:
        heard: The commands that came on it, without the handshake.
        bursts: How many of these had come each time that the server gave the answers that it
            had held back.
        names: What the other end is subscribed to.
        version: That of the protocol that is spoken.
        has_ended: Set once the other end has gone, or this one.
    """

    def __init__(
        self, server: ScriptedServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self.heard: list[list[bytes]] = []
        self.bursts: list[int] = []
        self.names: set[bytes] = set()
        self.version = 2
        self.has_ended = asyncio.Event()
        self._held: list[bytes] = []

    @property
    def published(self) -> list[str]:
        """The names that were published to."""
        return [command[1].decode() for command in self.heard if command[0] == b"PUBLISH"]

    async def serve(self) -> None:
        """Answer what comes until an end has gone."""
        try:
            while True:
                command = await self._read()
                if command[0] in HANDSHAKE:
                    self._shake_hands(command)
                else:
                    self.heard.append(command)
                    self._answer(self._obey(*command))
        except (asyncio.IncompleteReadError, ConnectionError):
            self._writer.transport.abort()
        finally:
            self.has_ended.set()

    async def _read(self) -> list[bytes]:
        count = int((await self._reader.readuntil(b"\r\n"))[1:])
        command = []
        for _ in range(count):
            length = int((await self._reader.readuntil(b"\r\n"))[1:])
            command.append((await self._reader.readexactly(length + 2))[:-2])
        return command

    def _shake_hands(self, command: list[bytes]) -> None:
        if self._server.is_silent:
            return
        if command[0] == b"HELLO":
            self.version = int(command[1])
            self.push(b"%1\r\n+proto\r\n" + b":%d\r\n" % self.version)
        else:
            self.push(b"+OK\r\n" if command[1] != b"MAINT_NOTIFICATIONS" else REFUSAL)

    def _obey(self, command: bytes, name: bytes, *content: bytes) -> bytes:
        if name.decode() in self._server.refused:
            return REFUSAL
        if command not in PUBSUB:
            return self._server.replies.popleft() if self._server.replies else b""
        if command == b"PUBLISH":
            self._server.deliver(name, *content)
            return b":1\r\n"
        if command == b"SUBSCRIBE":
            self.names.add(name)
        else:
            self.names.discard(name)
        return self.pushed(command.lower(), name, b":%d\r\n" % len(self.names))

    def pushed(self, kind: bytes, name: bytes, last: bytes) -> bytes:
        """Write what is pushed, in the version of the protocol that is spoken."""
        return b"%c3\r\n" % b"**>"[self.version - 1] + bulk(kind) + bulk(name) + last

    def _answer(self, answer: bytes) -> None:
        self._held.append(answer)
        if not self._server.is_holding:
            self.answer()

    def answer(self) -> None:
        """Give the answers that were held back."""
        self.bursts.append(len(self.heard))
        self.push(b"".join(self._held))
        self._held.clear()

    def push(self, data: bytes) -> None:
        """Say anything."""
        self._writer.write(data)

    def end(self) -> None:
        """Say no more; the other end sees that all has been said."""
        self._writer.close()

    def drop(self) -> None:
        """Cut the connection."""
        self._writer.transport.abort()


class ScriptedServer:
    """A Redis server that does what it is told.

    Args:
        context: What it encrypts with, if it does.

    Attributes:
        port: Its port, which stays its own while it is closed.
        ends: Its ends of the connections, in the order in which they were made.
        is_holding: Whether it keeps its answers back. Not those to the handshake.
        is_silent: Whether it does not even answer the handshake.
        refused: The names that nobody may publish or subscribe to.
        replies: What it answers to other commands, in turn; where nothing is left, nothing.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self._reservation = _bound_socket(0)
        self.port: int = self._reservation.getsockname()[1]
        self.ends: list[ServerEnd] = []
        self.is_holding = False
        self.is_silent = False
        self.refused: set[str] = set()
        self.replies: deque[bytes] = deque()
        self._listening: asyncio.Server | None = None

    def host(self, **options: Any) -> dict[str, Any]:
        """Return how a layer is told of it, with more options of redis-py's."""
        return {"address": f"redis://{HOST}:{self.port}", **options}

    async def open(self) -> None:
        """Take connections."""
        own = _bound_socket(self.port)
        self._listening = await asyncio.start_server(self._serve, sock=own, ssl=self._context)

    def close(self) -> None:
        """Cut all connections, and refuse new ones."""
        if self._listening is not None:
            self._listening.close()
        for end in self.ends:
            end.drop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        end = ServerEnd(self, reader, writer)
        self.ends.append(end)
        await end.serve()

    def deliver(self, name: bytes, content: bytes) -> None:
        """Give a message to all that are subscribed."""
        for end in self.ends:
            if name in end.names and not end.has_ended.is_set():
                end.push(end.pushed(b"message", name, bulk(content)))

    def answer(self) -> None:
        """Hold no answer back any more."""
        self.is_holding = False
        for end in self.ends:
            end.answer()

    async def stop(self) -> None:
        """Close for good."""
        self.close()
        self._reservation.close()
        for end in self.ends:
            await end.has_ended.wait()

    # -- waiting ------------------------------------------------------------------------------

    async def end(self, number: int) -> ServerEnd:
        """Return the end of one connection, once it has been made."""
        await until(lambda: len(self.ends) > number)
        return self.ends[number]

    async def hears(self, count: int, number: int = 0) -> ServerEnd:
        """Return the end of one connection, once so many commands have come on it."""
        end = await self.end(number)
        await until(lambda: len(end.heard) >= count)
        return end


def _bound_socket(port: int) -> socket.socket:
    # One that does not listen keeps the port for the one that does. asyncio has only those send at
    # once what is short that say that they are TCP.
    bound = socket.socket(proto=socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind((HOST, port))
    return bound


@contextlib.asynccontextmanager
async def running_server(
    context: ssl.SSLContext | None = None,
) -> AsyncIterator[ScriptedServer]:
    """Run a server.

    Args:
        context: What it encrypts with, if it does.

    Yields:
        The server.
    """
    server = ScriptedServer(context)
    await server.open()
    try:
        yield server
    finally:
        await server.stop()
