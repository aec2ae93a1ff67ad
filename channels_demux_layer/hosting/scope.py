"""A websocket scope as the edge saw it, packed for a worker and unpacked there (L6.1).

Plain values travel as `channels_demux_layer.protocol.portable` packs them. The user and the
session do not travel themselves: what tells them from others does, and the worker fetches both
anew. What cannot travel is left out alone, and named once per process in the log.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import msgspec
from channels.db import database_sync_to_async
from django.core.exceptions import SynchronousOnlyOperation

from channels_demux_layer.exceptions import NotPortable
from channels_demux_layer.logs import RepeatedLog, about, printable
from channels_demux_layer.protocol import portable
from channels_demux_layer.protocol.portable import Report
from channels_demux_layer.streams import Stream

from .fetching import Waiting
from .locale import DEFAULT, Locale, activate, active_locale
from .users import AnonymousTicket, UserTicket, anonymous, fetch_user, user_ticket

if TYPE_CHECKING:
    from django.contrib.sessions.backends.base import SessionBase

__all__ = ["enter_scope", "pack_scope", "stream_scope"]

logger = logging.getLogger(__name__)
repeated = RepeatedLog(logger)

# Objects of the server's own process (its lifespan state): nobody expects them elsewhere.
_LEFT_OUT_SILENTLY = frozenset({"state"})

#: How many values the warnings of one process name. A client may choose the keys of a dict.
MOST_NAMED = 100

_named: set[str] = set()
"""The paths of values that a warning of this process has named."""


class _Session(msgspec.Struct):
    """Where to load a session; None is the key of one that was never saved."""

    key: str | None


class _Parcel(msgspec.Struct, omit_defaults=True):
    """What travels. Fields may be added: neighbouring releases read each other's (L0.4)."""

    values: dict[str, msgspec.Raw]
    user: AnonymousTicket | UserTicket | None = None
    session: _Session | None = None
    locale: Locale = DEFAULT


_decoder = msgspec.msgpack.Decoder(_Parcel)


def stream_scope(
    scope: Mapping[str, Any], stream: Stream, *, connection: str, name: str, attempt: int
) -> dict[str, Any]:
    """Return the scope of a stream's consumer.

    Args:
        scope: The connection's scope; it is not changed.
        stream: The consumer's stream.
        connection: The connection's id.
        name: The stream's name.
        attempt: How often the stream has been opened on the connection, this time included.

    Returns:
        The same with what is the stream's own.
    """
    own: dict[str, Any] = {"demux": {"connection": connection, "stream": name, "attempt": attempt}}
    if stream.subprotocol is not None:
        own["subprotocols"] = [stream.subprotocol]
    return {**scope, **own}


async def pack_scope(scope: Mapping[str, Any]) -> bytes:
    """Pack a scope, and the active language and time zone, for their way to a worker.

    A lazy user or session is resolved first, in a thread. Values that cannot travel are left
    out; the first time in a process that a value is left out, a warning says so.

    Args:
        scope: The websocket scope; it is not changed.

    Returns:
        The scope for :func:`enter_scope`.
    """
    parcel, report = _Parcel({}), Report()
    for key, value in scope.items():
        if key not in _LEFT_OUT_SILENTLY:
            try:
                await _put(parcel, key, value, report)
            except NotPortable as error:
                report.left_out.append(error)
    parcel.locale = active_locale(report)
    _warn(report)
    return msgspec.msgpack.encode(parcel)


def enter_scope(data: bytes, facts: Mapping[str, str | None] | None = None) -> dict[str, Any]:
    """Unpack a scope in the worker, and activate its language and time zone in the running task.

    Args:
        data: What :func:`pack_scope` made.
        facts: Whom log records are about.

    Returns:
        The scope; :func:`channels_demux_layer.hosting.fetching.fetch` puts its user and its
        session in place. The user is then the user as it is in the database now, or
        ``AnonymousUser`` where there is no such user any more; the session is a loaded store of
        ``SESSION_ENGINE``.

    Raises:
        ValueError: The bytes are no packed scope.
    """
    facts = facts or about()
    try:
        parcel = _decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise ValueError(f"not a packed scope: {error}") from error
    scope = {key: portable.unpack(bytes(raw)) for key, raw in parcel.values.items()}
    if isinstance(parcel.user, AnonymousTicket):
        scope["user"] = anonymous(parcel.user)
    elif parcel.user is not None:
        scope["user"] = Waiting(partial(fetch_user, parcel.user, facts))
    if parcel.session is not None:
        scope["session"] = Waiting(partial(_load_session, parcel.session, facts))
    activate(parcel.locale, facts)
    return scope


async def _put(parcel: _Parcel, key: object, value: object, report: Report) -> None:
    """Put one value of the scope into the parcel."""
    if not isinstance(key, str):
        raise NotPortable(repr(key), "a scope has strings as keys")
    value = await _resolve(key, value)
    if key == "user":
        try:
            parcel.user = user_ticket(value, report)
        except SynchronousOnlyOperation:  # a field that tells who it is was deferred
            parcel.user = await database_sync_to_async(user_ticket)(value, report)
        if parcel.user is not None:
            return
    if key == "session":
        parcel.session = _session_ticket(value)
        if parcel.session is not None:
            return
    parcel.values[key] = msgspec.Raw(portable.pack(value, key, report))


async def _resolve(key: str, value: Any) -> Any:
    """Look inside lazy objects. Only the user and the session are worth the I/O of a new look."""
    from django.utils.functional import LazyObject, empty

    while issubclass(type(value), LazyObject):
        if value._wrapped is empty:
            if key not in ("user", "session"):
                raise NotPortable(key, "it is a lazy object that nothing has looked at")
            await database_sync_to_async(value._setup)()
        value = value._wrapped
    return value


def _session_ticket(session: object) -> _Session | None:
    """Say where the worker finds the session; None if it is an ordinary value."""
    from django.contrib.sessions.backends.base import SessionBase

    return _Session(session.session_key) if isinstance(session, SessionBase) else None


def _load_session(ticket: _Session, facts: Mapping[str, str | None]) -> SessionBase:
    from django.conf import settings

    session: SessionBase = import_module(settings.SESSION_ENGINE).SessionStore(ticket.key)
    session.keys()  # loads it
    if session.session_key != ticket.key:
        repeated.warning(
            "sessions",
            "A stream gets an empty session: the one that its connection had is not in the store. "
            "It has expired, a login or a logout in another stream has replaced it, or the store "
            "is another one than the server's.",
            extra=facts,
        )
    return session


def _warn(report: Report) -> None:
    """Warn of what does not travel as it is, of each path once."""
    left_out = _not_named((error.path, error.problem) for error in report.left_out)
    if left_out:
        logger.warning(
            "Workers get scopes without what cannot travel: %s. Put a plain value in its place in "
            "portable_scope() of the demultiplexer, or set it in its worker_middleware.",
            left_out,
            extra=about(),
        )
    changed = _not_named(report.changed)
    if changed:
        logger.warning(
            "Workers get values of scopes as plain types: %s. Return them so from portable_scope() "
            "of the demultiplexer if that is right, or make them anew in its worker_middleware.",
            changed,
            extra=about(),
        )


def _not_named(notes: Iterable[tuple[str, str]]) -> str:
    new = []
    for path, note in notes:
        if path not in _named and len(_named) < MOST_NAMED:
            _named.add(path)
            new.append(f"{printable(path)} ({note})")
    return "; ".join(new)
