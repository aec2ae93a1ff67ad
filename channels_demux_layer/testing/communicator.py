"""A client for tests, which exchanges envelopes with a demultiplexer without a server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from channels_demux_layer.codes import ClientEvent, ServerEvent

from .socket import Arrival, Kind, SocketCommunicator, current_codec

__all__ = ["DemuxCommunicator"]


class DemuxCommunicator(SocketCommunicator):
    """A client of one demultiplexer.

    ``receive_from()`` and ``receive_event()`` keep payloads and events of other streams for later
    calls. The asynchronous context manager connects, asserts that the server accepted, and
    disconnects at the end::

        async with DemuxCommunicator(Demultiplexer.as_asgi(), "/ws/") as client:
            await client.send_to("chat", {"text": "hello"})
            assert await client.receive_from("chat") == {"text": "hello"}
            await client.send_to("files", b"binary")
            assert await client.receive_from("files") == b"binary"
            await client.close("chat")
            assert (await client.receive_event("chat"))["code"] == 1000

    Methods that wait raise the application's exceptions. If nothing suitable arrives in time, they
    raise an AssertionError that lists what did arrive. The application keeps running.

    Args:
        application: The ASGI application: a demultiplexer's ``as_asgi()``, or routers and
            middleware around it.
        path: The path that the client connects to, with its query string.
        headers: Pairs of header names and values, as bytes.
        subprotocols: The subprotocols that the client offers.
        spec_version: The version of ASGI's WebSocket specification in the scope.
        timeout: How long to wait for anything, in seconds.

    Attributes:
        scope: The connection's scope. Change it before connect(), to add a user for example.
        timeout: How long to wait for anything, in seconds.
    """

    # -- streams ------------------------------------------------------------------------------

    async def send_to(self, stream: str, payload: Any) -> None:
        """Send one payload to a stream.

        Args:
            stream: The stream's name.
            payload: ``bytes`` are sent as a binary frame, anything else as JSON in an envelope.
        """
        codec = current_codec()
        if isinstance(payload, bytes):
            await self.send_frame(codec.encode_payload(stream, payload))
        else:
            await self.send_frame(
                self.encode({codec.stream_key: stream, codec.payload_key: payload})
            )

    async def receive_from(self, stream: str, timeout: float | None = None) -> Any:
        """Return the next payload of a stream.

        Args:
            stream: The stream's name.
            timeout: How long to wait, in seconds.

        Returns:
            The decoded JSON, or ``bytes`` for a binary frame.

        Raises:
            AssertionError: No payload arrived in time, or the stream or the socket was closed.
        """

        def is_wanted(arrival: Arrival) -> bool:
            return arrival.kind is Kind.PAYLOAD and arrival.stream == stream

        what = f"a payload of stream {stream!r}"
        return (await self._receive(is_wanted, what, timeout, closing=stream)).content

    async def receive_event(
        self, stream: str | None = None, timeout: float | None = None
    ) -> dict[str, Any]:
        """Return the next event about a stream.

        Args:
            stream: The stream's name; None for events without a stream, such as the error for a
                frame that names none.
            timeout: How long to wait, in seconds.

        Returns:
            The event with all its keys.

        Raises:
            AssertionError: No event arrived in time, or the socket was closed.
        """

        def is_wanted(arrival: Arrival) -> bool:
            return arrival.kind is Kind.EVENT and arrival.stream == stream

        what = "an event about no stream" if stream is None else f"an event about {stream!r}"
        event: dict[str, Any] = (await self._receive(is_wanted, what, timeout)).content
        return event

    async def open(self, stream: str) -> None:
        """Send an ``open`` for a lazy stream, or for one that has closed.

        Args:
            stream: The stream's name.
        """
        self._reopened.add(stream)
        await self._send_event(stream, ClientEvent.OPEN)

    async def close(self, stream: str) -> None:
        """Send a ``close`` for a stream. The others stay open.

        Args:
            stream: The stream's name.
        """
        await self._send_event(stream, ClientEvent.CLOSE)

    async def _send_event(self, stream: str, event: ClientEvent) -> None:
        codec = current_codec()
        await self.send_frame(self.encode({codec.stream_key: stream, codec.event_key: str(event)}))

    async def receive_nothing(
        self, timeout: float = 0.1, interval: float = 0.01, *, stream: str | None = None
    ) -> bool:
        """Return whether nothing is unread and nothing arrives.

        Args:
            timeout: How long to wait, in seconds.
            interval: Unused; present for compatibility with the base class.
            stream: Consider only payloads and events of this stream.
        """
        deadline = self._now() + timeout
        while not self._has_something(stream):
            try:
                await self._take(deadline, "anything")
            except AssertionError:
                return True
        return False

    def _has_something(self, stream: str | None) -> bool:
        if stream is None:
            return bool(self._unread) or self._closure is not None
        return any(arrival.stream == stream for arrival in self._unread)

    # -- raw frames and envelopes -------------------------------------------------------------

    async def receive_frame(self, timeout: float | None = None) -> str | bytes:
        """Return the oldest unread frame of any stream.

        Args:
            timeout: How long to wait, in seconds.

        Returns:
            The text, or the bytes.

        Raises:
            AssertionError: No frame arrived in time, or the socket was closed.
        """
        return (await self._receive(lambda arrival: True, "a frame", timeout)).frame

    async def send_json_to(self, data: Any) -> None:
        """Send a whole envelope, like Channels' own communicator.

        Args:
            data: The envelope.
        """
        await self.send_frame(self.encode(data))

    async def receive_json_from(self, timeout: float | None = None) -> Any:
        """Return the oldest unread envelope of any stream.

        Args:
            timeout: How long to wait, in seconds.

        Returns:
            The decoded envelope.

        Raises:
            AssertionError: No envelope arrived in time, or the socket was closed.
        """
        return self.decode(await self.receive_frame(timeout))

    # -- waiting ------------------------------------------------------------------------------

    async def _receive(
        self,
        is_wanted: Callable[[Arrival], bool],
        what: str,
        timeout: float | None,
        *,
        closing: str | None = None,
    ) -> Arrival:
        deadline = self._now() + self._limit(timeout)
        seen = 0
        while True:
            for index in range(seen, len(self._unread)):
                if is_wanted(self._unread[index]):
                    return self._unread.pop(index)
            seen = len(self._unread)
            self._check_still_open(what, closing)
            await self._take(deadline, what)

    def _check_still_open(self, what: str, stream: str | None) -> None:
        if self._closure is not None:
            raise self._failure(f"The socket closed with {self._closure} before {what} arrived.")
        if stream is None or stream in self._reopened:
            return
        for arrival in self._unread:
            if arrival.stream == stream and arrival.is_event(ServerEvent.CLOSED):
                raise self._failure(f"Stream {stream!r} closed before {what} arrived.")
