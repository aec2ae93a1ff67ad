"""A client of the demultiplexer that speaks envelopes."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websocket_connect
from websockets.exceptions import ConnectionClosed

from .waiting import LIMIT

Value = TypeVar("Value")

#: The largest message that the client takes, in bytes.
MAX_SIZE = 16 * 1024 * 1024


def within_limit(awaitable: Awaitable[Value]) -> Awaitable[Value]:
    """Bounds a wait by the limit that is everybody's.

    Args:
        awaitable: What to wait for.

    Returns:
        Something to await in its place; raises TimeoutError after the limit.
    """
    return asyncio.wait_for(awaitable, LIMIT)


class StreamClosedError(RuntimeError):
    """A stream closed while a payload of it was awaited."""


class Client:
    """One open socket. What was received but not asked for is kept.

    Args:
        connection: The open connection.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._kept: list[Any] = []

    async def send(self, stream: str, payload: Any) -> None:
        """Sends a payload to a stream.

        Args:
            stream: The stream's name.
            payload: Anything that JSON can say.
        """
        await self.send_raw(json.dumps({"stream": stream, "payload": payload}))

    async def send_event(self, stream: str, event: str) -> None:
        """Sends a client's event.

        Args:
            stream: The stream's name.
            event: `open` or `close`.
        """
        await self.send_raw(json.dumps({"stream": stream, "event": event}))

    async def send_bytes(self, stream: str, data: bytes) -> None:
        """Sends bytes to a stream, behind the binary header.

        Args:
            stream: The stream's name.
            data: The bytes of the payload.
        """
        name = stream.encode()
        await self.send_raw(bytes([len(name)]) + name + data)

    async def send_raw(self, message: str | bytes) -> None:
        """Sends a WebSocket message as it is.

        Args:
            message: Text or bytes.
        """
        await within_limit(self._connection.send(message))

    async def receive(self) -> Any:
        """Receives the next message, whatever it is.

        Returns:
            A text message decoded from JSON; a binary one as a pair of stream and bytes.
        """
        return self._kept.pop(0) if self._kept else await self._read()

    async def receive_from(self, stream: str) -> Any:
        """Receives the next payload of one stream.

        Args:
            stream: The stream's name.

        Returns:
            The payload, decoded from JSON.

        Raises:
            StreamClosedError: The stream has closed and there will be none.
        """
        found = await self._receive_first(
            lambda message: (
                is_object(message, stream=stream)
                and ("payload" in message or message.get("event") == "closed")
            )
        )
        if "payload" not in found:
            raise StreamClosedError(f"No payload comes after {found}.")
        return found["payload"]

    async def receive_bytes_from(self, stream: str) -> bytes:
        """Receives the next binary payload of one stream.

        Args:
            stream: The stream's name.

        Returns:
            The payload's bytes.
        """
        found = await self._receive_first(
            lambda message: isinstance(message, tuple) and message[0] == stream
        )
        data: bytes = found[1]
        return data

    async def receive_event(self, event: str, **fields: Any) -> dict[str, Any]:
        """Receives the next event of a kind.

        Args:
            event: The event's name, such as `closed`.
            **fields: What else it must say, such as the stream.

        Returns:
            The whole event.
        """
        found = await self._receive_first(
            lambda message: is_object(message, event=event, **fields) and "payload" not in message
        )
        result: dict[str, Any] = found
        return result

    async def ask(self, stream: str, payload: Any) -> Any:
        """Sends a payload and receives the stream's next one.

        Args:
            stream: The stream's name.
            payload: Anything that JSON can say.

        Returns:
            The answer, decoded from JSON.
        """
        await self.send(stream, payload)
        return await self.receive_from(stream)

    async def wait_closed(self) -> int:
        """Reads until the server has closed the socket.

        Returns:
            The close code. What was received until then is kept.
        """
        with contextlib.suppress(ConnectionClosed):
            while True:
                self._kept.append(await self._read())
        code = self._connection.close_code
        assert code is not None
        return code

    async def close(self) -> None:
        """Closes the socket from the client's side."""
        await within_limit(self._connection.close())

    async def _receive_first(self, wanted: Callable[[Any], bool]) -> Any:
        for index, message in enumerate(self._kept):
            if wanted(message):
                return self._kept.pop(index)
        while not wanted(message := await self._read()):
            self._kept.append(message)
        return message

    async def _read(self) -> Any:
        message = await within_limit(self._connection.recv())
        if isinstance(message, str):
            return json.loads(message)
        length = message[0]
        return message[1 : 1 + length].decode(), message[1 + length :]


def is_object(message: Any, **members: Any) -> bool:
    """Tells whether a message is a JSON object with certain members.

    Args:
        message: Anything received.
        **members: The members and their values.

    Returns:
        Whether it has them all.
    """
    return isinstance(message, dict) and all(
        name in message and message[name] == value for name, value in members.items()
    )


@contextlib.asynccontextmanager
async def connect(
    url: str, headers: Mapping[str, str] | None = None, **options: Any
) -> AsyncIterator[Client]:
    """Opens a socket for the length of a block.

    Args:
        url: The address.
        headers: More headers of the request.
        **options: More options of the `websockets` library.

    Yields:
        The client.
    """
    options = {
        "additional_headers": headers,
        "open_timeout": LIMIT,
        "close_timeout": LIMIT,
        "ping_interval": None,
        "max_size": MAX_SIZE,
        "compression": None,
        "proxy": None,
        **options,
    }
    async with websocket_connect(url, **options) as connection:
        yield Client(connection)
