"""Scopes on their way from the edge to a worker."""

import asyncio
import datetime as dt
import enum
import logging
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec
import pytest
from channels.auth import AuthMiddlewareStack, UserLazyObject
from channels.db import database_sync_to_async
from channels.routing import URLRouter
from channels.sessions import SessionMiddlewareStack
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.backends.signed_cookies import SessionStore as CookieStore
from django.test import modify_settings, override_settings
from django.urls import path
from django.utils import translation
from django.utils.functional import LazyObject, SimpleLazyObject
from django.utils.safestring import mark_safe

from channels_demux_layer.hosting import scope as scope_module
from channels_demux_layer.hosting.fetching import fetch
from channels_demux_layer.hosting.scope import MOST_NAMED, enter_scope, pack_scope
from channels_demux_layer.protocol.portable import pack

DB = pytest.mark.usefixtures("database")
WARNING = "channels_demux_layer.hosting.scope"
IDENTIFIER = uuid.UUID("12345678-1234-5678-1234-567812345678")


@pytest.fixture(autouse=True)
def _nothing_named_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test be the first of its process to leave something out."""
    monkeypatch.setattr(scope_module, "_named", set())


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """Collect what is logged, as text."""
    texts: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: texts.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger(WARNING)
    logger.addHandler(handler)
    yield texts
    logger.removeHandler(handler)


async def unpack_scope(data: bytes) -> dict[str, Any]:
    """Unpack a scope as a worker does, its user and session fetched."""
    return await fetch(enter_scope(data))


async def travel(scope: dict[str, Any]) -> dict[str, Any]:
    """Take a scope to a worker."""
    return await unpack_scope(await pack_scope(scope))


async def scope_behind(
    wrap: Callable[[Any], Any], headers: list[tuple[bytes, bytes]], path_: str = "/"
) -> dict[str, Any]:
    """Return the scope that an application sees behind real middleware and routes."""
    seen: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

    async def application(
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        seen.set_result(scope)

    scope = {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "scheme": "ws",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 54321),
        "root_path": "",
        "path": path_,
        "raw_path": path_.encode(),
        "query_string": b"a=1&b=%C3%A4",
        "headers": headers,
        "subprotocols": ["v1", "v2"],
        "state": {"pool": object()},
    }
    await wrap(application)(scope, None, None)
    return seen.result()


def session_of(user: User) -> SessionStore:
    """Log a user in as the login view does, and return the session."""
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session["colour"] = "red"
    session.save()
    return session


async def logged_in() -> tuple[User, list[tuple[bytes, bytes]]]:
    """Make a user with a session; return it and the headers that its browser sends."""
    user = await User.objects.acreate_user("ada", password="secret")
    session = await database_sync_to_async(session_of)(user)
    cookie = f"sessionid={session.session_key}; theme=dark"
    return user, [(b"host", b"example.org"), (b"cookie", cookie.encode()), (b"x-raw", b"\xff")]


@DB
async def test_a_real_scope_arrives_whole() -> None:
    """Behind routes and all of Channels' middleware, the worker sees what the edge saw."""
    user, headers = await logged_in()
    converters = "ws/<uuid:id>/<int:number>/<slug:name>/<path:rest>"
    scope = await scope_behind(
        lambda app: AuthMiddlewareStack(URLRouter([path(converters, app)])),
        headers,
        f"/ws/{IDENTIFIER}/7/a-b/x/y",
    )
    arrived = await travel(scope)
    assert arrived["url_route"] == {
        "args": (),
        "kwargs": {"id": IDENTIFIER, "number": 7, "name": "a-b", "rest": "x/y"},
    }
    assert arrived["cookies"]["theme"] == "dark"
    assert set(scope) - set(arrived) == {"state"}
    for key in set(arrived) - {"user", "session"}:
        assert arrived[key] == scope[key]
        assert type(arrived[key]) is type(scope[key])
    assert type(arrived["user"]) is User
    assert arrived["user"] == user
    assert arrived["session"].session_key == scope["session"].session_key


@DB
async def test_the_session_is_loaded_and_can_be_saved() -> None:
    """An async consumer reads the session without I/O and saves it, in both ways of saving."""
    _, headers = await logged_in()
    arrived = await travel(await scope_behind(AuthMiddlewareStack, headers))
    session = arrived["session"]
    assert session["colour"] == "red"
    session["colour"] = "blue"
    await session.asave()
    assert (await travel({"session": session}))["session"]["colour"] == "blue"
    session["colour"] = "green"
    await database_sync_to_async(session.save)()
    assert (await travel({"session": session}))["session"]["colour"] == "green"


@DB
async def test_a_session_that_ended_is_empty(warnings: list[str]) -> None:
    """A session deleted on the way arrives empty, and is named; saving it makes a new one."""
    _, headers = await logged_in()
    scope = await scope_behind(SessionMiddlewareStack, headers)
    packed = await pack_scope(scope)
    key = scope["session"].session_key
    await database_sync_to_async(scope["session"].delete)()
    session = (await unpack_scope(packed))["session"]
    assert list(session.keys()) == []
    assert "A stream gets an empty session" in warnings[0]
    session["colour"] = "red"
    await session.asave()
    assert session.session_key not in (None, key)


@DB
async def test_a_visitor_without_a_session_gets_an_empty_one() -> None:
    """Where there is no session yet, the worker's consumer may start one."""
    arrived = await travel(await scope_behind(AuthMiddlewareStack, [(b"host", b"x")]))
    assert arrived["session"].session_key is None
    arrived["session"]["a"] = 1
    await arrived["session"].asave()
    assert arrived["session"].session_key
    assert isinstance(arrived["user"], AnonymousUser)


@override_settings(SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies")
@DB
async def test_a_session_kept_in_the_cookie_arrives() -> None:
    """A session engine that has its data in the key brings the data along."""
    session = CookieStore()
    session["colour"] = "red"
    session.save()
    arrived = (await travel({"session": session}))["session"]
    assert type(arrived) is CookieStore
    assert arrived["colour"] == "red"


@DB
async def test_the_user_is_fetched_anew() -> None:
    """The worker's user is the one in the database now, not the one of the handshake."""
    user, headers = await logged_in()
    packed = await pack_scope(await scope_behind(AuthMiddlewareStack, headers))
    user.first_name = "Ada"
    await user.asave()
    assert (await unpack_scope(packed))["user"].first_name == "Ada"


@DB
async def test_a_deleted_user_is_nobody() -> None:
    """A user deleted on the way arrives as AnonymousUser."""
    user, headers = await logged_in()
    packed = await pack_scope(await scope_behind(AuthMiddlewareStack, headers))
    await user.adelete()
    assert isinstance((await unpack_scope(packed))["user"], AnonymousUser)


@DB
async def test_users_behind_lazy_objects_are_found() -> None:
    """A user wrapped in lazy objects travels, looked at before or not."""
    user, _ = await logged_in()
    resolved = UserLazyObject()
    resolved._wrapped = user
    unresolved = SimpleLazyObject(lambda: User.objects.get(pk=user.pk))
    nested = SimpleLazyObject(lambda: resolved)
    for lazy in (resolved, unresolved, nested):
        arrived = await travel({"user": lazy})
        assert type(arrived["user"]) is User
        assert arrived["user"] == user


@DB
async def test_a_lazy_user_that_fails_is_not_hidden() -> None:
    """What goes wrong while the user is looked up is raised, as it would be in a consumer."""
    with pytest.raises(ValueError, match="before it is ready"):
        await pack_scope({"user": UserLazyObject()})


@DB
async def test_the_user_comes_from_its_own_database() -> None:
    """A user is fetched where it was found; an alias that is unknown here leaves the choice."""
    user, _ = await logged_in()
    assert user._state.db == "default"
    assert (await travel({"user": user}))["user"]._state.db == "default"
    user._state.db = "elsewhere"
    assert (await travel({"user": user}))["user"]._state.db == "default"


@DB
async def test_a_user_of_an_unknown_model_is_a_lookup_error() -> None:
    """A worker without the user's app says so."""
    user, _ = await logged_in()
    packed = await pack_scope({"user": user})
    with pytest.raises(LookupError):
        await unpack_scope(packed.replace(b"auth.user", b"auth.cuser"[:9]))


async def test_a_user_that_is_no_model_is_left_out(warnings: list[str]) -> None:
    """A user object of a project's own class is left out and named."""

    class TokenUser:
        """What some token middleware puts into the scope."""

    assert await travel({"user": TokenUser(), "path": "/"}) == {"path": "/"}
    assert "TokenUser" in warnings[0]
    assert "portable_scope()" in warnings[0]


@pytest.mark.parametrize("value", [None, "ada", {"id": 5}])
async def test_a_plain_user_or_session_travels_as_it_is(value: object) -> None:
    """Middleware may put plain values where Django has objects."""
    scope = {"user": value, "session": value}
    assert await travel(scope) == scope


async def test_lazy_values_other_than_user_and_session(warnings: list[str]) -> None:
    """A lazy value travels once somebody has looked at it; nothing is looked up for it."""
    seen = SimpleLazyObject(lambda: "acme")
    assert str(seen) == "acme"
    unseen = SimpleLazyObject(lambda: pytest.fail("it was looked up"))
    assert await travel({"tenant": seen, "other": unseen}) == {"tenant": "acme"}
    assert "other (it is a lazy object" in warnings[0]


async def test_values_of_middleware_travel() -> None:
    """Nested plain values that middleware adds keep their types."""
    scope = {
        "tenant": {"id": IDENTIFIER, "since": dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc)},
        "roles": ("a", ["b"], {"c"}),
        "headers": [[b"a", b"\xff"], (b"b", b"")],
    }
    assert await travel(scope) == scope


async def test_one_value_is_left_out_alone(warnings: list[str]) -> None:
    """Its neighbours travel, however deep it stands; one warning names it by its path."""
    route = {"args": (), "kwargs": {"id": object(), "room": IDENTIFIER}}
    scope = {"path": "/", "url_route": route, "app": object(), 5: 1}
    for _ in range(3):
        assert await travel(scope) == {
            "path": "/",
            "url_route": {"args": (), "kwargs": {"room": IDENTIFIER}},
        }
    (warning,) = warnings
    assert "url_route.kwargs.id (builtins.object has no portable form)" in warning
    assert "app (" in warning
    assert "5 (a scope has strings as keys)" in warning
    assert "portable_scope()" in warning
    assert "worker_middleware" in warning


async def test_each_path_is_named_once(warnings: list[str]) -> None:
    """A path named before is not named again when another is lost too, below the same key."""
    await travel({"one": {"a": object()}})
    await travel({"one": {"a": object(), "b": object()}})
    assert len(warnings) == 2
    assert "one.a" not in warnings[1]
    assert "one.b" in warnings[1]


async def test_what_is_named_is_bounded(warnings: list[str]) -> None:
    """A client may choose the keys of a dict, and is not to fill the memory or the log."""
    scope = {"params": {f"\n{number}" + 300 * "x": object() for number in range(MOST_NAMED + 9)}}
    assert await travel(scope) == {"params": {}}
    assert await travel({"other": object()}) == {}
    (warning,) = warnings
    assert warning.count("params.") == MOST_NAMED
    assert "\n" not in warning
    assert 300 * "x" not in warning


async def test_a_change_of_type_is_named(warnings: list[str]) -> None:
    """What arrives as the plain type that it derives from is named as well, once."""

    class Plan(str, enum.Enum):
        PRO = "pro"

    for _ in range(2):
        arrived = await travel({"plan": Plan.PRO, "html": mark_safe("<b>")})
        assert arrived == {"plan": "pro", "html": "<b>"}
        assert {type(value) for value in arrived.values()} == {str}
    (warning,) = warnings
    assert "plan (" in warning
    assert "Plan as str); html (django.utils.safestring.SafeString as str)" in warning


async def test_the_lifespan_state_is_left_out_silently(warnings: list[str]) -> None:
    """The server's own state is nothing that anyone expects in a worker."""
    assert await travel({"type": "websocket", "state": {"a": 1}}) == {"type": "websocket"}
    assert warnings == []


async def test_packing_leaves_the_scope_alone() -> None:
    """The edge's scope is as it was."""
    scope = {"state": {}, "user": AnonymousUser(), "app": object(), "path": "/"}
    before = dict(scope)
    await pack_scope(scope)
    assert scope == before


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"\x90", b"\x80", b"\x81\xa6values\x81\xa1a\xc7\x00\x63"]
)
async def test_foreign_bytes_are_a_value_error(data: bytes) -> None:
    """Bytes that pack_scope() never makes are a ValueError."""
    with pytest.raises(ValueError, match=r"."):
        await unpack_scope(data)


async def test_fields_of_a_later_release_are_ignored() -> None:
    """A scope of a later release that has more fields can be read."""
    packed = await pack_scope({"path": "/"})
    assert packed[0] == 0x81
    later = b"\x82" + packed[1:] + pack("later") + pack([1])
    assert await unpack_scope(later) == {"path": "/"}


@DB
async def test_neighbouring_releases_read_each_other() -> None:
    """A release without digests and locale reads a scope of this one, and the other way round."""

    class Model(msgspec.Struct, tag="model"):
        label: str
        pk: bytes
        database: str | None

    class Nobody(msgspec.Struct, tag="anonymous"):
        pass

    class Session(msgspec.Struct):
        key: str | None

    class Parcel(msgspec.Struct):
        values: dict[str, msgspec.Raw]
        user: Nobody | Model | None = None
        session: Session | None = None

    user, _ = await logged_in()
    user.flags = ["beta"]  # type: ignore[attr-defined]
    with translation.override("de"):
        packed = await pack_scope({"path": "/", "user": user})
    earlier = msgspec.msgpack.decode(packed, type=Parcel)
    assert earlier.user == Model("auth.user", pack(user.pk), "default")
    arrived = await unpack_scope(msgspec.msgpack.encode(earlier))
    assert arrived == {"path": "/", "user": user}


@modify_settings(
    INSTALLED_APPS={"remove": ["django.contrib.auth", "django.contrib.sessions"]},
)
async def test_projects_without_auth_and_sessions() -> None:
    """Without Django's apps for users and sessions, scopes travel as well."""
    assert await travel({"path": "/", "user": None}) == {"path": "/", "user": None}


@DB
async def test_nobody_in_a_project_without_auth() -> None:
    """Where a worker has no django.contrib.auth, nobody is None."""
    packed = await pack_scope({"user": AnonymousUser()})
    with modify_settings(INSTALLED_APPS={"remove": ["django.contrib.auth"]}):
        assert await unpack_scope(packed) == {"user": None}


@DB
async def test_an_unset_lazy_session_is_not_hidden() -> None:
    """A lazy session that nothing has set is the middleware's error, and raised."""
    with pytest.raises(NotImplementedError):
        await pack_scope({"session": LazyObject()})
