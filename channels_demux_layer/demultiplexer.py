"""The edge: the consumer that a project mounts, one for each client's WebSocket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Iterable, Mapping
from functools import lru_cache
from typing import Any, ClassVar, Literal, TypeVar

from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.layers import InMemoryChannelLayer, get_channel_layer

from .codes import ErrorCode
from .conf import Settings, get_settings
from .edge import hooks
from .edge.connection import Connection
from .edge.limits import Limits
from .exceptions import BadFrame
from .hosting.exits import comes_from_outside
from .hosting.outgoing import exact_bytes, exact_close, exact_disconnect, exact_message, exact_text
from .hosting.scope import pack_scope
from .protocol.envelope import EnvelopeCodec
from .streams import Middleware, StreamTable, new_stream_table
from .transport.nodes import find_steadfast_layer

__all__ = ["WebsocketDemultiplexer"]

Number = TypeVar("Number", int, float)


class WebsocketDemultiplexer(AsyncJsonWebsocketConsumer):
    """Carries many streams over one WebSocket, each with its own consumer.

    Mount it in the routing like any consumer: ``Demultiplexer.as_asgi()``. It accepts at once. You
    may override ``connect()``, ``disconnect()``, ``encode_json()`` and ``decode_json()``.

    Attributes:
        consumer_classes: For each stream's name a consumer class, an ASGI application, a dotted
            path to either, or a `Stream` of one of them with options.
        channel_prefix: What the names of its workers' channels begin with.
        send_events: Whether clients get events. If not, they get only payloads.
        listens: Whether each connection has a channel of its own on the channel layer, for
            groups and handlers of the demultiplexer itself. A class that does not say has one
            where it has ``groups``, or a coroutine method that takes one event.
        max_open_streams: Streams that one connection may have open at a time; this and those
            below are for the setting of the same name where they are None.
        opens_per_minute: Opens that one client may ask for in a minute.
        frames_per_second: WebSocket frames that are read from one client in a second.
        bytes_per_second: Bytes of WebSocket frames that are read from one client in a second.
        max_buffered: Bytes of payload that may wait at the edge for one connection.
        scope_headers: Names of the headers that travel to workers.
        scope_cookies: Names of the cookies that travel to workers.
        worker_middleware: What stands around each consumer in workers, and around the fetch of its
            user and session: a callable that takes an ASGI application and returns one, or its
            dotted path. Streams in the server's process have the routes' middleware instead.
    """

    consumer_classes: ClassVar[Mapping[str, Any]] = {}
    channel_prefix: ClassVar[str] = "demux"
    send_events: ClassVar[bool] = True
    listens: ClassVar[bool] = False
    max_open_streams: ClassVar[int | None] = None
    opens_per_minute: ClassVar[int | None] = None
    frames_per_second: ClassVar[float | None] = None
    bytes_per_second: ClassVar[float | None] = None
    max_buffered: ClassVar[int | None] = None
    scope_headers: ClassVar[Iterable[str] | None] = None
    scope_cookies: ClassVar[Iterable[str] | None] = None
    worker_middleware: ClassVar[Middleware | str | None] = None

    _stream_table: ClassVar[StreamTable]
    _decodes_itself: ClassVar[bool] = False
    _encodes_itself: ClassVar[bool] = False
    _wraps_itself: ClassVar[bool] = False
    _receives_itself: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        base = WebsocketDemultiplexer
        cls._decodes_itself = hooks.overrides(cls, base, "decode_json") or hooks.overrides(
            cls, base, "receive_json"
        )
        cls._encodes_itself = hooks.overrides(cls, base, "encode_json")
        cls._wraps_itself = hooks.overrides(cls, base, "wrap_payload")
        cls._receives_itself = any(
            hooks.overrides(cls, base, name)
            for name in ("dispatch", "websocket_receive", "receive")
        )
        if "listens" not in cls.__dict__:
            cls.listens = hooks.has_own_events(cls, base)

    # -- what the class says ------------------------------------------------------------------

    @classmethod
    def stream_table(cls) -> StreamTable:
        """Return the streams by name.

        Raises:
            ConfigurationError: A name or an entry of consumer_classes is none that a stream
                can have.
        """
        table = cls.__dict__.get("_stream_table")
        if table is None:
            table = cls._stream_table = new_stream_table(cls.consumer_classes, cls.__name__)
        return table

    @classmethod
    def hosting_of(cls, name: str) -> Literal["inline", "workers"]:
        """Return where the consumers of a stream run.

        Args:
            name: The stream's name.

        Returns:
            ``"inline"`` for this process, or ``"workers"``.
        """
        settings = get_settings()
        hosting = cls.stream_table()[name].hosting or settings.HOSTING
        if hosting == "auto":
            return "inline" if _is_local(settings.CHANNEL_LAYER) else "workers"
        return hosting

    @classmethod
    def client_limits(cls) -> Limits:
        """Return how much one client may do: by the class's own attributes, then the settings."""
        settings = get_settings()
        return Limits(
            open_streams=_first(cls.max_open_streams, settings.MAX_OPEN_STREAMS),
            opens_per_minute=_first(cls.opens_per_minute, settings.OPENS_PER_MINUTE),
            frames_per_second=_first(cls.frames_per_second, settings.FRAMES_PER_SECOND),
            bytes_per_second=_first(cls.bytes_per_second, settings.BYTES_PER_SECOND),
            buffered_bytes=_first(cls.max_buffered, settings.MAX_BUFFERED),
        )

    def portable_scope(self) -> dict[str, Any]:
        """Return what of the scope shall travel to workers; may be overridden.

        It is called for each stream that opens, and may read context variables that middleware
        has set. Where it raises, the stream ends with 1011.

        Returns:
            A scope. Of its values those that cannot travel are left out, and of its headers and
            cookies those that are not to.
        """
        return dict(self.scope)

    # -- the consumer's life ------------------------------------------------------------------

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection.

        Args:
            scope: A scope of type ``websocket``.
            receive: Gives the server's messages.
            send: Takes messages to the server.
        """
        self.scope = scope
        self._accepted = False
        self._task = asyncio.current_task()
        self._refusal: Exception | None = None
        codec = _codec(get_settings())
        self._connection = Connection(self, self.stream_table(), codec, send, self.client_limits())
        if self._wraps_itself:
            self._connection.outbox.wrap = hooks.exactly(self.wrap_payload)
        self._codec = codec
        try:
            if self.listens:
                await super().__call__(scope, receive, send)
            else:
                await self._serve(receive, send)
        except asyncio.CancelledError:
            if self._refusal is None:
                raise
            # As when a consumer's own close() raises. The server then closes the socket itself.
            raise self._refusal from None
        finally:
            self._connection.abandon()

    @property
    def channel_layer(self) -> Any:
        """The channel layer of this connection; None where the project has none.

        A demultiplexer with groups or handlers of its own receives on the layer, so that the
        socket would close whenever the layer fails. It gets a steadfast layer.
        """
        return self._channel_layer

    @channel_layer.setter
    def channel_layer(self, layer: Any) -> None:
        alias = get_settings().CHANNEL_LAYER
        is_usual = layer is not None and self.channel_layer_alias == alias
        if self.listens and is_usual and "workers" in map(self.hosting_of, self.stream_table()):
            layer = find_steadfast_layer(alias)
        self._channel_layer = layer

    async def _serve(self, receive: Any, send: Any) -> None:
        # Does what AsyncConsumer does, without a receiver on the channel layer per connection.
        self.channel_layer = get_channel_layer(self.channel_layer_alias)
        self.base_send = send
        take = self._receive if self._connection.throttle is None else self._receive_throttled
        try:
            while True:
                message = await receive()
                if message["type"] != "websocket.receive" or self._receives_itself:
                    await self.dispatch(message)
                else:
                    # The same as dispatch(), without a coroutine for each of its steps.
                    room = take(message.get("text"), message.get("bytes"))
                    if room is not None:
                        await room
        except StopConsumer:
            pass

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Hand a message to its handler."""
        if message["type"] == "websocket.receive":
            # The base goes through a thread for each message, to close old database
            # connections; the edge has none.
            await self.websocket_receive(message)
        else:
            await super().dispatch(message)

    async def websocket_connect(self, message: dict[str, Any]) -> None:
        """Accept the client (C1.1), and open its streams (C1.2)."""
        await super().websocket_connect(message)
        if self._accepted:
            self._connection.open_streams()

    async def accept(self, *args: Any, **kwargs: Any) -> None:
        """Accept the client; takes what AsyncWebsocketConsumer.accept() takes."""
        await super().accept(*args, **kwargs)
        self._accepted = True

    async def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Close the socket, after all streams.

        Args:
            code: The close code; 1000 where it is None.
            reason: What the client is told beside.
        """
        self._accepted = False
        # Channels has True for a close without a code.
        code, reason = exact_close(None if code is True else code, reason)
        await self._connection.end(code, reason)
        await self._connection.outbox.drain(get_settings().CONSUMER_CLOSE_TIMEOUT)
        self._connection.outbox.stop()
        await super().close(code, reason)

    async def websocket_disconnect(self, message: dict[str, Any]) -> None:
        """End all streams; the client has left (C1.4)."""
        self._connection.outbox.stop()
        message = exact_disconnect(message)
        await self._connection.end(message["code"], message["reason"])
        await super().websocket_disconnect(message)

    # -- frames of the client -----------------------------------------------------------------

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any
    ) -> None:
        """Take one frame of the client.

        Args:
            text_data: The frame, if it is text.
            bytes_data: The frame, if it is binary.
            **kwargs: Passed on to an overridden receive_json().
        """
        is_free = self._connection.throttle is None
        take = self._receive if is_free else self._receive_throttled
        room = take(text_data, bytes_data, **kwargs)
        if room is not None:
            await room

    def _receive_throttled(
        self, text_data: str | None, bytes_data: bytes | None, **kwargs: Any
    ) -> Awaitable[None] | None:
        """Take one frame, and delay the client if it exceeds its limits."""
        throttle = self._connection.throttle
        assert throttle is not None
        frame = (bytes_data or b"") if text_data is None else text_data
        return throttle.hold_up(frame, self._receive(text_data, bytes_data, **kwargs))

    def _receive(
        self, text_data: str | None, bytes_data: bytes | None, **kwargs: Any
    ) -> Awaitable[None] | None:
        """Take one frame; return what to await before the next one, if anything."""
        try:
            if text_data is None:
                data = bytes_data or b""
                incoming = self._codec.decode_binary(
                    data if type(data) is bytes else exact_bytes(data)
                )
            elif self._decodes_itself:
                self._codec.check_length(text_data)
                return self._receive_decoded(text_data, kwargs)
            else:
                incoming = self._codec.decode_text(
                    text_data if type(text_data) is str else exact_text(text_data)
                )
            return self._connection.receive(incoming)
        except BadFrame as error:
            return self._connection.refuse(error)  # and nothing else happens (C6.1)

    async def _receive_decoded(self, text_data: str, kwargs: dict[str, Any]) -> None:
        try:
            content = await self.decode_json(text_data)
        except (Exception, asyncio.CancelledError) as error:
            if comes_from_outside(error, asyncio.current_task()):
                raise
            problem = f"The frame cannot be decoded: {type(error).__name__}."
            room = self._connection.refuse(BadFrame(ErrorCode.INVALID_JSON, problem))
            if room is not None:
                await room
        else:
            await self.receive_json(content, **kwargs)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Take one decoded envelope; for demultiplexers that decode envelopes themselves.

        Args:
            content: The envelope.
            **kwargs: Not used.
        """
        try:
            room = self._connection.receive(self._codec.decode_text(hooks.encode_content(content)))
        except BadFrame as error:
            room = self._connection.refuse(error)
        if room is not None:
            await room

    # -- what the connection asks for ---------------------------------------------------------

    def wrap_payload(
        self, stream: str, data: str | bytes
    ) -> dict[str, Any] | Awaitable[dict[str, Any]]:
        """Make the WebSocket message of a stream's payload."""
        if isinstance(data, bytes):
            return {"type": "websocket.send", "bytes": self._codec.encode_binary(stream, data)}
        text = self._codec.encode_text(stream, data)
        if self._encodes_itself:
            return self._encode_again(text)
        return {"type": "websocket.send", "text": text}

    async def _encode_again(self, text: str) -> dict[str, Any]:
        # Decode with the library that consumers encode with. It can read its own output.
        encoded = await self.encode_json(json.loads(text))
        return exact_message({"type": "websocket.send", "text": encoded})

    async def pack_scope(self) -> bytes:
        """Pack what of the scope travels to workers."""
        settings = get_settings()
        scope = hooks.checked_scope(self.portable_scope(), type(self).__name__)
        headers = settings.SCOPE_HEADERS if self.scope_headers is None else self.scope_headers
        cookies = settings.SCOPE_COOKIES if self.scope_cookies is None else self.scope_cookies
        # An overridden portable_scope() may not know these settings, so trim here.
        return await pack_scope(hooks.trim_scope(scope, headers, cookies))

    def hang_up(self, code: int, reason: str) -> None:
        """Close the socket, after all that waits to be written."""
        # Daphne takes an exact int alone, and no IntEnum.
        message = {"type": "websocket.close", "code": int(code), "reason": reason}
        self._connection.outbox.put_last(message, self._close_refused)

    def _close_refused(self, error: Exception) -> None:
        """End the consumer, whose socket the server does not close with this code.

        Daphne sends no code but 1000 and those from 3000 on.
        """
        assert self._task is not None
        self._refusal = error
        self._task.cancel()


def _is_local(alias: str) -> bool:
    """Tell whether a channel layer reaches no other process."""
    try:
        layer = get_channel_layer(alias)
    except RuntimeError:
        # Some layers can be made in a running event loop alone, which checks have not: those are
        # for many processes.
        return False
    return layer is None or isinstance(layer, InMemoryChannelLayer)


def _first(own: Number | None, setting: Number) -> Number:
    return setting if own is None else own


@lru_cache(maxsize=8)
def _codec(settings: Settings) -> EnvelopeCodec:
    return EnvelopeCodec(
        settings.MULTIPLEX_KEY,
        settings.PAYLOAD_KEY,
        settings.EVENT_KEY,
        settings.MANAGE_ENVELOPE,
        settings.MAX_PAYLOAD,
    )
