"""What it means when a WebSocket can't be opened; no socket is."""

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

from channels_demux_layer.client.dialing import Dialer
from channels_demux_layer.exceptions import ConnectFailed


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
