"""The streams of one client's WebSocket, and the events that the client gets about them."""

from __future__ import annotations

import asyncio
import contextvars
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from channels_demux_layer.codes import ClientEvent, CloseCode, ErrorCode, ServerEvent
from channels_demux_layer.conf import get_settings
from channels_demux_layer.exceptions import BadFrame
from channels_demux_layer.hosting.flow import excess_size
from channels_demux_layer.hosting.scope import stream_scope
from channels_demux_layer.protocol.envelope import EnvelopeCodec, Incoming
from channels_demux_layer.protocol.naming import stream_channel
from channels_demux_layer.protocol.session import SendWindow
from channels_demux_layer.streams import MAX_STREAM_NAME, Stream
from channels_demux_layer.transport.tally import get_tally

from .inline import InlineSession
from .limits import BufferedBytes, Limits, OpenCount, SharedWindow, Throttle
from .opening import RemoteAccess
from .outbox import BoundedOutbox, Outbox
from .permissions import GuardedSession
from .remote import RemoteSession

__all__ = ["Connection", "Edge"]

Session = InlineSession | RemoteSession
NO_LIMITS = Limits()


class Edge(Protocol):
    """The methods of its demultiplexer that a connection uses."""

    scope: dict[str, Any]
    channel_prefix: str
    send_events: bool

    @classmethod
    def hosting_of(cls, name: str) -> str:
        """Return where the consumers of a stream run: "inline" or "workers"."""

    def wrap_payload(
        self, stream: str, data: str | bytes
    ) -> dict[str, Any] | Awaitable[dict[str, Any]]:
        """Make the WebSocket message of a stream's payload."""

    async def pack_scope(self) -> bytes:
        """Pack the part of the scope that workers get."""

    def hang_up(self, code: int, reason: str) -> None:
        """Close the socket, after everything that waits to be written."""


class Connection:
    """The streams of one client's WebSocket.

    Args:
        edge: The demultiplexer.
        streams: Its streams, by name.
        codec: Reads and writes envelopes.
        send: Writes a message to the socket.
        limits: How much the client may do.

    Attributes:
        id: The connection's id, 32 hexadecimal digits.
        outbox: What waits to be written to the socket.
        throttle: Delays a client that exceeds its limits; None if there are no limits.
    """

    def __init__(
        self,
        edge: Edge,
        streams: Mapping[str, Stream],
        codec: EnvelopeCodec,
        send: Callable[[dict[str, Any]], Awaitable[None]],
        limits: Limits = NO_LIMITS,
    ) -> None:
        self.id = uuid.uuid4().hex
        buffered = limits.buffered_bytes
        self.outbox = (
            BoundedOutbox(edge.wrap_payload, send, self.id, buffered)
            if buffered
            else Outbox(edge.wrap_payload, send, self.id)
        )
        # Attributes instead of methods, because they are called for each payload.
        self.session_received = self.outbox.put_payload
        self.session_delivered = self.outbox.write
        clock = asyncio.get_running_loop().time
        bounded = self.outbox if isinstance(self.outbox, BoundedOutbox) else None
        self.throttle = Throttle(limits, bounded, clock) if limits.hold_up else None
        self._edge = edge
        self._streams = streams
        self._codec = codec
        self._live: dict[str, Session | GuardedSession] = {}
        self._ended: set[str] = set()
        self._closing: set[str] = set()
        self._reopening: set[str] = set()
        self._is_over = False
        self._context = contextvars.copy_context()
        self._max_payload = get_settings().MAX_PAYLOAD
        self._open_streams = limits.open_streams
        counts_opens = limits.open_streams or limits.opens_per_minute
        self._opens = OpenCount(limits.opens_per_minute, clock()) if counts_opens else None
        self._inflow = BufferedBytes(buffered) if buffered else None
        self._windows: dict[str, SharedWindow] = {}
        self._access = RemoteAccess(self.id, edge.channel_prefix, edge.pack_scope)

    # -- what the client does -----------------------------------------------------------------

    def open_streams(self) -> None:
        """Open the streams that are not lazy (C1.2)."""
        self._context = contextvars.copy_context()
        for name, stream in self._streams.items():
            if not stream.lazy:
                self._open(name)

    def receive(self, incoming: Incoming) -> Awaitable[None] | None:
        """Process a frame of the client.

        Args:
            incoming: The frame.

        Returns:
            What to await before the next frame, if the stream has no room for this one yet, or
            if too much waits to be written.

        Raises:
            BadFrame: The frame is not possible now.
        """
        if self._is_over:
            return None  # The socket is closing, so nothing receives this frame.
        name, data = incoming.stream, incoming.data
        if data is None:
            self._receive_event(name, incoming.event)
            return self.outbox.ease()
        size = excess_size(data, self._max_payload)  # (C2.6, C3.2)
        if size:
            raise self._too_large(name, size)
        stream = self._streams.get(name)
        if stream is None:
            raise self._unknown_stream(name)
        if stream.text and isinstance(data, str):
            data = self._codec.decode_string(data, name)
        session = self._live.get(name)
        if session is None and name not in self._ended:
            if not self._let_open(name):
                return None
            session = self._open(name)
        if session is None or name in self._closing:
            raise BadFrame(
                ErrorCode.STREAM_CLOSED, "The stream is closed. Open it again first.", name
            )
        return session.deliver(data)

    def _receive_event(self, name: str, event: ClientEvent | None) -> None:
        """Close a stream (C5.4), or open one. A closing stream opens when it has ended (C5.3)."""
        if name not in self._streams:
            raise self._unknown_stream(name)
        if event is ClientEvent.CLOSE:
            self._reopening.discard(name)
            session = self._live.get(name)
            if session is not None and name not in self._closing:
                self._closing.add(name)
                session.end(CloseCode.NORMAL, "")
        elif name not in self._live:
            if self._let_open(name):
                self._open(name)
        elif name in self._closing and name not in self._reopening and self._let_open(name):
            self._reopening.add(name)

    def _too_large(self, name: str, size: int) -> BadFrame:
        problem = f"The payload has {size} bytes, and {self._max_payload} are allowed."
        return BadFrame(ErrorCode.TOO_LARGE, f"{problem} Send it in parts.", name)

    def _unknown_stream(self, name: str) -> BadFrame:
        known = ", ".join(map(repr, self._streams)) or "none"
        problem = f"There is no such stream; there are: {known}."
        return BadFrame(ErrorCode.UNKNOWN_STREAM, problem, name)

    def _let_open(self, name: str) -> bool:
        """Return whether the client may open a stream. Close it if it keeps asking (C6.4)."""
        if self._opens is None:
            return True
        now = asyncio.get_running_loop().time()
        if not self._opens.may_open(now):
            code, problem = ErrorCode.TOO_MANY_OPENS, "Too many streams were opened. Open it later."
        elif 0 < self._open_streams <= len(self._live) and name not in self._live:
            code = ErrorCode.TOO_MANY_STREAMS
            problem = (
                f"{self._open_streams} streams may be open at a time. Close another one first."
            )
        else:
            return True
        if self._opens.may_go_on(now):
            raise BadFrame(code, problem, name)
        self._close_all(CloseCode.TOO_MANY_REQUESTS, "too many opens")
        return False

    def _close_all(self, code: int, reason: str) -> None:
        self._is_over = True
        self._edge.hang_up(code, reason)
        for session in list(self._live.values()):
            session.end(code, reason)

    def _open(self, name: str) -> Session | GuardedSession:
        self._ended.discard(name)
        permission = self._streams[name].permission
        if permission is None:
            return self._begin(name)
        session = GuardedSession(name, permission, self._scope_of(name), self)
        self._live[name] = session
        return session

    def _begin(self, name: str) -> Session:
        session: Session
        if self._edge.hosting_of(name) == "inline":
            tally = get_tally("inline", stream_channel(self._edge.channel_prefix, name), name)
            session = InlineSession(name, self._streams[name], self._scope_of(name), self, tally)
        else:
            stateful = self._streams[name].stateful
            session = RemoteSession(name, self._access, self, stateful=stateful)
        self._live[name] = session
        return session

    def _scope_of(self, name: str) -> dict[str, Any]:
        stream = self._streams[name]
        return stream_scope(self._edge.scope, stream, connection=self.id, name=name, attempt=1)

    def new_window(self, name: str) -> SendWindow:
        """Return a window for the payloads to the consumer of a stream.

        It holds the payloads that waited for the stream's permission.
        """
        guarded = self._live.get(name)
        if isinstance(guarded, GuardedSession):
            return guarded.window
        settings = get_settings()
        frames, size = settings.WINDOW_FRAMES, settings.WINDOW_BYTES
        if self._inflow is None:
            return SendWindow(frames, size)
        window = self._windows[name] = SharedWindow(frames, size, self._inflow)
        return window

    # -- what is said to the client -----------------------------------------------------------

    def send_event(self, event: ServerEvent, stream: str | None, **fields: str | int) -> None:
        """Send an event to the client, unless events are off (C5.10)."""
        if self._edge.send_events:
            text = self._codec.encode_event(event, stream, **fields)
            self.outbox.put_message({"type": "websocket.send", "text": text})

    def refuse(self, error: BadFrame) -> Awaitable[None] | None:
        """Send the client an error event for one of its frames (C6.1).

        Returns:
            What to await before the next frame, if too much waits to be written (C6.5).
        """
        stream = error.stream and error.stream[:MAX_STREAM_NAME]  # (C6.2)
        self.send_event(ServerEvent.ERROR, stream, code=error.code, message=error.message)
        return self.outbox.ease()

    # -- what the sessions say ----------------------------------------------------------------

    def session_permitted(self, name: str) -> Session:
        """Start the session, now that the stream is permitted."""
        return self._begin(name)

    def session_refused(self, name: str, payloads: int) -> None:
        """Tell the client that it may not use a stream (C5.11)."""
        text = "You may not use this stream."
        for _ in range(payloads):
            self.send_event(ServerEvent.ERROR, name, code=ErrorCode.NOT_PERMITTED, message=text)
        self.session_closed(name, CloseCode.NOT_PERMITTED, "not permitted")

    def session_reopened(self, name: str) -> None:
        """Tell the client that another consumer took over a stream (C5.8)."""
        self.send_event(ServerEvent.REOPENED, name)

    def session_unavailable(self, name: str) -> None:
        """Tell the client that no consumer serves a stream for now (C5.7)."""
        self.send_event(ServerEvent.UNAVAILABLE, name)

    def session_closed(self, name: str, code: int, reason: str) -> None:
        """Tell the client that a stream has ended (C5.6). After the last, hang up (C1.3)."""
        del self._live[name]
        self._closing.discard(name)
        self._ended.add(name)
        if self._inflow is not None and name in self._windows:
            self._windows.pop(name).leave()
        if self._is_over:
            return
        self.send_event(ServerEvent.CLOSED, name, code=code, reason=reason)
        if name in self._reopening:
            self._reopening.discard(name)
            # In the context of the connection, not in that of the consumer that ended or its link.
            self._context.copy().run(self._open, name)
        elif len(self._ended) == len(self._streams):
            self._is_over = True
            self._edge.hang_up(code, reason)

    # -- the end ------------------------------------------------------------------------------

    async def end(self, code: int, reason: str) -> None:
        """Close all streams, and wait up to CONSUMER_CLOSE_TIMEOUT for their consumers."""
        self._is_over = True
        sessions = list(self._live.values())
        for session in sessions:
            session.end(code, reason)
        ends = [session.ended for session in sessions if not session.ended.done()]
        if ends:
            await asyncio.wait(ends, timeout=get_settings().CONSUMER_CLOSE_TIMEOUT)

    def abandon(self) -> None:
        """Release everything, because the demultiplexer itself ends, for whatever reason."""
        self._is_over = True
        sessions = list(self._live.values())
        for session in sessions:
            session.abandon()
        self.outbox.stop()
        self._access.leave([session.ended for session in sessions])
