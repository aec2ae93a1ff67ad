"""Who a scope's user is: written down at the edge, fetched and checked in the worker (L6.4).

A user does not travel itself. The edge writes down where its row is, and digests of its username
and of its session auth hash. The worker fetches the row and compares: a primary key alone may be
somebody else's in another schema or database. Where something differs, nobody is logged in.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec
from django.core.exceptions import FieldError
from django.utils.functional import cached_property as django_cached_property

from channels_demux_layer.exceptions import NotPortable
from channels_demux_layer.logs import RepeatedLog
from channels_demux_layer.protocol import portable
from channels_demux_layer.protocol.portable import Report

if TYPE_CHECKING:
    from django.db.models import Model

__all__ = ["AnonymousTicket", "UserTicket", "anonymous", "fetch_user", "user_ticket"]

logger = logging.getLogger(__name__)
repeated = RepeatedLog(logger)

#: Bytes of a digest: enough that no other user has the same one by chance.
DIGEST_SIZE = 16
_CACHED = (cached_property, django_cached_property)


class AnonymousTicket(msgspec.Struct, tag="anonymous", omit_defaults=True):
    """Stands for an ``AnonymousUser``; attributes are those that middleware has set on it."""

    attributes: dict[str, msgspec.Raw] = {}


class UserTicket(msgspec.Struct, tag="model", omit_defaults=True):
    """Where a user's row is, and what it must have in common with the user at the edge (L6.1).

    Attributes:
        label: The label of the user's model.
        pk: The primary key, packed.
        database: The alias of its database; None for the default one.
        username: A digest of the value of the model's ``USERNAME_FIELD``; None without one.
        auth_hashes: Digests of its session auth hash, and of those by older secret keys.
        is_active: Its ``is_active``; None where it has none.
        related: The related objects that the edge had fetched, as ``select_related()`` takes them.
        attributes: What middleware has set on the user, packed.
    """

    label: str
    pk: bytes
    database: str | None
    username: bytes | None = None
    auth_hashes: list[bytes] = []
    is_active: bool | None = None
    related: list[str] = []
    attributes: dict[str, msgspec.Raw] = {}


# ---- at the edge ------------------------------------------------------------------------


def user_ticket(user: object, report: Report) -> AnonymousTicket | UserTicket | None:
    """Write down who a user is.

    Args:
        user: The scope's user.
        report: Where to note what of it does not travel.

    Returns:
        What the worker needs to find the user; None if the user is an ordinary value.

    Raises:
        NotPortable: The user is an instance of a model without a row in a database.
        SynchronousOnlyOperation: To tell, the database has to be asked.
    """
    from django.db.models import Model

    if _is_anonymous(user):
        return _anonymous_ticket(user, report)
    if not isinstance(user, Model):
        return None
    if user.pk is None or user._state.adding:
        raise NotPortable("user", "it was not loaded from a database, so no worker can fetch it")
    label = user._meta.label_lower
    pk = portable.pack(user.pk, "user.pk")
    ticket = UserTicket(label, pk, user._state.db, *_identity(user, label, pk))
    ticket.related = list(_related(user, "user", "", {id(user)}, report))
    fields = {field.attname for field in user._meta.concrete_fields}
    ticket.attributes = _attributes(user, fields, report)
    return ticket


def _anonymous_ticket(user: object, report: Report) -> AnonymousTicket:
    if type(user) is not type(anonymous()):
        name = f"{type(user).__module__}.{type(user).__qualname__}"
        report.changed.append(("user", f"{name} as AnonymousUser"))
    return AnonymousTicket(_attributes(user, set(), report))


def _identity(user: Model, label: str, pk: bytes) -> tuple[bytes | None, list[bytes], bool | None]:
    """Return the digests of a user's name and of its session auth hashes, and its is_active."""
    field = getattr(user, "USERNAME_FIELD", None)
    username = None if field is None else user.serializable_value(field)
    hashes = []
    if hasattr(user, "get_session_auth_hash"):
        hashes.append(user.get_session_auth_hash())
        # The keys of server and workers may be rotated one after the other.
        if hasattr(user, "get_session_auth_fallback_hash"):
            hashes += user.get_session_auth_fallback_hash()
    is_active = getattr(user, "is_active", None)
    return (
        None if field is None else _digest(label, pk, username),
        [_digest(label, pk, value) for value in hashes],
        is_active if isinstance(is_active, bool) else None,
    )


def _digest(label: str, pk: bytes, value: object) -> bytes:
    # Not the value itself: names are personal, and an auth hash belongs to the session.
    content = portable.pack([label, pk, str(value)])
    return blake2b(content, digest_size=DIGEST_SIZE).digest()


def _related(
    instance: Model, path: str, prefix: str, seen: set[int], report: Report
) -> Iterator[str]:
    """Yield the related objects that an instance has in memory, as select_related() names them."""
    for name in getattr(instance, "_prefetched_objects_cache", ()):
        report.left_out.append(NotPortable(f"{path}.{name}", "prefetched rows do not travel"))
    for field in instance._meta.get_fields():
        relation: Any = field
        if not ((field.one_to_one or field.many_to_one) and relation.is_cached(instance)):
            continue
        related, inner = relation.get_cached_value(instance), f"{path}.{field.name}"
        if field.related_model is None:
            report.left_out.append(NotPortable(inner, "generic relations do not travel"))
        elif related is None:
            yield prefix + field.name
        elif related._state.db != instance._state.db:
            report.left_out.append(NotPortable(inner, "it comes from another database"))
        elif id(related) not in seen:
            seen.add(id(related))
            yield prefix + field.name
            yield from _related(related, inner, f"{prefix}{field.name}__", seen, report)


def _attributes(user: object, fields: set[str], report: Report) -> dict[str, msgspec.Raw]:
    """Pack what middleware has set on a user, annotations included."""
    packed = {}
    for name, value in vars(user).items():
        is_cached = isinstance(getattr(type(user), name, None), _CACHED)  # made anew when asked for
        if name.startswith("_") or name in fields or is_cached:
            continue
        try:
            packed[name] = msgspec.Raw(portable.pack(value, f"user.{name}", report))
        except NotPortable as error:
            report.left_out.append(error)
    return packed


# ---- in the worker ----------------------------------------------------------------------


def fetch_user(ticket: UserTicket, facts: Mapping[str, str | None]) -> object:
    """Fetch a user from the database, and check that it is the one that the edge has seen.

    Args:
        ticket: What :func:`user_ticket` wrote.
        facts: Whom log records are about.

    Returns:
        The user, or nobody: see :func:`anonymous`.

    Raises:
        LookupError: The user's model is not installed here.
    """
    from django.db import connections

    has_database = ticket.database is None or ticket.database in list(connections)
    user, problem = None, "this process has no such database, and the edge sent no digests"
    if has_database or ticket.username or ticket.auth_hashes:
        user = _find(ticket, ticket.database if has_database else None, facts)
        problem = "there is no such row" if user is None else _difference(user, ticket)
    if problem:
        repeated.warning(
            "users",
            "Nobody is logged in on a stream: user %s of %s in database %r is not the one that the "
            "server has seen: %s. Where users are found by more than their key (a tenant, a "
            "router), have worker_middleware set that before the user is fetched.",
            portable.unpack(ticket.pk),
            ticket.label,
            ticket.database or "default",
            problem,
            extra=facts,
        )
        return anonymous()
    assert user is not None
    own = {field.attname for field in user._meta.concrete_fields}
    return _restored(user, ticket.attributes, own)


def anonymous(ticket: AnonymousTicket | None = None) -> object:
    """Return a user who is nobody; None in a project without django.contrib.auth.

    Args:
        ticket: What to set on it.
    """
    if not _auth_installed():
        return None
    from django.contrib.auth.models import AnonymousUser

    return _restored(AnonymousUser(), ticket.attributes if ticket else {}, set())


def _find(
    ticket: UserTicket, database: str | None, facts: Mapping[str, str | None]
) -> Model | None:
    from django.apps import apps

    model: Any = apps.get_model(ticket.label)
    key = portable.unpack(ticket.pk)
    users = model._default_manager.using(database)
    if ticket.related:
        users = users.select_related(*ticket.related)
    try:
        user: Model = users.get(pk=key)
    except model.DoesNotExist:
        return None
    except FieldError as error:
        text = "The user of a stream comes without its related objects %s: %s"
        repeated.warning("relations", text, ", ".join(ticket.related), error, extra=facts)
        return _find(msgspec.structs.replace(ticket, related=[]), database, facts)
    return user


def _difference(user: Model, ticket: UserTicket) -> str:
    """Say in what a user differs from the one at the edge; an empty string if in nothing."""
    username, hashes, is_active = _identity(user, ticket.label, ticket.pk)
    if ticket.username is not None and username != ticket.username:
        return "it has another username"
    # One of the two must be the present hash: older keys alone prove nothing.
    known = ticket.auth_hashes
    if known and not (hashes and (hashes[0] in known or known[0] in hashes)):
        return "its session auth hash is another one, as after a change of the password"
    if ticket.is_active and is_active is False:
        return "it was deactivated"
    return ""


def _restored(user: Any, attributes: Mapping[str, msgspec.Raw], fields: set[str]) -> Any:
    for name, raw in attributes.items():
        if not name.startswith("_") and name not in fields:
            vars(user)[name] = portable.unpack(bytes(raw))
    return user


# ---- both -------------------------------------------------------------------------------


def _auth_installed() -> bool:
    from django.apps import apps

    return apps.is_installed("django.contrib.auth")


def _is_anonymous(user: object) -> bool:
    # The module can only be imported where the app is installed.
    if not _auth_installed():
        return False
    from django.contrib.auth.models import AnonymousUser

    return isinstance(user, AnonymousUser)
