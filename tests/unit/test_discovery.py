"""Demultiplexers and channel routes are found wherever an application keeps them."""

import sys
import types
from typing import Any

import pytest
from channels.auth import AuthMiddlewareStack
from channels.consumer import AsyncConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.urls import path

from channels_demux_layer.demultiplexer import WebsocketDemultiplexer
from channels_demux_layer.discovery import (
    Edge,
    dotted_name,
    find_demultiplexers,
    find_routes,
    load_application,
    walk,
)


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
    assert edge.name == dotted_name(First) == "tests.unit.test_discovery.First"
    assert edge.channel("a") == "demux.a"
