"""Calls of channels_rabbitmq's layer, made so that none is cut off, lost or held for ever.

Whoever waits for a call here may be cancelled at any time: a consumer whose client has gone, a node
that stops. That layer (4.0.1) then ends its connection when RabbitMQ answers the call, and stays
without one. It waits for ever for an answer that a lost connection still owes it, and for the next
connection; and of what it could not send it says nothing.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["RabbitmqCalls", "made_whole"]

RABBITMQ = "channels_rabbitmq.core"
#: How long a call waits for the first connection, in seconds.
CONNECT_LIMIT = 5.0
#: Where the layer has its tasks: the one that connects, and one that begins with it. It starts both
#: when it is asked for its connection and they are not there.
TASKS = ("_reconnect_forever_task", "_expire_task")


class RabbitmqCalls:
    """Passes everything on to channels_rabbitmq's layer; a call fails when its connection does.

    Args:
        layer: The layer.
    """

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        # The event loop itself keeps no task from being collected.
        self._under_way: set[asyncio.Task[None]] = set()
        self._has_connected = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Send a message to a channel.

        Raises:
            ConnectionError: RabbitMQ cannot be reached.
            Exception: Whatever the layer raises.
        """
        await self._make(lambda: self._layer.send(channel, message))

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send a message to a group.

        Raises:
            ConnectionError: RabbitMQ cannot be reached.
            Exception: Whatever the layer raises.
        """
        await self._make(lambda: self._layer.group_send(group, message))

    async def group_add(self, group: str, channel: str) -> None:
        """Add a channel to a group.

        Raises:
            ConnectionError: RabbitMQ cannot be reached.
            Exception: Whatever the layer raises.
        """
        await self._make(lambda: self._layer.group_add(group, channel))

    async def group_discard(self, group: str, channel: str) -> None:
        """Remove a channel from a group.

        Raises:
            ConnectionError: RabbitMQ cannot be reached.
            Exception: Whatever the layer raises.
        """
        await self._make(lambda: self._layer.group_discard(group, channel))

    async def close_pools(self) -> None:
        """Close the layer for good, if RabbitMQ can be reached; channels_redis' name for it."""
        connecting = self._layer.carehare_connection
        # Its close() waits for ever where no connection is there yet.
        await asyncio.wait([connecting], timeout=CONNECT_LIMIT)
        if connecting.done():
            await self._layer.close()

    async def _make(self, call: Callable[[], Coroutine[Any, Any, None]]) -> None:
        lost = await self._connected()
        making = asyncio.ensure_future(call())
        self._under_way.add(making)

        def give_up(lost: object) -> None:
            making.cancel()

        def over(making: asyncio.Task[None]) -> None:
            self._under_way.discard(making)
            lost.remove_done_callback(give_up)
            if not making.cancelled():
                making.exception()  # Who waited may have gone: it is nobody's then.

        lost.add_done_callback(give_up)
        making.add_done_callback(over)
        await asyncio.wait([making])
        if lost.done():
            raise ConnectionError("The connection to RabbitMQ was lost.")
        making.result()

    async def _connected(self) -> asyncio.Future[None]:
        """Return what is done when the connection is lost; wait for the first one."""
        self._revive()
        connecting: asyncio.Future[Any] = self._layer.carehare_connection
        if not connecting.done() and not self._has_connected:
            # Not awaited itself: it is everybody's, and would be cancelled with who waits.
            await asyncio.wait([connecting], timeout=CONNECT_LIMIT)
        if not connecting.done():
            raise ConnectionError("There is no connection to RabbitMQ.")
        self._has_connected = True
        lost: asyncio.Future[None] = connecting.result().closed
        return lost

    def _revive(self) -> None:
        """Have the layer connect again where it has given that up.

        It does so for good when a connection is lost while it is being set up.
        """
        parts = vars(self._layer)
        task = parts.get(TASKS[0])
        if task is not None and task.done():
            for name in TASKS:
                if name in parts:
                    parts.pop(name).cancel()
            if parts["_carehare_connection"].done():
                parts["_carehare_connection"] = asyncio.get_running_loop().create_future()


def made_whole(layer: Any) -> Any:
    """Return what to call a project's channel layer by.

    Args:
        layer: The layer.

    Returns:
        `RabbitmqCalls` for channels_rabbitmq's layer; any other itself.
    """
    rabbitmq = getattr(sys.modules.get(RABBITMQ), "RabbitmqChannelLayer", None)
    return layer if rabbitmq is None or not isinstance(layer, rabbitmq) else RabbitmqCalls(layer)
