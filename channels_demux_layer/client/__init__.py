"""A client for scripts and services: the streams of one WebSocket, without Django or Channels.

It needs the extra ``client``::

    from channels_demux_layer.client import connect

    async with connect("wss://example.org/ws/") as demux:
        chat = demux.stream("chat")
        await chat.send({"text": "hello"})
        async for payload in chat:
            print(payload)
"""

from __future__ import annotations

from typing import Any

from channels_demux_layer.exceptions import ClientError, ConnectFailed, StreamClosed

from .demultiplexer import DemuxClient
from .dialing import Dialer, Headers, Renewed
from .options import Options
from .reconnect import Backoff
from .stream import ClientStream
from .wire import ClientCodec, Event

__all__ = [
    "Backoff",
    "ClientError",
    "ClientStream",
    "ConnectFailed",
    "DemuxClient",
    "Event",
    "StreamClosed",
    "connect",
]

#: The largest frame that is taken, in bytes. What a server with the default MAX_PAYLOAD sends
#: fits, were each byte of it escaped.
MAX_SIZE = 8 * 1024 * 1024


def connect(
    url: Renewed[str],
    *,
    headers: Renewed[Headers | None] = None,
    reconnect: bool = True,
    keep_trying: bool = False,
    backoff: Backoff | None = None,
    window_frames: int = Options.window_frames,
    window_bytes: int = Options.window_bytes,
    close_timeout: float = Options.close_timeout,
    stream_key: str = "stream",
    payload_key: str = "payload",
    event_key: str = "event",
    **websocket: Any,
) -> DemuxClient:
    """Connect to a demultiplexer, for the length of an ``async with`` block.

    Args:
        url: The address; or a function or coroutine function that gives it, at each connect.
        headers: Headers of the request, or what gives them, at each connect.
        reconnect: Whether to connect again when the socket is lost.
        keep_trying: Whether the first connect is tried again as later ones are; else it raises.
        backoff: How long to wait before connecting again.
        window_frames: So many frames may wait to be sent, and of each stream to be read.
        window_bytes: So many bytes (characters, for text to be sent) may.
        close_timeout: Seconds that an end may take: of a stream, or of the block.
        stream_key: The server's setting ``MULTIPLEX_KEY``.
        payload_key: The server's setting ``PAYLOAD_KEY``.
        event_key: The server's setting ``EVENT_KEY``.
        **websocket: Options of `websockets.asyncio.client.connect`, such as ``ssl``,
            ``subprotocols``, ``origin``, ``ping_timeout``, or ``max_size`` in bytes.

    Returns:
        The client; ``async with connect(...) as demux`` connects, or raises ConnectFailed.
    """
    options = Options(
        reconnect=reconnect,
        keep_trying=keep_trying,
        backoff=backoff or Backoff(),
        window_frames=window_frames,
        window_bytes=window_bytes,
        close_timeout=close_timeout,
        codec=ClientCodec(stream_key, payload_key, event_key),
    )
    websocket = {"max_size": MAX_SIZE, "close_timeout": close_timeout, **websocket}
    return DemuxClient(Dialer(url, headers, websocket), options)
