"""Tests as the documentation has them."""

from channels.layers import InMemoryChannelLayer
from typing_extensions import assert_type

from channels_demux_layer.testing import DemuxCommunicator, run_workers
from channels_demux_layer.testing.faulty import FaultyLayer
from mysite.asgi import application
from mysite.demultiplexer import Demultiplexer


async def test_chat() -> None:
    """A client chats, by way of a worker."""
    async with run_workers(Demultiplexer), DemuxCommunicator(application, "/ws/") as client:
        await client.send_to("chat", {"text": "hello"})
        assert await client.receive_from("chat", timeout=5) == {"content": {"text": "hello"}}
        await client.close("chat")
        event = await client.receive_event("chat")
        assert event["code"] == 1000


async def test_faults() -> None:
    """A layer fails, and heals."""
    layer = FaultyLayer(InMemoryChannelLayer(), seed=7, drop=0.05, delay=(0.0, 0.02))
    await layer.go_down()
    assert_type(layer.is_down, bool)
    assert_type(layer.faults["restarted"], int)
    layer.heal()


async def wrong() -> None:
    """Each of these has to be said to be wrong."""
    FaultyLayer({}, 7)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    FaultyLayer({}, delay=0.1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    run_workers("mysite")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client = DemuxCommunicator(application, "/ws/")
    await client.send_to(12, {})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
