"""Running one unmodified consumer."""

from __future__ import annotations

import asyncio
import functools
import weakref
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.middleware import BaseMiddleware
from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from channels.sessions import CookieMiddleware
from django.urls import path

from channels_demux_layer import Stream, tracing
from channels_demux_layer.hosting import patches
from channels_demux_layer.hosting.applications import has_sync_consumer
from channels_demux_layer.hosting.consumer import Host
from channels_demux_layer.hosting.outgoing import text_writer
from tests.integration.harness import until, within


class Outlet:
    """Notes a consumer's doings.

    Attributes:
        said: What the consumer did, in order.
    """

    def __init__(self) -> None:
        self.said: list[Any] = []

    def accept(self) -> None:
        """Note it."""
        self.said.append("accept")

    def unaccepted(self) -> None:
        """Note it."""
        self.said.append("unaccepted")

    def send(self, data: str | bytes) -> None:
        """Note it."""
        self.said.append(data)

    def after(self, call: Callable[[], None]) -> None:
        """Nothing waits."""
        call()

    def consumed(self, size: int) -> None:
        """Note it."""
        self.said.append(size)

    def close(self, code: int, reason: str) -> None:
        """Note it."""
        self.said.append((code, reason))

    def finished(self, code: int) -> None:
        """Note it."""
        self.said.append((code, ""))


@pytest.fixture
def outlet() -> Outlet:
    """Where the consumer's doings go."""
    return Outlet()


def host(application: Any, outlet: Outlet, **options: Any) -> Host:
    """Host an application."""
    limits = {
        "max_payload": 10,
        "open_timeout": 20.0,
        "close_timeout": 20.0,
        "stall_timeout": 20.0,
        **options,
    }
    limits.setdefault("write_text", text_writer(Stream(application), manage_envelope=True))
    scope = {"type": "websocket", "demux": {"stream": "s"}, "extensions": {"x": {}}}
    return Host(application, scope, outlet, **limits)


async def listening(scope: Any, receive: Any, send: Any) -> None:
    """Accept, and take everything until the end."""
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        pass


async def test_a_payload_is_consumed_when_the_next_one_is_asked_for(outlet: Outlet) -> None:
    """Credit goes back when a handler has returned, and not when it was called."""
    hosted = host(listening, outlet)
    for data in ("1", b"22", ""):
        hosted.deliver(data)
    hosted.disconnect(1000)
    hosted.deliver("too late")
    hosted.disconnect(1001)
    await hosted.run()
    assert outlet.said == ["accept", 1, 2, 0, (1000, "")]


async def test_an_application_by_hand_may_make_a_task_of_receive(outlet: Outlet) -> None:
    """What comes in the very moment in which such a task is cancelled is for the next one."""
    seen: list[Any] = []

    async def by_hand(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        patience = asyncio.create_task(receive())
        await asyncio.sleep(0)
        patience.cancel()
        await asyncio.wait([patience])
        moment = asyncio.create_task(receive())
        await asyncio.sleep(0)
        hosted.deliver("1")
        moment.cancel()
        await asyncio.wait([moment])
        seen.extend([moment.cancelled(), await receive()])
        hosted.disconnect(1000)
        await receive()

    hosted = host(by_hand, outlet)
    await hosted.run()
    assert seen == [True, {"type": "websocket.receive", "text": "1"}]
    assert outlet.said == ["accept", 1, (1000, "")]


async def test_a_consumer_of_channels_needs_no_task_for_a_message(
    outlet: Outlet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are, the consumer's own is the only one."""
    # Earlier tests may have left connections to a database, which a consumer would close.
    monkeypatch.setattr(patches, "_threads", weakref.WeakSet())
    names: list[Any] = []

    def making(loop: Any, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        names.append(coroutine.__qualname__)
        return asyncio.Task(coroutine, loop=loop, **options)

    hosted = host(AsyncWebsocketConsumer.as_asgi(), outlet)
    for data in ("1", b"22", ""):
        hosted.deliver(data)
    hosted.disconnect(1000)
    asyncio.get_running_loop().set_task_factory(making)
    await asyncio.ensure_future(hosted.run())
    assert outlet.said == ["accept", 1, 2, 0, (1000, "")]
    assert names == ["Host.run"]


async def test_the_scope_has_no_extensions(outlet: Outlet) -> None:
    """What the server offers beside WebSockets is not offered to a stream."""
    seen: list[Any] = []

    async def looking(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["extensions"])
        await listening(scope, receive, send)

    hosted = host(looking, outlet)
    hosted.disconnect(1000)
    await hosted.run()
    assert seen == [{}]


async def test_a_consumer_that_never_comes_to_its_end_is_cut_off(
    outlet: Outlet, caplog: pytest.LogCaptureFixture
) -> None:
    """A consumer that does not ask for its disconnect has the stall timeout."""

    async def stuck(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    hosted = host(stuck, outlet, stall_timeout=0.01)
    running = asyncio.ensure_future(hosted.run())
    hosted.disconnect(1000)
    await running
    assert outlet.said == [(1011, "")]
    assert caplog.messages == ["The consumer of stream 's' did not end in time; cancelled."]


async def test_a_consumer_that_was_never_started_is_not_cut_off(outlet: Outlet) -> None:
    """The timeout of a host that does not run yet has nobody to cancel."""
    hosted = host(listening, outlet, stall_timeout=0.0)
    hosted.disconnect(1000)
    await asyncio.sleep(0.01)
    await hosted.run()
    assert outlet.said == ["accept", (1000, "")]


async def test_a_consumer_of_a_process_that_ends_goes_away(outlet: Outlet) -> None:
    """A cancellation from outside is passed on, after a last word."""
    hosted = host(listening, outlet)
    running = asyncio.ensure_future(hosted.run())
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert outlet.said == ["accept", (1001, "")]


async def test_what_a_consumer_says_after_its_end_is_not_heard(outlet: Outlet) -> None:
    """A close is the consumer's last word; its disconnect carries the same code."""
    seen: list[Any] = []

    async def closing(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 4000, "reason": "r"})
        await send({"type": "websocket.send", "text": "x"})
        await receive()
        seen.append(await receive())

    await host(closing, outlet).run()
    assert outlet.said == ["accept", (4000, "r"), (1000, "")]
    assert seen == [{"type": "websocket.disconnect", "code": 4000, "reason": "r"}]


async def test_text_comes_before_bytes(outlet: Outlet) -> None:
    """A message with both keys is what its text says, unless that is None."""

    async def sending(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "t", "bytes": None})
        await send({"type": "websocket.send", "text": None, "bytes": b"b"})

    await host(sending, outlet).run()
    assert outlet.said == ["accept", '"t"', b"b", (1000, "")]


def test_synchronous_consumers_are_found_behind_anything() -> None:
    """Routers and middleware hide neither a synchronous consumer nor an asynchronous one."""
    for consumer, is_sync in ((WebsocketConsumer, True), (AsyncWebsocketConsumer, False)):
        application = consumer.as_asgi()
        wrapped = [
            application,
            BaseMiddleware(application),
            CookieMiddleware(application),
            URLRouter([path("", BaseMiddleware(application))]),
            AllowedHostsOriginValidator(application),
        ]
        assert [has_sync_consumer(one) for one in wrapped] == [is_sync] * len(wrapped)
    assert not has_sync_consumer(listening)


def test_applications_of_other_frameworks_are_looked_at_with_care() -> None:
    """Routes of another kind, circles and made-up attributes neither raise nor go on for ever."""

    class Framework:
        routes = [object()]

        @property
        def app(self) -> Framework:
            return self

    class Listing:
        routes = "none"

    class MadeUp:
        def __getattr__(self, name: str) -> MadeUp:
            return MadeUp()

    for application in (Framework(), Listing(), MadeUp()):
        assert has_sync_consumer(application) is False


async def test_who_sends_on_after_its_end_lets_others_run(outlet: Outlet) -> None:
    """A consumer that closes and sends in a loop is one that can be cancelled."""

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close"})
        while True:
            await send({"type": "websocket.send", "text": "more"})

    running = asyncio.ensure_future(host(endless, outlet, stall_timeout=0.01).run())
    await asyncio.wait_for(running, 20.0)
    assert outlet.said[-1] == (1011, "")


async def test_what_began_untraced_stays_untraced(outlet: Outlet) -> None:
    """A consumer that is hosted when tracing begins gets ASGI's messages and no others."""
    seen: list[str] = []

    async def looking(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        while not seen or seen[-1] != "websocket.disconnect":
            seen.append((await receive())["type"])

    hosted = host(looking, outlet)
    hosted.trace("a context")
    hosted.deliver("x")
    hosted.disconnect(1000)
    await hosted.run()
    assert seen == ["websocket.connect", "websocket.receive", "websocket.disconnect"]


async def test_a_context_is_told_once(outlet: Outlet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A traced application is told of a context where a payload has another one, before it."""
    seen: list[Any] = []

    async def looking(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] != "websocket.disconnect":
            seen.append(message.get("context") or message.get("text"))

    tracer = mock.Mock(host=functools.partial)
    monkeypatch.setattr(tracing, "tracer", tracer)
    hosted = host(looking, outlet)
    for contexts, data in [("a", "1"), ("a", "2"), ("bcd", "3")]:
        for context in contexts:
            hosted.trace(context)
        hosted.deliver(data)
    hosted.disconnect(1000)
    await hosted.run()
    assert seen == [None, "a", "1", "2", "d", "3"]
    assert outlet.said == ["accept", 1, 1, 1, (1000, "")]


def gated(outlet: Outlet, may_accept: asyncio.Event, **options: Any) -> tuple[Host, list[Any]]:
    """Host an application that asks for messages before it accepts; return what it gets."""
    seen: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.append((await receive())["type"])
        asked = asyncio.ensure_future(receive())
        accepting = asyncio.ensure_future(may_accept.wait())
        await asyncio.wait([asked, accepting], return_when=asyncio.FIRST_COMPLETED)
        if may_accept.is_set():
            await send({"type": "websocket.accept"})
        accepting.cancel()
        while (message := await asked)["type"] != "websocket.disconnect":
            seen.append(message["text"])
            asked = asyncio.ensure_future(receive())
        seen.append(message["code"])

    return host(application, outlet, **options), seen


async def test_a_consumer_gets_no_payload_before_it_accepts(outlet: Outlet) -> None:
    """ASGI has no websocket.receive before the accept; the end comes after what has waited."""
    may_accept = asyncio.Event()
    hosted, seen = gated(outlet, may_accept)
    hosted.deliver("1")
    hosted.deliver("2")
    running = asyncio.ensure_future(hosted.run())
    await until(lambda: bool(seen))
    hosted.disconnect(1000)
    await asyncio.sleep(0.01)
    assert seen == ["websocket.connect"]
    may_accept.set()
    await within(running)
    assert seen == ["websocket.connect", "1", "2", 1000]


async def test_a_consumer_that_never_accepts_gets_its_disconnect(outlet: Outlet) -> None:
    """After CONSUMER_CLOSE_TIMEOUT, and none of the payloads before it."""
    hosted, seen = gated(outlet, asyncio.Event(), close_timeout=0.01)
    hosted.deliver("1")
    hosted.disconnect(1001)
    await within(hosted.run())
    assert seen == ["websocket.connect", 1001]


async def test_a_consumer_that_rejects_gets_no_payload(outlet: Outlet) -> None:
    """What has waited for its accept is dropped at once."""
    seen: list[Any] = []

    async def rejecting(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.close", "code": 4000})
        seen.append(await receive())

    hosted = host(rejecting, outlet)
    hosted.deliver("1")
    await within(hosted.run())
    assert [message["code"] for message in seen] == [4000]


async def test_a_consumer_that_sends_before_it_accepts_is_refused(
    outlet: Outlet, caplog: pytest.LogCaptureFixture
) -> None:
    """As servers do."""

    async def hasty(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.send", "text": "1"})

    await within(host(hasty, outlet).run())
    assert outlet.said == [(1011, "")]
    assert "sent before it accepted" in caplog.text


class Silent(AsyncWebsocketConsumer):
    """Forgets to accept."""

    async def connect(self) -> None:
        """Do nothing."""


async def silent(scope: Any, receive: Any, send: Any) -> None:
    """Forget to accept, without a class."""
    while (await receive())["type"] != "websocket.disconnect":
        pass


@pytest.mark.parametrize(
    ("application", "name"),
    [
        (Silent.as_asgi(), "Silent"),
        (BaseMiddleware(Silent.as_asgi()), "Silent"),
        (silent, "silent"),
        (functools.partial(silent), "functools.partial"),
    ],
)
async def test_a_consumer_that_does_not_accept_is_named(
    application: Any, name: str, outlet: Outlet, caplog: pytest.LogCaptureFixture
) -> None:
    """After OPEN_TIMEOUT, in the log of the process that hosts it; it may still accept."""
    hosted = host(application, outlet, open_timeout=0.01)
    running = asyncio.ensure_future(hosted.run())
    await until(lambda: bool(outlet.said))
    assert outlet.said == ["unaccepted"]
    (record,) = caplog.records
    assert f"{name}, has not accepted within 0.01 s" in record.getMessage()
    hosted.disconnect(1000)
    await within(running)
