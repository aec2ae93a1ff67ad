"""The process behind this package's runworker, based on the worker of Channels.

It reconnects when the channel layer fails, exits with an error if it cannot continue, and on
SIGTERM or SIGINT moves its sessions to other workers before it exits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import Any

from channels.worker import Worker

from channels_demux_layer.conf import get_settings
from channels_demux_layer.exceptions import ConfigurationError, DemuxError
from channels_demux_layer.hosting.exits import contain_exits
from channels_demux_layer.logs import RepeatedLog, about
from channels_demux_layer.monitoring.readiness import Pages, serve_pages
from channels_demux_layer.transport.calls import messages
from channels_demux_layer.transport.node import LEAVE_LIMIT
from channels_demux_layer.transport.nodes import find_node, stop_nodes
from channels_demux_layer.transport.steadfast import inner_of

from .drain import LAST_WORDS, drain_workers
from .worker import join_layer

__all__ = ["DrainingWorker", "ListenerDied"]

logger = logging.getLogger(__name__)
repeated = RepeatedLog(logger)

#: The interval of polling whether other consumers have handled their messages, in seconds.
GLANCE = 0.01
#: The time limit of a cancelled task, in seconds. A layer that hangs may keep it from ending.
CANCEL_LIMIT = 1.0
#: The time limit of the process to end after its drain timeout, in seconds.
LAST_RESORT = LAST_WORDS + LEAVE_LIMIT + CANCEL_LIMIT

Receive = Callable[[], Awaitable[Any]]


class ListenerDied(DemuxError):  # noqa: N818 - it says what happened
    """A listener of the worker has ended, so the worker no longer receives on its channel."""


class Handling:
    """Wraps an application, and counts the instances of it that are handling a message.

    Args:
        application: The ASGI application.
        streams: Other applications, for some channels.
    """

    def __init__(self, application: Any, streams: Mapping[str, Any]) -> None:
        self._application = application
        self._streams = streams
        self.in_hand = 0

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Any) -> None:
        """Run one instance of the application."""
        has_message = False

        async def watched_receive() -> Any:
            nonlocal has_message
            self.in_hand -= has_message
            has_message = False
            message = await receive()
            has_message = True
            self.in_hand += 1
            return message

        application = self._streams.get(scope.get("channel", ""), self._application)
        try:
            await application(scope, watched_receive, send)
        finally:
            self.in_hand -= has_message


class DrainingWorker(Worker):
    """A worker of Channels that drains before it exits.

    Args:
        application: The project's ASGI application.
        channels: The channels to listen on.
        channel_layer: The channel layer to listen on.
        drain_timeout: The time limit for moving sessions to other workers, in seconds.
        max_sessions: The maximum of concurrent sessions; 0 for no bound, None for the setting
            MAX_SESSIONS.
        streams: The applications of those channels that are streams'. If there are any, the
            process joins the layer at its start and not with the first open, so that
            `demuxstatus` sees it.
        pages: Pages to serve over HTTP meanwhile, by port.
        host: The address of those ports.
    """

    def __init__(
        self,
        application: Any,
        channels: list[str],
        channel_layer: Any,
        drain_timeout: float,
        max_sessions: int | None = None,
        *,
        streams: Mapping[str, Any] | None = None,
        pages: Mapping[int, Pages] | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self._streams = streams or {}
        self._handling = Handling(application, self._streams)
        super().__init__(self._handling, channels, channel_layer)
        self._drain_timeout = drain_timeout
        self._max_sessions = max_sessions
        self._pages = pages or {}
        self._host = host
        self._ends_process = False

    def run(self) -> None:
        """Work until a signal or an error ends the worker. The process must exit then.

        Raises:
            ConfigurationError: There is no channel layer to bound the sessions of.
            ListenerDied: A listener ended unexpectedly.
            OSError: A port for pages is not available.
        """
        self._ends_process = True
        _run_loop(self._run())

    async def _run(self) -> None:
        contain_exits(asyncio.get_running_loop())
        await self.arun()

    async def arun(self) -> None:
        """Work until a signal or an error ends the worker.

        Raises:
            ConfigurationError: There is no channel layer to bound the sessions of.
            ListenerDied: A listener ended unexpectedly.
            OSError: A port for pages is not available.
        """
        async with contextlib.AsyncExitStack() as servers:
            for port, pages in self._pages.items():
                server = await serve_pages(pages, self._host, port)
                servers.callback(server.close)
            await self._work()

    async def _work(self) -> None:
        if self._max_sessions is not None:
            find_node(get_settings().CHANNEL_LAYER).max_sessions = self._max_sessions
        stop = asyncio.ensure_future(_signalled())
        checker = asyncio.ensure_future(self.application_checker())
        listeners = [asyncio.ensure_future(self.listener(channel)) for channel in self.channels]
        joining = asyncio.ensure_future(self._join())
        try:
            await asyncio.wait([stop, checker, *listeners], return_when=asyncio.FIRST_COMPLETED)
            if not stop.done():
                cause = self._cause(checker, *listeners)
                text = "A listener ended unexpectedly (%s). The worker drains and exits."
                logger.error(text, cause, extra=about())
                await drain_workers(self._drain_timeout)
                raise ListenerDied(cause)
            await self._end(listeners)
        finally:
            instances = [details["future"] for details in self.application_instances.values()]
            await _cancel(stop, checker, joining, *listeners, *instances)
            await stop_nodes()

    async def _join(self) -> None:
        if self._streams:
            with contextlib.suppress(ConfigurationError):  # Each open will say so.
                (await join_layer()).serves.update(self._streams)

    def _cause(self, *tasks: asyncio.Task[Any]) -> str:
        ended = [task for task in tasks if task.done()]
        return ", ".join("cancelled" if t.cancelled() else repr(t.exception()) for t in ended)

    async def listener(self, channel: str) -> None:
        """Pass the messages of one channel to the application, without an end."""
        async for message in self._messages(channel):
            if not (isinstance(message, dict) and message.get("type")):
                text = "Dropped a message without a type on channel %s."
                repeated.warning("without_type", text, channel, extra=about(node=channel))
                continue
            scope = {"type": "channel", "channel": channel}
            self.get_or_create_application_instance(channel, scope).put_nowait(message)

    def _messages(self, channel: str) -> AsyncIterator[Any]:
        # The node replaces its connections when they are lost without an error.
        if channel in self._streams:
            with contextlib.suppress(ConfigurationError):  # Each open will say so.
                node = find_node(get_settings().CHANNEL_LAYER)
                if node.layer is inner_of(self.channel_layer):
                    return node.messages(channel)
        return messages(self.channel_layer, channel)

    async def _end(self, listeners: list[asyncio.Task[None]]) -> None:
        if self._ends_process:
            _end_process_after(self._drain_timeout + LAST_RESORT)
        await _cancel(*listeners)
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._drain_timeout
        await drain_workers(self._drain_timeout)
        while self._is_busy() and loop.time() < give_up_at:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(GLANCE)
        logger.info("Drained.", extra=about())

    def _is_busy(self) -> bool:
        queues = (details["input_queue"] for details in self.application_instances.values())
        return self._handling.in_hand > 0 or any(queue.qsize() for queue in queues)


async def _signalled() -> None:
    loop = asyncio.get_running_loop()
    signalled = loop.create_future()
    signals = (signal.SIGTERM, signal.SIGINT)
    try:
        for number in signals:
            loop.add_signal_handler(number, _resolve, signalled)
        await signalled
    except (NotImplementedError, RuntimeError, ValueError):
        # On Windows, and in another thread than the main one, a signal ends the process.
        await asyncio.Event().wait()
    finally:
        for number in signals:
            if loop.remove_signal_handler(number):
                # A second signal ends the process at once. Python's own handler of SIGINT would
                # raise KeyboardInterrupt in the middle of the drain.
                signal.signal(number, signal.SIG_DFL)


def _run_loop(work: Coroutine[Any, Any, None]) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    ends = asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.wait([ends], timeout=CANCEL_LIMIT)


def _end_process_after(seconds: float) -> None:
    # A consumer's thread cannot be cancelled, and Python waits for it before it ends.
    timer = threading.Timer(seconds, _end_process)
    timer.daemon = True
    timer.start()


def _end_process() -> None:
    text = "Shutdown timed out: a task or a thread still runs. Exiting."
    logger.warning(text, extra=about())
    logging.shutdown()
    os._exit(0)
