"""Who may open a stream: asked at the edge, before each open that a client asks for (C5.11)."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
from collections.abc import Awaitable
from typing import Any, Protocol

from channels.db import database_sync_to_async

from channels_demux_layer.codes import CloseCode
from channels_demux_layer.conf import get_settings
from channels_demux_layer.hosting.exits import is_of_signal
from channels_demux_layer.logs import RepeatedLog, about
from channels_demux_layer.protocol.session import SendWindow
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
        True where the permission returns True. False where it returns anything else, raises
        anything, or takes longer than OPEN_TIMEOUT.

    Raises:
        asyncio.CancelledError: The caller was cancelled. A permission that raises it itself
            refuses.
    """
    patience = get_settings().OPEN_TIMEOUT
    asking = asyncio.ensure_future(_ask(permission, scope))
    try:
        # Not wait_for(), which waits for a permission that ignores its cancellation.
        await asyncio.wait([asking], timeout=patience)
    finally:
        asking.cancel()
    answer: object = TimeoutError(f"no answer within {patience:g} s")
    if asking.done() and not asking.cancelled():
        answer = asking.result()
    return _judge(answer, scope["demux"])


def _judge(answer: object, demux: dict[str, Any]) -> bool:
    """Read a permission's answer, or its failure; log a refusal."""
    facts = about(connection=demux["connection"], stream=demux["stream"])
    if isinstance(answer, BaseException):
        # Fail closed: nobody knows what it would have said.
        message = "The permission of stream %r failed, which refuses it: %r."
        repeated.warning(demux["stream"], message, demux["stream"], answer, extra=facts, exc=answer)
    elif not isinstance(answer, bool):
        # A coroutine that nobody awaited counts as true, as do most objects that come by mistake.
        message = "The permission of stream %r returned %s, which refuses it: return True or False."
        kind = type(answer).__name__
        repeated.warning(demux["stream"], message, demux["stream"], kind, extra=facts)
    elif not answer:
        logger.info("A client may not open stream %r.", demux["stream"], extra=facts)
    return answer is True


async def _ask(permission: Permission, scope: dict[str, Any]) -> object:
    """Return the permission's answer, or the exception that it raised.

    Every exception is returned. The event loop would end the process for SystemExit, and nobody
    could tell a CancelledError of the permission's own from one of ours. What the handler of a
    signal raises is passed on: it is to end the process.
    """
    try:
        return await _call(permission, scope)
    except BaseException as error:
        if is_of_signal(error):
            raise
        return error


async def _call(permission: Permission, scope: dict[str, Any]) -> object:
    if isinstance(permission, str):
        user = scope.get("user")
        if user is None:
            raise LookupError("the scope has no user: put AuthMiddlewareStack around the routes")
        # It may ask the database.
        return await database_sync_to_async(user.has_perm)(permission)
    answer = permission(scope)
    return await answer if inspect.isawaitable(answer) else answer


class Admitted(Protocol):
    """The session that follows on a permission."""

    ended: asyncio.Future[None]

    def pass_on(self, data: str | bytes) -> None:
        """Hand the consumer a payload that is in the session's window already."""

    def deliver(self, data: str | bytes) -> Awaitable[None] | None:
        """Hand the consumer a payload."""

    def end(self, code: int, reason: str) -> None:
        """Tell the consumer that its stream is over."""


class Door(Protocol):
    """What a guarded session asks of its connection."""

    def new_window(self, name: str) -> SendWindow:
        """Return an empty window for what the consumer of a stream is sent."""

    def session_permitted(self, name: str) -> Admitted:
        """Begin the session itself, with the window of the guarded one."""

    def session_refused(self, name: str, payloads: int) -> None:
        """Tell the client that it may not; so many payloads of it have waited."""

    def session_closed(self, name: str, code: int, reason: str) -> None:
        """The stream is over."""


class GuardedSession:
    """Stands for a session while the permission of its stream is asked.

    Payloads wait in the window that the session itself will have. So the edge reads on, and the
    client's other streams are not held up, until the window is full.

    Args:
        name: The stream's name.
        permission: The stream's permission.
        scope: The scope that its consumer would have.
        door: The connection.

    Attributes:
        window: What waits for the answer.
        ended: Done when the stream was refused, or has ended without another session.
    """

    def __init__(
        self, name: str, permission: Permission, scope: dict[str, Any], door: Door
    ) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.window = door.new_window(name)
        self._name = name
        self._door = door
        self._answered = asyncio.Event()
        self._session: Admitted | None = None
        self._code: tuple[int, str] | None = None
        self._payloads = 0
        # The context of each payload in the window: a tracer finds its trace there.
        self._contexts: list[contextvars.Context] = []
        self._asking = asyncio.ensure_future(self._ask(permission, scope))

    async def _ask(self, permission: Permission, scope: dict[str, Any]) -> None:
        answer = await is_permitted(permission, scope)
        self._answered.set()
        if answer:
            self._session = session = self._door.session_permitted(self._name)
            for context, data in zip(self._contexts, list(self.window.untaken), strict=True):
                context.run(session.pass_on, data)
            if self._code is not None:
                session.end(*self._code)
                await asyncio.wait([session.ended])
            self.ended.set_result(None)
        else:
            self.ended.set_result(None)
            self._door.session_refused(self._name, self._payloads)

    def deliver(self, data: str | bytes) -> Awaitable[None] | None:
        """Keep a payload until there is an answer.

        Returns:
            What to await before the next one, where there is no room for this one yet.
        """
        self._payloads += 1
        if not self.window.has_room:
            return self._deliver_later(data)
        self.window.push(data)
        self._contexts.append(contextvars.copy_context())
        return None

    async def _deliver_later(self, data: str | bytes) -> None:
        await self._answered.wait()
        if self._session is not None:
            room = self._session.deliver(data)
            if room is not None:
                await room

    def end(self, code: int, reason: str) -> None:
        """End: at once where no payload waits, else after the consumer has got them (C5.4)."""
        self._code = self._code or (code, reason)
        if not self._payloads:
            self._finish(*self._code)

    def abandon(self) -> None:
        """End, without waiting for anything more."""
        self._finish(*(self._code or (CloseCode.GOING_AWAY, "")))

    def _finish(self, code: int, reason: str) -> None:
        if not self._answered.is_set():
            self._asking.cancel()
            self._answered.set()
            self.ended.set_result(None)
            self._door.session_closed(self._name, code, reason)
