"""What integration tests share: making demultiplexers, running them, waiting."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from channels.layers import get_channel_layer

from channels_demux_layer import WebsocketDemultiplexer
from channels_demux_layer.conf import SETTING, get_settings
from channels_demux_layer.edge.inline import InlineSession
from channels_demux_layer.edge.remote import RemoteSession
from channels_demux_layer.routing import stream_workers
from channels_demux_layer.testing import DemuxCommunicator, run_workers
from channels_demux_layer.transport.calls import messages

#: Seconds that anything may take. Generous: reaching it means that it never comes.
LIMIT = 60.0
#: Seconds between two looks at what cannot be waited for.
PAUSE = 0.005
#: The log that tells of consumers that fail.
HOSTING_LOG = "channels_demux_layer.hosting.consumer"

Result = TypeVar("Result")


async def within(awaitable: Awaitable[Result]) -> Result:
    """Wait for something that will come, however slow the machine is."""
    return await asyncio.wait_for(awaitable, LIMIT)


async def until(look: Callable[[], Result]) -> Result:
    """Look again and again until there is something true to see."""
    deadline = asyncio.get_running_loop().time() + LIMIT
    while not (seen := look()):
        assert asyncio.get_running_loop().time() < deadline, "It never comes."
        await asyncio.sleep(PAUSE)
    return seen


def configure(settings: Any, options: Mapping[str, Any]) -> None:
    """Set options of the package, beside those that the place needs."""
    setattr(settings, SETTING, {**getattr(settings, SETTING, {}), **options})


def opens_layer() -> Any:
    """Return the channel layer that opens go through."""
    return get_channel_layer(get_settings().dispatch_layer)


def closed(stream: str, code: int, reason: str = "") -> dict[str, Any]:
    """The event that tells of a stream's end."""
    return {"stream": stream, "event": "closed", "code": code, "reason": reason}


async def deliver(session: InlineSession | RemoteSession, data: str | bytes) -> None:
    """Hand a session a payload of the client's, and wait until there is room for it."""
    room = session.deliver(data)
    if room is not None:
        await room


def demultiplexer(
    consumer_classes: Mapping[str, Any], **attributes: Any
) -> type[WebsocketDemultiplexer]:
    """Make a demultiplexer class."""
    attributes["consumer_classes"] = consumer_classes
    return type("Demultiplexer", (WebsocketDemultiplexer,), attributes)


@dataclass(frozen=True)
class Place:
    """Where streams are hosted.

    Attributes:
        name: What it is called in the tests' ids.
        is_inline: Whether consumers run in the process of the edge, without a layer between.
    """

    name: str
    is_inline: bool

    @contextlib.asynccontextmanager
    async def run(self, *classes: type[WebsocketDemultiplexer]) -> AsyncIterator[None]:
        """Have the streams of demultiplexers hosted."""
        if self.is_inline:
            yield
        else:
            async with run_workers(*classes):
                yield

    @contextlib.asynccontextmanager
    async def client(
        self, streams: Mapping[str, Any] | type[WebsocketDemultiplexer], **options: Any
    ) -> AsyncIterator[DemuxCommunicator]:
        """Connect to a demultiplexer, whose streams are hosted meanwhile.

        Args:
            streams: The demultiplexer, or what one shall be made of.
            **options: Attributes of the demultiplexer that is made.
        """
        cls = streams if isinstance(streams, type) else demultiplexer(streams, **options)
        async with self.run(cls), DemuxCommunicator(cls.as_asgi(), timeout=LIMIT) as client:
            yield client


@contextlib.asynccontextmanager
async def lone_worker(cls: type[WebsocketDemultiplexer]) -> AsyncIterator[Callable[[], None]]:
    """Run the workers of a demultiplexer without anything around them.

    Yields:
        Ends them at once, as the end of their process would.
    """
    tasks: list[asyncio.Future[Any]] = []
    for channel, worker in stream_workers(cls).items():
        queue: asyncio.Queue[Any] = asyncio.Queue()
        tasks.append(asyncio.ensure_future(_listen(channel, queue)))
        scope = {"type": "channel", "channel": channel}
        tasks.append(asyncio.ensure_future(worker(scope, queue.get, None)))

    def end() -> None:
        for task in tasks:
            task.cancel()

    try:
        yield end
    finally:
        end()
        await asyncio.wait(tasks)


async def _listen(channel: str, queue: asyncio.Queue[Any]) -> None:
    # As `runworker` does: what the layer raises must not end it.
    async for message in messages(opens_layer(), channel):
        queue.put_nowait(message)
