"""What channels-demultiplexer promised: its users change an import, and nothing else."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.testing import WebsocketCommunicator

from channels_demux_layer.demultiplexer import WebsocketDemultiplexer

from .conftest import MakeSite
from .harness.client import connect
from .harness.layers import Kind
from .harness.processes import Process
from .harness.site import Server, ServerKind, Site
from .harness.waiting import LIMIT

#: The quickstart of channels-demultiplexer 2.2, to the letter.
DOCUMENTED = """
from channels_demultiplexer.demultiplexer import WebsocketDemultiplexer

from .consumers import EchoConsumer, AnotherConsumer

class Demultiplexer(WebsocketDemultiplexer):
    # Wire your async JSON consumers here: {stream_name: consumer}
    consumer_classes = {
        "echo": EchoConsumer,
        "other": AnotherConsumer,
    }
"""

CONSUMERS = """
import asyncio, os

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from tests.acceptance.project.consumers import LingeringConsumer as AnotherConsumer

class EchoConsumer(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content, **kwargs):
        await self.send_json({"received": content, "pid": os.getpid()})
"""

#: Its quickstart's routing, with `path` for the `url` that Django no longer has; and, for the
#: sites with workers, the one line that they take.
ROUTING = """
from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path

http = get_asgi_application()

from .demultiplexer import Demultiplexer

protocols = {
    "http": http,
    "websocket": URLRouter([path("ws/", Demultiplexer.as_asgi())]),
}
"""

WORKERS = """
from channels_demux_layer.routing import stream_workers

protocols["channel"] = ChannelNameRouter(stream_workers(Demultiplexer))
"""

LAST = "\napplication = ProtocolTypeRouter(protocols)\n"

MakeExample = Callable[..., tuple[Site, Server, Process | None]]


@pytest.fixture(params=[None, "core", "pubsub"], ids=["inline", "core", "pubsub"])
def kind(request: pytest.FixtureRequest) -> Kind | None:
    """No channel layer, as its users may have it, and each of the two.

    Returns:
        The kind of layer; None: no layer.
    """
    if request.param is not None:
        request.getfixturevalue("redis_installed")
    result: Kind | None = request.param
    return result


@pytest.fixture
def make_example(make_site: MakeSite, tmp_path: Path, kind: Kind | None) -> MakeExample:
    """Deploys the documented example, with only the import changed.

    Returns:
        A function from settings to the site, its server, and its worker if it has any.
    """

    def make(
        server: ServerKind = "uvicorn", **settings: Any
    ) -> tuple[Site, Server, Process | None]:
        package = tmp_path / "code" / "example"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        changed = DOCUMENTED.replace("channels_demultiplexer", "channels_demux_layer")
        (package / "demultiplexer.py").write_text(changed)
        (package / "consumers.py").write_text(CONSUMERS)
        (package / "asgi.py").write_text(ROUTING + (WORKERS if kind else "") + LAST)
        site = make_site(
            kind, settings=settings, application="example.asgi.application", path=package.parent
        )
        worker = site.worker("demux.echo", "demux.other") if kind else None
        return site, site.server(server), worker

    return make


async def test_only_the_import_changes(make_example: MakeExample, server_kind: ServerKind) -> None:
    """The documented example runs with one word changed, without workers and with them."""
    _, server, worker = make_example(server_kind)
    host = worker or server.process
    async with connect(server.url()) as client:
        answer = await client.ask("echo", {"a": 1})
        assert answer == {"received": {"a": 1}, "pid": host.pid}
        assert await client.ask("other", [2]) == [2]


async def test_multiplex_key(make_example: MakeExample) -> None:
    """CHANNELS_DEMULTIPLEXER_MULTIPLEX_KEY renames the key of the stream, both ways."""
    _, server, _ = make_example(CHANNELS_DEMULTIPLEXER_MULTIPLEX_KEY="type")
    async with connect(server.url()) as client:
        await client.send_raw('{"type": "other", "payload": {"stream": "x"}}')
        assert await client.receive() == {"type": "other", "payload": {"stream": "x"}}
        await client.send("other", 1)
        assert (await client.receive())["code"] == "missing_key"


async def test_payload_key(make_example: MakeExample) -> None:
    """CHANNELS_DEMULTIPLEXER_PAYLOAD_KEY renames the key of the payload, both ways."""
    _, server, _ = make_example(CHANNELS_DEMULTIPLEXER_PAYLOAD_KEY="body")
    async with connect(server.url()) as client:
        await client.send_raw('{"stream": "other", "body": {"payload": 0}}')
        assert await client.receive() == {"stream": "other", "body": {"payload": 0}}
        await client.send("other", 1)
        assert (await client.receive())["code"] == "missing_key"


async def test_unmanaged_envelopes(make_example: MakeExample) -> None:
    """With MANAGE_ENVELOPE off, consumers get whole envelopes, and theirs pass unchanged."""
    _, server, worker = make_example(CHANNELS_DEMULTIPLEXER_MANAGE_ENVELOPE=False)
    pid = (worker or server.process).pid
    envelope = {"stream": "echo", "payload": {"a": 1}, "id": 7}
    async with connect(server.url()) as client:
        await client.send_raw(json.dumps(envelope))
        assert await client.receive() == {"received": envelope, "pid": pid}
        envelope["stream"] = "other"
        await client.send_raw(json.dumps(envelope))
        assert await client.receive() == envelope


async def test_consumer_close_timeout(make_example: MakeExample) -> None:
    """CONSUMER_CLOSE_TIMEOUT bounds a consumer's disconnect()."""
    site, server, _ = make_example(CHANNELS_DEMULTIPLEXER_CONSUMER_CLOSE_TIMEOUT=0.1)
    async with connect(server.url()) as client:
        await client.ask("other", "linger")
    # Both timers run in one loop: the shorter one is always first.
    site.wait_for_journal("cut short")
    assert not site.journal("finished")


async def test_consumers_may_take_their_time(make_example: MakeExample) -> None:
    """By default a consumer has five seconds for its disconnect()."""
    site, server, _ = make_example()
    async with connect(server.url()) as client:
        await client.ask("other", "linger")
    site.wait_for_journal("finished")
    assert not site.journal("cut short")


class Answering(AsyncJsonWebsocketConsumer):
    """Says what it got, as the consumer in the tests of channels-demultiplexer does."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Answers."""
        await self.send_json({"received": content})


class OldDemultiplexer(WebsocketDemultiplexer):
    """The demultiplexer of those tests."""

    consumer_classes = {"echo": Answering}


@pytest.mark.parametrize(
    ("manage_envelope", "answer"),
    [
        (True, {"stream": "echo", "payload": {"received": {}}}),
        (False, {"received": {"stream": "echo", "payload": {}}}),
    ],
)
async def test_its_own_tests(settings: Any, manage_envelope: bool, answer: dict[str, Any]) -> None:
    """Its users' tests, written with Channels' communicator, pass as they are."""
    settings.CHANNELS_DEMULTIPLEXER_MANAGE_ENVELOPE = manage_envelope
    communicator = WebsocketCommunicator(OldDemultiplexer.as_asgi(), "/")
    connected, _ = await communicator.connect()
    assert connected
    await communicator.send_json_to({"stream": "echo", "payload": {}})
    assert await communicator.receive_json_from(timeout=LIMIT) == answer
    await communicator.disconnect()
