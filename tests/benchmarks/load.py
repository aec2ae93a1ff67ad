"""The load generator: `python -m tests.benchmarks.load`, a process of its own.

It keeps a number of frames under way on each of many sockets and speaks WebSocket itself, with
little more than a search for each frame, so that what it measures is the other side.

It writes a line of JSON once every socket is open, waits for a line on its standard input, runs,
and writes a line with what it saw once the last answer is there.
"""

import argparse
import asyncio
import base64
import json
import os
import sys
import time
from array import array
from collections import deque

#: Seconds without any answer after which frames that are under way count as lost.
PATIENCE = 10.0

#: Frames on each socket before anything is measured.
WARM_UP = 20

NUMBER = b'"n": '
TEXT, CLOSE, PING = 0x1, 0x8, 0x9


class Tally:
    """What all sockets saw together.

    Args:
        budget: Frames that may still be sent; None: as many as the time allows.
    """

    def __init__(self, budget: int | None = None) -> None:
        self.budget = budget
        self.sending = True
        self.answered = 0
        self.lost = 0
        self.repeated = 0
        self.under_way = 0
        self.latencies = array("d")
        self.last_answer = 0.0
        self.quiet = asyncio.Event()

    def may_send(self) -> bool:
        """Counts a frame that is about to be sent.

        Returns:
            Whether it may be.
        """
        if not self.sending or self.budget == 0:
            return False
        if self.budget is not None:
            self.budget -= 1
        self.under_way += 1
        return True

    def note_answer(self, latency: float, now: float, skipped: int) -> None:
        """Counts an answer.

        Args:
            latency: Seconds since its frame was sent.
            now: The time of the answer.
            skipped: Earlier frames that it shows to be lost.
        """
        self.answered += 1
        self.lost += skipped
        self.under_way -= 1 + skipped
        self.latencies.append(latency)
        self.last_answer = now

    def look(self) -> None:
        """Wakes who waits for the end."""
        if self.under_way == 0 and (not self.sending or self.budget == 0):
            self.quiet.set()


class Socket(asyncio.Protocol):
    """One WebSocket client.

    Args:
        host: What to say in the Host header.
        template: What to send, with `%d` for the frame's number.
    """

    def __init__(self, host: str, template: bytes) -> None:
        self._host = host
        self._template = template
        self._buffer = bytearray()
        self._open = False
        self._sent = 0
        self._expected = 0
        self._times: deque[float] = deque()
        self.tally = Tally()
        self.opened = asyncio.get_running_loop().create_future()

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
        """Ends the run: no socket may close before its time."""
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("The server closed the socket."))
        elif self.tally.under_way:
            self.tally.quiet.set()

    def data_received(self, data: bytes) -> None:
        """Takes answers, and sends as many frames."""
        buffer = self._buffer
        buffer += data
        if not self._open:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            if not buffer.startswith(b"HTTP/1.1 101 "):
                self.opened.set_exception(ConnectionError(bytes(buffer[:end]).decode()))
                return
            del buffer[: end + 4]
            self._open = True
            self.opened.set_result(None)
        answers = self._take_answers()
        if answers:
            self.send(answers)
            self.tally.look()

    def send(self, count: int) -> None:
        """Sends frames, at most as many as the tally allows.

        Args:
            count: How many.
        """
        frames = []
        now = time.perf_counter()
        for _ in range(count):
            if not self.tally.may_send():
                break
            frames.append(client_frame(TEXT, self._template % self._sent))
            self._sent += 1
            self._times.append(now)
        if frames:
            self._transport.write(b"".join(frames))

    def close(self) -> None:
        """Takes leave with code 1000."""
        self._transport.write(client_frame(CLOSE, b"\x03\xe8"))

    def _take_answers(self) -> int:
        buffer, now = self._buffer, time.perf_counter()
        position, answers, end = 0, 0, len(buffer)
        while end - position >= 2:
            length, start = buffer[position + 1], position + 2
            if length == 126:
                length, start = int.from_bytes(buffer[start : start + 2], "big"), start + 2
            elif length == 127:
                length, start = int.from_bytes(buffer[start : start + 8], "big"), start + 8
            if start + length > end:
                break
            opcode = buffer[position] & 0xF
            position = start + length
            if opcode == TEXT:
                answers += self._take_answer(start, position, now)
            elif opcode == PING:
                self._transport.write(client_frame(0xA, bytes(buffer[start:position])))
            elif opcode == CLOSE:
                self._transport.close()
        del buffer[:position]
        return answers

    def _take_answer(self, start: int, end: int, now: float) -> int:
        found = self._buffer.find(NUMBER, start, end)
        if found < 0:
            # An event about the stream, which is no answer.
            print(bytes(self._buffer[start:end]).decode(), file=sys.stderr)
            return 0
        found += len(NUMBER)
        number = int(self._buffer[found : self._buffer.find(b",", found, end)])
        skipped = number - self._expected
        if skipped < 0:
            self.tally.repeated += 1
            return 0
        for _ in range(skipped):
            self._times.popleft()
        self._expected = number + 1
        self.tally.note_answer(now - self._times.popleft(), now, skipped)
        return 1 + skipped


def client_frame(opcode: int, payload: bytes) -> bytes:
    """Writes a client's frame.

    Args:
        opcode: The kind of frame.
        payload: Its content.

    Returns:
        The frame. Its masking key is zero, which is a key like any other and needs no work.
    """
    length = len(payload)
    if length < 126:
        return bytes((0x80 | opcode, 0x80 | length, 0, 0, 0, 0)) + payload
    return bytes((0x80 | opcode, 0xFE, length >> 8, length & 0xFF, 0, 0, 0, 0)) + payload


async def open_sockets(arguments: argparse.Namespace) -> list[Socket]:
    """Opens all sockets, a few at a time.

    Args:
        arguments: The command line.

    Returns:
        The open sockets.
    """
    loop = asyncio.get_running_loop()
    template = arguments.template.encode()
    host = f"127.0.0.1:{arguments.port}"
    turnstile = asyncio.Semaphore(20)

    async def open_socket() -> Socket:
        async with turnstile:
            _, socket = await loop.create_connection(
                lambda: Socket(host, template), "127.0.0.1", arguments.port
            )
            await socket.opened
            return socket

    return await asyncio.gather(*(open_socket() for _ in range(arguments.connections)))


async def run(
    sockets: list[Socket], in_flight: int, seconds: float | None, frames: int | None
) -> Tally:
    """Keeps frames under way until the time or the frames are used up.

    Args:
        sockets: The sockets.
        in_flight: Frames under way on each.
        seconds: How long to send; None: until the frames are used up.
        frames: How many to send in all; None: as many as the time allows.

    Returns:
        What was seen, once every frame is answered or given up.
    """
    tally = Tally(frames)
    tally.last_answer = time.perf_counter()
    for socket in sockets:
        socket.tally = tally
    for socket in sockets:
        socket.send(in_flight)
    if seconds is not None:
        await asyncio.sleep(seconds)
        tally.sending = False
        tally.look()
    while not tally.quiet.is_set():
        answered = tally.answered
        try:
            await asyncio.wait_for(tally.quiet.wait(), PATIENCE)
        except asyncio.TimeoutError:
            if tally.answered == answered:
                tally.lost += tally.under_way
                break
    return tally


async def measure(arguments: argparse.Namespace) -> None:
    """Opens the sockets, warms up, waits for the word, runs and reports.

    Args:
        arguments: The command line.
    """
    sockets = await open_sockets(arguments)
    warm_up = await run(sockets, arguments.in_flight, None, WARM_UP * len(sockets))
    say(opened=len(sockets), lost=warm_up.lost)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    began, cpu = time.perf_counter(), time.process_time()
    tally = await run(sockets, arguments.in_flight, arguments.seconds, arguments.frames)
    cpu = time.process_time() - cpu
    lasted = tally.last_answer - began
    latencies = sorted(tally.latencies)
    say(
        answered=tally.answered,
        lost=tally.lost,
        repeated=tally.repeated,
        seconds=lasted,
        cpu_share=cpu / lasted if lasted else 0.0,
        cpu_per_frame=cpu / max(1, tally.answered),
        p50=quantile(latencies, 0.5),
        p99=quantile(latencies, 0.99),
    )
    for socket in sockets:
        socket.close()


def quantile(ordered: list[float], share: float) -> float:
    """Looks up a quantile.

    Args:
        ordered: Values in ascending order.
        share: Which quantile, from 0 to 1.

    Returns:
        The value; 0 when there is none.
    """
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def say(**fields: float) -> None:
    """Writes one line to whoever runs this.

    Args:
        **fields: What to say.
    """
    print(json.dumps(fields), flush=True)


def main() -> None:
    """Reads the command line and runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--template", required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--in-flight", type=int, required=True)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--frames", type=int)
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
