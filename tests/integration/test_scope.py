"""The scope that a consumer sees in its worker is the one that the edge saw."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.db import database_sync_to_async
from channels.routing import URLRouter
from channels.sessions import CookieMiddleware
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.backends.db import SessionStore
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.urls import path

from channels_demux_layer import WebsocketDemultiplexer
from channels_demux_layer.testing import DemuxCommunicator

from . import consumers
from .harness import LIMIT, Place, within

ROOM = uuid.uuid4()
HEADERS = [(b"cookie", b"theme=dark"), (b"x-mark", b"\xff")]


class Watching(consumers.Json):
    """Shows the test its scope."""

    scopes: asyncio.Queue[dict[str, Any]]

    async def connect(self) -> None:
        await self.accept()
        self.scopes.put_nowait(self.scope)


def watching() -> type[Watching]:
    """Make a consumer with a queue of its own."""
    return type("Watching", (Watching,), {"scopes": asyncio.Queue()})


async def test_a_consumer_sees_the_scope_of_its_connection(quick_place: Place) -> None:
    """Path, query, headers, cookies, subprotocols and converted arguments are all there."""
    consumer = watching()

    class Watched(WebsocketDemultiplexer):
        consumer_classes = {"watch": consumer, "echo": consumers.Json}

    application = CookieMiddleware(URLRouter([path("ws/<uuid:room>/", Watched.as_asgi())]))
    async with quick_place.run(Watched):
        client = DemuxCommunicator(
            application, f"/ws/{ROOM}/?a=1", headers=HEADERS, subprotocols=["x"], timeout=LIMIT
        )
        client.scope["client"] = ["10.0.0.1", 1234]
        async with client:
            scope = await within(consumer.scopes.get())
            assert scope["type"] == "websocket"
            assert scope["path"] == f"/ws/{ROOM}/"
            assert scope["query_string"] == b"a=1"
            assert [tuple(header) for header in scope["headers"]] == HEADERS
            assert scope["subprotocols"] == ["x"]
            assert scope["client"] == ["10.0.0.1", 1234]
            assert scope["cookies"] == {"theme": "dark"}
            assert scope["url_route"]["kwargs"] == {"room": ROOM}
            first = scope["demux"]
            assert first["stream"] == "watch"
            assert first["attempt"] == 1
            assert len(first["connection"]) == 32
            await client.close("watch")
            await client.receive_event("watch")
            await client.open("watch")
            again = (await within(consumer.scopes.get()))["demux"]
            assert again == first


async def test_a_demultiplexer_says_what_travels(quick_layer: Place) -> None:
    """portable_scope() may leave out what is secret, and put in what is plain."""
    consumer = watching()

    class Discreet(WebsocketDemultiplexer):
        consumer_classes = {"watch": consumer}

        def portable_scope(self) -> dict[str, Any]:
            scope = super().portable_scope()
            del scope["headers"]
            return {**scope, "tenant": 7}

    async with quick_layer.client(Discreet):
        scope = await within(consumer.scopes.get())
        assert "headers" not in scope
        assert scope["tenant"] == 7


@pytest.mark.django_db(transaction=True)
async def test_a_consumer_sees_its_user_and_session(memory: Place) -> None:
    """The user is the real one, fetched anew, and the session can be saved."""
    user = await User.objects.acreate(username="ada")
    session = SessionStore()
    session["cart"] = [1]
    await session.asave()
    consumer = watching()

    class Watched(WebsocketDemultiplexer):
        consumer_classes = {"watch": consumer}

    async with memory.run(Watched):
        client = DemuxCommunicator(Watched.as_asgi(), timeout=LIMIT)
        client.scope.update(user=user, session=session)
        async with client:
            scope = await within(consumer.scopes.get())
            assert scope["user"] == user
            assert scope["user"] is not user
            scope["session"]["cart"].append(2)
            await database_sync_to_async(scope["session"].save)()
    assert (await SessionStore(session.session_key).aload())["cart"] == [1, 2]
    await sync_to_async(_disconnect)()


def _disconnect() -> None:
    # The thread lives on, and other tests may use no database. SQLite's own close() keeps a
    # database that is in memory.
    for connection in connections.all(initialized_only=True):
        BaseDatabaseWrapper.close(connection)


async def test_nobody_is_nobody_in_the_worker(memory: Place) -> None:
    """An anonymous user needs no database."""
    consumer = watching()

    class Watched(WebsocketDemultiplexer):
        consumer_classes = {"watch": consumer}

    async with memory.run(Watched):
        client = DemuxCommunicator(Watched.as_asgi(), timeout=LIMIT)
        client.scope["user"] = AnonymousUser()
        async with client:
            assert (await within(consumer.scopes.get()))["user"] == AnonymousUser()
