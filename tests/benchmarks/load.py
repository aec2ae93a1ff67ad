"""The load generator: `python -m tests.benchmarks.load`, a process of its own.

It reads commands from its standard input, a line of JSON each, and answers each with a line:
`open` opens sockets and waits for the first frame of each of their streams, `echo` keeps a number
of frames under way on each, `listen` takes what the server sends of its own accord. With little
more than a search for each frame, on picows and uvloop, what is measured is the other side.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from .numbers import BASE, SPAN, quantile, template
from .tally import Tally

#: Seconds without any answer after which frames that are under way count as lost.
PATIENCE = 20.0

NUMBER, TIME = b'"n":', b'"at":'


class Flow:
    """The frames of one stream of one socket.

    Args:
        template: What to send, with `%d` for the frame's number; None: nothing is sent.
        first: The number of the first frame.
    """

    __slots__ = ("expected", "first", "sent", "template", "times")

    def __init__(self, template: bytes | None, first: int) -> None:
        self.template = template
        self.first = first
        self.sent = 0
        self.expected = 0
        self.times: dict[int, float] = {}

    def next_frame(self) -> bytes:
        """Writes a frame, and notes when.

        Returns:
            Its payload.
        """
        assert self.template is not None
        self.times[self.sent] = time.perf_counter()
        self.sent += 1
        return self.template % (self.first + self.sent - 1)

    def take(self, number: int) -> tuple[float, int]:
        """Takes an answer.

        Args:
            number: Which frame it answers.

        Returns:
            When that was sent, and how many earlier ones it shows to be lost; -1: it came twice.
        """
        skipped = number - self.expected
        if skipped < 0:
            return 0.0, -1
        for lost in range(self.expected, number):
            self.times.pop(lost, None)
        self.expected = number + 1
        return self.times.pop(number, 0.0), skipped


class Socket(WSListener):
    """One WebSocket client.

    Args:
        templates: For each stream what to send.
    """

    def __init__(self, templates: list[bytes | None]) -> None:
        self.flows = [Flow(text, BASE + SPAN * at) for at, text in enumerate(templates)]
        self.tally = Tally(0)
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._missing = set(self.flows)
        self._closing = False

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Sends the first frame of each stream: once all are answered the socket is ready."""
        self._transport = transport
        for flow in self.flows:
            if flow.template is not None:
                self.tally.under_way += 1
                transport.send(WSMsgType.TEXT, flow.next_frame())

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Ends the run: no socket may close before its time."""
        if not self.ready.done():
            self.ready.set_exception(ConnectionError("The server closed the socket."))
        elif not self._closing:
            self.tally.lost += 1
            self.tally.quiet.set()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Takes an answer, and sends the next frame."""
        if frame.msg_type is not WSMsgType.TEXT:
            if frame.msg_type is WSMsgType.CLOSE:
                transport.disconnect()
            return
        data = frame.get_payload_as_bytes()
        found = data.find(NUMBER)
        if found < 0:
            # An event about a stream, which is no answer.
            print(data[:1000].decode(), file=sys.stderr, flush=True)
            return
        found += len(NUMBER)
        number = int(data[found : data.index(b",", found)]) - BASE
        flow = self.flows[number // SPAN]
        if flow.template is None:
            self._take_push(flow, number, data)
            return
        sent, skipped = flow.take(number % SPAN)
        if skipped < 0:
            self.tally.repeated += 1
            return
        self.tally.note_answer(sent, skipped)
        if self._missing:
            self._look(flow)
        for _ in range(1 + skipped):
            if not self.send(flow):
                break

    def send(self, flow: Flow) -> bool:
        """Sends a frame, if the tally allows.

        Args:
            flow: Of which stream.

        Returns:
            Whether it was sent.
        """
        if not self.tally.may_send():
            return False
        self._transport.send(WSMsgType.TEXT, flow.next_frame())
        return True

    def close(self) -> None:
        """Takes leave with code 1000."""
        self._closing = True
        self._transport.send_close()

    def _take_push(self, flow: Flow, number: int, data: bytes) -> None:
        if flow in self._missing:
            flow.expected = number
            self._look(flow)
        skipped = number - flow.expected
        flow.expected = number + 1
        found = data.index(TIME) + len(TIME)
        self.tally.under_way += 1 + max(0, skipped)
        self.tally.note_answer(float(data[found : data.index(b",", found)]), max(0, skipped))

    def _look(self, flow: Flow) -> None:
        self._missing.discard(flow)
        if not self._missing and not self.ready.done():
            self.ready.set_result(None)


class Generator:
    """All sockets.

    Args:
        port: The server's port.
        templates: For each stream of a socket what to send.
        at_once: How many sockets may be opening at a time.
    """

    def __init__(self, port: int, templates: list[bytes | None], at_once: int) -> None:
        self._url = f"ws://127.0.0.1:{port}/ws/"
        self._templates = templates
        self._turnstile = asyncio.Semaphore(at_once)
        self._sockets: list[Socket] = []

    async def open(self, count: int) -> dict[str, float]:
        """Opens sockets, a few at a time, until each stream of each has answered.

        Args:
            count: How many.

        Returns:
            What to say about it.
        """
        began, cpu = time.perf_counter(), time.process_time()
        self._sockets += await asyncio.gather(*(self._open() for _ in range(count)))
        lasted = time.perf_counter() - began
        return {
            "answered": count,
            "seconds": lasted,
            "cpu_share": (time.process_time() - cpu) / lasted,
            "lost": 0,
            "repeated": 0,
        }

    async def _open(self) -> Socket:
        async with self._turnstile:
            _, socket = await ws_connect(
                lambda: Socket(self._templates), self._url, max_frame_size=1 << 24
            )
            assert isinstance(socket, Socket)
            await asyncio.wait_for(socket.ready, PATIENCE * 3)
            return socket

    async def echo(
        self, in_flight: int, seconds: float | None = None, frames: int | None = None
    ) -> dict[str, float]:
        """Keeps frames under way until the time or the frames are used up.

        Args:
            in_flight: Frames under way on each stream of each socket.
            seconds: How long to send; None: until the frames are used up.
            frames: How many to send in all; None: as many as the time allows.

        Returns:
            What was seen, once every frame is answered or given up.
        """
        tally = Tally(frames)
        for socket in self._sockets:
            socket.tally = tally
        for socket in self._sockets:
            for flow in socket.flows:
                for _ in range(in_flight):
                    socket.send(flow)
        if seconds is not None:
            await asyncio.sleep(seconds)
            tally.stop()
        while not tally.quiet.is_set():
            answered = tally.answered
            try:
                await asyncio.wait_for(tally.quiet.wait(), PATIENCE)
            except asyncio.TimeoutError:
                if tally.answered == answered:
                    break
        tally.lost += tally.under_way
        return self._said(tally, tally.last_answer - tally.began)

    async def listen(self, seconds: float) -> dict[str, float]:
        """Takes what comes.

        Args:
            seconds: For how long.

        Returns:
            What was seen.
        """
        tally = Tally(0)
        for socket in self._sockets:
            socket.tally = tally
        await asyncio.sleep(seconds)
        return self._said(tally, time.perf_counter() - tally.began)

    def close(self) -> None:
        """Closes all sockets."""
        for socket in self._sockets:
            socket.close()

    def _said(self, tally: Tally, lasted: float) -> dict[str, float]:
        cpu = time.process_time() - tally.cpu
        latencies = sorted(tally.latencies)
        return {
            "answered": tally.answered,
            "lost": tally.lost,
            "repeated": tally.repeated,
            "seconds": lasted,
            "cpu_share": cpu / lasted if lasted else 0.0,
            "cpu": cpu,
            "p50": quantile(latencies, 0.5),
            "p99": quantile(latencies, 0.99),
        }


async def obey(arguments: argparse.Namespace) -> None:
    """Does what it is told, until there is nothing more to read.

    Args:
        arguments: The command line.
    """
    texts = [
        None if arguments.silent else template(stream, arguments.size)
        for stream in arguments.streams or [None]
    ]
    generator = Generator(arguments.port, texts, arguments.at_once)
    loop = asyncio.get_running_loop()
    actions: dict[str, Callable[..., Awaitable[dict[str, float]]]] = {
        "open": generator.open,
        "echo": generator.echo,
        "listen": generator.listen,
    }
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command: dict[str, Any] = json.loads(line)
        print(json.dumps(await actions[command.pop("do")](**command)), flush=True)
    generator.close()


def run(main: Coroutine[Any, Any, None]) -> None:
    """Runs on uvloop where that is installed.

    Args:
        main: What to run.
    """
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)


def main() -> None:
    """Reads the command line and runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--streams", nargs="*", help="none: payloads without an envelope")
    parser.add_argument("--size", type=int, default=130, help="of a frame on the wire, in bytes")
    parser.add_argument("--silent", action="store_true", help="send nothing, but listen")
    parser.add_argument("--at-once", type=int, default=20, help="sockets opening at a time")
    run(obey(parser.parse_args()))


if __name__ == "__main__":
    main()
