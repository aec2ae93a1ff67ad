"""The stream that shows the system at work, and takes what the page's buttons say.

It is hosted in the server's process: there it is, whatever has become of the workers.
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
from channels_demux_layer.demo.project.picture import draw
from channels_demux_layer.exceptions import DemuxError
from channels_demux_layer.status import ask_nodes

CONTROL = "DEMUX_DEMO_CONTROL"
"""The variable with the address of the supervisor; empty or not there: nothing to control."""
LIMIT = 1.0
"""Seconds that the nodes have to answer: whoever takes longer is not in the picture."""


async def take_picture() -> dict[str, Any]:
    """Ask all nodes.

    Returns:
        The picture, or an ``error``.
    """
    try:
        return draw(await ask_nodes(limit=LIMIT))
    except DemuxError as error:
        return {"error": str(error)}


class Pictures:
    """Pages that want a picture at the same time get the same one."""

    def __init__(self) -> None:
        self._asking: asyncio.Task[dict[str, Any]] | None = None

    async def take(self) -> dict[str, Any]:
        """Ask all nodes, or wait for who is asking already.

        Returns:
            The picture, or an ``error``.
        """
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(take_picture())
        return await asyncio.shield(self._asking)


class SystemConsumer(AsyncJsonWebsocketConsumer):
    """Pushes pictures of the system, and passes commands on to the supervisor."""

    interval = 0.7
    """Seconds between two pictures, beside the 0.3 that asking takes."""
    pictures = Pictures()
    pushing: "asyncio.Task[None] | None" = None

    async def connect(self) -> None:
        """Accept, say whether there is something to control, and start to push."""
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
        """Whether commands of this client are passed on."""
        return bool(os.environ.get(CONTROL)) and is_own_page(self.scope)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Pass a command on, and say what came of it.

        Args:
            content: The command, such as ``{"do": "kill", "pid": 4711}``.
            **kwargs: Unused.
        """
        error = "Nothing here can be controlled from this page."
        if self.may_control:
            error = (await send_command(os.environ[CONTROL], content)).error
        await self.send_json({"done": content, "error": error})


def is_own_page(scope: dict[str, Any]) -> bool:
    """Tell whether a socket comes from a page of this very server.

    The host has to be one that the server answers to, or a foreign name that leads here would do.

    Args:
        scope: The socket's scope.

    Returns:
        Whether its origin is the host that it was sent to.
    """
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    host = headers.get(b"host", "")
    origin = urlsplit(headers.get(b"origin", ""))
    return (
        origin.netloc == host != ""
        and origin.scheme in {"http", "https"}
        and validate_host(split_domain_port(host)[0], settings.ALLOWED_HOSTS)
    )
