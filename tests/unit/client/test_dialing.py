"""A client opens sockets, tells final failures from others, and waits longer after each failure."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from websockets.datastructures import Headers
from websockets.exceptions import (
    InvalidMessage,
    InvalidStatus,
    InvalidUpgrade,
    InvalidURI,
    NegotiationError,
)
from websockets.http11 import Response

from channels_demux_layer.client.dialing import (
    Attempts,
    Backoff,
    Dialer,
    is_final_close,
    is_final_status,
)
from channels_demux_layer.exceptions import ConnectFailed


def test_the_bound_doubles_up_to_the_longest() -> None:
    """Each failure doubles the bound of the wait, until it is the longest."""
    backoff = Backoff(first=1.0, longest=10.0)
    assert [backoff.delay(failures, 1.0) for failures in range(6)] == [1, 2, 4, 8, 10, 10]


def test_any_number_of_failures_has_a_wait() -> None:
    """After years of failures the wait is still the longest one."""
    assert Backoff(longest=30.0).delay(10**9, 1.0) == 30.0


@pytest.mark.parametrize("failures", [0, 3, 50])
def test_jitter_is_full(failures: int) -> None:
    """A wait is anything from nothing to its bound, in proportion to the random number."""
    backoff = Backoff(first=1.0, longest=10.0)
    whole = backoff.delay(failures, 1.0)
    assert backoff.delay(failures, 0.0) == 0.0
    assert backoff.delay(failures, 0.25) == whole / 4


def test_each_attempt_waits_longer() -> None:
    """Attempts that fail one after the other wait for bounds that double."""
    attempts = Attempts(Backoff(first=1.0, longest=30.0))
    assert [attempts.next_delay(now, 1.0) for now in (0.0, 1.0, 3.0)] == [1, 2, 4]


def test_a_lasting_socket_begins_the_waits_anew() -> None:
    """After a socket that was open for min_uptime the first wait is the shortest again."""
    attempts = Attempts(Backoff(first=1.0, min_uptime=5.0))
    attempts.next_delay(0.0, 1.0)
    attempts.connected(10.0)
    assert attempts.next_delay(15.0, 1.0) == 1.0


def test_a_socket_that_is_dropped_at_once_is_a_failure() -> None:
    """A server that takes sockets and drops them is not tried ever faster."""
    attempts = Attempts(Backoff(first=1.0, min_uptime=5.0))
    delays = []
    for now in (0.0, 10.0, 20.0):
        attempts.connected(now)
        delays.append(attempts.next_delay(now + 4.9, 1.0))
    assert delays == [1, 2, 4]


def test_uptime_counts_once() -> None:
    """The uptime of a lost socket doesn't count for the failures after it."""
    attempts = Attempts(Backoff(first=1.0, min_uptime=5.0))
    attempts.connected(0.0)
    assert [attempts.next_delay(now, 1.0) for now in (100.0, 200.0, 300.0)] == [1, 2, 4]


@pytest.mark.parametrize("code", [1000, 1002, 1003, 1007, 1008, 1009, 1010, 3000, 4001, 4408, 4999])
def test_final_closes(code: int) -> None:
    """A close on purpose, for what the client is or sends, or with a private code ends it all."""
    assert is_final_close(code)


@pytest.mark.parametrize("code", [1001, 1005, 1006, 1011, 1012, 1013, 1014, 1015, 2999, 5000])
def test_passing_closes(code: int) -> None:
    """A close for what the server or the network is going through is one to come back from."""
    assert not is_final_close(code)


def test_statuses() -> None:
    """Who isn't let in stays out; who met a server in trouble comes back."""
    assert [status for status in range(300, 600) if is_final_status(status)] == [401, 403, 404]


def status(code: int) -> InvalidStatus:
    """Make what is raised for an answer that is no WebSocket."""
    return InvalidStatus(Response(code, "", Headers()))


def raising(error: Exception) -> Callable[[], str]:
    """Make an address whose use fails."""

    def url() -> str:
        raise error

    return url


async def failure(error: Exception) -> ConnectFailed:
    """Find what a dialer makes of an error."""
    with pytest.raises(ConnectFailed) as raised:
        await Dialer(raising(error), None, {}).dial()
    assert raised.value.__cause__ is error
    return raised.value


@pytest.mark.parametrize(
    "error",
    [
        status(401),
        status(404),
        InvalidURI("ws://x/?token=secret", "no"),
        InvalidUpgrade("Connection"),
        NegotiationError("no subprotocol"),
        ssl.SSLCertVerificationError("self-signed"),
    ],
    ids=repr,
)
async def test_final_failures(error: Exception) -> None:
    """Who isn't let in, or talks to what is no such server, need not come back."""
    failed = await failure(error)
    assert failed.is_final
    assert "secret" not in str(failed)


@pytest.mark.parametrize(
    "error",
    [
        *(status(500), status(503), status(429)),
        *(ConnectionRefusedError("refused"), TimeoutError("late"), asyncio.TimeoutError()),
        *(InvalidMessage("cut off"), ssl.SSLError("handshake"), OSError()),
    ],
    ids=repr,
)
async def test_passing_failures(error: Exception) -> None:
    """What a server or a network goes through is tried again."""
    assert not (await failure(error)).is_final


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (status(403), "the server answered with HTTP status 403."),
        (ConnectionRefusedError("refused"), "refused."),
        (OSError(), "OSError."),
        (InvalidURI("ws://x/?token=secret", "no"), "InvalidURI."),
    ],
    ids=repr,
)
async def test_messages(error: Exception, message: str) -> None:
    """A failure says why, and never the address."""
    assert str(await failure(error)) == f"The WebSocket could not be opened: {message}"


@pytest.mark.parametrize("error", [LookupError("mine"), asyncio.CancelledError()], ids=repr)
async def test_other_exceptions_pass(error: Any) -> None:
    """What the user's own function raises, and a cancellation, are left as they are."""
    with pytest.raises(type(error)):
        await Dialer(raising(error), None, {}).dial()
