"""A websocket scope as the edge saw it, packed for a worker and unpacked there (L6.1).

Plain values travel as `channels_demux_layer.hosting.portable` packs them. The user and the
session do not travel themselves: their keys do, and the worker fetches both anew. What cannot
travel is left out, and named once per process in the log.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import msgspec
from channels.db import database_sync_to_async

from channels_demux_layer.exceptions import NotPortable
from channels_demux_layer.logs import about

from . import portable

if TYPE_CHECKING:
    from django.contrib.sessions.backends.base import SessionBase

__all__ = ["pack_scope", "unpack_scope"]

logger = logging.getLogger(__name__)

# Objects of the server's own process (its lifespan state): nobody expects them elsewhere.
_LEFT_OUT_SILENTLY = frozenset({"state"})

_named: set[str] = set()
"""The keys of the scope that a warning of this process has named."""


class _Anonymous(msgspec.Struct, tag="anonymous"):
    """Stands for an ``AnonymousUser``."""


class _Model(msgspec.Struct, tag="model"):
    """Where to fetch a user: model, packed primary key, database alias."""

    label: str
    pk: bytes
    database: str | None


class _Session(msgspec.Struct):
    """Where to load a session; None is the key of one that was never saved."""

    key: str | None


class _Parcel(msgspec.Struct):
    """What travels. Fields may be added: neighbouring releases read each other's (L0.4)."""

    values: dict[str, msgspec.Raw]
    user: _Anonymous | _Model | None = None
    session: _Session | None = None


_decoder = msgspec.msgpack.Decoder(_Parcel)


async def pack_scope(scope: Mapping[str, Any]) -> bytes:
    """Pack a scope for its way to a worker.

    A lazy user or session is resolved first, in a thread. Values that cannot travel are left
    out; the first time in a process that a key of the scope loses its value, a warning says so.

    Args:
        scope: The websocket scope; it is not changed.

    Returns:
        The scope for :func:`unpack_scope`.
    """
    parcel = _Parcel({})
    lost: list[NotPortable] = []
    for key, value in scope.items():
        if key not in _LEFT_OUT_SILENTLY:
            try:
                await _put(parcel, key, value)
            except NotPortable as error:
                lost.append(error)
    _name_lost(lost)
    return msgspec.msgpack.encode(parcel)


async def unpack_scope(data: bytes) -> dict[str, Any]:
    """Unpack a scope in the worker, and fetch its user and its session.

    Args:
        data: What :func:`pack_scope` made.

    Returns:
        The scope. Its user is the user as it is in the database now, or ``AnonymousUser`` if
        it was deleted meanwhile; its session is a loaded store of ``SESSION_ENGINE``.

    Raises:
        ValueError: The bytes are no packed scope.
        LookupError: The user's model is not installed here.
    """
    try:
        parcel = _decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise ValueError(f"not a packed scope: {error}") from error
    scope = {key: portable.unpack(bytes(raw)) for key, raw in parcel.values.items()}
    if parcel.user is not None or parcel.session is not None:
        scope.update(await database_sync_to_async(_fetch)(parcel))
    return scope


async def _put(parcel: _Parcel, key: object, value: object) -> None:
    """Put one value of the scope into the parcel."""
    if not isinstance(key, str):
        raise NotPortable(repr(key), "a scope has strings as keys")
    value = await _resolve(key, value)
    if key == "user":
        parcel.user = _user_ticket(value)
        if parcel.user is not None:
            return
    if key == "session":
        parcel.session = _session_ticket(value)
        if parcel.session is not None:
            return
    parcel.values[key] = msgspec.Raw(portable.pack(value, key))


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


def _user_ticket(user: object) -> _Anonymous | _Model | None:
    """Say where the worker finds the user; None if it is an ordinary value."""
    from django.db.models import Model

    if _is_anonymous(user):
        return _Anonymous()
    if not isinstance(user, Model):
        return None
    if user.pk is None:
        raise NotPortable("user", "it is not saved, so a worker could not fetch it")
    return _Model(user._meta.label_lower, portable.pack(user.pk, "user.pk"), user._state.db)


def _session_ticket(session: object) -> _Session | None:
    """Say where the worker finds the session; None if it is an ordinary value."""
    from django.contrib.sessions.backends.base import SessionBase

    return _Session(session.session_key) if isinstance(session, SessionBase) else None


def _auth_installed() -> bool:
    from django.apps import apps

    return apps.is_installed("django.contrib.auth")


def _is_anonymous(user: object) -> bool:
    # The module can only be imported where the app is installed.
    if not _auth_installed():
        return False
    from django.contrib.auth.models import AnonymousUser

    return isinstance(user, AnonymousUser)


def _anonymous() -> object:
    """Return who a user is that is nobody; None in a project without django.contrib.auth."""
    if not _auth_installed():
        return None
    from django.contrib.auth.models import AnonymousUser

    return AnonymousUser()


def _fetch(parcel: _Parcel) -> dict[str, Any]:
    """Fetch what the parcel names from the database; runs in a thread."""
    fetched: dict[str, Any] = {}
    if parcel.user is not None:
        fetched["user"] = _fetch_user(parcel.user)
    if parcel.session is not None:
        fetched["session"] = _load_session(parcel.session)
    return fetched


def _fetch_user(ticket: _Anonymous | _Model) -> object:
    from django.apps import apps
    from django.db import connections

    if isinstance(ticket, _Anonymous):
        return _anonymous()
    model = apps.get_model(ticket.label)
    # The same key may be someone else's in another database: ask the one that it is from.
    database = ticket.database if ticket.database in list(connections) else None
    try:
        return model._default_manager.using(database).get(pk=portable.unpack(ticket.pk))
    except model.DoesNotExist:
        return _anonymous()


def _load_session(ticket: _Session) -> SessionBase:
    from django.conf import settings

    session: SessionBase = import_module(settings.SESSION_ENGINE).SessionStore(ticket.key)
    session.keys()  # loads it, so that async consumers may read it
    return session


def _name_lost(lost: list[NotPortable]) -> None:
    """Warn of what was left out, of each key of the scope once."""
    new = [error for error in lost if _key_of(error) not in _named]
    _named.update(map(_key_of, new))
    if new:
        logger.warning(
            "Workers get scopes without what cannot travel: %s. Override portable_scope() on the "
            "demultiplexer to leave it out yourself, or to put a plain value in its place.",
            "; ".join(f"{error.path} ({error.problem})" for error in new),
            extra=about(),
        )


def _key_of(error: NotPortable) -> str:
    return error.path.partition(".")[0]
