"""A second application of the project: what is behind the streams while things are broken.

For sites with `application="tests.acceptance.project.faults.application"`.
"""

from django.core.asgi import get_asgi_application

# Loads the applications, which the consumers below need.
http_application = get_asgi_application()

import asyncio  # noqa: E402
import contextlib  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from typing import Any  # noqa: E402

from channels.consumer import AsyncConsumer  # noqa: E402
from channels.generic.websocket import (  # noqa: E402
    AsyncJsonWebsocketConsumer,
    JsonWebsocketConsumer,
)
from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import path  # noqa: E402

from channels_demux_layer import Stream, WebsocketDemultiplexer  # noqa: E402
from channels_demux_layer.routing import stream_workers  # noqa: E402

from .journal import note  # noqa: E402

#: Seconds that an ordinary channel's consumer takes for a message.
WORK = 0.2


class NumberConsumer(AsyncJsonWebsocketConsumer):
    """Answers each number with itself, its attempt and its process."""

    async def connect(self) -> None:
        """Accepts, and writes it down."""
        self.demux = self.scope["demux"]
        note("connect", **self.demux)
        await self.accept()

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Answers."""
        await self.send_json([content, self.demux["attempt"], os.getpid()])

    async def disconnect(self, code: int) -> None:
        """Writes the code down."""
        note("disconnect", code=code, **self.demux)


class RoomConsumer(AsyncJsonWebsocketConsumer):
    """Talks to all other connections over a group of its own."""

    groups = ["room"]

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Says it to the whole room."""
        await self.channel_layer.group_send("room", {"type": "room.said", "content": content})

    async def room_said(self, event: dict[str, Any]) -> None:
        """Passes on what was said in the room."""
        await self.send_json({"said": event["content"]})


class TickConsumer(AsyncJsonWebsocketConsumer):
    """Sends as many ticks of a size as the client wants, as fast as it can."""

    ticker: "asyncio.Task[None] | None" = None
    ticks = size = 0

    async def connect(self) -> None:
        """Accepts, and writes it down."""
        note("connect", **self.scope["demux"])
        await self.accept()

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Begins to tick."""
        self.size = content["size"]
        self.ticker = asyncio.ensure_future(self.tick(**content))

    async def tick(self, count: int, size: int, pause: float = 0.0) -> None:
        """Sends the ticks."""
        for number in range(count):
            await self.send_json([number, "x" * size])
            self.ticks += 1
            if pause:
                await asyncio.sleep(pause)

    async def disconnect(self, code: int) -> None:
        """Stops, and writes the code down."""
        if self.ticker is not None:
            self.ticker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.ticker
        note("disconnect", code=code, ticks=self.ticks, size=self.size, **self.scope["demux"])


class StuckConsumer(AsyncJsonWebsocketConsumer):
    """Never returns from its handler."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Hangs."""
        note("stuck", **self.scope["demux"])
        await asyncio.Event().wait()


class StuckThreadConsumer(JsonWebsocketConsumer):
    """Never returns from its handler, in a thread that nobody can cancel."""

    def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Hangs."""
        note("stuck", **self.scope["demux"])
        while True:
            time.sleep(3600)


class HarmConsumer(AsyncJsonWebsocketConsumer):
    """Does to its process what it is asked for, which no consumer should."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Ends the process, calls sys.exit() here or in a task, or blocks the event loop."""
        note("harm", **self.scope["demux"])
        if content == "die":
            os._exit(9)
        elif content == "exit":
            sys.exit(9)
        elif content == "task":
            self.task = asyncio.ensure_future(self.exit())
        else:
            while not os.path.exists(content):  # noqa: ASYNC240 - it is to block
                time.sleep(0.01)  # noqa: ASYNC251
        await self.send_json([content, self.scope["demux"]["attempt"], os.getpid()])

    async def exit(self) -> None:
        """Exits."""
        sys.exit(9)


class DyingConsumer(AsyncJsonWebsocketConsumer):
    """Ends its process before it accepts."""

    async def connect(self) -> None:
        """Ends the process."""
        os._exit(9)


class NoteConsumer(AsyncConsumer):
    """Behind an ordinary channel: takes its time over each message."""

    async def note_down(self, message: dict[str, Any]) -> None:
        """Works, and writes the message's text to the journal."""
        note("taken", text=message["text"])
        await asyncio.sleep(WORK)
        note("noted", text=message["text"])


class Demultiplexer(WebsocketDemultiplexer):
    """One stream that opens at once, and others on demand."""

    consumer_classes = {
        "number": NumberConsumer,
        "room": Stream(RoomConsumer, lazy=True),
        "tick": Stream(TickConsumer, lazy=True),
        "stuck": Stream(StuckConsumer, lazy=True),
        "thread": Stream(StuckThreadConsumer, lazy=True),
        "harm": Stream(HarmConsumer, lazy=True),
        "inline": Stream(HarmConsumer, lazy=True, hosting="inline"),
        "dying": Stream(DyingConsumer, lazy=True),
    }


application = ProtocolTypeRouter(
    {
        "http": http_application,
        "websocket": URLRouter([path("ws/", Demultiplexer.as_asgi())]),
        "channel": ChannelNameRouter(
            {**stream_workers(Demultiplexer), "plain.note": NoteConsumer.as_asgi()}
        ),
    }
)
