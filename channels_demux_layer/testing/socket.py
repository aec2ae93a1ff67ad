"""A client's socket for tests, which talks to the ASGI application without a server."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterable
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

from channels.testing import WebsocketCommunicator

from channels_demux_layer.codes import CloseCode

from .arrivals import Arrival, sort
from .database import connections_kept

__all__ = ["PATIENCE", "Closure", "SocketCommunicator"]

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
