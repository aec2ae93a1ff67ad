"""Runs one unmodified consumer: its scope, its receive() and its send().

Consumers in a worker and in the server's process run in the same way. Only the destination of
their payloads differs, which is an `Outlet`.
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

#: The interval of polling whether a thread has started a consumer's disconnect(), in seconds.
GLANCE = 0.1

Message = dict[str, Any]
#: The messages that a consumer may receive before it has accepted.
BEFORE_ACCEPT = ("websocket.connect", "websocket.disconnect")
Application = Callable[..., Awaitable[Any]]


class Host:
    """One consumer instance, with its messages and time limits.

    Args:
        application: The ASGI application.
        scope: Its scope.
        outlet: The session that gets its payloads and its close.
        write_text: Returns the payload for a text that it sends.
        max_payload: The largest payload that it may send, in bytes.
        open_timeout: Seconds without an accept after which the log names the consumer.
        close_timeout: The time limit of its disconnect(), in seconds.
        stall_timeout: The time limit to reach its disconnect, in seconds.
        seat: Runs its synchronous code. Without a seat, this code shares asgiref's one thread with
            all other synchronous code of the process, so a slow consumer delays all others.
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
        # The extensions are the server's. A stream has no HTTP response to deny a client with.
        self._scope = {**scope, "extensions": {}} if "extensions" in scope else scope
        # Read it now: the consumer may change its scope.
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
        # The timer that runs until the consumer accepts.
        self._reminder: asyncio.TimerHandle | None = None
        self._timed_out = False

    # -- messages to the consumer -------------------------------------------------------------

    def deliver(self, data: str | bytes) -> None:
        """Enqueue a payload for the consumer."""
        if self._disconnect is None:
            key = "text" if isinstance(data, str) else "bytes"
            self._put({"type": "websocket.receive", key: data})

    def trace(self, context: object) -> None:
        """Set the trace context of the next payloads; see `Tracer.host()`."""
        if self._is_traced and context is not self._trace_context:
            self._trace_context = context
            if self._inbox and self._inbox[-1]["type"] == tracing.CONTEXT:
                self._inbox.pop()  # No payload had it: there are never more contexts than payloads.
            self._put({"type": tracing.CONTEXT, "context": context})

    def drop_payloads(self) -> None:
        """Drop the payloads that the consumer has not received: another consumer gets them."""
        self._inbox = deque(each for each in self._inbox if each["type"] != "websocket.receive")

    def disconnect(self, code: int, reason: str = "") -> None:
        """Enqueue the disconnect of the consumer, after all earlier payloads."""
        if self._disconnect is None:
            self._disconnect = {"type": "websocket.disconnect", "code": code, "reason": reason}
            # Start the timer before enqueueing: the consumer may dequeue at once, and that
            # restarts it.
            self._stalled_at = asyncio.get_running_loop().time() + self._stall_timeout
            self._kill_in(self._stall_timeout)
            self._put(self._disconnect)
            if not (self._accepted or self._is_over):
                # Earlier payloads wait for an accept, as those of a remote session do.
                self._remind_in(self._close_timeout, self._withdraw)

    def _put(self, message: Message) -> None:
        self._inbox.append(message)
        self._hand_over()

    def _receive_as_future(self) -> asyncio.Future[Message]:
        # For a coroutine, Channels' consumers create a task with each message, which costs a turn
        # of the event loop. They use a future as it is.
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
        # An application without Channels' base classes may make a task of this and cancel it.
        waiter = self._receive_as_future()
        try:
            return await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():  # It got a message just now. The next call returns that.
                self._put_back(waiter.result())
            raise

    def _put_back(self, message: Message) -> None:
        self._in_hand = None
        self._inbox.appendleft(message)
        self._hand_over()

    # -- messages of the consumer -------------------------------------------------------------

    async def _send(self, message: Message) -> None:
        if asyncio.current_task() is self._task:
            waiting = self._handle(message)
        elif asyncio.get_running_loop() is self._loop:
            # Tasks that the message starts must not inherit the sender's context. In the context
            # of synchronous code, sync_to_async() would look for a thread that no longer waits.
            waiting = self._context.copy().run(self._handle, message)
        else:
            await call_in(self._loop, lambda: self._send(message))
            return
        if waiting is not None:
            await waiting

    def _handle(self, message: Message) -> Awaitable[None] | None:
        """Handle a message in the first step of its send(), so that calls keep their order."""
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
            # Drop the payload, as servers do after a disconnect.
            message_after_end = "The consumer of %s sent after its end."
            logger.debug(message_after_end, self._name, extra=self._facts)
            return asyncio.sleep(0)  # Let other tasks run, even if the consumer sends in a loop.
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

    # -- running ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run the consumer until it ends, and report its end to the outlet.

        Raises:
            asyncio.CancelledError: Its task was cancelled.
            BaseException: A signal raised it, or the task is discarded with its loop.
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
            # Other sessions use the thread. The time limit of disconnect() starts with it.
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
    """Return a host for a stream's consumer, with the limits of the settings.

    Args:
        application: The consumer.
        scope: Its scope.
        outlet: The session that gets its payloads and its close.
        stream: Its stream.
        own_thread: Whether its synchronous code gets another thread than asgiref's one: its own if
            the stream says so, otherwise one of SYNC_THREADS.
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
