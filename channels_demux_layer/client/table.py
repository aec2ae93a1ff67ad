"""The streams of a client across its sockets: their states, and how incoming frames reach them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from channels_demux_layer.codes import ClientEvent, CloseCode, ErrorCode, ServerEvent
from channels_demux_layer.exceptions import StreamClosed
from channels_demux_layer.protocol.client_envelope import Event, Payload
from channels_demux_layer.protocol.envelope_format import check_name

from .dialing import Options, is_final_close
from .stream import Buffer, ClientStream

__all__ = ["Outgoing", "StreamTable"]

logger = logging.getLogger(__name__)


class Outgoing(NamedTuple):
    """A frame that waits to be sent.

    Attributes:
        frame: The frame.
        stream: The stream that the frame belongs to.
    """

    frame: str | bytes
    stream: ClientStream[Any]


class StreamTable:
    """A client's streams, and the buffer of frames that they send.

    Args:
        options: The client's options.

    Attributes:
        outbox: The frames that wait to be sent.
        over: How the connection ended; None while it lasts.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._codec = options.codec
        self.outbox: Buffer[Outgoing] = Buffer(options.window_frames, options.window_bytes)
        self.over: StreamClosed | None = None
        self._live: dict[str, ClientStream[Any]] = {}
        self._closing: dict[str, ClientStream[Any]] = {}
        #: Names of ended streams. They stay closed across reconnects until the user opens them.
        self._shut: set[str] = set()
        #: Ended streams that were closed again on the current socket; `closed` may still arrive.
        self._shut_anew: set[str] = set()
        #: The code of the last frame from the server, if that was a `closed` event.
        self._last_closed: int | None = None
        #: Streams that were open when the socket was lost. They get `reopened` on the next one.
        self._survivors: list[ClientStream[Any]] = []

    def open(
        self, name: str, kind: Any, text: bool, on_event: Callable[[Event], object] | None
    ) -> ClientStream[Any]:
        """Return a stream, and open it unless it is open.

        Args:
            name: The stream's name.
            kind: What to decode its JSON to.
            text: Whether it is a stream of plain text.
            on_event: Called with each event.

        Returns:
            The stream.

        Raises:
            StreamClosed: The connection is over.
            ValueError: It can be no stream's name; or the stream is open with another type, or
                is being closed.
        """
        check_name(name)
        if self.over is not None:
            raise StreamClosed(self.over.code, self.over.reason) from self.over.__cause__
        if name in self._closing:
            raise ValueError(f"Stream {name!r} is closing. Await its close() first.")
        known = self._live.get(name)
        if known is not None:
            if (known.type, known.text) != (kind, text):
                raise ValueError(f"Stream {name!r} is already open with another type.")
            return known
        stream = ClientStream[Any](
            name, self, self._options, type=kind, text=text, on_event=on_event
        )
        self._live[name] = stream
        self._shut.discard(name)
        self._put_event(stream, ClientEvent.OPEN)
        return stream

    # -- for the streams ----------------------------------------------------------------------

    async def send_payload(self, stream: ClientStream[Any], payload: Any) -> None:
        """Enqueue a payload for sending, once the buffer has room."""
        frame = self._codec.encode_payload(stream.name, payload)
        stream.check_open()
        while self.outbox.is_full:
            await self.outbox.changed()
            stream.check_open()
        self._put(frame, stream)

    def send_close(self, stream: ClientStream[Any]) -> None:
        """Ask the server to close a stream, after all payloads that were enqueued before."""
        del self._live[stream.name]
        self._closing[stream.name] = stream
        self._shut.add(stream.name)
        self._put_event(stream, ClientEvent.CLOSE)

    def finish(
        self, stream: ClientStream[Any], code: int, reason: str, cause: BaseException | None = None
    ) -> None:
        """End a stream, and forget it."""
        table = self._live if self._live.get(stream.name) is stream else self._closing
        del table[stream.name]
        stream.end(code, reason, cause)
        self.outbox.stir()  # wake send() calls that wait for room, so that they raise

    def _put_event(self, stream: ClientStream[Any], event: ClientEvent) -> None:
        """Enqueue an event, even if the buffer is full: a stream sends few of them."""
        self._put(self._codec.encode_event(stream.name, event), stream)

    def _put(self, frame: str | bytes, stream: ClientStream[Any]) -> None:
        self.outbox.put(Outgoing(frame, stream), len(frame))

    # -- one socket after the other -----------------------------------------------------------

    def lose_socket(self) -> None:
        """Note which streams survive the lost socket, and end those whose close was sent."""
        self._last_closed = None
        waiting = {outgoing.stream for outgoing in self.outbox}
        for stream in list(self._closing.values()):
            if stream not in waiting:  # its close was sent: no confirmation can arrive any more
                self.finish(stream, CloseCode.NORMAL, "")
        self._survivors = list(self._live.values())

    def regain_socket(self) -> list[str]:
        """Tell the surviving streams that there is a new socket.

        The server ignores an `open` for an open stream (C5.3) and a `close` for a closed one
        (C5.4). For streams that the user opened in between, an `open` is in the buffer already.

        Returns:
            Frames to send before the buffered ones: an `open` for each open stream, and a `close`
            for each that must stay closed.
        """
        self._shut_anew = self._shut - self._closing.keys()
        survivors = [stream for stream in self._survivors if stream in self._live.values()]
        for stream in survivors:
            stream.tell(Event(stream.name, ServerEvent.REOPENED))
        opened = [*(stream.name for stream in survivors), *self._closing]
        return [
            *(self._codec.encode_event(name, ClientEvent.OPEN) for name in opened),
            *(self._codec.encode_event(name, ClientEvent.CLOSE) for name in self._shut_anew),
        ]

    def is_over_after(self, code: int) -> bool:
        """Return whether a close of the socket ends the connection.

        When the last stream ends, the server closes the socket with that stream's code, right
        after its `closed` event (C1.3). Such a close does not end streams that were opened since.

        Args:
            code: The socket's close code.
        """
        if code == self._last_closed:
            return not self._live
        return is_final_close(code)

    def end_all(self, code: int, reason: str, cause: BaseException | None = None) -> None:
        """End the connection and all its streams.

        Args:
            code: The close code.
            reason: The close reason.
            cause: The exception that ended it, if any.
        """
        if self.over is None:
            self.over = StreamClosed(code, reason)
            self.over.__cause__ = cause
        for stream in [*self._live.values(), *self._closing.values()]:
            self.finish(stream, code, reason, cause)

    # -- frames from the server ---------------------------------------------------------------

    async def receive(self, frame: str | bytes) -> None:
        """Process a frame from the server, and wait while its stream's inbox is full.

        Args:
            frame: The frame.
        """
        incoming = self._codec.decode(frame)
        self._last_closed = None
        if isinstance(incoming, Payload):
            stream = self._live.get(incoming.stream)
            if stream is None:
                logger.debug("Discarded a payload for stream %r: not open.", incoming.stream)
            else:
                await stream.deliver(incoming.data)
        elif isinstance(incoming, Event):
            self._hear(incoming)
        else:
            logger.info("Ignored an unknown frame from the server: %.80r", frame)

    def _hear(self, event: Event) -> None:
        if event.event == ServerEvent.CLOSED:
            self._hear_closed(event.stream or "", int(event.code or 0), event.reason)
            return
        level = logging.WARNING if event.event == ServerEvent.ERROR else logging.INFO
        logger.log(level, "Event from the server: %s", event)
        name = event.stream or ""
        stream = self._live.get(name) or self._closing.get(name)
        if stream is None:
            return
        stream.tell(event)
        if event.code == ErrorCode.UNKNOWN_STREAM:
            self.finish(stream, CloseCode.ABNORMAL, event.message)

    def _hear_closed(self, name: str, code: int, reason: str) -> None:
        self._last_closed = code
        is_of_old = name in self._shut_anew and code == CloseCode.NORMAL
        self._shut_anew.discard(name)
        stream = self._closing.get(name) or self._live.get(name)
        if stream is None:
            return
        if is_of_old and name in self._live:
            # This may confirm our `close` after the reconnect, or end the consumer of the `open`
            # that followed. We cannot tell, so we send `open` again; it is ignored if needless.
            self._put_event(stream, ClientEvent.OPEN)
        else:
            self._shut.add(name)
            self.finish(stream, code, reason)
