"""The sockets of the crowd: `python -m tests.soak.crowd_client`, a process of its own.

It speaks WebSocket itself, as a library for each of a thousand sockets would keep this machine
busy. Readers ask for numbered ticks and count what is missing; the deaf ask for far more, and never
read. It writes a line of JSON once every reader has had a tick, and one once they have had all.
"""

import argparse
import asyncio
import base64
import json
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable

TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
#: Sockets that are opened at a time.
TOGETHER = 20
#: The receive buffer of a socket that never reads, in bytes: small, so that it is soon full.
SMALL = 4096
#: Seconds without any tick at all after which the rest is given up.
PATIENCE = 30.0


class Socket(asyncio.Protocol):
    """One client.

    Args:
        host: What to say in the Host header.
        request: The ticks to ask for, as the consumer takes them.
        is_deaf: Whether it never reads.

    Attributes:
        received: Ticks that came.
        missing: Ticks that a later one shows to be lost.
        repeated: Ticks that came again, or after a later one.
        slowest: The longest time between two ticks, in seconds.
        last_at: When the last one came.
        events: How often each event came, and each other end.
        opened: Set once the socket is open.
    """

    def __init__(self, host: str, request: dict[str, float], *, is_deaf: bool) -> None:
        self._host = host
        self._request = request
        self._is_deaf = is_deaf
        self._buffer = bytearray()
        self._expected = 0
        self.received = self.missing = self.repeated = 0
        self.slowest = self.last_at = 0.0
        self.events: Counter[str] = Counter()
        self.opened = asyncio.get_running_loop().create_future()

    @property
    def has_all(self) -> bool:
        """Whether the last tick has come."""
        return self._expected == self._request["count"]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asks for the upgrade."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET /ws/ HTTP/1.1\r\nHost: {self._host}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Notes it: no socket may close before its time."""
        self.events["lost"] += 1
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("The server closed the socket."))

    def ask(self) -> None:
        """Asks for the ticks."""
        envelope = json.dumps({"stream": "tick", "payload": self._request})
        self._transport.write(client_frame(TEXT, envelope.encode()))
        if self._is_deaf:
            self._transport.pause_reading()

    def close(self) -> None:
        """Hangs up."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Takes what came."""
        self._buffer += data
        if not self.opened.done():
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 101 "):
                self.opened.set_exception(ConnectionError(head.decode()))
                return
            self._buffer = rest
            self.opened.set_result(None)
        while (frame := self._next_frame()) is not None:
            self._take(*frame)

    def _next_frame(self) -> tuple[int, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        length, start = buffer[1], 2
        if length > 125:
            start += 2 if length == 126 else 8
            length = int.from_bytes(buffer[2:start], "big")
        if len(buffer) < start + length:
            return None
        opcode, payload = buffer[0] & 0xF, bytes(buffer[start : start + length])
        del buffer[: start + length]
        return opcode, payload

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == TEXT:
            envelope = json.loads(payload)
            if "payload" in envelope:
                self._take_tick(envelope["payload"][0])
            else:
                self.events[envelope["event"]] += 1
        elif opcode == PING:
            self._transport.write(client_frame(PONG, payload))
        elif opcode == CLOSE:
            self.events[f"closed {int.from_bytes(payload[:2], 'big')}"] += 1

    def _take_tick(self, number: int) -> None:
        now = time.monotonic()
        if self.last_at:
            self.slowest = max(self.slowest, now - self.last_at)
        self.last_at = now
        if number < self._expected:
            self.repeated += 1
            return
        self.missing += number - self._expected
        self._expected = number + 1
        self.received += 1


def client_frame(opcode: int, payload: bytes) -> bytes:
    """Writes a client's frame.

    Args:
        opcode: The kind of frame.
        payload: Its content, of less than 126 bytes.

    Returns:
        The frame. Its masking key is zero, which is a key like any other and needs no work.
    """
    return bytes((0x80 | opcode, 0x80 | len(payload), 0, 0, 0, 0)) + payload


async def open_sockets(
    port: int, count: int, request: dict[str, float], *, is_deaf: bool
) -> list[Socket]:
    """Opens sockets, a few at a time.

    Args:
        port: The server's port on the loopback interface.
        count: How many.
        request: The ticks that each asks for.
        is_deaf: Whether they never read.

    Returns:
        The open sockets, which have asked for nothing yet.
    """
    loop = asyncio.get_running_loop()
    turnstile = asyncio.Semaphore(TOGETHER)

    async def open_socket() -> Socket:
        async with turnstile:
            plain = socket.socket()
            plain.setblocking(False)
            if is_deaf:
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
            await loop.sock_connect(plain, ("127.0.0.1", port))
            _, client = await loop.create_connection(
                lambda: Socket(f"127.0.0.1:{port}", request, is_deaf=is_deaf), sock=plain
            )
            await client.opened
            return client

    return await asyncio.gather(*(open_socket() for _ in range(count)))


async def run(arguments: argparse.Namespace) -> None:
    """Opens the sockets, has them all ask, and waits for the last tick."""
    request = {"count": arguments.ticks, "size": 10, "pause": arguments.pause}
    flood = {"count": 1_000_000_000, "size": arguments.deaf_size}
    readers = await open_sockets(arguments.port, arguments.readers, request, is_deaf=False)
    deaf = await open_sockets(arguments.port, arguments.deaf, flood, is_deaf=True)
    for client in (*deaf, *readers):
        client.ask()
    await wait_until(readers, lambda client: client.received > 0)
    print(json.dumps({"ticking": sum(client.received > 0 for client in readers)}), flush=True)
    await wait_until(readers, lambda client: client.has_all)
    total = arguments.ticks * len(readers)
    received = sum(client.received for client in readers)
    figures = {
        "asked": total,
        "missing": total - received,
        "repeated": sum(client.repeated for client in readers),
        "slowest": max(client.slowest for client in readers),
        "events": sum((client.events for client in (*readers, *deaf)), Counter()),
    }
    print(json.dumps(figures), flush=True)
    for client in (*deaf, *readers):
        client.close()


async def wait_until(readers: list[Socket], look: Callable[[Socket], bool]) -> None:
    """Waits until something is true of all readers, or no tick comes any more.

    Args:
        readers: They.
        look: Tells it of one.
    """
    begun_at = time.monotonic()
    while not all(map(look, readers)):
        last_at = max(begun_at, *(client.last_at for client in readers))
        if time.monotonic() - last_at > PATIENCE:
            return
        await asyncio.sleep(0.1)


def main() -> None:
    """Reads the command line and runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--readers", type=int, required=True)
    parser.add_argument("--deaf", type=int, required=True)
    parser.add_argument("--ticks", type=int, required=True)
    parser.add_argument("--pause", type=float, required=True)
    parser.add_argument("--deaf-size", type=int, required=True)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
