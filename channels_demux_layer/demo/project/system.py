"""The stream that shows the state of the system, and receives the commands of the page's buttons.

The server hosts it, so that it works without any worker.
"""

import asyncio
import contextlib
import os
from typing import Any
from urllib.parse import urlsplit

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.conf import settings
from django.http.request import split_domain_port, validate_host

from channels_demux_layer.demo.control import send_command
from channels_demux_layer.demo.plan import STREAMS
from channels_demux_layer.exceptions import DemuxError
from channels_demux_layer.monitoring.fleet import FleetReport
from channels_demux_layer.protocol.report import NodeReport
from channels_demux_layer.status import ask_nodes

CHANNELS = {f"demux.{stream}": stream for stream in STREAMS}
CONTROL = "DEMUX_DEMO_CONTROL"
"""The variable with the supervisor's address. If it is empty or unset, the buttons are hidden."""
LIMIT = 1.0
"""Seconds that the nodes have to answer. A slower node is missing from the picture."""


async def take_picture() -> dict[str, Any]:
    """Ask all nodes for their state.

    Returns:
        The picture, or an ``error``.
    """
    try:
        return draw(await ask_nodes(limit=LIMIT))
    except DemuxError as error:
        return {"error": str(error)}


class Pictures:
    """Shares a picture among the pages that ask for one at the same time."""

    def __init__(self) -> None:
        self._asking: asyncio.Task[dict[str, Any]] | None = None

    async def take(self) -> dict[str, Any]:
        """Ask all nodes for their state, or wait for a request that is on its way.

        Returns:
            The picture, or an ``error``.
        """
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(take_picture())
        return await asyncio.shield(self._asking)


class SystemConsumer(AsyncJsonWebsocketConsumer):
    """Pushes pictures of the system, and passes commands on to the supervisor."""

    interval = 0.7
    """Seconds from one picture to the next request, which takes about 0.3 s."""
    pictures = Pictures()
    pushing: "asyncio.Task[None] | None" = None

    async def connect(self) -> None:
        """Accept, tell the page whether it may control workers, and start pushing."""
        await self.accept()
        await self.send_json({"control": self.may_control})
        self.pushing = asyncio.create_task(self.push_pictures())

    async def disconnect(self, code: int) -> None:
        """Stop pushing.

        Args:
            code: The close code.
        """
        if self.pushing is not None:
            self.pushing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.pushing

    async def push_pictures(self) -> None:
        """Push a picture about once a second, until cancelled."""
        while True:
            await self.send_json(await self.pictures.take())
            await asyncio.sleep(self.interval)

    @property
    def may_control(self) -> bool:
        """Whether this client may control workers."""
        return bool(os.environ.get(CONTROL)) and is_own_page(self.scope)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Pass a command to the supervisor, and send its answer.

        Args:
            content: The command, such as ``{"do": "kill", "pid": 4711}``.
            **kwargs: Unused.
        """
        error = "This page may not control workers."
        if self.may_control:
            error = (await send_command(os.environ[CONTROL], content)).error
        await self.send_json({"done": content, "error": error})


def is_own_page(scope: dict[str, Any]) -> bool:
    """Return whether a page of this server opened the socket.

    Origin and host must be equal, and ALLOWED_HOSTS must contain the host. Without the second
    condition, a foreign name that resolves to this server would pass (DNS rebinding).

    Args:
        scope: The socket's scope.
    """
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    host = headers.get(b"host", "")
    origin = urlsplit(headers.get(b"origin", ""))
    return (
        origin.netloc == host != ""
        and origin.scheme in {"http", "https"}
        and validate_host(split_domain_port(host)[0], settings.ALLOWED_HOSTS)
    )


def draw(fleet: FleetReport) -> dict[str, Any]:
    """Return the figures of all nodes, and of all streams that workers host.

    Args:
        fleet: The nodes' reports.

    Returns:
        A value for JSON. ``frames`` counts both directions since the start of each process.
    """
    streams = {stream: _nothing() for stream in STREAMS}
    for each in fleet.streams:
        if each.channel in CHANNELS:
            streams[CHANNELS[each.channel]] = {
                "workers": each.workers,
                "sessions": each.sessions,
                "pending": each.pending,
                "in_flight": each.in_flight,
                "reopened": each.reopened,
                "frames": each.frames_in + each.frames_out,
            }
    return {"nodes": [_draw_node(node) for node in fleet.nodes], "streams": streams}


def _nothing() -> dict[str, int]:
    return dict.fromkeys(("workers", "sessions", "pending", "in_flight", "reopened", "frames"), 0)


def _draw_node(node: NodeReport) -> dict[str, Any]:
    side = "edge" if node.kind == "server" else "worker"
    seen = [report for report in node.streams if report.side == side]
    return {
        "node": node.node,
        "kind": node.kind,
        "host": node.host,
        "pid": node.pid,
        "uptime": round(node.uptime),
        "draining": node.is_draining,
        "hosts": [CHANNELS[channel] for channel in node.channels if channel in CHANNELS],
        "sessions": sum(report.sessions for report in seen),
        "frames": sum(report.frames_in + report.frames_out for report in seen),
    }
