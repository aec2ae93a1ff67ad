"""Steady traffic over many sockets, and an account of what became of every frame."""

import asyncio
import contextlib
import json
import random
import time
from array import array
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websocket_connect
from websockets.exceptions import ConnectionClosed

from .waiting import LIMIT, PAUSE

#: Seconds between two frames of one socket, at random between these two.
PACE = (0.02, 0.08)


@dataclass
class Account:
    """What became of the frames.

    Attributes:
        sent: Frames sent.
        lost: Frames that were never answered.
        repeated: Answers that came more than once.
        unexcused: Those of them that came without a `reopened` event since the first answer.
        repeated_of: How many of them repeat what each process had answered first.
        disordered: Answers that came after a later one.
        events: How often each event came.
        closed: How often sockets were closed, by the reason.
        pids: How many answers came from each process.
        attempts: How many answers came from each attempt.
    """

    sent: int = 0
    lost: int = 0
    repeated: int = 0
    unexcused: int = 0
    repeated_of: Counter[int] = field(default_factory=Counter)
    disordered: int = 0
    events: Counter[str] = field(default_factory=Counter)
    closed: Counter[str] = field(default_factory=Counter)
    pids: Counter[int] = field(default_factory=Counter)
    attempts: Counter[int] = field(default_factory=Counter)

    def __add__(self, other: "Account") -> "Account":
        names = self.__dataclass_fields__
        return Account(*(getattr(self, name) + getattr(other, name) for name in names))

    @property
    def faults(self) -> tuple[int, int, int, int]:
        """Lost, repeated and disordered frames, and closed sockets: all 0 where all is well."""
        return self.lost, self.repeated, self.disordered, self.closed.total()


class Talker:
    """One socket that sends numbers and checks the answers.

    Args:
        stream: The stream that answers a number with a list that begins with it.

    Attributes:
        account: What became of its frames; `sent` and `lost` are counted at the end.
        answered: The highest number answered so far.
        next_number: The number to be sent next.
        longest_pause: Seconds between two answers, at most.
    """

    def __init__(self, stream: str) -> None:
        self.account = Account()
        self.answered = -1
        self.next_number = 0
        self._stream = stream
        self._missing: set[int] = set()
        # The process that answered each number first; 0 where the answer is missing.
        self._answerers = array("q")
        self._reopened_at = -1
        self.longest_pause = 0.0
        self._answered_at = time.monotonic()

    @property
    def is_settled(self) -> bool:
        """Whether every frame has been answered, or the socket is closed."""
        answered = not self._missing and self.answered == self.next_number - 1
        return answered or bool(self.account.closed)

    async def run(self, url: str, stop: asyncio.Event) -> None:
        """Talks until told to stop, then waits until all is answered.

        Args:
            url: The address.
            stop: Ends it.
        """
        try:
            async with websocket_connect(
                url, ping_interval=None, open_timeout=LIMIT, compression=None, proxy=None
            ) as socket:
                reader = asyncio.ensure_future(self._read(socket))
                await self._write(socket, stop)
                with contextlib.suppress(asyncio.TimeoutError):
                    await wait_for(lambda: self.is_settled)
                reader.cancel()
                await asyncio.gather(reader, return_exceptions=True)
        except (OSError, ConnectionClosed) as error:
            self._note_closed(error)
        self.account.sent = self.next_number
        self.account.lost = len(self._missing) + self.next_number - 1 - self.answered

    async def _write(self, socket: ClientConnection, stop: asyncio.Event) -> None:
        while not stop.is_set():
            number, self.next_number = self.next_number, self.next_number + 1
            await socket.send(json.dumps({"stream": self._stream, "payload": number}))
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(stop.wait(), random.uniform(*PACE))

    async def _read(self, socket: ClientConnection) -> None:
        try:
            async for message in socket:
                self._take(json.loads(message))
            self._note_closed(f"code {socket.close_code}")
        except ConnectionClosed as error:
            self._note_closed(error)

    def _note_closed(self, reason: object) -> None:
        if not self.account.closed:
            self.account.closed[str(reason)] += 1

    def _take(self, message: dict[str, Any]) -> None:
        if "payload" not in message:
            self.account.events[message["event"]] += 1
            if message["event"] == "reopened":
                self._reopened_at = self.answered
            return
        number, attempt, pid = message["payload"]
        now = time.monotonic()
        self.longest_pause = max(self.longest_pause, now - self._answered_at)
        self._answered_at = now
        self.account.attempts[attempt] += 1
        self.account.pids[pid] += 1
        if number > self.answered:
            self._missing.update(range(self.answered + 1, number))
            self._answerers.extend([0] * (number - self.answered))
            self._answerers[number] = pid
            self.answered = number
        elif number in self._missing:
            self._missing.discard(number)
            self._answerers[number] = pid
            self.account.disordered += 1
        else:
            self.account.repeated += 1
            self.account.repeated_of[self._answerers[number]] += 1
            self.account.unexcused += number > self._reopened_at


class Traffic:
    """All talkers of a site.

    Attributes:
        talkers: They.
    """

    def __init__(self, url: str, connections: int, stream: str) -> None:
        self.talkers = [Talker(stream) for _ in range(connections)]
        self._stop = asyncio.Event()
        self._tasks = [asyncio.ensure_future(t.run(url, self._stop)) for t in self.talkers]

    async def flows(self) -> None:
        """Waits until each socket has had an answer to something that it sent after now.

        Raises:
            TimeoutError: It does not come.
        """
        marks = [talker.next_number for talker in self.talkers]
        await wait_for(
            lambda: all(
                talker.answered >= mark for talker, mark in zip(self.talkers, marks, strict=True)
            )
        )

    async def finish(self) -> Account:
        """Stops to send, waits until everything is answered, and closes the sockets.

        Returns:
            The sum of all accounts.
        """
        self._stop.set()
        await asyncio.gather(*self._tasks)
        return self.account

    @property
    def account(self) -> Account:
        """The sum of all accounts so far; `sent` and `lost` are known at the end alone."""
        return sum((talker.account for talker in self.talkers), Account())

    def abandon(self) -> None:
        """Ends everything at once."""
        for task in self._tasks:
            task.cancel()


@contextlib.asynccontextmanager
async def steady_traffic(
    url: str, connections: int = 10, stream: str = "number"
) -> AsyncIterator[Traffic]:
    """Keeps traffic going for the length of a block.

    Args:
        url: The address of the WebSockets.
        connections: How many there are.
        stream: The stream that answers numbers.

    Yields:
        The traffic, once it flows.
    """
    traffic = Traffic(url, connections, stream)
    try:
        await traffic.flows()
        yield traffic
    finally:
        traffic.abandon()


async def wait_for(look: Callable[[], object], limit: float = LIMIT) -> None:
    """Looks again and again until there is something true to see, while others go on.

    Args:
        look: Returns something true once the awaited state is reached.
        limit: Seconds after which the wait is given up.

    Raises:
        TimeoutError: Nothing true within `limit`.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit
    while not look():
        if loop.time() > deadline:
            raise asyncio.TimeoutError
        await asyncio.sleep(PAUSE)
