"""The streams of a client, whatever socket carries them: which there are, and what is said."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from channels_demux_layer.codes import ClientEvent, CloseCode, ErrorCode, ServerEvent
from channels_demux_layer.exceptions import StreamClosed

from .buffer import Buffer
from .options import Options
from .reconnect import is_final_close
from .stream import ClientStream
from .wire import Event, Payload, check_name

__all__ = ["Outgoing", "StreamTable"]

logger = logging.getLogger(__name__)


class Outgoing(NamedTuple):
    """A frame that waits to be sent.

    Attributes:
        frame: The frame.
        stream: The stream that it is of.
    """

    frame: str | bytes
    stream: ClientStream[Any]


class StreamTable:
    """A client's streams, and the line of what they have to send.

    Args:
        options: How the client behaves.

    Attributes:
        outbox: The frames that wait to be sent.
        over: How the connection has ended; None while it goes on.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._codec = options.codec
        self.outbox: Buffer[Outgoing] = Buffer(options.window_frames, options.window_bytes)
        self.over: StreamClosed | None = None
        self._live: dict[str, ClientStream[Any]] = {}
        self._closing: dict[str, ClientStream[Any]] = {}
        #: Names of streams that have ended, and are to stay so until they are asked for.
        self._shut: set[str] = set()
        #: Those of them that the present socket was told of, and may answer with `closed`.
        self._shut_anew: set[str] = set()
        #: The code of a `closed` event that is the last that the server has said.
        self._last_closed: int | None = None
        #: The streams of the lost socket, to be told when there is another one.
        self._survivors: list[ClientStream[Any]] = []

    def open(
        self, name: str, kind: Any, text: bool, on_event: Callable[[Event], object] | None
    ) -> ClientStream[Any]:
        """Open a stream; an open one is given as it is.

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
            raise ValueError(f"Stream {name!r} is being closed: await its close() first.")
        known = self._live.get(name)
        if known is not None:
            if (known.type, known.text) != (kind, text):
                raise ValueError(f"Stream {name!r} is open already, with another type.")
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
        """Put a payload among what is to be sent, when there is room."""
        frame = self._codec.encode_payload(stream.name, payload)
        stream.check_open()
        while self.outbox.is_full:
            await self.outbox.changed()
            stream.check_open()
        self._put(frame, stream)

    def send_close(self, stream: ClientStream[Any]) -> None:
        """Tell the server that a stream is to end, after all that it was sent."""
        del self._live[stream.name]
        self._closing[stream.name] = stream
        self._shut.add(stream.name)
        self._put_event(stream, ClientEvent.CLOSE)

    def finish(
        self, stream: ClientStream[Any], code: int, reason: str, cause: BaseException | None = None
    ) -> None:
        """End a stream for its user; nothing more is expected of it."""
        table = self._live if self._live.get(stream.name) is stream else self._closing
        del table[stream.name]
        stream.end(code, reason, cause)
        self.outbox.stir()  # who waits for room to send on it waits in vain

    def _put_event(self, stream: ClientStream[Any], event: ClientEvent) -> None:
        """Put an event among what is to be sent, full or not: each stream has few."""
        self._put(self._codec.encode_event(stream.name, event), stream)

    def _put(self, frame: str | bytes, stream: ClientStream[Any]) -> None:
        self.outbox.put(Outgoing(frame, stream), len(frame))

    # -- one socket after the other -----------------------------------------------------------

    def lose_socket(self) -> None:
        """Settle what a lost socket leaves."""
        self._last_closed = None
        waiting = {outgoing.stream for outgoing in self.outbox}
        for stream in list(self._closing.values()):
            if stream not in waiting:  # its close was sent, and went with the socket or ended it
                self.finish(stream, CloseCode.NORMAL, "")
        self._survivors = list(self._live.values())

    def regain_socket(self) -> list[str]:
        """Tell the streams of a lost socket that there is another one.

        An `open` does nothing for a stream that is open (C5.3), nor a `close` for one that is not
        (C5.4). A stream that was asked for meanwhile has its `open` among what waits.

        Returns:
            Frames to send before all that waits: which streams are open, and which the server
            is not to open.
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
        """Tell whether a close of the socket ends everything.

        The server closes it with the code of the last stream, right after that one's `closed`
        event (C1.3). Such a close is not about streams that were asked for since.

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
            reason: The reason.
            cause: What has ended it, where that was an exception.
        """
        if self.over is None:
            self.over = StreamClosed(code, reason)
            self.over.__cause__ = cause
        for stream in [*self._live.values(), *self._closing.values()]:
            self.finish(stream, code, reason, cause)

    # -- what the server says -----------------------------------------------------------------

    async def receive(self, frame: str | bytes) -> None:
        """Take in a frame of the server; waits while its stream has too much to be read.

        Args:
            frame: The frame.
        """
        incoming = self._codec.decode(frame)
        self._last_closed = None
        if isinstance(incoming, Payload):
            stream = self._live.get(incoming.stream)
            if stream is None:
                logger.debug("A payload of %r, which is not open here.", incoming.stream)
            else:
                await stream.deliver(incoming.data)
        elif isinstance(incoming, Event):
            self._hear(incoming)
        else:
            logger.info("A frame of the server is not understood: %.80r", frame)

    def _hear(self, event: Event) -> None:
        if event.event == ServerEvent.CLOSED:
            self._hear_closed(event.stream or "", int(event.code or 0), event.reason)
            return
        level = logging.WARNING if event.event == ServerEvent.ERROR else logging.INFO
        logger.log(level, "The server says: %s", event)
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
            # The end of the consumer that the server had opened anew, or of the one that the
            # stream has since been given: in doubt, once more.
            self._put_event(stream, ClientEvent.OPEN)
        else:
            self._shut.add(name)
            self.finish(stream, code, reason)
