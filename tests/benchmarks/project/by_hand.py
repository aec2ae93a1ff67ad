"""The echo as one writes it without this package: one group send for each frame.

Each connection has two groups, one for each direction, as in the package. It has none of the
package's guarantees: what the channel layer drops is lost.
"""

import asyncio
import uuid
from collections.abc import MutableMapping
from typing import Any

from channels.consumer import AsyncConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer

Message = MutableMapping[str, Any]

#: The channel that the worker listens on.
CHANNEL = "hand.echo"


class EdgeConsumer(AsyncJsonWebsocketConsumer):
    """Publishes what the client sends, and sends what the worker publishes."""

    async def connect(self) -> None:
        """Joins its group, calls a worker, and accepts once one has answered."""
        connection = uuid.uuid4().hex
        self.edge_group = f"hand.{connection}.edge"
        self.worker_group = f"hand.{connection}.echo"
        await self.channel_layer.group_add(self.edge_group, self.channel_name)
        await self.channel_layer.send(CHANNEL, {"type": "hand.open", "connection": connection})

    async def hand_opened(self, event: Message) -> None:
        """Accepts."""
        await self.accept()

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Publishes the payload to the worker."""
        message = {"type": "hand.frame", "reply": self.edge_group, "payload": content["payload"]}
        await self.channel_layer.group_send(self.worker_group, message)

    async def hand_reply(self, event: Message) -> None:
        """Sends the worker's answer to the client."""
        await self.send_json({"stream": "echo", "payload": event["payload"]})

    async def disconnect(self, code: int) -> None:
        """Takes leave."""
        await self.channel_layer.group_send(
            self.worker_group, {"type": "hand.close", "reply": self.edge_group}
        )
        await self.channel_layer.group_discard(self.edge_group, self.channel_name)


class WorkerConsumer(AsyncConsumer):
    """Answers the frames of all connections, each in a task of its own.

    One after the other they would wait for each other's round trips to Redis.
    """

    def __init__(self) -> None:
        self.queues: dict[str, asyncio.Queue[Any]] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    async def hand_open(self, message: Message) -> None:
        """Joins the connection's group and says so."""
        connection = message["connection"]
        edge_group = f"hand.{connection}.edge"
        queue = self.queues[edge_group] = asyncio.Queue()
        task = asyncio.create_task(self.answer(edge_group, queue))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        await self.channel_layer.group_add(f"hand.{connection}.echo", self.channel_name)
        await self.channel_layer.group_send(edge_group, {"type": "hand.opened"})

    async def hand_frame(self, message: Message) -> None:
        """Queues a frame for its connection's task."""
        self.queues[message["reply"]].put_nowait(message["payload"])

    async def hand_close(self, message: Message) -> None:
        """Ends the connection's task."""
        self.queues.pop(message["reply"]).put_nowait(None)

    async def answer(self, edge_group: str, queue: asyncio.Queue[Any]) -> None:
        """Echoes one connection's frames in their order.

        Args:
            edge_group: The group to answer to.
            queue: Its payloads; None ends it.
        """
        while (payload := await queue.get()) is not None:
            message = {"type": "hand.reply", "payload": payload}
            await self.channel_layer.group_send(edge_group, message)
