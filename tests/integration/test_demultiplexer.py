"""The demultiplexer as a consumer of its own: connect(), close(), groups and handlers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from channels.exceptions import AcceptConnection
from channels.layers import get_channel_layer

from channels_demux_layer import Stream, WebsocketDemultiplexer
from channels_demux_layer.testing import DemuxCommunicator
from channels_demux_layer.transport.nodes import stop_nodes
from channels_demux_layer.transport.steadfast import SteadfastLayer

from . import consumers
from .harness import LIMIT, Place, demultiplexer, until, within


async def test_connect_may_deny_the_client(quick_place: Place) -> None:
    """A demultiplexer that closes in connect() refuses the client, and opens no stream."""
    opened: list[object] = []

    class Noting(consumers.Json):
        async def connect(self) -> None:
            opened.append(self)

    class Closed(WebsocketDemultiplexer):
        consumer_classes = {"echo": Noting}

        async def connect(self) -> None:
            await self.close(4003)

    async with quick_place.run(Closed):
        client = DemuxCommunicator(Closed.as_asgi(), timeout=LIMIT)
        assert await client.connect() == (False, 4003)
        await client.disconnect()
    assert not opened


async def test_connect_may_accept_in_channels_ways(quick_place: Place) -> None:
    """A subprotocol and the AcceptConnection exception work as in any consumer."""

    class Choosing(WebsocketDemultiplexer):
        consumer_classes = {"echo": consumers.Json}

        async def connect(self) -> None:
            await self.accept(subprotocol="demux")

    class Excepting(WebsocketDemultiplexer):
        consumer_classes = {"echo": consumers.Json}

        async def connect(self) -> None:
            raise AcceptConnection

    async with quick_place.run(Choosing):
        for cls, subprotocol in ((Choosing, "demux"), (Excepting, None)):
            client = DemuxCommunicator(cls.as_asgi(), subprotocols=["demux"], timeout=LIMIT)
            assert await client.connect() == (True, subprotocol)
            await client.send_to("echo", 1)
            assert await client.receive_from("echo") == 1
            await client.disconnect()


async def test_a_demultiplexer_may_never_accept(inline: Place) -> None:
    """Without an accept no stream is opened."""
    connected = asyncio.Event()

    class Silent(WebsocketDemultiplexer):
        consumer_classes = {"echo": consumers.Json}

        async def connect(self) -> None:
            connected.set()

    client = DemuxCommunicator(Silent.as_asgi(), timeout=LIMIT)
    await client.send_input({"type": "websocket.connect"})
    await within(connected.wait())
    assert await client.receive_nothing()
    await client.disconnect()


class Closing(WebsocketDemultiplexer):
    """Closes when it is told to."""

    consumer_classes = {"echo": consumers.Json, "lazy": Stream(consumers.Json, lazy=True)}

    async def shut(self, event: dict[str, Any]) -> None:
        await self.close(event.get("code"), event.get("reason"))


async def test_a_demultiplexer_may_close_the_socket(quick_place: Place) -> None:
    """close() ends every consumer first, then the socket, with its code and nothing behind it."""
    ended: list[int] = []

    class Noting(consumers.Json):
        async def connect(self) -> None:
            await self.accept()
            await self.channel_layer.group_add("all", self.scope["edge"])

        async def disconnect(self, code: int) -> None:
            ended.append(code)

    class Shutting(Closing):
        consumer_classes = {"echo": Noting, "lazy": Stream(consumers.Json, lazy=True)}

        async def connect(self) -> None:
            self.scope["edge"] = self.channel_name
            await self.accept()

    async with quick_place.client(Shutting) as client:
        await client.send_to("echo", 1)
        await client.receive_from("echo")
        await get_channel_layer().group_send("all", {"type": "shut", "code": 4009, "reason": "r"})
        assert await client.receive_close() == (4009, "r")
        assert ended == [4009]
        await client.send_to("lazy", "nobody is there any more")
        await client.send_frame("nonsense")
        await client.disconnect()
        assert client.output_queue.empty()


async def test_after_the_last_stream_nothing_is_said_or_opened(quick_place: Place) -> None:
    """What a client sends while its socket is being closed opens nothing and is not answered."""
    async with quick_place.client({"echo": consumers.Json}) as client:
        await client.send_to("echo", 1)
        await client.receive_from("echo")
        await client.close("echo")
        assert await client.receive_close() == (1000, "")
        await client.open("echo")
        await client.send_frame("nonsense")
        await client.disconnect()
        assert client.output_queue.empty()


async def test_a_demultiplexers_own_groups_and_handlers_work(quick_place: Place) -> None:
    """With groups or a handler of its own a demultiplexer has a channel, beside its streams."""

    class News(WebsocketDemultiplexer):
        consumer_classes = {"echo": consumers.Json}
        groups = ("news",)

        async def news_item(self, event: dict[str, Any]) -> None:
            await self.send_json({"stream": "news", "payload": event["text"]})

    assert News.listens
    async with quick_place.client(News) as client:
        await client.send_to("echo", 1)
        assert await client.receive_from("echo") == 1
        await get_channel_layer().group_send("news", {"type": "news.item", "text": "hello"})
        assert await client.receive_from("news") == "hello"


@pytest.mark.parametrize("is_on", [True, False])
async def test_a_demultiplexers_own_receiver_outlasts_the_layer(settings: Any, is_on: bool) -> None:
    """It alone has a steadfast layer, unless a setting is off: the project's layer raises."""
    inner = {"BACKEND": "channels.layers.InMemoryChannelLayer"}
    faulty = "channels_demux_layer.testing.faulty.FaultyLayer"
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": faulty, "CONFIG": {"layer": inner}}}
    settings.CHANNELS_DEMUX_LAYER = {"STEADFAST_LAYERS": is_on}
    project = get_channel_layer()
    layers: list[Any] = []

    class News(WebsocketDemultiplexer):
        consumer_classes = {"echo": Stream(consumers.Json, lazy=True, hosting="workers")}
        groups = ("news",)

        async def connect(self) -> None:
            layers.append(self.channel_layer)
            await self.accept()

        async def news_item(self, event: dict[str, Any]) -> None:
            await self.send_json({"stream": "news", "payload": event["text"]})

    communicator = DemuxCommunicator(News.as_asgi(), timeout=LIMIT)
    await communicator.connect()
    other = DemuxCommunicator(News.as_asgi(), timeout=LIMIT)
    await other.connect()
    assert layers == [layers[0]] * 2
    assert isinstance(layers[0], SteadfastLayer) is is_on
    assert get_channel_layer() is project
    await project.go_down()
    with pytest.raises(ConnectionError):
        await get_channel_layer().group_send("news", {"type": "news.item", "text": "lost"})
    project.come_back()
    if is_on:
        await until(lambda: len(project.groups.get("news", ())) == 2)
        await get_channel_layer().group_send("news", {"type": "news.item", "text": "hello"})
        for client in (communicator, other):
            assert await client.receive_from("news") == "hello"
            await client.disconnect()
    else:
        with pytest.raises(ConnectionError):
            await communicator.wait(LIMIT)
        with pytest.raises(ConnectionError):
            await other.wait(LIMIT)
    await stop_nodes()


def test_only_who_needs_a_channel_gets_one() -> None:
    """Groups, handlers and the attribute itself decide; helpers and overrides do not."""

    class Helping(WebsocketDemultiplexer):
        limit = 1

        async def connect(self) -> None:
            await self.accept()

        async def helper(self) -> None: ...

        def method(self, event: Any) -> None: ...

        async def _private(self, event: Any) -> None: ...

    class Quiet(Closing):
        listens = False

    assert not WebsocketDemultiplexer.listens
    assert not Helping.listens
    assert Closing.listens
    assert not Quiet.listens
    assert demultiplexer({}, groups=["one"]).listens


async def test_without_a_channel_layer_everything_runs_inline(settings: Any) -> None:
    """A project without any channel layer has all streams in the server's process."""
    settings.CHANNEL_LAYERS = {}
    cls = demultiplexer({"json": consumers.Json, "sync": consumers.SyncPlain})
    async with DemuxCommunicator(cls.as_asgi(), timeout=LIMIT) as client:
        for stream in ("json", "sync"):
            await client.send_to(stream, 1)
            assert await client.receive_from(stream) == 1


async def test_a_demultiplexer_without_streams_is_a_socket(inline: Place) -> None:
    """Without streams nothing is opened, and nothing closes the socket."""
    async with inline.client({}) as client:
        await client.send_to("none", 1)
        assert "there are: none" in (await client.receive_event("none"))["message"]


async def test_a_cancelled_connection_leaves_no_consumer(quick_place: Place) -> None:
    """A server that cancels the application, instead of saying goodbye, leaves nothing behind."""
    codes: list[int] = []

    class Noting(consumers.Json):
        async def disconnect(self, code: int) -> None:
            codes.append(code)

    cls = demultiplexer({"one": Noting})
    async with quick_place.run(cls):
        client = DemuxCommunicator(cls.as_asgi(), timeout=LIMIT)
        await client.connect()
        await client.send_to("one", 1)
        await client.receive_from("one")
        client.stop()
        await until(lambda: codes)
        assert codes == [1001]


async def test_a_cancelled_disconnect_leaves_no_task(quick_place: Place) -> None:
    """A server that loses patience during the disconnect cancels without a trace."""
    begun, ending = asyncio.Event(), asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await consumers.raw(scope, receive, send)
        begun.set()
        await ending.wait()

    cls = demultiplexer({"one": slow})
    async with quick_place.run(cls):
        client = DemuxCommunicator(cls.as_asgi(), timeout=LIMIT)
        await client.connect()
        await client.send_to("one", 1)
        await client.receive_from("one")
        await client.send_input({"type": "websocket.disconnect", "code": 1000})
        await within(begun.wait())
        client.stop()
        await asyncio.wait([client.future])
        ending.set()


async def test_an_unimportable_stream_ends_alone(inline: Place, caplog: Any) -> None:
    """A path that leads nowhere costs its own stream, with the reason in the log."""
    streams = {"broken": Stream("tests.integration.nowhere.App"), "echo": consumers.Json}
    async with inline.client(streams) as client:
        assert (await client.receive_event("broken"))["code"] == 1011
        await client.send_to("echo", 1)
        assert await client.receive_from("echo") == 1
    assert "'tests.integration.nowhere.App' cannot be imported" in caplog.text
