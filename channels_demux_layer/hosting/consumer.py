"""Runs one unmodified consumer: its scope, its receive() and its send().

The same for a consumer in a worker and for one in the server's process. What differs, where
payloads go, is behind `Outlet`.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from channels_demux_layer import tracing
from channels_demux_layer.codes import CloseCode
from channels_demux_layer.conf import get_settings
from channels_demux_layer.exceptions import PayloadTooLarge
from channels_demux_layer.logs import RepeatedLog, about, note_task
from channels_demux_layer.streams import Stream

from .applications import attribute, consumer_name
from .elsewhere import call_in, receive_in
from .exits import comes_from_outside, hosted_by
from .flow import Outlet, excess_size
from .outgoing import exact_bytes, exact_close, exact_text, text_writer
from .patches import spare_hops
from .threads import Seat, new_seat

__all__ = ["Host", "new_host"]

logger = logging.getLogger(__name__)
repeated = RepeatedLog(logger)

#: How often to look whether a thread has got to a consumer's disconnect(), in seconds.
GLANCE = 0.1

Message = dict[str, Any]
#: What ASGI has a consumer get before it has accepted.
BEFORE_ACCEPT = ("websocket.connect", "websocket.disconnect")
Application = Callable[..., Awaitable[Any]]


class Host:
    """One consumer instance, fed and watched.

    Args:
        application: The ASGI application.
        scope: Its scope.
        outlet: Where its doings go.
        write_text: Makes a payload of what it sends as text.
        max_payload: The largest payload that it may send, in bytes.
        open_timeout: How long it may take to accept before the log says so, in seconds.
        close_timeout: How long its disconnect() may take, in seconds.
        stall_timeout: How long it may take to come to its disconnect, in seconds.
        seat: Runs its synchronous code. Without one, that shares asgiref's one thread with all
            other synchronous code of the process, and a slow consumer holds up everybody.
    """

    def __init__(
        self,
        application: Application,
        scope: dict[str, Any],
        outlet: Outlet,
        *,
        write_text: Callable[[str], str],
        max_payload: int,
        open_timeout: float,
        close_timeout: float,
        stall_timeout: float,
        seat: Seat | None = None,
    ) -> None:
        self._is_consumer = attribute(application, "consumer_class") is not None
        self._consumer = application
        self._application = tracing.traced(application)
        self._is_traced = self._application is not application
        self._trace_context: object = None
        # A stream has no HTTP response to deny with, nor whatever else the server extends.
        self._scope = {**scope, "extensions": {}} if "extensions" in scope else scope
        # Now: the scope is the consumer's to change.
        demux = self._scope["demux"]
        self._name = f"stream {demux['stream']!r}"
        self._facts = about(connection=demux.get("connection"), stream=demux["stream"])
        self._outlet = outlet
        self._write_text = write_text
        self._max_payload = max_payload
        self._open_timeout = open_timeout
        self._close_timeout = close_timeout
        self._stall_timeout = stall_timeout
        self._seat = seat
        self._stalled_at = math.inf
        self._context = contextvars.copy_context()
        self._inbox: deque[Message] = deque([{"type": "websocket.connect"}])
        self._waiter: asyncio.Future[Message] | None = None
        self._in_hand: int | None = None
        self._accepted = False
        self._is_over = False
        self._disconnect: Message | None = None
        self._task: asyncio.Task[Any] | None = None
        self._killer: asyncio.TimerHandle | None = None
        # Runs while the consumer has not accepted.
        self._reminder: asyncio.TimerHandle | None = None
        self._timed_out = False

    # -- what comes in ------------------------------------------------------------------------

    def deliver(self, data: str | bytes) -> None:
        """Hand the consumer a payload."""
        if self._disconnect is None:
            key = "text" if isinstance(data, str) else "bytes"
            self._put({"type": "websocket.receive", key: data})

    def trace(self, context: object) -> None:
        """Say what the trace context of the next payloads is; see `Tracer.host()`."""
        if self._is_traced and context is not self._trace_context:
            self._trace_context = context
            if self._inbox and self._inbox[-1]["type"] == tracing.CONTEXT:
                self._inbox.pop()  # No payload had it: there are never more contexts than payloads.
            self._put({"type": tracing.CONTEXT, "context": context})

    def drop_payloads(self) -> None:
        """Drop the payloads that the consumer has not asked for: another consumer gets them."""
        self._inbox = deque(each for each in self._inbox if each["type"] != "websocket.receive")

    def disconnect(self, code: int, reason: str = "") -> None:
        """Tell the consumer that its stream is over, after all payloads before."""
        if self._disconnect is None:
            self._disconnect = {"type": "websocket.disconnect", "code": code, "reason": reason}
            # Before it is put: who takes it at once has another time from then on.
            self._stalled_at = asyncio.get_running_loop().time() + self._stall_timeout
            self._kill_in(self._stall_timeout)
            self._put(self._disconnect)
            if not (self._accepted or self._is_over):
                # Payloads before it wait for an accept, as those of a remote session do.
                self._remind_in(self._close_timeout, self._withdraw)

    def _put(self, message: Message) -> None:
        self._inbox.append(message)
        self._hand_over()

    def _receive_as_future(self) -> asyncio.Future[Message]:
        # Channels' consumers make a task of a coroutine for each message, which costs a turn of
        # the event loop; a future they take as it is.
        if asyncio.get_running_loop() is not self._loop:
            return asyncio.ensure_future(self._receive())
        if self._in_hand is not None:
            size, self._in_hand = self._in_hand, None
            self._outlet.consumed(size)
        waiter = self._waiter = self._loop.create_future()
        self._hand_over()
        return waiter

    def _hand_over(self) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done() or not self._inbox:
            return
        if not self._accepted and self._inbox[0]["type"] not in BEFORE_ACCEPT:
            return
        message = self._inbox.popleft()
        if message is self._disconnect:
            self._is_over = True
            self._kill_in(self._close_timeout)
        elif message["type"] == "websocket.receive":
            self._in_hand = len(message.get("text") or message.get("bytes") or b"")
        waiter.set_result(message)

    async def _receive(self) -> Message:
        if asyncio.get_running_loop() is not self._loop:
            return await receive_in(self._loop, self._receive_as_future, self._put_back)
        # Whoever writes an application by hand may make a task of this, and cancel it.
        waiter = self._receive_as_future()
        try:
            return await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():  # In the very moment: it is for the next call.
                self._put_back(waiter.result())
            raise

    def _put_back(self, message: Message) -> None:
        self._in_hand = None
        self._inbox.appendleft(message)
        self._hand_over()

    # -- what goes out ------------------------------------------------------------------------

    async def _send(self, message: Message) -> None:
        if asyncio.current_task() is self._task:
            waiting = self._handle(message)
        elif asyncio.get_running_loop() is self._loop:
            # What the message starts must not inherit the sender's context: in that of
            # synchronous code sync_to_async() would look for a thread that waits no longer.
            waiting = self._context.copy().run(self._handle, message)
        else:
            await call_in(self._loop, lambda: self._send(message))
            return
        if waiting is not None:
            await waiting

    def _handle(self, message: Message) -> Awaitable[None] | None:
        """Do what a message says, in the first step of its send(): calls keep their order."""
        kind = message["type"]
        if kind == "websocket.send":
            return self._send_payload(message)
        if kind == "websocket.accept":
            self._accept()
        elif kind == "websocket.close":
            return self._close(message.get("code"), message.get("reason"))
        else:
            raise ValueError(f"The consumer of {self._name} sent an unexpected {kind!r}.")
        return None

    def _accept(self) -> None:
        if self._accepted:
            raise RuntimeError(f"The consumer of {self._name} accepted twice.")
        self._accepted = True
        self._remind_no_more()
        self._outlet.accept()
        self._hand_over()

    def _send_payload(self, message: Message) -> Awaitable[None] | None:
        if self._is_over:
            # As servers do: what is said to somebody who has left is not heard.
            message_after_end = "The consumer of %s sent after its end."
            logger.debug(message_after_end, self._name, extra=self._facts)
            return asyncio.sleep(0)  # Others run, even if it sends on and on.
        if not self._accepted:
            raise RuntimeError(f"The consumer of {self._name} sent before it accepted.")
        text = message.get("text")
        if text is None:
            data: str | bytes = exact_bytes(message.get("bytes"))
        else:
            data = self._write_text(text if type(text) is str else exact_text(text))
        size = excess_size(data, self._max_payload)  # (C2.6, C3.2)
        if size:
            raise PayloadTooLarge(size, self._max_payload)
        return self._outlet.send(data)

    def _withdraw(self) -> None:
        """Drop the payloads of a consumer that has not accepted: its disconnect comes next."""
        self._inbox = deque(one for one in self._inbox if one["type"] in BEFORE_ACCEPT)
        self._hand_over()

    def _close(self, code: object, reason: object) -> Awaitable[None] | None:
        exact = exact_close(code, reason, self._scope["demux"]["stream"])
        self._is_over = True
        self._remind_no_more()
        if not self._accepted:
            self._withdraw()
        return self._outlet.after(lambda: self._end(*exact))

    def _end(self, code: int, reason: str) -> None:
        self._outlet.close(code, reason)
        self.disconnect(code, reason)

    # -- its life -----------------------------------------------------------------------------

    async def run(self) -> None:
        """Run the consumer to its end, and say how it ended.

        Raises:
            asyncio.CancelledError: Its task was cancelled.
            BaseException: A signal has raised it, or the task is thrown away.
        """
        try:
            await self._run()
        except asyncio.CancelledError as error:
            if self._timed_out:
                text = "The consumer of %s did not end in time; cancelled."
                logger.warning(text, self._name, extra=self._facts)
                self._outlet.finished(CloseCode.INTERNAL_ERROR)
            elif comes_from_outside(error, self._task):
                self._outlet.close(CloseCode.GOING_AWAY, "")
                raise
            else:
                self._raised(error)
        except PayloadTooLarge as error:
            logger.error("The consumer of %s: %s", self._name, error, extra=self._facts)
            self._outlet.close(CloseCode.TOO_BIG, "")
        except BaseException as error:
            if comes_from_outside(error, self._task):
                raise
            self._raised(error)
        finally:
            self._is_over = True
            self._remind_no_more()
            if self._killer is not None:
                self._killer.cancel()
            if self._seat is not None:
                self._seat.leave()

    async def _run(self) -> None:
        self._task = asyncio.current_task()
        assert self._task is not None
        self._loop = asyncio.get_running_loop()
        note_task(self._task, self._facts)
        hosted_by.set(self._task_raised)
        if self._disconnect is None:
            self._remind_in(self._open_timeout, self._warn_unaccepted)
        spare_hops()
        if self._seat is not None:
            await self._seat.enter()
        receive = self._receive_as_future if self._is_consumer else self._receive
        await self._application(self._scope, receive, self._send)
        await self._returned()

    def _raised(self, error: BaseException) -> None:
        logger.error("The consumer of %s raised.", self._name, exc_info=error, extra=self._facts)
        self._outlet.close(CloseCode.INTERNAL_ERROR, "")  # (C5.6)

    def _task_raised(self, error: BaseException) -> None:
        text = "A task of the consumer of %s would have ended the process; its stream is closed."
        logger.error(text, self._name, exc_info=error, extra=self._facts)
        self._close(CloseCode.INTERNAL_ERROR, "")

    async def _returned(self) -> None:
        if not self._accepted and self._disconnect is None:
            text = "The consumer of %s returned without accepting."
            logger.error(text, self._name, extra=self._facts)
            self._outlet.close(CloseCode.INTERNAL_ERROR, "")
            return
        if self._killer is not None:
            self._killer.cancel()
        # Tasks that the consumer did not await may have called send() before it returned.
        waiting = self._outlet.after(lambda: self._outlet.finished(CloseCode.NORMAL))
        if waiting is not None:
            await waiting

    def _warn_unaccepted(self) -> None:
        text = (
            "The consumer of %s, %s, has not accepted within %g s. Its client gets 'unavailable', "
            "and payloads wait until connect() calls accept() or close()."
        )
        facts, what = self._facts, consumer_name(self._consumer)
        repeated.warning("unaccepted", text, self._name, what, self._open_timeout, extra=facts)
        self._outlet.unaccepted()

    def _remind_in(self, seconds: float, call: Callable[[], None]) -> None:
        self._remind_no_more()
        self._reminder = asyncio.get_running_loop().call_later(seconds, call)

    def _remind_no_more(self) -> None:
        if self._reminder is not None:
            self._reminder.cancel()
            self._reminder = None

    def _kill_in(self, seconds: float) -> None:
        if self._killer is not None:
            self._killer.cancel()
        self._killer = asyncio.get_running_loop().call_later(seconds, self._kill)

    def _kill(self) -> None:
        time_left = self._stalled_at - asyncio.get_running_loop().time()
        if time_left > 0 and self._seat is not None and self._seat.is_waiting:
            # Neighbors have the thread: the time for its disconnect() begins when that begins.
            self._kill_in(min(time_left, max(self._close_timeout, GLANCE)))
            return
        self._timed_out = True
        if self._task is not None:
            self._task.cancel()


def new_host(
    application: Application,
    scope: dict[str, Any],
    outlet: Outlet,
    stream: Stream,
    *,
    own_thread: bool,
) -> Host:
    """Return a host for a stream's consumer, bounded as the settings say.

    Args:
        application: The consumer.
        scope: Its scope.
        outlet: Where its doings go.
        stream: Its stream.
        own_thread: Whether its synchronous code is to have a thread beside asgiref's one: of its
            own where the stream says so, else one of SYNC_THREADS.
    """
    settings = get_settings()
    return Host(
        application,
        scope,
        outlet,
        write_text=text_writer(
            stream, manage_envelope=settings.MANAGE_ENVELOPE, name=scope["demux"]["stream"]
        ),
        max_payload=settings.MAX_PAYLOAD,
        open_timeout=settings.OPEN_TIMEOUT,
        close_timeout=settings.CONSUMER_CLOSE_TIMEOUT,
        stall_timeout=settings.STALL_TIMEOUT,
        seat=new_seat(stream) if own_thread else None,
    )
