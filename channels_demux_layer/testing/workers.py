"""Workers for tests, which host a demultiplexer's streams inside the test's process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from channels.exceptions import ChannelFull
from channels.layers import get_channel_layer
from channels.routing import ChannelNameRouter
from channels.worker import Worker
from django.test.utils import override_settings

from channels_demux_layer.conf import SETTING, get_settings, read_django_settings
from channels_demux_layer.exceptions import ConfigurationError
from channels_demux_layer.logs import about
from channels_demux_layer.routing import stream_workers
from channels_demux_layer.transport.nodes import stop_nodes

from .socket import connections_kept

if TYPE_CHECKING:
    from channels_demux_layer.demultiplexer import WebsocketDemultiplexer

__all__ = ["run_workers"]

logger = logging.getLogger(__name__)

#: Seconds that workers may take until they listen on their channels.
START_LIMIT = 30.0
#: Seconds between two probes. The pub/sub layer drops probes until the worker listens.
PROBE_INTERVAL = 0.05
#: The type of the message that shows whether a worker listens. The worker's router never sees it.
PROBE = "demux.testing.probe"


@contextlib.asynccontextmanager
async def run_workers(*demultiplexers: type[WebsocketDemultiplexer]) -> AsyncIterator[None]:
    """Run workers for all streams of the demultiplexers in the test's event loop.

    Inside the block ``HOSTING`` is ``"workers"``. Streams with ``hosting="inline"`` stay inline.
    Channels' own worker listens on each stream's channel, over the configured channel layer. All
    workers listen when the block begins. Its end stops them with their consumers, so disconnect
    clients first::

        async with run_workers(Demultiplexer):
            async with DemuxCommunicator(Demultiplexer.as_asgi(), "/ws/") as client:
                ...

    Args:
        *demultiplexers: The demultiplexer classes whose streams to host.

    Yields:
        Nothing.

    Raises:
        ConfigurationError: There is no channel layer, or a stream's consumer cannot be imported.
        Exception: The error that ended a worker. It is logged at once, and raised at the end of
            the block.
    """
    get_settings()  # raises for invalid settings
    configured: Any = read_django_settings()[0]
    forced = {SETTING: {**configured, "HOSTING": "workers"}}
    with override_settings(**forced), connections_kept():
        crew = _make_crew(demultiplexers)
        try:
            await _start(crew)
            yield
        finally:
            failures = await asyncio.gather(*(worker.stop() for worker in crew))
            await stop_nodes()
            for failure in filter(None, failures):
                raise failure


def _make_crew(demultiplexers: tuple[type[WebsocketDemultiplexer], ...]) -> list[_StreamWorker]:
    layer = _layer()
    workers = stream_workers(*demultiplexers)
    for worker in workers.values():
        # Prepare now: a worker would only log the error, when the first client connects.
        worker.prepare()
    router = ChannelNameRouter(workers)
    return [_StreamWorker(router, channel, layer) for channel in workers]


async def _start(crew: list[_StreamWorker]) -> None:
    starts = await asyncio.gather(*(worker.start() for worker in crew), return_exceptions=True)
    for failure in filter(None, starts):
        raise failure


def _layer() -> Any:
    alias = get_settings().dispatch_layer
    layer = get_channel_layer(alias)
    if layer is None:
        raise ConfigurationError(
            f"CHANNEL_LAYERS has no {alias!r}, but workers need a channel layer. In tests, use "
            "'channels.layers.InMemoryChannelLayer'."
        )
    return layer


class _Ear:
    """The channel layer for the worker, with the probes filtered out.

    Args:
        layer: The channel layer.
    """

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self.listens: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def receive(self, channel: str) -> dict[str, Any]:
        """Return the next message that is not a probe."""
        while True:
            message: dict[str, Any] = await self._layer.receive(channel)
            if message.get("type") != PROBE:
                return message
            if not self.listens.done():
                self.listens.set_result(None)


class _StreamWorker(Worker):
    """Channels' worker for one channel, which records its failure and its tasks.

    Args:
        application: The router of the streams' channels.
        channel: The channel.
        layer: The channel layer.
    """

    def __init__(self, application: Any, channel: str, layer: Any) -> None:
        self._ear = _Ear(layer)
        super().__init__(application, [channel], self._ear)
        self._layer = layer
        self._channel = channel
        self._tasks: set[asyncio.Future[Any]] = set()
        self._failure: BaseException | None = None

    async def start(self) -> None:
        """Start the worker, and wait until it listens."""
        run = asyncio.ensure_future(self._work())
        run.add_done_callback(self._ended)
        self._tasks.add(run)
        deadline = time.monotonic() + START_LIMIT
        while not run.done() and not self._ear.listens.done():
            if time.monotonic() > deadline:
                raise TimeoutError(f"No worker listens on {self._channel} after {START_LIMIT} s.")
            with contextlib.suppress(ChannelFull):
                await self._layer.send(self._channel, {"type": PROBE})
            await asyncio.wait(
                {run, self._ear.listens},
                timeout=PROBE_INTERVAL,
                return_when=asyncio.FIRST_COMPLETED,
            )
        if run.done():
            run.result()

    async def _work(self) -> None:
        # As run() does. The oldest supported release of asgiref has no arun().
        await asyncio.gather(self.application_checker(), self.handle())

    async def listener(self, channel: str) -> None:
        """Listen on the channel, and keep the task: Channels does not cancel it."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        await super().listener(channel)

    async def application_exception(self, exception: BaseException, details: Any) -> None:
        """Let the application's error end the worker."""
        raise exception

    def _ended(self, run: asyncio.Future[None]) -> None:
        if not run.cancelled():
            self._failure = run.exception()
            text = "The worker of channel %s failed. run_workers() will raise its error."
            logger.error(text, self._channel, extra=about(node=self._channel))

    async def stop(self) -> BaseException | None:
        """Cancel all tasks of the worker, and return the error that ended it before, if any."""
        instances = [entry["future"] for entry in self.application_instances.values()]
        tasks = [*self._tasks, *instances]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return self._failure
