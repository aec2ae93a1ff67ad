"""A client for tests: speaks envelopes with a demultiplexer, without a server between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

from channels.testing import WebsocketCommunicator

from channels_demux_layer.codes import ClientEvent, CloseCode, ServerEvent
from channels_demux_layer.conf import get_settings

from .arrivals import Arrival, Kind, sort
from .database import connections_kept

__all__ = ["Closure", "DemuxCommunicator"]

#: Seconds that a communicator waits for anything, unless it is told otherwise. Generous: a test
#: that comes to its end has failed, and one that passes never waits so long.
PATIENCE = 10.0

Self = TypeVar("Self", bound="DemuxCommunicator")


class Closure(NamedTuple):
    """How the server closed the socket.

    Attributes:
        code: The close code.
        reason: The reason, empty where none was given.
    """

    code: int
    reason: str


class DemuxCommunicator(WebsocketCommunicator):
    """A client of one demultiplexer.

    Payloads and events of other streams that come before the awaited one are kept for their own
    ``receive_from()`` and ``receive_event()``. As an asynchronous context manager it connects,
    asserts that it was accepted, and disconnects at the end::

        async with DemuxCommunicator(Demultiplexer.as_asgi(), "/ws/") as client:
            await client.send_to("chat", {"text": "hello"})
            assert await client.receive_from("chat") == {"text": "hello"}
            await client.send_to("files", b"binary")
            assert await client.receive_from("files") == b"binary"
            await client.close("chat")
            assert (await client.receive_event("chat"))["code"] == 1000

    What the application raises is raised by whatever waits for it. An awaited thing that does
    not come is an AssertionError which shows what did. The application goes on all the same.

    Args:
        application: The ASGI application: a demultiplexer's ``as_asgi()``, or routers and
            middleware around it.
        path: The path that the client connects to, with its query string.
        headers: Pairs of header names and values, as bytes.
        subprotocols: The subprotocols that the client offers.
        spec_version: The version of ASGI's WebSocket specification that the scope names.
        timeout: How long to wait for anything, in seconds.

    Attributes:
        scope: The connection's scope; change it before connect(), to add a user for example.
        timeout: How long to wait for anything, in seconds.
    """

    def __init__(
        self,
        application: Any,
        path: str = "/",
        headers: Iterable[tuple[bytes, bytes]] | None = None,
        subprotocols: Iterable[str] | None = None,
        spec_version: str | None = None,
        *,
        timeout: float = PATIENCE,
    ) -> None:
        super().__init__(
            application,
            path,
            headers=list(headers or ()),
            subprotocols=list(subprotocols or ()),
            spec_version=spec_version,
        )
        self.timeout = timeout
        self._unread: list[Arrival] = []
        self._closure: Closure | None = None
        self._reopened: set[str] = set()
        self._has_left = False

    # -- the connection -----------------------------------------------------------------------

    async def __aenter__(self: Self) -> Self:
        """Connect; the demultiplexer must accept."""
        accepted, code = await self.connect()
        assert accepted, f"The demultiplexer refused the connection with code {code}."
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Disconnect, and wait until the application has ended."""
        try:
            await self.disconnect()
        except Exception:
            if exc is None:  # else that is what the test failed of
                raise

    async def connect(self, timeout: float | None = None) -> tuple[bool, Any]:
        """Connect.

        Args:
            timeout: How long to wait, in seconds.

        Returns:
            True and the subprotocol (str or None), or False and the close code (int).

        Raises:
            AssertionError: The application did not answer in time.
        """
        limit = self._limit(timeout)
        try:
            accepted, detail = await super().connect(limit)
        except asyncio.TimeoutError:
            raise AssertionError(f"No answer to the connect within {limit} s.") from None
        if not accepted:
            self._closure = Closure(detail, "")
        return accepted, detail

    async def disconnect(
        self, code: int = CloseCode.NORMAL, timeout: float | None = None, *, reason: str = ""
    ) -> None:
        """Leave, and wait until the application has ended; once.

        Args:
            code: The close code that the client gives.
            timeout: How long to wait for the application's end, in seconds.
            reason: The reason that the client gives.

        Raises:
            AssertionError: The application did not end in time; it was cancelled.
        """
        if self._has_left:
            return
        self._has_left = True
        await self.send_input({"type": "websocket.disconnect", "code": int(code), "reason": reason})
        limit = self._limit(timeout)
        try:
            with connections_kept():
                await self.wait(limit)
        except asyncio.TimeoutError:
            raise AssertionError(f"The application did not end within {limit} s.") from None

    async def receive_close(self, timeout: float | None = None) -> Closure:
        """Wait until the server closes the socket; what comes before is kept.

        Args:
            timeout: How long to wait, in seconds.

        Returns:
            The code and the reason.

        Raises:
            AssertionError: The socket was not closed in time.
        """
        deadline = self._now() + self._limit(timeout)
        while self._closure is None:
            await self._take(deadline, "the close of the socket")
        return self._closure

    # -- streams ------------------------------------------------------------------------------

    async def send_to(self, stream: str, payload: Any) -> None:
        """Send one payload to a stream.

        Args:
            stream: The stream's name.
            payload: ``bytes`` go as a binary frame, everything else as JSON in an envelope.
        """
        if isinstance(payload, bytes):
            name = stream.encode()
            await self.send_frame(bytes([len(name)]) + name + payload)
        else:
            settings = get_settings()
            envelope = {settings.MULTIPLEX_KEY: stream, settings.PAYLOAD_KEY: payload}
            await self.send_frame(self.encode(envelope))

    async def receive_from(self, stream: str, timeout: float | None = None) -> Any:
        """Return the next payload of a stream.

        Args:
            stream: The stream's name.
            timeout: How long to wait, in seconds.

        Returns:
            The decoded JSON, or ``bytes`` if it came as a binary frame.

        Raises:
            AssertionError: None came in time, or the stream or the socket was closed.
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
            stream: The stream's name; None for events about no stream, such as the error about
                a frame that names none.
            timeout: How long to wait, in seconds.

        Returns:
            The event as the client gets it, with all keys.

        Raises:
            AssertionError: None came in time, or the socket was closed.
        """

        def is_wanted(arrival: Arrival) -> bool:
            return arrival.kind is Kind.EVENT and arrival.stream == stream

        what = "an event about no stream" if stream is None else f"an event about {stream!r}"
        event: dict[str, Any] = (await self._receive(is_wanted, what, timeout)).content
        return event

    async def open(self, stream: str) -> None:
        """Ask for a stream to be opened: a lazy one, or one that has closed.

        Args:
            stream: The stream's name.
        """
        self._reopened.add(stream)
        await self._send_event(stream, ClientEvent.OPEN)

    async def close(self, stream: str) -> None:
        """Ask for a stream to be closed; the others go on.

        Args:
            stream: The stream's name.
        """
        await self._send_event(stream, ClientEvent.CLOSE)

    async def _send_event(self, stream: str, event: ClientEvent) -> None:
        settings = get_settings()
        envelope = {settings.MULTIPLEX_KEY: stream, settings.EVENT_KEY: str(event)}
        await self.send_frame(self.encode(envelope))

    async def receive_nothing(
        self, timeout: float = 0.1, interval: float = 0.01, *, stream: str | None = None
    ) -> bool:
        """Tell whether nothing comes.

        Args:
            timeout: How long to watch, in seconds.
            interval: Not used; it is there for what calls the method of the base class.
            stream: Watch for payloads and events of this stream alone.

        Returns:
            Whether nothing unread is there, and nothing came.
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

    # -- frames as they are -------------------------------------------------------------------

    async def send_frame(self, frame: str | bytes) -> None:
        """Send a frame as it is, for tests of what is no envelope.

        Args:
            frame: The text or the bytes; may be empty.
        """
        key = "text" if isinstance(frame, str) else "bytes"
        await self.send_input({"type": "websocket.receive", key: frame})

    async def receive_frame(self, timeout: float | None = None) -> str | bytes:
        """Return the oldest frame that was not received yet, of whatever stream, as it came.

        Args:
            timeout: How long to wait, in seconds.

        Returns:
            The text, or the bytes.

        Raises:
            AssertionError: None came in time, or the socket was closed.
        """
        return (await self._receive(lambda arrival: True, "a frame", timeout)).frame

    async def send_json_to(self, data: Any) -> None:
        """Send a whole envelope, as with Channels' own communicator.

        Args:
            data: The envelope.
        """
        await self.send_frame(self.encode(data))

    async def receive_json_from(self, timeout: float | None = None) -> Any:
        """Return the oldest envelope that was not received yet, of whatever stream.

        Args:
            timeout: How long to wait, in seconds.

        Returns:
            The decoded envelope.

        Raises:
            AssertionError: None came in time, or the socket was closed.
        """
        return self.decode(await self.receive_frame(timeout))

    def encode(self, envelope: Any) -> str:
        """Encode an envelope as JSON; override it for a demultiplexer with its own encoding.

        Args:
            envelope: The envelope.

        Returns:
            The text of the frame.
        """
        return json.dumps(envelope)

    def decode(self, frame: str | bytes) -> Any:
        """Decode an envelope's JSON; override it for a demultiplexer with its own encoding.

        Args:
            frame: The frame.

        Returns:
            The envelope.

        Raises:
            ValueError: It is no JSON.
        """
        return json.loads(frame)

    # -- what comes ---------------------------------------------------------------------------

    async def receive_output(self, timeout: float | None = None) -> dict[str, Any]:
        """Return the next message of the application to its server; for connect() and the like.

        Unlike that of the base class, it leaves the application running when none comes.

        Args:
            timeout: How long to wait, in seconds.

        Returns:
            An ASGI message.

        Raises:
            asyncio.TimeoutError: None came in time.
            AssertionError: The application has ended.
        """
        getter = asyncio.ensure_future(self.output_queue.get())
        try:
            with connections_kept():
                await asyncio.wait(
                    {getter, self.future},
                    timeout=self._limit(timeout),
                    return_when=asyncio.FIRST_COMPLETED,
                )
        finally:
            if not getter.done():
                getter.cancel()
                await asyncio.wait({getter})
        if not getter.cancelled():
            return getter.result()
        if self.future.done():
            self.future.result()
            raise AssertionError("The application has ended.")
        raise asyncio.TimeoutError

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
            raise self._failure(f"The socket was closed with {self._closure} before {what} came.")
        if stream is None or stream in self._reopened:
            return
        for arrival in self._unread:
            if arrival.stream == stream and arrival.is_event(ServerEvent.CLOSED):
                raise self._failure(f"Stream {stream!r} was closed before {what} came.")

    async def _take(self, deadline: float, what: str) -> None:
        """Take in one message of the application."""
        if self._closure is not None:
            raise self._failure(f"The socket is closed; waited for {what}.")
        try:
            message = await self.receive_output(max(deadline - self._now(), 0))
        except asyncio.TimeoutError:
            raise self._failure(f"Waited in vain for {what}.") from None
        if message["type"] == "websocket.close":
            self._closure = Closure(message.get("code") or 1000, message.get("reason") or "")
            return
        assert message["type"] == "websocket.send", f"Unexpected message {message!r}."
        text = message.get("text")
        self._unread.append(sort(message["bytes"] if text is None else text, self.decode))

    def _failure(self, problem: str) -> AssertionError:
        shown = "".join(f"\n  {arrival}" for arrival in self._unread)
        came = f" Unread is:{shown}" if shown else " Nothing else is unread."
        return AssertionError(problem + came)

    def _limit(self, timeout: float | None) -> float:
        return self.timeout if timeout is None else timeout

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
