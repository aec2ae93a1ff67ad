"""Passes the commands of the page's buttons to the supervisor: add, drain or kill a worker.

The supervisor listens on a port of the loopback interface. A client sends a token and a command,
one line each, and receives a line with the answer. The server has the token in its environment.
"""

import asyncio
import contextlib
import hmac
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from .preflight import DemoError

LOOPBACK = "127.0.0.1"
LIMIT = 10.0
"""Seconds that a command may take. The slowest one starts a process, which takes under a second."""


class Add(msgspec.Struct, frozen=True, tag_field="do", tag="add"):
    """Start one more worker.

    Attributes:
        stream: The stream that the worker hosts.
    """

    stream: str


class Drain(msgspec.Struct, frozen=True, tag_field="do", tag="drain"):
    """Send SIGTERM to a worker, which hands its sessions off and ends.

    Attributes:
        pid: The worker's process id.
    """

    pid: int


class Kill(msgspec.Struct, frozen=True, tag_field="do", tag="kill"):
    """Send SIGKILL to a worker.

    Attributes:
        pid: The worker's process id.
    """

    pid: int


Command = Add | Drain | Kill


class Answer(msgspec.Struct, frozen=True):
    """The result of a command.

    Attributes:
        error: Why the command failed; empty if it succeeded.
    """

    error: str = ""


class ControlServer:
    """Receives commands from clients that know the token.

    Args:
        obey: Executes a command.
    """

    def __init__(self, obey: Callable[[Command], Awaitable[object]]) -> None:
        self._obey = obey
        self._token = secrets.token_urlsafe()
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """Start to listen.

        Returns:
            The address for ``send_command()``. It contains the token.
        """
        self._server = await asyncio.start_server(self._talk, LOOPBACK, 0)
        return f"{self._server.sockets[0].getsockname()[1]}:{self._token}"

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError, asyncio.TimeoutError):
            token = (await asyncio.wait_for(reader.readline(), LIMIT)).strip()
            if hmac.compare_digest(token, self._token.encode()):
                answer = await self._answer(await asyncio.wait_for(reader.readline(), LIMIT))
                writer.write(msgspec.json.encode(answer) + b"\n")
                await writer.drain()
        writer.close()

    async def _answer(self, line: bytes) -> Answer:
        try:
            await self._obey(msgspec.json.decode(line, type=Command))
        except (msgspec.DecodeError, DemoError) as error:
            return Answer(str(error))
        return Answer()


async def send_command(address: str, command: Any) -> Answer:
    """Send a command to the supervisor.

    Args:
        address: The return value of ``ControlServer.start()``.
        command: The command as decoded JSON, such as ``{"do": "kill", "pid": 4711}``.

    Returns:
        The supervisor's answer.
    """
    port, _, token = address.partition(":")
    try:
        return await asyncio.wait_for(_ask(int(port), token, command), LIMIT)
    except (OSError, msgspec.DecodeError, asyncio.TimeoutError):
        return Answer("The demo's supervisor does not answer.")


async def _ask(port: int, token: str, command: Any) -> Answer:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        writer.write(token.encode() + b"\n" + msgspec.json.encode(command) + b"\n")
        await writer.drain()
        return msgspec.json.decode(await reader.readline(), type=Answer)
    finally:
        writer.close()
