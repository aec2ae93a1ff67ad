"""Fetching users and sessions in the worker, and what stands around that."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from channels.auth import AuthMiddlewareStack
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.middleware import BaseMiddleware
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.backends.db import SessionStore
from django.core.exceptions import SynchronousOnlyOperation

from channels_demux_layer.exceptions import ConfigurationError
from channels_demux_layer.hosting.applications import has_sync_consumer, walk
from channels_demux_layer.hosting.fetching import InWorker
from channels_demux_layer.hosting.scope import enter_scope, pack_scope
from channels_demux_layer.middleware import FetchMiddleware
from channels_demux_layer.streams import load_middleware


class Seen:
    """An application that keeps the scope that it was given."""

    def __init__(self) -> None:
        self.scope: dict[str, Any] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope


async def logged_in() -> tuple[User, SessionStore]:
    """Make a user, and the session that the login view would."""

    def make() -> tuple[User, SessionStore]:
        user = User.objects.create_user("ada", password="secret")
        session = SessionStore()
        session[SESSION_KEY] = str(user.pk)
        session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()
        session.save()
        return user, session

    made: tuple[User, SessionStore] = await database_sync_to_async(make)()
    return made


async def run(middleware: Any, scope: dict[str, Any]) -> dict[str, Any]:
    """Take a scope to a worker, and return what the consumer behind the middleware sees."""
    seen = Seen()
    arrived = enter_scope(await pack_scope(scope))
    await InWorker(seen, middleware)({**arrived, "demux": {}}, None, None)
    return seen.scope


@pytest.mark.usefixtures("database")
async def test_the_user_is_fetched_within_the_middleware() -> None:
    """What the middleware selects is selected by then, and the user is real behind it."""
    user, session = await logged_in()
    order: list[str] = []

    class Renaming(BaseMiddleware):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
            await User.objects.filter(pk=user.pk).aupdate(first_name="Ada")
            order.append("before")
            await super().__call__({**scope, "tenant": "acme"}, receive, send)
            order.append("after")

    scope = await run(Renaming, {"user": user, "session": session})
    assert type(scope["user"]) is User
    assert scope["user"].first_name == "Ada"
    assert type(scope["session"]) is SessionStore
    assert scope["tenant"] == "acme"
    assert order == ["before", "after"]


@pytest.mark.usefixtures("database")
async def test_middleware_may_find_another_user() -> None:
    """What it puts into the scope stays there, and nothing is fetched in its place."""
    user, session = await logged_in()
    token_user = object()

    class Own(BaseMiddleware):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
            return await super().__call__({**scope, "user": token_user}, receive, send)

    scope = await run(Own, {"user": user, "session": session, "path": "/"})
    assert scope["user"] is token_user
    assert (await run(Own, {"path": "/"}))["user"] is token_user


@pytest.mark.usefixtures("database")
async def test_the_stack_of_channels_finds_the_user_by_the_cookie() -> None:
    """It may stand in workers as well; without the cookie it finds nobody, as everywhere."""
    user, session = await logged_in()
    cookie = f"sessionid={session.session_key}".encode()
    scope = {"type": "websocket", "headers": [(b"cookie", cookie)], "user": user}
    seen = await run(AuthMiddlewareStack, {**scope, "session": session})
    assert (type(seen["user"]), type(seen["session"])) == (User, SessionStore)
    assert seen["user"] == user
    assert seen["session"].session_key == session.session_key
    seen = await run(AuthMiddlewareStack, {**scope, "headers": [], "session": session})
    assert seen["user"] == AnonymousUser()
    assert list(seen["session"].keys()) == []


@pytest.mark.usefixtures("database")
async def test_middleware_that_needs_the_user() -> None:
    """It stands within a FetchMiddleware; without one, only synchronous code may look."""
    user, session = await logged_in()
    seen: list[Any] = []

    class Looking(BaseMiddleware):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
            seen.append(scope["user"].username)
            return await super().__call__(scope, receive, send)

    class LookingInAThread(BaseMiddleware):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
            seen.append(await database_sync_to_async(lambda: scope["user"].username)())
            return await super().__call__(scope, receive, send)

    def placed(inner: Any) -> Any:
        return FetchMiddleware(Looking(inner))

    scope = {"user": user, "session": session}
    assert (await run(placed, scope))["user"] == user
    assert (await run(LookingInAThread, scope))["user"] == user
    assert seen == ["ada", "ada"]
    with pytest.raises(SynchronousOnlyOperation):
        await run(Looking, scope)


async def test_nothing_to_fetch() -> None:
    """Where it stands in the server's process, it changes nothing and needs no thread."""
    seen = Seen()
    nobody = AnonymousUser()
    await FetchMiddleware(seen)({"user": nobody}, None, None)
    assert seen.scope["user"] is nobody


class Sync(WebsocketConsumer):
    """A synchronous consumer."""


class Async(AsyncWebsocketConsumer):
    """An asynchronous one."""


def closing_over(inner: Any) -> Any:
    """Middleware that nobody can look into."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await inner(scope, receive, send)

    return application


@pytest.mark.parametrize("middleware", [BaseMiddleware, closing_over, AuthMiddlewareStack])
def test_consumers_are_found_behind_middleware(middleware: Any) -> None:
    """Whatever it is made of: synchronous consumers have their threads."""
    hosted = InWorker(Sync.as_asgi(), middleware)
    assert has_sync_consumer(hosted)
    assert not has_sync_consumer(InWorker(Async.as_asgi(), middleware))
    assert Sync in [getattr(part, "consumer_class", None) for part in walk(hosted)]


def takes_two(inner: Any, more: Any) -> Any:
    """Is no middleware."""


def returns_nothing(inner: Any) -> None:
    """Has forgotten to return what it made."""


@pytest.mark.parametrize(
    ("middleware", "problem"),
    [
        (takes_two, "missing 1 required positional argument.* called with one ASGI application"),
        (returns_nothing, "returned None. It has to return an ASGI application"),
    ],
)
def test_what_is_no_middleware_is_named(middleware: Any, problem: str) -> None:
    """The message says what it has to be."""
    with pytest.raises(ConfigurationError, match=problem):
        InWorker(closing_over(None), middleware)


def test_middleware_by_its_path() -> None:
    """Only workers import it."""
    assert load_middleware(closing_over) is closing_over
    assert load_middleware("channels.auth.AuthMiddlewareStack") is AuthMiddlewareStack


@pytest.mark.parametrize(
    ("middleware", "problem"),
    [
        (7, "worker_middleware is 7. Make it a callable"),
        ("channels.auth.SESSION_KEY", "worker_middleware is 'channels.auth.SESSION_KEY'"),
        ("channels.auth.Nowhere", "has no 'Nowhere'. Correct the path in worker_middleware"),
        ("nowhere.at.all", "Correct the path in worker_middleware"),
    ],
)
def test_middleware_that_leads_nowhere(middleware: Any, problem: str) -> None:
    """The message says where it was said."""
    with pytest.raises(ConfigurationError, match=problem):
        load_middleware(middleware)


async def test_an_application_without_middleware_ends_with_it() -> None:
    """What the application raises goes through."""

    async def fail(scope: Any, receive: Any, send: Any) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await InWorker(fail, closing_over)({}, None, None)
