"""One socket, many streams, real workers: consumers of every kind."""

import pytest

from .conftest import SharedSite
from .harness.client import connect
from .harness.site import ServerKind

ROOM = "9f0c6c2e-53a8-4a3e-8f6d-0d7f3c1b8a55"


@pytest.fixture
def url(shared: SharedSite, server_kind: ServerKind) -> str:
    """The demultiplexer's address on each server and layer.

    Returns:
        The URL.
    """
    return shared.server(server_kind).url()


async def test_streams_are_served_by_their_workers(
    shared: SharedSite, server_kind: ServerKind
) -> None:
    """Each of two streams is answered by its own worker, neither by the server."""
    server = shared.server(server_kind)
    async with connect(server.url()) as client:
        echo = await client.ask("echo", {"number": 1})
        other = await client.ask("other", ["list", None, 1.5, "ü"])
    assert echo == {"echo": {"number": 1}, "pid": shared.echo_worker.pid}
    assert other == {"echo": ["list", None, 1.5, "ü"], "pid": shared.other_worker.pid}
    assert len({echo["pid"], other["pid"], server.process.pid}) == 3


async def test_inline_streams_stay_in_the_server(
    shared: SharedSite, server_kind: ServerKind
) -> None:
    """A stream hosted inline is answered by the server, beside remote ones on one socket."""
    server = shared.server(server_kind)
    async with connect(server.url()) as client:
        inline = await client.ask("inline", "here")
        remote = await client.ask("echo", "there")
    assert inline == {"echo": "here", "pid": server.process.pid}
    assert remote == {"echo": "there", "pid": shared.echo_worker.pid}


async def test_streams_interleave(url: str) -> None:
    """Frames to several streams on one socket each come back on their own, in order."""
    streams = ("echo", "other", "inline")
    async with connect(url) as client:
        for number in range(100):
            for stream in streams:
                await client.send(stream, [stream, number])
        for stream in streams:
            for number in range(100):
                assert (await client.receive_from(stream))["echo"] == [stream, number]


async def test_sync_consumer(url: str, shared: SharedSite) -> None:
    """A synchronous JSON consumer runs in a thread of its worker."""
    async with connect(url) as client:
        answer = await client.ask("sync", {"a": [1, 2]})
    assert answer == {"sync": {"a": [1, 2]}, "pid": shared.other_worker.pid, "in_thread": True}


async def test_text_stream(url: str) -> None:
    """A plain-text consumer behind Stream(text=True) sees bare text and sends bare text."""
    async with connect(url) as client:
        assert await client.ask("text", 'say "hé"') == '"éh" yas'
        assert await client.ask("text", "") == ""
        assert await client.ask("text", "12") == "21"


async def test_text_that_is_no_json(url: str) -> None:
    """What a consumer sends that is not JSON arrives as a JSON string."""
    async with connect(url) as client:
        assert await client.ask("plain", {"a": 1}) == '}1 :"a"{'
        assert await client.ask("plain", 12) == 21


async def test_bytes(url: str) -> None:
    """Bytes go to a consumer and come back without their header, empty and large ones too."""
    async with connect(url) as client:
        for data in (b"\x00\x01\xff", b"", bytes(range(256)) * 1024):
            await client.send_bytes("bytes", data)
            assert await client.receive_bytes_from("bytes") == data[::-1]
        assert await client.ask("bytes", {"a": 1}) == {"text": '{"a": 1}'}


async def test_raw_application(url: str) -> None:
    """An ASGI application without Channels is a stream like any other."""
    async with connect(url) as client:
        await client.send_event("raw", "open")
        assert await client.receive_from("raw") == {"path": "/ws/"}
        assert await client.ask("raw", [1, {"b": None}]) == [1, {"b": None}]


async def test_router_as_stream(shared: SharedSite, server_kind: ServerKind) -> None:
    """A stream may be a URLRouter, which routes by what is left of the socket's path."""
    server = shared.server(server_kind)
    async with connect(server.url("routed/")) as client:
        answer = await client.ask("router", None)
        assert answer == {"room": "None", "type": "NoneType", "extra": "no room"}
    async with connect(server.url(f"routed/{ROOM}/")) as client:
        answer = await client.ask("router", None)
        assert answer == {"room": ROOM, "type": "UUID", "extra": "a room"}


async def test_a_consumers_own_group(shared: SharedSite) -> None:
    """A consumer's own channel, group and handler work in the worker, across two servers."""
    pid = shared.other_worker.pid
    async with (
        connect(shared.server("uvicorn").url()) as ada,
        connect(shared.server("daphne").url()) as bob,
    ):
        for client in (ada, bob):
            await client.send_event("chat", "open")
            assert await client.receive_from("chat") == {"joined": "chat.ws"}
        assert await ada.ask("chat", "hello") == {"said": "hello", "by": pid}
        assert await bob.receive_from("chat") == {"said": "hello", "by": pid}
        assert await bob.ask("chat", {"hi": 1}) == {"said": {"hi": 1}, "by": pid}
        assert await ada.receive_from("chat") == {"said": {"hi": 1}, "by": pid}


async def test_a_disconnect_reaches_the_worker(shared: SharedSite, server_kind: ServerKind) -> None:
    """When a client leaves, its consumer in the worker is disconnected with the client's code."""
    async with connect(shared.server(server_kind).url()) as client:
        await client.ask("echo", 1)
        report = await client.ask("scope", "report")
    connection = report["demux"]["connection"]
    entry = shared.site.wait_for_journal("disconnect", connection=connection, stream="echo")
    assert entry["pid"] == shared.echo_worker.pid
    assert entry["code"] == 1000


async def test_consumers_connect_once(shared: SharedSite, server_kind: ServerKind) -> None:
    """One connection gives one consumer for each stream, opened as the socket is."""
    async with connect(shared.server(server_kind).url()) as client:
        for stream in ("echo", "other", "inline"):
            await client.ask(stream, 1)
        report = await client.ask("scope", "report")
    connection = report["demux"]["connection"]
    connects = shared.site.journal("connect", connection=connection)
    assert sorted(entry["stream"] for entry in connects) == ["echo", "inline", "other"]
