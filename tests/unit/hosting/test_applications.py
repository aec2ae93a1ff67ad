"""What is found behind an application."""

from __future__ import annotations

from typing import Any

import pytest
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.middleware import BaseMiddleware
from channels.routing import URLRouter
from django.urls import path

from channels_demux_layer.hosting.applications import consumer_name, layer_aliases, object_name


class One(AsyncWebsocketConsumer):
    """Uses the default layer."""


class Other(AsyncWebsocketConsumer):
    """Uses another."""

    channel_layer_alias = "other"


class Odd(AsyncWebsocketConsumer):
    """Has an alias that is none."""

    channel_layer_alias = None  # type: ignore[assignment]


async def function(*args: Any) -> None:
    """An application."""


def test_the_layers_of_all_consumers_are_found() -> None:
    """Each once, behind routers and middleware."""
    routes = [path(f"{cls.__name__}", cls.as_asgi()) for cls in (One, Other, Other, Odd)]
    assert layer_aliases(BaseMiddleware(URLRouter(routes))) == {"default", "other"}
    assert layer_aliases(function) == set()


@pytest.mark.parametrize(
    ("named", "name"),
    [(One, "One"), (One(), "One"), (function, "function"), (BaseMiddleware(None), None)],
)
def test_objects_have_names(named: object, name: str | None) -> None:
    """A class and a function their own, an object that of its class."""
    expected = "channels.middleware.BaseMiddleware" if name is None else f"{__name__}.{name}"
    assert object_name(named) == expected


def test_a_consumer_is_named_behind_anything() -> None:
    """An application that leads to none has its own name."""
    assert consumer_name(BaseMiddleware(One.as_asgi())) == f"{__name__}.One"
    assert consumer_name(function) == f"{__name__}.function"
