"""Demultiplexers and channel routes are found wherever an application keeps them."""

import functools
import sys
import types
from typing import Any

import pytest
from channels.auth import AuthMiddlewareStack
from channels.consumer import AsyncConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.handlers.asgi import ASGIHandler
from django.urls import path

from channels_demux_layer.demultiplexer import WebsocketDemultiplexer
from channels_demux_layer.hosting.applications import walk
from channels_demux_layer.hosting.discovery import (
    Edge,
    dotted_name,
    find_demultiplexers,
    find_routes,
    load_application,
    stream_applications,
    stream_routes,
)
from channels_demux_layer.routing import stream_workers


class First(WebsocketDemultiplexer):
    """A demultiplexer without streams."""


class Second(WebsocketDemultiplexer):
    """Another one."""


class Consumer(AsyncJsonWebsocketConsumer):
    """An ordinary consumer."""


class Wrapper:
    """Middleware of the ASGI world that has slots, as Sentry's has."""

    __slots__ = ("app",)

    def __init__(self, app: Any) -> None:
        self.app = app


class Grumpy:
    """An application that has an attribute which cannot be looked at."""

    @property
    def application(self) -> Any:
        """Raise, as the properties of an application that is not ready may."""
        raise RuntimeError("not ready")


class Endless:
    """An application that makes up what it wraps."""

    @property
    def inner(self) -> Any:
        """Return another one."""
        return Endless()


def test_demultiplexers_are_found_behind_routers_and_middleware() -> None:
    """Nested routes, Channels' middleware and other people's are all looked through."""
    nested = URLRouter([path("b", Second.as_asgi()), path("c", Consumer.as_asgi())])
    routes = URLRouter([path("a", First.as_asgi()), path("x/", AuthMiddlewareStack(nested))])
    application = Wrapper(
        ProtocolTypeRouter(
            {"http": object(), "websocket": AllowedHostsOriginValidator(Wrapper(routes))}
        )
    )
    assert find_demultiplexers(application) == [First, Second]


def test_a_demultiplexer_mounted_twice_is_found_once() -> None:
    """Two routes to one class are one class."""
    application = URLRouter([path("a", First.as_asgi()), path("b", First.as_asgi())])
    assert find_demultiplexers(application) == [First]


def test_a_bare_demultiplexer_is_found() -> None:
    """The application may be the demultiplexer itself."""
    assert find_demultiplexers(First.as_asgi()) == [First]


@pytest.mark.parametrize("application", [None, object(), Grumpy(), lambda: None, Consumer])
def test_other_applications_have_none(application: object) -> None:
    """What is no demultiplexer is none, and raises nothing."""
    assert find_demultiplexers(application) == []


def test_a_circle_is_walked_once() -> None:
    """An application that holds itself is no endless walk."""
    one, other = Wrapper(None), Wrapper(None)
    one.app, other.app = other, one
    assert list(walk(one)) == [one, other]


def test_attributes_without_end_are_given_up() -> None:
    """An application that makes its attributes on the fly is not walked for ever."""
    assert find_demultiplexers(Endless()) == []


def test_outer_applications_come_first() -> None:
    """The walk goes from the outside in, in the order of the routes."""
    one, two = First.as_asgi(), Second.as_asgi()
    router = ProtocolTypeRouter({"websocket": one, "other": two})
    assert next(walk(router)) is router
    assert [part for part in walk(router) if part in (one, two)] == [one, two]


def test_channels_of_the_channel_route_are_found() -> None:
    """The names below the channel route are found, through middleware too."""
    names = ChannelNameRouter({"demux.a": object(), "thumbnails": AsyncConsumer.as_asgi()})
    for route in (names, Wrapper(names)):
        routes = find_routes(ProtocolTypeRouter({"websocket": object(), "channel": route}))
        assert routes == (True, frozenset({"demux.a", "thumbnails"}))


def test_an_empty_channel_route_cannot_be_told_from_an_unknown_one() -> None:
    """Where the application behind the route is somebody's own, its channels are unknown."""
    routes = find_routes(ProtocolTypeRouter({"channel": lambda scope, receive, send: None}))
    assert routes == (True, None)


@pytest.mark.parametrize("application", [None, First.as_asgi(), ProtocolTypeRouter({"http": None})])
def test_no_channel_route(application: object) -> None:
    """An application without a channel route has none."""
    assert find_routes(application) == (False, frozenset())


def test_the_application_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dotted path gives the object that it names."""
    module = types.ModuleType("project_asgi")
    module.application = sentinel = object()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "project_asgi", module)
    assert load_application("project_asgi.application") is sentinel


@pytest.mark.parametrize(
    ("path_", "reason"),
    [
        ("application", "is not a dotted path"),
        ("json.application", "has no 'application'"),
        ("no_such_project.asgi.application", "No module named 'no_such_project'"),
    ],
)
def test_what_is_wrong_with_the_path_is_said(path_: str, reason: str) -> None:
    """A path that leads nowhere is an ImportError that says why."""
    with pytest.raises(ImportError, match=reason):
        load_application(path_)


def test_an_edge_names_its_class_and_channels() -> None:
    """What checks say of a demultiplexer is its dotted name and its workers' channels."""
    edge = Edge(First, First.stream_table(), [])
    assert edge.name == dotted_name(First) == "tests.unit.hosting.test_discovery.First"
    assert edge.channel("a") == "demux.a"


class Third(WebsocketDemultiplexer):
    """One with a stream."""

    consumer_classes = {"s": Consumer}


WORKERS = stream_workers(Third)
CHANNELS = ChannelNameRouter(WORKERS)
SOCKETS = URLRouter([path("a", First.as_asgi())])
ROUTER = ProtocolTypeRouter({"websocket": SOCKETS, "channel": CHANNELS})
OWN = {"websocket": SOCKETS, "channel": CHANNELS}
HERE = sys.modules[__name__]


async def by_name(scope: Any, receive: Any, send: Any) -> None:
    """Name a router of the module."""
    await ROUTER(scope, receive, send)


async def by_type(scope: Any, receive: Any, send: Any) -> None:
    """Choose among applications by hand."""
    if scope["type"] == "websocket":
        await SOCKETS(scope, receive, send)
    elif scope["type"] == "channel":
        await CHANNELS(scope, receive, send)


async def by_mapping(scope: Any, receive: Any, send: Any) -> None:
    """Choose from a mapping of the project's own."""
    await OWN[scope["type"]](scope, receive, send)


async def by_module(scope: Any, receive: Any, send: Any) -> None:
    """Name the router of another module."""
    await HERE.ROUTER(scope, receive, send)


async def by_another(scope: Any, receive: Any, send: Any) -> None:
    """Call another function, within one."""

    async def inner() -> None:
        await by_name(scope, receive, send)

    await inner()


def enclosing(app: Any) -> Any:
    """Middleware as a function that encloses what it wraps."""

    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)

    return middleware


def copying(app: Any) -> Any:
    """The same, which looks like the function that it wraps."""

    @functools.wraps(app)
    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)

    return middleware


async def with_argument(app: Any, scope: Any, receive: Any, send: Any) -> None:
    """Get what it wraps by functools.partial()."""
    await app(scope, receive, send)


class Foreign:
    """Keeps what it wraps under a name that nobody knows."""

    def __init__(self, app: Any) -> None:
        self.what_comes_next = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Call it."""
        await self.what_comes_next(scope, receive, send)

    async def serve(self, scope: Any, receive: Any, send: Any) -> None:
        """Call it, as a method that is the application."""
        await self.what_comes_next(scope, receive, send)


class Slotted:
    """The same, without a dictionary; its one slot is written as a string."""

    __slots__ = "what_comes_next"  # noqa: PLC0205 - as some write it

    def __init__(self, app: Any) -> None:
        self.what_comes_next = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Call it."""
        await self.what_comes_next(scope, receive, send)


class Naming:
    """Names the router in its code."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Call it."""
        await ROUTER(scope, receive, send)


class Mount:
    """A route of Starlette."""

    def __init__(self, app: Any) -> None:
        self.app = app


class Starlette:
    """An application with routes, as Starlette has it."""

    def __init__(self, *routes: Any) -> None:
        self.routes = list(routes)

    async def __call__(self, *args: Any) -> None:
        """Do nothing."""


@pytest.mark.parametrize(
    "application",
    [
        *(by_name, by_type, by_mapping, by_module, by_another),
        *(enclosing(ROUTER), copying(by_name), enclosing(copying(enclosing(ROUTER)))),
        *(functools.partial(with_argument, ROUTER), functools.partial(with_argument, app=ROUTER)),
        *(Foreign(ROUTER), Slotted(ROUTER), Foreign(ROUTER).serve, Naming()),
        *(Foreign([None, ROUTER]), enclosing((ROUTER,)), enclosing(Foreign(ROUTER))),
    ],
)
def test_applications_as_people_write_them_are_looked_through(application: Any) -> None:
    """Functions and foreign classes: their streams are found, and they may route still more."""
    assert find_demultiplexers(application)[0] is First
    assert find_routes(application) == (None, None)
    assert set(stream_applications(application)) == {"demux.s"}
    assert set(stream_routes(application)) == {"demux.s"}


def test_the_channel_route_is_called_where_it_is_seen() -> None:
    """With what stands around it on purpose, and without what stands around the whole router."""
    route = Wrapper(CHANNELS)
    application = Wrapper(ProtocolTypeRouter({"websocket": SOCKETS, "channel": route}))
    assert stream_routes(application) == {"demux.s": route}
    assert stream_routes(by_type) == WORKERS
    assert stream_routes(None) == {}


def test_routers_of_other_frameworks_are_looked_through() -> None:
    """What is mounted in Starlette's routes is found, and nothing else is routed."""
    application = Starlette(Mount(SOCKETS), Mount(None))
    assert find_demultiplexers(application) == [First]
    assert find_routes(application) == (False, frozenset())


@pytest.mark.parametrize("application", [None, object(), ASGIHandler()])
def test_what_routes_nothing_is_not_opaque(application: Any) -> None:
    """A project that has Django's own application has nothing to be looked through."""
    assert find_routes(application) == (False, frozenset())
    assert find_demultiplexers(application) == []


def test_a_closure_that_is_not_filled_yet_is_passed_over() -> None:
    """As of a function that encloses what comes after it."""

    def make(is_filled: bool) -> Any:
        async def application(*args: Any) -> None:
            await later(*args)

        if is_filled:
            later = ROUTER
        return application

    assert find_demultiplexers(make(False)) == []
    assert find_demultiplexers(make(True)) == [First]


def test_what_is_sure_to_be_mounted_comes_first() -> None:
    """However much can be reached from a foreign object beside it."""
    crowd = Foreign([Foreign(None) for _ in range(2_000)])
    application = ProtocolTypeRouter({"http": crowd, "websocket": SOCKETS})
    assert find_demultiplexers(application) == [First]
