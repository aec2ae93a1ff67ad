"""A client's socket for tests, which talks to the ASGI application without a server.

Received frames are sorted into payloads, events, and others, with the Python client's codec.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import reprlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from functools import lru_cache
from types import TracebackType
from typing import Any, NamedTuple, TypeVar
from unittest import mock

from channels.testing import WebsocketCommunicator

from channels_demux_layer.codes import CloseCode, ServerEvent
from channels_demux_layer.conf import get_settings
from channels_demux_layer.protocol.client_envelope import ClientCodec, Payload

__all__ = [
    "PATIENCE",
    "Arrival",
    "Closure",
    "Kind",
    "SocketCommunicator",
    "connections_kept",
    "current_codec",
    "sort",
]

_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = 200
_brief.maxdict = _brief.maxlist = 20


class Kind(Enum):
    """The kind of a frame."""

    PAYLOAD = "payload"
    EVENT = "event"
    OTHER = "frame that is no envelope"


class Arrival(NamedTuple):
    """One received frame.

    Attributes:
        kind: The frame's kind.
        stream: The stream that the frame names, or None.
        content: The payload, the whole event, or the frame.
        frame: The unchanged frame.
    """

    kind: Kind
    stream: str | None
    content: Any
    frame: str | bytes

    def is_event(self, name: ServerEvent) -> bool:
        """Return whether the frame is an event with this name."""
        return self.kind is Kind.EVENT and self.content[get_settings().EVENT_KEY] == name

    def __str__(self) -> str:
        origin = "" if self.stream is None else f" of {self.stream!r}"
        return f"{self.kind.value}{origin}: {_brief.repr(self.content)}"


@lru_cache(maxsize=8)
def _codec(stream_key: str, payload_key: str, event_key: str) -> ClientCodec:
    return ClientCodec(stream_key, payload_key, event_key)


def current_codec() -> ClientCodec:
    """Return a client's codec with the keys of the current settings."""
    settings = get_settings()
    return _codec(settings.MULTIPLEX_KEY, settings.PAYLOAD_KEY, settings.EVENT_KEY)


def sort(frame: str | bytes, decode: Callable[[str | bytes], Any]) -> Arrival:
    """Decode a frame and return it with its kind.

    Args:
        frame: The frame.
        decode: Decodes the envelope of a text frame, or raises ValueError.
    """
    if isinstance(frame, bytes):
        incoming = current_codec().decode(frame)
        if isinstance(incoming, Payload):
            return Arrival(Kind.PAYLOAD, incoming.stream, incoming.data, frame)
        return _other(frame)
    try:
        envelope = decode(frame)
    except ValueError:
        return _other(frame)
    return _sort_envelope(envelope, frame) if isinstance(envelope, dict) else _other(frame)


def _sort_envelope(envelope: dict[str, Any], frame: str) -> Arrival:
    codec = current_codec()
    stream = envelope.get(codec.stream_key)
    if stream is not None and codec.payload_key in envelope:
        return Arrival(Kind.PAYLOAD, stream, envelope[codec.payload_key], frame)
    if codec.event_key in envelope:
        return Arrival(Kind.EVENT, stream, envelope, frame)
    return _other(frame)


def _other(frame: str | bytes) -> Arrival:
    return Arrival(Kind.OTHER, None, frame, frame)


_patch = mock.patch("channels.db.close_old_connections", return_value=None)
_users = 0


@contextmanager
def connections_kept() -> Iterator[None]:
    """Keep Channels from closing the test's database connections around each handler.

    Channels' communicators do the same. Here several users may overlap: the first one applies the
    patch, and the last one removes it.
    """
    global _users  # noqa: PLW0603 - the patch is global, too
    if not _users:
        _patch.start()
    _users += 1
    try:
        yield
    finally:
        _users -= 1
        if not _users:
            _patch.stop()


#: Seconds that a communicator waits for anything by default. Only failing tests wait that long.
PATIENCE = 10.0

Self = TypeVar("Self", bound="SocketCommunicator")


class Closure(NamedTuple):
    """How the server closed the socket.

    Attributes:
        code: The close code.
        reason: The reason; empty if none was given.
    """

    code: int
    reason: str


class SocketCommunicator(WebsocketCommunicator):
    """The socket of one client. `DemuxCommunicator` describes arguments and attributes."""

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
        self._stack = contextlib.ExitStack()

    # -- the connection -----------------------------------------------------------------------

    async def __aenter__(self: Self) -> Self:
        """Connect, and assert that the demultiplexer accepts."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(connections_kept())
            accepted, code = await self.connect()
            assert accepted, f"The demultiplexer refused the connection with code {code}."
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Disconnect, and wait until the application has ended."""
        with self._stack:
            try:
                await self.disconnect()
            except Exception:
                if exc is None:  # else keep the error that made the test fail
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
            raise AssertionError(
                f"The application neither accepted nor closed the socket within {limit} s."
            ) from None
        if not accepted:
            self._closure = Closure(detail, "")
        return accepted, detail

    async def disconnect(
        self, code: int = CloseCode.NORMAL, timeout: float | None = None, *, reason: str = ""
    ) -> None:
        """Disconnect, and wait until the application has ended. Further calls do nothing.

        Args:
            code: The client's close code.
            timeout: How long to wait for the application's end, in seconds.
            reason: The client's close reason.

        Raises:
            AssertionError: The application did not end in time, and was cancelled.
        """
        if self._has_left:
            return
        self._has_left = True
        await self.send_input({"type": "websocket.disconnect", "code": int(code), "reason": reason})
        limit = self._limit(timeout)
        with connections_kept():
            done, _ = await asyncio.wait({self.future}, timeout=limit)
        if not done:
            self.future.cancel()
            await asyncio.wait({self.future})
            raise AssertionError(f"The application did not end within {limit} s.")
        if not self.future.cancelled():
            self.future.result()

    async def receive_close(self, timeout: float | None = None) -> Closure:
        """Wait until the server closes the socket. Earlier frames stay unread.

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

    # -- frames -------------------------------------------------------------------------------

    async def send_frame(self, frame: str | bytes) -> None:
        """Send a raw frame, for tests of invalid envelopes.

        Args:
            frame: The text or the bytes, which may be empty.
        """
        key = "text" if isinstance(frame, str) else "bytes"
        await self.send_input({"type": "websocket.receive", key: frame})

    def encode(self, envelope: Any) -> str:
        """Encode an envelope as JSON. Override this for a demultiplexer with its own encoding.

        Args:
            envelope: The envelope.

        Returns:
            The text of the frame.
        """
        return json.dumps(envelope)

    def decode(self, frame: str | bytes) -> Any:
        """Decode an envelope's JSON. Override this for a demultiplexer with its own encoding.

        Args:
            frame: The frame.

        Returns:
            The envelope.

        Raises:
            ValueError: The frame is not JSON.
        """
        return json.loads(frame)

    async def receive_output(self, timeout: float | None = None) -> dict[str, Any]:
        """Return the next ASGI message from the application.

        Unlike the base class, it does not cancel the application after a timeout.

        Args:
            timeout: How long to wait, in seconds.

        Returns:
            An ASGI message.

        Raises:
            asyncio.TimeoutError: No message arrived in time.
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
            message: dict[str, Any] = getter.result()
            return message
        if self.future.done():
            self.future.result()
            raise AssertionError("The application has ended.")
        raise asyncio.TimeoutError

    async def _take(self, deadline: float, what: str) -> None:
        """Process the next message from the application."""
        if self._closure is not None:
            raise self._failure(f"The socket closed with {self._closure} before {what} arrived.")
        try:
            message = await self.receive_output(max(deadline - self._now(), 0))
        except asyncio.TimeoutError:
            raise self._failure(f"Timed out waiting for {what}.") from None
        if message["type"] == "websocket.close":
            self._closure = Closure(message.get("code") or 1000, message.get("reason") or "")
            return
        assert message["type"] == "websocket.send", f"Unexpected message {message!r}."
        text = message.get("text")
        self._unread.append(sort(message["bytes"] if text is None else text, self.decode))

    def _failure(self, problem: str) -> AssertionError:
        shown = "".join(f"\n  {arrival}" for arrival in self._unread)
        unread = f" Unread frames:{shown}" if shown else " There are no unread frames."
        return AssertionError(problem + unread)

    def _limit(self, timeout: float | None) -> float:
        return self.timeout if timeout is None else timeout

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
