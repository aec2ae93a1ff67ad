"""Sockets whose consumers talk to one another over a group of their own, while things break."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.acceptance.harness.traffic import wait_for

#: Seconds between two sentences of one socket.
PACE = 0.1


@contextlib.asynccontextmanager
async def rooms(url: str, count: int) -> AsyncIterator[Counter[str]]:
    """Keeps sockets talking in the room for the length of a block.

    What is said while the layer is away may be lost, as with any consumer of Channels; the
    streams must not end by it.

    Args:
        url: The address of the WebSockets.
        count: How many sockets there are.

    Yields:
        How often something was `said`, and how often each event came.
    """
    events: Counter[str] = Counter()
    talkers = [asyncio.ensure_future(_talk(url, events)) for _ in range(count)]
    try:
        await wait_for(lambda: events["said"] >= count)
        yield events
    finally:
        for talker in talkers:
            talker.cancel()
        await asyncio.gather(*talkers, return_exceptions=True)


async def _talk(url: str, events: Counter[str]) -> None:
    try:
        async with connect(url, ping_interval=None, compression=None, proxy=None) as socket:
            listener = asyncio.ensure_future(_listen(socket, events))
            try:
                while True:
                    await socket.send(json.dumps({"stream": "room", "payload": "hello"}))
                    await asyncio.sleep(PACE)
            finally:
                listener.cancel()
    except ConnectionClosed:
        events["socket closed"] += 1


async def _listen(socket: object, events: Counter[str]) -> None:
    async for message in socket:
        envelope = json.loads(message)
        events["said" if "payload" in envelope else envelope["event"]] += 1
