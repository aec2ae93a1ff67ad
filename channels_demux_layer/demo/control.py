"""How the page's buttons reach the supervisor: commands to add and to end workers.

The supervisor listens on a port of the loopback interface. Whoever connects says the token, which
the server has in its environment, and one command, each a line; the answer is a line as well.
"""

import asyncio
import contextlib
import hmac
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from channels_demux_layer.demo.problems import DemoError

LOOPBACK = "127.0.0.1"
LIMIT = 10.0
"""Seconds that a command may take: a process has to be started at most, which takes a fraction."""


class Add(msgspec.Struct, frozen=True, tag_field="do", tag="add"):
    """Start one more worker.

    Attributes:
        stream: The stream that it is to host.
    """

    stream: str


class Drain(msgspec.Struct, frozen=True, tag_field="do", tag="drain"):
    """Have a worker hand its sessions on and end: SIGTERM.

    Attributes:
        pid: Its process id.
    """

    pid: int


class Kill(msgspec.Struct, frozen=True, tag_field="do", tag="kill"):
    """End a worker without a word: SIGKILL.

    Attributes:
        pid: Its process id.
    """

    pid: int


Command = Add | Drain | Kill


class Answer(msgspec.Struct, frozen=True):
    """What came of a command.

    Attributes:
        error: Why nothing was done; empty when it was.
    """

    error: str = ""


class ControlServer:
    """Takes commands from those who know the token.

    Args:
        obey: Does what a command says.
    """

    def __init__(self, obey: Callable[[Command], Awaitable[object]]) -> None:
        self._obey = obey
        self._token = secrets.token_urlsafe()
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """Listen.

        Returns:
            What ``send_command()`` takes for the address; it has the token in it.
        """
        self._server = await asyncio.start_server(self._talk, LOOPBACK, 0)
        return f"{self._server.sockets[0].getsockname()[1]}:{self._token}"

    def close(self) -> None:
        """Take no more commands."""
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
    """Have the supervisor do something.

    Args:
        address: What the server's ``start()`` returned.
        command: The command as JSON has it, such as ``{"do": "kill", "pid": 4711}``.

    Returns:
        What came of it.
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
