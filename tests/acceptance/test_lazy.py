"""Lazy streams, and the events with which a client opens and closes streams."""

from .conftest import SharedSite
from .harness.client import connect
from .harness.site import ServerKind


async def test_a_lazy_stream_opens_with_its_first_frame(
    shared: SharedSite, server_kind: ServerKind
) -> None:
    """A lazy stream has no consumer until a frame comes, and then gets that frame."""
    async with connect(shared.server(server_kind).url()) as client:
        await client.ask("echo", 1)
        connection = (await client.ask("scope", "report"))["demux"]["connection"]
        assert not shared.site.journal("connect", connection=connection, stream="lazy")
        assert (await client.ask("lazy", "first"))["echo"] == "first"
        assert len(shared.site.journal("connect", connection=connection, stream="lazy")) == 1


async def test_open_event(shared: SharedSite, server_kind: ServerKind) -> None:
    """The client's `open` event opens a lazy stream without a frame."""
    async with connect(shared.server(server_kind).url()) as client:
        connection = (await client.ask("scope", "report"))["demux"]["connection"]
        await client.send_event("lazy", "open")
        shared.site.wait_for_journal("connect", connection=connection, stream="lazy")
        assert (await client.ask("lazy", 1))["echo"] == 1
        assert len(shared.site.journal("connect", connection=connection, stream="lazy")) == 1


async def test_close_event(shared: SharedSite, server_kind: ServerKind) -> None:
    """The client's `close` event disconnects one consumer; the others stay."""
    async with connect(shared.server(server_kind).url()) as client:
        assert (await client.ask("lazy", 1))["echo"] == 1
        connection = (await client.ask("scope", "report"))["demux"]["connection"]
        await client.send_event("lazy", "close")
        await client.receive_event("closed", stream="lazy")
        shared.site.wait_for_journal("disconnect", connection=connection, stream="lazy")
        assert (await client.ask("echo", 1))["echo"] == 1
        assert not shared.site.journal("disconnect", connection=connection, stream="echo")


async def test_a_closed_stream_opens_again(shared: SharedSite) -> None:
    """After `close`, `open` gives the stream a new consumer."""
    async with connect(shared.server().url()) as client:
        await client.ask("lazy", 1)
        connection = (await client.ask("scope", "report"))["demux"]["connection"]
        await client.send_event("lazy", "close")
        await client.receive_event("closed", stream="lazy")
        await client.send_event("lazy", "open")
        assert (await client.ask("lazy", 2))["echo"] == 2
        assert len(shared.site.journal("connect", connection=connection, stream="lazy")) == 2


async def test_an_unusual_name(shared: SharedSite) -> None:
    """A stream whose name no channel may have is served by the worker of its mapped name."""
    from channels_demux_layer.protocol.naming import stream_channel

    stream = "grüße an alle"
    worker = shared.site.worker(stream_channel("demux", stream))
    try:
        async with connect(shared.server().url()) as client:
            assert (await client.ask(stream, 1))["pid"] == worker.pid
            await client.send_bytes(stream, b"not for a JSON consumer")
            assert (await client.receive_event("closed", stream=stream))["code"] == 1011
    finally:
        worker.stop()
