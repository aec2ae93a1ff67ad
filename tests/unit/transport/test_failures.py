"""Whatever a channel layer raises becomes one of three failures."""

import asyncio
import sys

import psycopg
import pytest
from channels.exceptions import ChannelFull
from cryptography.fernet import InvalidToken
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from channels_demux_layer.transport.failures import (
    Full,
    LayerFailure,
    Outage,
    Unreadable,
    failure_of,
)

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
