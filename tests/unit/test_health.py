"""The views that tell whether a server is ready."""

from __future__ import annotations

import json
from typing import Any

import pytest
from channels.routing import URLRouter
from django.core.exceptions import ImproperlyConfigured
from django.test import RequestFactory
from django.urls import path

from channels_demux_layer import Stream, WebsocketDemultiplexer, health
from channels_demux_layer.transport.nodes import find_node, get_node, running_nodes, stop_nodes
from tests.integration.harness import until

MEMORY = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
REQUEST = RequestFactory().get("/")


async def nothing(*args: Any) -> None:
    """A consumer that ends at once."""


class Inline(WebsocketDemultiplexer):
    """Needs no worker."""

    consumer_classes = {"a": Stream(nothing, hosting="inline")}


class Remote(WebsocketDemultiplexer):
    """Needs workers."""

    consumer_classes = {
        "a": Stream(nothing, hosting="inline"),
        "b": Stream(nothing, hosting="workers"),
    }


def mount(monkeypatch: pytest.MonkeyPatch, cls: type[WebsocketDemultiplexer]) -> None:
    """Make a demultiplexer the project's application."""
    application = URLRouter([path("ws/", cls.as_asgi())])
    monkeypatch.setattr(health, "get_default_application", lambda: application)


async def ready() -> tuple[int, list[str]]:
    """Ask whether the server is ready."""
    response = await health.ready(REQUEST)
    return response.status_code, json.loads(response.content)["problems"]


async def test_a_server_that_answers_lives() -> None:
    """Nothing else is asked."""
    response = await health.live(REQUEST)
    assert (response.status_code, response.content) == (200, b"live\n")


async def test_a_server_without_workers_is_ready(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    """Where all streams are inline no layer is joined, nor needed."""
    settings.CHANNEL_LAYERS = {}
    mount(monkeypatch, Inline)
    assert await ready() == (200, [])
    assert running_nodes() == []


async def test_a_server_joins_when_it_is_asked(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    """Before its first connection it finds out whether its streams can reach workers."""
    settings.CHANNEL_LAYERS = MEMORY
    mount(monkeypatch, Remote)
    await ready()
    await until(lambda: find_node("default").reporter.has_joined)
    assert await ready() == (200, [])
    await stop_nodes()


async def test_a_node_is_asked_whatever_is_mounted(settings: Any) -> None:
    """A server whose node has a problem has that problem."""
    settings.CHANNEL_LAYERS = MEMORY
    node = await get_node("default")
    await until(lambda: node.reporter.has_joined)
    node.is_draining = True
    code, problems = await ready()
    assert code == 503
    assert "draining" in problems[0]
    await stop_nodes()


async def test_without_an_application_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A project without ASGI_APPLICATION is ready until a connection has made a node."""

    def missing() -> Any:
        raise ImproperlyConfigured

    monkeypatch.setattr(health, "get_default_application", missing)
    assert await ready() == (200, [])
