"""Calls of a node's channel layer end in time, with a typed failure at worst."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import psycopg
import pytest
from channels.exceptions import ChannelFull
from channels.layers import InMemoryChannelLayer
from channels_redis.core import RedisChannelLayer
from cryptography.fernet import InvalidToken
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from channels_demux_layer.transport.typed import (
    Full,
    LayerFailure,
    Outage,
    TypedLayer,
    Unreadable,
    failure_of,
    new_own_channel,
)

#: Short enough to be waited for. No test depends on how long it is.
QUICK = 0.02


class Failing:
    """A layer whose calls raise what they are told to; without that they never end."""

    extensions = ("groups",)

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.cancelled = 0

    async def _fail(self, *arguments: Any) -> Any:
        if self.error is not None:
            raise self.error
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    send = group_send = group_add = group_discard = receive = new_channel = _fail


def calls(layer: TypedLayer) -> list[Any]:
    """Return all calls that must not wait."""
    return [
        layer.send("a", {}),
        layer.group_send("g", {}),
        layer.group_add("g", "a"),
        layer.group_discard("g", "a"),
        layer.new_channel(),
    ]


@pytest.mark.parametrize(
    ("error", "failure"),
    [(OSError("gone"), Outage), (ChannelFull(), Full), (ValueError(), Outage), (Full(), Full)],
)
async def test_what_a_layer_raises_is_typed(error: Exception, failure: type[Exception]) -> None:
    """By each of the calls, and once."""
    for call in calls(TypedLayer(Failing(error))):
        with pytest.raises(failure):
            await call


@pytest.mark.parametrize(
    ("error", "failure"), [(OSError(), Outage), (ValueError(), Unreadable), (Outage(), Outage)]
)
async def test_what_receive_raises_is_typed(error: Exception, failure: type[Exception]) -> None:
    """There, most errors are about a message."""
    with pytest.raises(failure):
        await TypedLayer(Failing(error)).receive("a")


async def test_calls_that_hang_are_outages() -> None:
    """Each call that does not end is cancelled, and says how long it had."""
    layer = Failing()
    outcomes = await asyncio.gather(*calls(TypedLayer(layer, limit=QUICK)), return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["no answer within 0.0 seconds"] * 5
    assert layer.cancelled == 5


async def test_a_receive_may_wait() -> None:
    """However short the limit of other calls is."""
    layer = TypedLayer(Failing(), limit=QUICK)
    receiving = asyncio.ensure_future(layer.receive("a"))
    with pytest.raises(Outage):
        await layer.send("a", {})
    assert not receiving.done()
    receiving.cancel()
    await asyncio.gather(receiving, return_exceptions=True)


async def test_a_cancellation_from_outside_stays_one() -> None:
    """It is no outage, and neither is one that comes at the same time as the limit."""
    layer = TypedLayer(Failing())
    sending = asyncio.ensure_future(layer.send("a", {}))
    await asyncio.sleep(0)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending


async def test_a_cancellation_beside_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is cancelled by somebody else when the limit is over, ends."""
    monkeypatch.setattr("channels_demux_layer.transport.typed._withdraw", lambda task: False)
    with pytest.raises(asyncio.CancelledError):
        await TypedLayer(Failing(), limit=QUICK).send("a", {})


async def test_a_task_outlives_its_limit() -> None:
    """The cancellation of a call is withdrawn: what comes after it goes on."""

    async def work() -> str:
        layer = TypedLayer(Failing(), limit=QUICK)
        for _ in range(2):
            with pytest.raises(Outage):
                await layer.send("a", {})
        await asyncio.sleep(0)
        return "done"

    assert await asyncio.wait_for(work(), 60) == "done"


async def test_one_timer_serves_all_calls() -> None:
    """It stops when nothing is under way, and begins again with the next call."""
    layer = TypedLayer(Failing(), limit=QUICK)
    loop = asyncio.get_running_loop()
    timers: list[float] = []
    call_later = loop.call_later

    def counted(delay: float, *arguments: Any, **options: Any) -> Any:
        if delay == QUICK / 4:
            timers.append(delay)
        return call_later(delay, *arguments, **options)

    loop.call_later = counted  # type: ignore[method-assign, assignment]
    try:
        for _ in range(10):
            await layer.call(asyncio.sleep, 0)
        assert len(timers) == 1
        with pytest.raises(Outage):
            await layer.call(asyncio.Event().wait)
        assert len(timers) > 1
    finally:
        del loop.call_later  # type: ignore[attr-defined]


async def test_all_else_is_the_layers() -> None:
    """Attributes are passed on."""
    assert TypedLayer(Failing()).extensions == ("groups",)


async def test_a_layer_has_channels_of_its_own() -> None:
    """Whatever its new_channel() gives."""
    assert "!" in await TypedLayer(InMemoryChannelLayer()).new_channel()


async def test_a_channel_is_sent_to_where_it_is_received() -> None:
    """Of several hosts of the core layer both ways lead to one."""
    layer = RedisChannelLayer(hosts=[("127.0.0.1", port) for port in (1, 2, 3)])
    for _ in range(20):
        channel = await new_own_channel(layer)
        place = layer.consistent_hash(channel)
        assert place == layer.consistent_hash(layer.non_local_name(channel))


async def test_a_layer_whose_places_never_agree() -> None:
    """The last channel is taken: messages to the node's groups reach it all the same."""

    class Odd(InMemoryChannelLayer):
        asked = 0

        async def new_channel(self, prefix: str = "specific.") -> str:
            self.asked += 1
            name: str = await super().new_channel(prefix)
            return name

        def consistent_hash(self, name: str) -> int:
            return int(name.endswith("!"))

        def non_local_name(self, name: str) -> str:
            return name.partition("!")[0] + "!"

    odd = Odd()
    assert await new_own_channel(odd)
    assert odd.asked == 1_001


# What a layer raises


OUTAGES = [
    ConnectionResetError("gone."),
    TimeoutError(),
    asyncio.TimeoutError(),
    RedisConnectionError("gone"),
    ResponseError("READONLY"),
    psycopg.OperationalError("gone"),
    RuntimeError("closed"),
    AssertionError(),
]
OTHERS = [ValueError("bytes"), TypeError("int"), InvalidToken(), KeyError("x"), Exception("odd")]


@pytest.mark.parametrize("error", OUTAGES, ids=repr)
@pytest.mark.parametrize("receives", [False, True])
def test_outages(error: Exception, receives: bool) -> None:
    """Servers that are gone, and calls that cannot work, are outages whatever was asked."""
    assert type(failure_of(error, receives=receives)) is Outage


@pytest.mark.parametrize("error", OTHERS, ids=repr)
def test_messages_that_cannot_be_read(error: Exception) -> None:
    """All else out of a receive() is about one message; out of another call it is an outage."""
    assert type(failure_of(error, receives=True)) is Unreadable
    assert type(failure_of(error)) is Outage


def test_full_channels() -> None:
    """A full channel is no outage."""
    assert type(failure_of(ChannelFull())) is Full


def test_texts() -> None:
    """A failure says what the layer said, or what it raised where that says nothing."""
    assert str(failure_of(OSError("gone."))) == "gone"
    assert str(failure_of(TimeoutError())) == "TimeoutError"
    assert str(failure_of(ValueError("x"), receives=True)) == "ValueError('x')"


def test_failures_stay_as_they_are() -> None:
    """What is typed is not typed again."""
    failure: LayerFailure = Full("x")
    assert failure_of(failure) is failure


def test_libraries_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that is not loaded is not needed."""
    monkeypatch.delitem(sys.modules, "redis.exceptions")
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert type(failure_of(OSError(), receives=True)) is Outage
    assert type(failure_of(ResponseError("x"), receives=True)) is Unreadable
