"""What else a project may write, with every public name in use."""

from typing import Any

import msgspec
from channels.routing import ChannelNameRouter
from typing_extensions import assert_type

from channels_demux_layer import Stream, WebsocketDemultiplexer
from channels_demux_layer.client import (
    Backoff,
    ClientStream,
    ConnectFailed,
    Event,
    StreamClosed,
    connect,
)
from channels_demux_layer.codes import CloseCode, ErrorCode
from channels_demux_layer.contrib.opentelemetry import instrument
from channels_demux_layer.exceptions import DemuxError, PayloadTooLarge
from channels_demux_layer.middleware import FetchMiddleware
from channels_demux_layer.routing import stream_workers
from channels_demux_layer.testing import DemuxCommunicator, run_workers


class EchoConsumer:
    """Stands for a consumer class; those of Channels have no types."""

    @classmethod
    def as_asgi(cls) -> Any:
        """Return nothing of use."""


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Stands for an ASGI application."""


async def is_member(scope: dict[str, Any]) -> bool:
    """Tell whether a client may."""
    return bool(scope["user"].is_authenticated)


def worker_stack(inner: Any) -> Any:
    """Stand around consumers in workers."""
    return FetchMiddleware(inner)


class Demultiplexer(WebsocketDemultiplexer):
    """A demultiplexer with an entry of each kind."""

    consumer_classes = {
        "echo": EchoConsumer,
        "application": application,
        "path": "mysite.consumers.PathConsumer",
        "options": Stream(EchoConsumer, lazy=True, text=True, hosting="inline", own_thread=True),
        "named": Stream(EchoConsumer, permission="market.view_price"),
        "asked": Stream(EchoConsumer, permission=is_member),
        "told": Stream(EchoConsumer, permission=lambda scope: bool(scope["user"])),
        "spoken": Stream(EchoConsumer, subprotocol="v1.chat"),
    }
    channel_prefix = "site"
    worker_middleware = worker_stack
    send_events = False
    max_open_streams = 8
    frames_per_second = 50
    bytes_per_second = 1e6
    scope_headers = ["host"]
    scope_cookies = ("theme",)

    def portable_scope(self) -> dict[str, Any]:
        """Put a plain value in the place of an object."""
        return {**super().portable_scope(), "tenant": "one"}

    async def connect(self) -> None:
        """Accept."""
        await self.accept()

    async def disconnect(self, code: int) -> None:
        """Close once more, with a code of the package."""
        await self.close(CloseCode.GOING_AWAY, "bye")


ChannelNameRouter(stream_workers(Demultiplexer))


async def test_with_workers() -> None:
    """Use what the package has for tests."""
    client = DemuxCommunicator(Demultiplexer.as_asgi(), "/ws/")
    async with run_workers(Demultiplexer), client:
        await client.send_to("echo", {"any": ["JSON"]})
        await client.send_to("echo", b"bytes")
        assert (await client.receive_event("echo"))["code"] == ErrorCode.TOO_LARGE
        closure = await client.receive_close()
        assert_type(closure.code, int)


def ready() -> None:
    """Have frames traced."""
    instrument()


def explain(error: DemuxError) -> int:
    """Read what an exception says."""
    return error.size - error.limit if isinstance(error, PayloadTooLarge) else 0


class Price(msgspec.Struct):
    """What the payloads of a typed stream are decoded to."""

    symbol: str
    value: float


async def token() -> dict[str, str]:
    """Give the headers of the next connect."""
    return {"Authorization": "Bearer token"}


async def use_the_client() -> int | None:
    """Use what the package has for scripts and services."""
    demux = connect("wss://example.org/ws/", headers=token, backoff=Backoff(first=0.1), ssl=None)
    try:
        async with demux:
            chat = demux.stream("chat", on_event=print)
            assert_type(chat, ClientStream[Any])
            await chat.send({"any": ["JSON"]})
            assert_type(await demux.stream("text", text=True).receive(), str)
            async for price in demux.stream("prices", type=Price):
                assert_type(price, Price)
            async for event in chat.events():
                assert_type(event, Event)
            await chat.close()
            return chat.close_code
    except ConnectFailed as error:
        return error.status
    except StreamClosed as end:
        return end.code


async def misuse_the_client() -> None:
    """Each of these has to be said to be wrong."""
    connect("wss://example.org/ws/", backoff=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    demux = connect("wss://example.org/ws/")
    demux.stream("text", txt=True)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
