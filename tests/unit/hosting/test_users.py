"""Users on their way: who they are, what they bring along, and who is let in for whom."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from channels.db import database_sync_to_async
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.contenttypes.models import ContentType
from django.db.models.functions import Length
from django.utils.functional import SimpleLazyObject

from channels_demux_layer.hosting import scope as scope_module
from channels_demux_layer.hosting.fetching import fetch
from channels_demux_layer.hosting.scope import enter_scope, pack_scope
from tests.people.models import Boss, Company, Device, Employee, Person, Profile

pytestmark = pytest.mark.usefixtures("database")
Change = Callable[[Person], Awaitable[None]]


@pytest.fixture(autouse=True)
def _nothing_named_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test be the first of its process to leave something out."""
    monkeypatch.setattr(scope_module, "_named", set())


async def arrive(packed: bytes) -> Any:
    """Return the user as the worker's consumer gets it."""
    return (await fetch(enter_scope(packed)))["user"]


async def travel(user: object) -> Any:
    """Take a user to a worker."""
    return await arrive(await pack_scope({"user": user}))


async def ada(**fields: Any) -> Person:
    """Make a user with a password."""
    person = Person(email="ada@example.org", **fields)
    person.set_password("secret")
    await person.asave()
    return await Person.objects.aget(pk=person.pk)


# ---- who it is --------------------------------------------------------------------------


async def rename(person: Person) -> None:
    """As where the same key is another one's."""
    await Person.objects.filter(pk=person.pk).aupdate(email="root@example.org")


async def change_password(person: Person) -> None:
    """As Django's form does it."""
    person.set_password("other")
    await person.asave()


async def deactivate(person: Person) -> None:
    """As an administrator does it."""
    await Person.objects.filter(pk=person.pk).aupdate(is_active=False)


async def hide(person: Person) -> None:
    """Have the model's manager leave it out."""
    await Person.objects.filter(pk=person.pk).aupdate(hidden=True)


async def delete(person: Person) -> None:
    """Delete the row."""
    await Person.objects.filter(pk=person.pk).adelete()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (rename, "it has another username"),
        (change_password, "its session auth hash is another one"),
        (deactivate, "it was deactivated"),
        (hide, "there is no such row"),
        (delete, "there is no such row"),
    ],
)
async def test_nobody_is_logged_in_for_another_user(
    change: Change, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Where it is not the user of the edge, or may log in no more; the log says why."""
    person = await ada()
    packed = await pack_scope({"user": person})
    await change(person)
    assert type(await arrive(packed)) is AnonymousUser
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    message = record.getMessage()
    assert f"user {person.pk} of people.person in database 'default'" in message
    assert why in message
    assert "worker_middleware" in message


async def test_the_name_and_the_hash_do_not_travel() -> None:
    """Their digests do, which say nothing to who reads the channel layer."""
    person = await ada()
    packed = await pack_scope({"user": person})
    assert b"example.org" not in packed
    assert person.get_session_auth_hash().encode() not in packed
    other = await pack_scope({"user": Device(pk=person.pk)})
    assert b"username" in packed
    assert b"username" not in other


@pytest.mark.parametrize(
    ("edge", "worker", "is_known"),
    [
        (("a", ["b"]), ("a", ["b"]), True),
        (("new", ["old"]), ("old", []), True),
        (("old", []), ("new", ["old"]), True),
        (("new", []), ("old", []), False),
        (("one", ["old"]), ("other", ["old"]), False),
    ],
)
async def test_secret_keys_may_be_rotated(
    settings: Any, edge: tuple[str, list[str]], worker: tuple[str, list[str]], is_known: bool
) -> None:
    """Server and workers may have them one after the other; older keys alone prove nothing."""
    user = await database_sync_to_async(User.objects.create_user)("ada", password="secret")
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = edge
    packed = await pack_scope({"user": user})
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = worker
    assert (await arrive(packed)).is_authenticated is is_known


async def test_an_inactive_user_whom_the_edge_has_let_in() -> None:
    """Whether such a user may log in is for the project's backend, and it was asked."""
    person = await ada(is_active=False)
    assert await travel(person) == person


async def test_an_is_active_of_another_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is no flag nobody compares it."""
    monkeypatch.setattr(Device, "is_active", lambda self: True, raising=False)
    device = await Device.objects.acreate(serial="1")
    assert await travel(device) == device


async def test_a_hash_of_the_models_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of any kind can say what tells its rows from those of others."""
    device = await Device.objects.acreate(serial="1")
    monkeypatch.setattr(Device, "get_session_auth_hash", lambda self: self.serial, raising=False)
    packed = await pack_scope({"user": device})
    assert await arrive(packed) == device
    monkeypatch.setattr(Device, "get_session_auth_hash", lambda self: "other")
    assert await arrive(packed) == AnonymousUser()
    monkeypatch.delattr(Device, "get_session_auth_hash")
    assert await arrive(packed) == AnonymousUser()


async def test_a_database_that_is_unknown_here(caplog: pytest.LogCaptureFixture) -> None:
    """Without digests nobody could tell whose the key is there; with them the user may be found."""
    device, person = await Device.objects.acreate(serial="1"), await ada()
    assert await travel(device) == device
    device._state.db = person._state.db = "elsewhere"
    assert await travel(person) == person
    assert await travel(device) == AnonymousUser()
    (message,) = caplog.messages
    assert "in database 'elsewhere'" in message
    assert "has no such database" in message


async def test_an_open_of_an_earlier_release_is_taken_at_its_word() -> None:
    """It has no digests to compare."""
    person = await ada()
    packed = msgspec.msgpack.decode(await pack_scope({"user": person}))
    for key in ("username", "auth_hashes", "is_active"):
        del packed["user"][key]
    await rename(person)
    assert (await arrive(msgspec.msgpack.encode(packed))).email == "root@example.org"


@pytest.mark.parametrize("field", ["email", "password", "is_active"])
async def test_deferred_fields(field: str) -> None:
    """What tells who it is is fetched in a thread, where middleware has not done so."""
    person = await ada()
    deferred = await Person.objects.defer(field).aget(pk=person.pk)
    assert await travel(deferred) == person
    assert field in vars(deferred)


@pytest.mark.parametrize("model", [Employee, Boss])
async def test_models_that_inherit(model: type[Person]) -> None:
    """A user of a proxy, or of a model with a table for the rest, arrives as one."""
    await model.objects.acreate(email="ada")
    user = await model.objects.aget()
    arrived = await travel(user)
    assert type(arrived) is model
    assert arrived == user


# ---- who has no row ---------------------------------------------------------------------


class TokenUser:
    """What some token middleware puts into the scope."""

    is_authenticated = True


@pytest.mark.parametrize("user", [TokenUser(), User(username="x"), User(pk=7), Device(pk=7)])
async def test_users_without_a_row_are_left_out(
    user: object, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever has that key in the database is another one; the log says what to do."""
    await database_sync_to_async(User.objects.create_user)("root", pk=7)
    await Device.objects.acreate(pk=7)
    arrived = await fetch(enter_scope(await pack_scope({"user": user, "path": "/"})))
    assert arrived == {"path": "/"}
    (message,) = caplog.messages
    assert "user (" in message
    assert "worker_middleware" in message


class Guest(AnonymousUser):
    """Nobody in particular, with a name."""


async def test_nobody_brings_its_attributes_along(caplog: pytest.LogCaptureFixture) -> None:
    """What middleware has set on an AnonymousUser is there; a class of its own is named."""
    user = AnonymousUser()
    user.cart = [1]  # type: ignore[attr-defined]
    arrived = await travel(SimpleLazyObject(lambda: user))
    assert (type(arrived), arrived.cart) == (AnonymousUser, [1])
    assert caplog.messages == []
    guest = Guest()
    guest.cart = [2]  # type: ignore[attr-defined]
    arrived = await travel(guest)
    assert (type(arrived), arrived.cart) == (AnonymousUser, [2])
    (message,) = caplog.messages
    assert "Guest as AnonymousUser)" in message


# ---- what it brings along ---------------------------------------------------------------


async def test_what_middleware_has_set_on_a_user(caplog: pytest.LogCaptureFixture) -> None:
    """Attributes and annotations arrive; what cannot travel is left out alone and named."""
    await ada()
    person: Any = await Person.objects.annotate(length=Length("email")).aget()
    person.flags, person.limits = ("beta",), {"a": 1, "b": object()}
    person.tenant, person._note = object(), object()
    person.last_login = None
    person.email = "unsaved"
    assert person.initial == "u"
    person.email = "ada@example.org"
    arrived = await travel(person)
    assert (arrived.length, arrived.flags, arrived.limits) == (15, ("beta",), {"a": 1})
    assert not {"tenant", "_note", "initial"} & vars(arrived).keys()
    assert arrived.initial == "a"
    (message,) = caplog.messages
    assert "user.limits.b (" in message
    assert "user.tenant (" in message
    assert "_note" not in message


async def test_an_attribute_never_stands_for_a_field() -> None:
    """Fields come from the database, whatever another release sets on its users."""
    packed = msgspec.msgpack.decode(await pack_scope({"user": await ada()}))
    packed["user"]["attributes"] = {"email": "x", "_state": 1, "mark": 2}
    arrived = await arrive(msgspec.msgpack.encode(packed))
    assert (arrived.email, arrived.mark) == ("ada@example.org", 2)
    assert arrived._state.db == "default"


async def test_related_objects_are_fetched_along() -> None:
    """An async consumer reads what the middleware has fetched with select_related()."""
    company = await Company.objects.acreate(name="acme")
    manager = await ada()
    await manager.asave()
    person = await Person.objects.acreate(email="bob", company=company, manager=manager)
    await Profile.objects.acreate(person=manager, nick="countess")
    user = await Person.objects.select_related("company", "manager__profile", "profile").aget(
        pk=person.pk
    )
    arrived = await travel(user)
    assert arrived.company.name == "acme"
    assert arrived.manager.profile.nick == "countess"
    assert not hasattr(arrived, "profile")  # known to be none, without a question
    plain = await travel(await Person.objects.aget(pk=person.pk))
    assert "company" not in plain._state.fields_cache


async def test_relations_that_do_not_travel_are_named(caplog: pytest.LogCaptureFixture) -> None:
    """Prefetched rows, generic relations, and objects of another database."""
    kind = await ContentType.objects.aget(app_label="people", model="company")
    company = await Company.objects.acreate(name="acme")
    person = await ada(company=company, kind=kind, number=company.pk)
    user = await Person.objects.prefetch_related("person_set", "thing", "company").aget(
        pk=person.pk
    )
    assert user.company is not None
    user.company._state.db = "elsewhere"
    arrived = await travel(user)
    assert "company" not in arrived._state.fields_cache
    (message,) = caplog.messages
    assert "user.person_set (prefetched rows do not travel)" in message
    assert "user.thing (generic relations do not travel)" in message
    assert "user.company (it comes from another database)" in message


async def test_a_relation_that_is_unknown_here(caplog: pytest.LogCaptureFixture) -> None:
    """A server of another release may have it; the user comes without it."""
    person = await ada()
    packed = msgspec.msgpack.decode(await pack_scope({"user": person}))
    packed["user"]["related"] = ["spouse"]
    assert await arrive(msgspec.msgpack.encode(packed)) == person
    (message,) = caplog.messages
    assert "without its related objects spouse: " in message
