"""The Python client against a real site, when its worker and its server are killed."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from channels_demux_layer.client import Backoff, ClientStream, Event, StreamClosed, connect
from tests.integration.client.peer import NO_PROXY

from .conftest import MakeSite, SharedSite
from .harness.client import within_limit
from .harness.layers import Kind

#: Silence counts as death soon here, so that the tests need not wait for it.
OPTIONS = {"PEER_TIMEOUT": 2.0, "OPEN_RETRY": 0.5, "OPEN_TIMEOUT": 1.0}


class Echo(msgspec.Struct):
    """What the echoing consumer answers."""

    echo: Any
    pid: int


async def ask(stream: ClientStream[Any], payload: Any) -> Any:
    """Sends a payload and receives the next one.

    Returns:
        What was received.
    """
    await within_limit(stream.send(payload))
    return await within_limit(stream.receive())


async def next_event(events: AsyncIterator[Event], name: str) -> Event:
    """Waits for an event of a kind.

    Returns:
        The event.
    """

    async def find() -> Event:
        async for event in events:
            if event.event == name:
                return event
        raise AssertionError(f"The stream has ended without {name!r}.")

    return await within_limit(find())


async def test_streams_of_every_kind(shared: SharedSite) -> None:
    """JSON, plain text, bytes and lazy streams work as the page says, on both layers."""
    async with connect(shared.server().url(), **NO_PROXY) as demux:
        echo = demux.stream("echo", type=Echo)
        assert await ask(echo, {"a": [1, None]}) == Echo({"a": [1, None]}, shared.echo_worker.pid)
        assert await ask(demux.stream("text", text=True), 'say "hé"') == '"éh" yas'
        assert await ask(demux.stream("bytes"), b"\x00\x01\xff") == b"\xff\x01\x00"
        # A lazy stream opens when it is asked for, without a payload.
        assert await within_limit(demux.stream("chat").receive()) == {"joined": "chat.ws"}
        umlauts = demux.stream("grüße an alle")
        await umlauts.close()
        assert umlauts.close_code == 1000


async def test_a_killed_worker_and_a_killed_server(make_site: MakeSite, layer_kind: Kind) -> None:
    """A stream hears `reopened` and goes on when its worker dies, and when the server does."""
    site = make_site(layer_kind, settings={"CHANNELS_DEMUX_LAYER": OPTIONS})
    server = site.server()
    first = site.worker("single.echo")
    url = [server.url("single/")]
    backoff = Backoff(first=0.2, longest=0.5)
    async with connect(lambda: url[0], backoff=backoff, **NO_PROXY) as demux:
        echo = demux.stream("echo", type=Echo)
        events = echo.events()
        assert await ask(echo, 1) == Echo(1, first.pid)

        second = await asyncio.to_thread(site.worker, "single.echo")
        await asyncio.to_thread(first.kill)
        await within_limit(echo.send(2))
        await next_event(events, "reopened")
        assert await within_limit(echo.receive()) == Echo(2, second.pid)

        await asyncio.to_thread(server.process.kill)
        server = await asyncio.to_thread(site.server)
        url[0] = server.url("single/")
        await next_event(events, "reopened")
        assert await ask(echo, 3) == Echo(3, second.pid)
        await echo.close()
        with pytest.raises(StreamClosed):
            await echo.send(4)
