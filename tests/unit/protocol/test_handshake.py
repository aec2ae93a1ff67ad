"""The handshake's messages are checked, and sessions that reopen together are spread over time."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from channels_demux_layer.protocol.frames import VERSION
from channels_demux_layer.protocol.handshake import (
    BURST,
    CLAIM,
    JITTER,
    LONGEST_WAIT,
    OPEN,
    RATE,
    Claim,
    Open,
    Pacer,
    parse_claim,
    parse_open,
)

AN_OPEN = Open(
    version=VERSION,
    ref="ref",
    connection="0" * 32,
    stream="ü",
    channel="node!1",
    edge_group="demux.0.edge",
    stream_group="demux.0.echo",
    attempt=1,
    expires_at=1.5,
    scope=b"\x80",
)
A_CLAIM = Claim(
    version=VERSION, refs=["a", "b"], stream_channel="demux.echo", channel="node!2", load=3
)


def test_an_open_survives_its_way() -> None:
    """What is read is what was written, and the type says what it is."""
    assert AN_OPEN.to_message()["type"] == OPEN
    assert parse_open(AN_OPEN.to_message()) == AN_OPEN


def test_a_claim_survives_its_way() -> None:
    """What is read is what was written, and the type says what it is."""
    assert A_CLAIM.to_message()["type"] == CLAIM
    assert parse_claim(A_CLAIM.to_message()) == A_CLAIM


def test_fields_of_a_later_release_are_ignored() -> None:
    """A field that is not known here does no harm."""
    assert parse_open({**AN_OPEN.to_message(), "more": 1}) == AN_OPEN


@pytest.mark.parametrize("field", msgspec.structs.asdict(AN_OPEN))
@pytest.mark.parametrize("value", [None, {}, object()])
def test_a_malformed_open_is_refused(field: str, value: Any) -> None:
    """A field of the wrong type, or a missing one, is a fault of the message."""
    message = AN_OPEN.to_message()
    with pytest.raises(msgspec.ValidationError):
        parse_open({**message, field: value})
    del message[field]
    with pytest.raises(msgspec.ValidationError):
        parse_open(message)


@pytest.mark.parametrize("field", msgspec.structs.asdict(A_CLAIM))
def test_a_malformed_claim_is_refused(field: str) -> None:
    """A field of the wrong type, or a missing one, is a fault of the message."""
    message = A_CLAIM.to_message()
    with pytest.raises(msgspec.ValidationError):
        parse_claim({**message, field: None})
    del message[field]
    with pytest.raises(msgspec.ValidationError):
        parse_claim(message)


@pytest.mark.parametrize("name", ["", "no room", "x" * 100])
def test_names_that_no_layer_has_are_refused(name: str) -> None:
    """Whoever sent there would take the layer for failing."""
    with pytest.raises(msgspec.ValidationError, match="not valid"):
        parse_open({**AN_OPEN.to_message(), "edge_group": name})
    with pytest.raises(msgspec.ValidationError, match="not valid"):
        parse_claim({**A_CLAIM.to_message(), "channel": name})


def waits(pacer: Pacer, count: int, now: float = 100.0) -> list[float]:
    """For how long so many sessions wait that are lost at once."""
    return [pacer.wait(now, random.uniform) for _ in range(count)]


def test_a_few_sessions_do_not_wait() -> None:
    """Up to the burst none does; and after a while there is room for as many again."""
    pacer = Pacer()
    assert waits(pacer, BURST - 1) == [0.0] * (BURST - 1)
    assert waits(pacer, BURST - 1, now=100.0 + BURST / RATE) == [0.0] * (BURST - 1)


@pytest.mark.parametrize("count", [200, 800])
def test_many_sessions_are_spread_over_a_time_that_grows_with_their_number(count: int) -> None:
    """No second has many more opens than the rate, and the last is where the rate has it."""
    found = sorted(waits(Pacer(), count))
    last = (count - BURST) / RATE
    assert last - JITTER <= found[-1] <= last + JITTER
    for second in range(round(found[-1]) + 1):
        opened = sum(second <= wait < second + 1 for wait in found)
        assert opened <= RATE * (1 + 2 * JITTER) + BURST


def test_no_session_waits_for_long() -> None:
    """However many there are, the time is bounded; and they do not come all in its last moment."""
    found = sorted(waits(Pacer(), 50_000))
    assert found[-1] <= LONGEST_WAIT + JITTER
    assert 0.4 < sum(wait < LONGEST_WAIT / 2 for wait in found) / len(found) < 0.6


def test_who_comes_after_many_is_not_held_up_for_long() -> None:
    """Once the time is over that the others were spread over, there is no wait."""
    pacer = Pacer()
    waits(pacer, 50_000)
    assert waits(pacer, 1, 100.0 + LONGEST_WAIT + BURST / RATE) == [0.0]


def test_edges_do_not_open_in_step() -> None:
    """Two edges that lose as many sessions at the same time draw other waits."""
    assert waits(Pacer(), 200) != waits(Pacer(), 200)
