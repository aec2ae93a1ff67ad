"""A Python client for scripts and services. It needs neither Django nor Channels.

Install the extra ``client``::

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
from channels_demux_layer.protocol.client_envelope import ClientCodec, Event

from .demultiplexer import DemuxClient
from .dialing import Backoff, Dialer, Headers, Options, Renewed
from .stream import ClientStream

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

#: The largest frame that the client accepts, in bytes. A server with the default MAX_PAYLOAD
#: never exceeds it, even if JSON escapes every byte of the payload.
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
    """Return a client that connects to a demultiplexer for the length of an ``async with`` block.

    Args:
        url: The address. A function or coroutine function is called for each connect.
        headers: Headers of the request. A function is called as for ``url``.
        reconnect: Whether to reconnect when the socket is lost.
        keep_trying: Whether to retry the first connect too. Otherwise its failure raises.
        backoff: How long to wait before reconnecting.
        window_frames: Maximum of frames that wait to be sent, and of unread ones per stream.
        window_bytes: The same maximum in bytes. Unsent text counts in characters.
        close_timeout: Seconds that a stream or the block may take to close.
        stream_key: The server's setting ``MULTIPLEX_KEY``.
        payload_key: The server's setting ``PAYLOAD_KEY``.
        event_key: The server's setting ``EVENT_KEY``.
        **websocket: Options of `websockets.asyncio.client.connect`, such as ``ssl``,
            ``subprotocols``, ``origin``, ``ping_timeout``, or ``max_size`` in bytes.

    Returns:
        The client. ``async with connect(...) as demux`` connects, or raises ConnectFailed.
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
