"""The layer messages of the handshake."""

from typing import Any

import msgspec
import pytest

from channels_demux_layer.protocol.frames import VERSION
from channels_demux_layer.protocol.handshake import (
    CLAIM,
    OPEN,
    Claim,
    Open,
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
    with pytest.raises(msgspec.ValidationError, match="there cannot be"):
        parse_open({**AN_OPEN.to_message(), "edge_group": name})
    with pytest.raises(msgspec.ValidationError, match="there cannot be"):
        parse_claim({**A_CLAIM.to_message(), "channel": name})
