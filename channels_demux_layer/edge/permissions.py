"""Who may open a stream: asked at the edge, before each open that a client asks for (C5.11)."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable
from typing import Any, Protocol

from channels.db import database_sync_to_async

from channels_demux_layer.codes import CloseCode
from channels_demux_layer.conf import get_settings
from channels_demux_layer.faults import RepeatedLog
from channels_demux_layer.logs import about
from channels_demux_layer.streams import Permission

__all__ = ["Admitted", "Door", "GuardedSession", "is_permitted"]

logger = logging.getLogger(__name__)
repeated = RepeatedLog(logger)


async def is_permitted(permission: Permission, scope: dict[str, Any]) -> bool:
    """Tell whether a client may open a stream.

    Args:
        permission: The stream's permission.
        scope: The scope that its consumer would have.

    Returns:
        Whether it may: not where the permission raises, or takes longer than OPEN_TIMEOUT.
    """
    demux = scope["demux"]
    facts = about(connection=demux["connection"], stream=demux["stream"])
    try:
        answer = await asyncio.wait_for(_ask(permission, scope), get_settings().OPEN_TIMEOUT)
    except Exception as error:
        # Fail closed: nobody knows what it would have said.
        message = "The permission of stream %r failed, which refuses it: %r."
        repeated.warning(demux["stream"], message, demux["stream"], error, extra=facts, exc=error)
        return False
    if not answer:
        logger.info("A client may not open stream %r.", demux["stream"], extra=facts)
    return answer


async def _ask(permission: Permission, scope: dict[str, Any]) -> bool:
    if isinstance(permission, str):
        user = scope.get("user")
        if user is None:
            raise LookupError("the scope has no user: put AuthMiddlewareStack around the routes")
        # It may ask the database.
        return bool(await database_sync_to_async(user.has_perm)(permission))
    answer = permission(scope)
    # Only True and what counts as true: a coroutine that nobody awaits would count as well.
    return bool(await answer if inspect.isawaitable(answer) else answer)


class Admitted(Protocol):
    """The session that follows on a permission."""

    def deliver(self, data: str | bytes) -> Awaitable[None] | None:
        """Hand the consumer a payload."""


class Door(Protocol):
    """What a guarded session asks of its connection."""

    def session_permitted(self, name: str) -> Admitted:
        """Begin the session itself."""

    def session_refused(self, name: str, payloads: int) -> None:
        """Tell the client that it may not; so many payloads of it have waited."""

    def session_closed(self, name: str, code: int, reason: str) -> None:
        """The stream is over."""


class GuardedSession:
    """Stands for a session while the permission of its stream is asked.

    Args:
        name: The stream's name.
        permission: The stream's permission.
        scope: The scope that its consumer would have.
        door: The connection.

    Attributes:
        ended: Set when the stream was refused, or has ended before an answer.
    """

    def __init__(
        self, name: str, permission: Permission, scope: dict[str, Any], door: Door
    ) -> None:
        self.ended = asyncio.Event()
        self._name = name
        self._door = door
        self._answered = asyncio.Event()
        self._session: Admitted | None = None
        self._waiting = 0
        self._asking = asyncio.ensure_future(self._ask(permission, scope))

    async def _ask(self, permission: Permission, scope: dict[str, Any]) -> None:
        answer = await is_permitted(permission, scope)
        self._answered.set()
        if answer:
            self._session = self._door.session_permitted(self._name)
        else:
            self.ended.set()
            self._door.session_refused(self._name, self._waiting)

    def deliver(self, data: str | bytes) -> Awaitable[None]:
        """Keep a payload until there is an answer.

        Returns:
            What to await before the next one.
        """
        self._waiting += 1
        return self._deliver_later(data)

    async def _deliver_later(self, data: str | bytes) -> None:
        await self._answered.wait()
        if self._session is not None:
            room = self._session.deliver(data)
            if room is not None:
                await room

    def end(self, code: int, reason: str) -> None:
        """End, without waiting for an answer."""
        if not self._answered.is_set():
            self._asking.cancel()
            self._answered.set()
            self.ended.set()
            self._door.session_closed(self._name, code, reason)

    def abandon(self) -> None:
        """End, without waiting for anything more."""
        self.end(CloseCode.GOING_AWAY, "")
