"""One stream of a client, and the bounded queue of what waits to be sent or read."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from msgspec import Raw

from channels_demux_layer.codes import CloseCode
from channels_demux_layer.exceptions import StreamClosed
from channels_demux_layer.protocol.client_envelope import Event

from .dialing import Options

__all__ = ["Buffer", "ClientStream", "Owner"]

Item = TypeVar("Item")


class Buffer(Generic[Item]):
    """A queue that is full at a number of items or of bytes.

    `put()` never waits. Callers check `is_full` first and await `changed()` while it is true.

    Args:
        max_items: The queue is full with this many items.
        max_bytes: The queue is full with this many bytes. A larger item fits an empty queue.
    """

    def __init__(self, max_items: int, max_bytes: int) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._items: deque[tuple[Item, int]] = deque()
        self._size = 0
        self._change = asyncio.Event()

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Item]:
        return (item for item, _ in self._items)

    @property
    def is_full(self) -> bool:
        """Whether the next item has to wait."""
        return len(self._items) >= self._max_items or self._size >= self._max_bytes

    @property
    def first(self) -> Item:
        """The oldest item."""
        return self._items[0][0]

    def put(self, item: Item, size: int) -> None:
        """Append an item, even to a full buffer.

        Args:
            item: The item.
            size: Its size in bytes.
        """
        self._items.append((item, size))
        self._size += size
        self.stir()

    def take(self) -> Item:
        """Remove and return the first item."""
        item, size = self._items.popleft()
        self._size -= size
        self.stir()
        return item

    def stir(self) -> None:
        """Wake every task in `changed()`, so that it checks its condition again."""
        # set() wakes the tasks that wait now. clear() makes later ones wait for the next change.
        self._change.set()
        self._change.clear()

    async def changed(self) -> None:
        """Wait for the next `put()`, `take()` or `stir()`."""
        await self._change.wait()


logger = logging.getLogger(__name__)

Received = TypeVar("Received")
Self = TypeVar("Self", bound="ClientStream[Any]")

#: How many unread events a stream keeps; the log has all of them.
EVENTS_KEPT = 64


class Owner(Protocol):
    """What a stream needs from its client."""

    async def send_payload(self, stream: ClientStream[Any], payload: Any) -> None:
        """Enqueue a payload for sending, once the buffer has room."""

    def send_close(self, stream: ClientStream[Any]) -> None:
        """Ask the server to close a stream."""

    def finish(self, stream: ClientStream[Any], code: int, reason: str) -> None:
        """End a stream without waiting for the server."""


class ClientStream(Generic[Received]):
    """One named stream, as `DemuxClient.stream` returns it.

    Iterate over it to receive payloads. JSON is decoded to the type that was passed to
    `DemuxClient.stream`. Binary payloads are always `bytes`.

    Args:
        name: The stream's name.
        owner: The client.
        options: How many payloads may wait to be read, and how long a close may take.
        type: What to decode JSON to.
        text: Whether the stream is one of plain text.
        on_event: Called with each event.

    Attributes:
        name: The stream's name.
        type: What JSON is decoded to.
        text: Whether the stream is one of plain text, whose payloads are strings.
    """

    def __init__(
        self,
        name: str,
        owner: Owner,
        options: Options,
        *,
        type: Any = Any,  # noqa: A002 - as msgspec names it
        text: bool = False,
        on_event: Callable[[Event], object] | None = None,
    ) -> None:
        self.name = name
        self.type = type
        self.text = text
        self._owner = owner
        self._on_event = on_event
        self._close_timeout = options.close_timeout
        self._decode = msgspec.json.Decoder(type).decode
        self._inbox: Buffer[Raw | bytes] = Buffer(options.window_frames, options.window_bytes)
        self._events: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self._is_closing = False
        self._end: StreamClosed | None = None
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __repr__(self) -> str:
        state = f"closed {self.close_code}" if self._end else "open"
        return f"<{type(self).__name__} {self.name!r} {state}>"

    @property
    def close_code(self) -> int | None:
        """The stream's close code; None while it is open."""
        return None if self._end is None else self._end.code

    @property
    def close_reason(self) -> str | None:
        """The stream's close reason; None while it is open."""
        return None if self._end is None else self._end.reason

    # -- for the user -------------------------------------------------------------------------

    async def send(self, payload: Any) -> None:
        """Enqueue a payload for sending, and wait while the buffer is full.

        It returns before the server has the payload. To know that the consumer has taken
        everything, await `close`.

        Args:
            payload: Bytes (sent as a binary frame), or anything that msgspec can encode as JSON.
                Wrap encoded JSON in `msgspec.Raw`.

        Raises:
            StreamClosed: The stream has ended, or ends while this waits.
            TypeError: The payload has no JSON, or is not a string on a stream of plain text.
            ValueError: A nested string contains a lone surrogate.
            msgspec.DecodeError: The `msgspec.Raw` is not JSON.
        """
        if self.text and not isinstance(payload, (str, bytes, bytearray, memoryview)):
            raise TypeError(f"Stream {self.name!r} takes plain text, not {payload!r:.80}.")
        await self._owner.send_payload(self, payload)

    async def receive(self) -> Received:
        """Wait for the next payload.

        Returns:
            The payload.

        Raises:
            StreamClosed: The stream has ended and all its payloads were read.
            msgspec.ValidationError: The payload is not of the stream's type. It is consumed, and
                the next call returns the next payload.
        """
        while not self._inbox:
            if self._end is not None:
                raise self._closed()
            await self._inbox.changed()
        data: Any = self._inbox.take()
        if not isinstance(data, bytes):
            data = self._decode(data)
        received: Received = data
        return received

    def __aiter__(self: Self) -> Self:
        return self

    async def __anext__(self) -> Received:
        try:
            return await self.receive()
        except StreamClosed as end:
            if end.code == CloseCode.NORMAL:
                raise StopAsyncIteration from None
            raise

    async def events(self) -> AsyncIterator[Event]:
        """Iterate over the stream's events, including those from before the call.

        The stream keeps the newest 64 unread events. Each event goes to one reader.

        Yields:
            Each event until the stream ends. The end itself is not an event.
        """
        while self._events or self._end is None:
            if self._events:
                yield self._events.popleft()
            else:
                await self._inbox.changed()

    async def close(self) -> None:
        """Close the stream, and wait until its consumer has taken everything and has ended.

        Payloads that have arrived can still be read. Later ones are discarded. Closing a stream
        that has ended does nothing.
        """
        if self._end is None and not self._is_closing:
            self._is_closing = True
            self._inbox.stir()
            self._owner.send_close(self)
        await asyncio.wait({self._ended}, timeout=self._close_timeout)
        if self._end is None:
            logger.warning(
                "The server did not confirm within %g s that stream %r closed. "
                "The client treats it as closed.",
                self._close_timeout,
                self.name,
            )
            self._owner.finish(self, CloseCode.NORMAL, "")

    # -- for the client -----------------------------------------------------------------------

    @property
    def has_ended(self) -> bool:
        """Whether the stream has ended."""
        return self._end is not None

    def check_open(self) -> None:
        """Raise StreamClosed if the stream is closing or has ended."""
        if self._end is not None:
            raise self._closed()
        if self._is_closing:
            raise StreamClosed(CloseCode.NORMAL)

    async def deliver(self, data: Raw | bytes) -> None:
        """Enqueue a payload for reading, and wait while the inbox is full."""
        while self._inbox.is_full and self._takes_payloads:
            await self._inbox.changed()
        if self._takes_payloads:
            self._inbox.put(data, len(data))

    def tell(self, event: Event) -> None:
        """Pass an event to the user."""
        self._events.append(event)
        self._inbox.stir()  # events() waits on the inbox, too
        if self._on_event is not None:
            try:
                self._on_event(event)
            except Exception:
                logger.exception("on_event() of stream %r raised. The stream goes on.", self.name)

    def end(self, code: int, reason: str, cause: BaseException | None = None) -> None:
        """Mark the stream as ended. Call it only once.

        Args:
            code: The close code.
            reason: The close reason.
            cause: The exception that ended it, if any.
        """
        self._end = StreamClosed(code, reason)
        self._end.__cause__ = cause
        self._ended.set_result(None)
        self._inbox.stir()

    @property
    def _takes_payloads(self) -> bool:
        return self._end is None and not self._is_closing

    def _closed(self) -> StreamClosed:
        """Return a new exception, since raising the same one again would extend its traceback."""
        assert self._end is not None
        closed = StreamClosed(self._end.code, self._end.reason)
        closed.__cause__ = self._end.__cause__
        return closed
