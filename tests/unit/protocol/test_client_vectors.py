"""The client's codec and the tools for tests agree with tests/vectors/client_wire.json."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from channels_demux_layer.codes import ClientEvent, ServerEvent
from channels_demux_layer.protocol.client_envelope import ClientCodec, Event, Payload
from channels_demux_layer.protocol.json_text import is_json, mend_escapes
from channels_demux_layer.testing.socket import Kind, sort

FILE = Path(__file__).parents[2] / "vectors" / "client_wire.json"
VECTORS = json.loads(FILE.read_text(encoding="utf-8"))
TO_SERVER, TO_CLIENT = VECTORS["client_to_server"], VECTORS["server_to_client"]

Vector = dict[str, Any]


def codec_of(vector: Vector) -> ClientCodec:
    """Make the codec with the keys of a case."""
    keys = vector.get("keys", {})
    return ClientCodec(**{f"{name}_key": key for name, key in keys.items()})


def on_wire(data: Any) -> Any:
    """Read what the file writes for text or bytes."""
    return bytes.fromhex(data["hex"]) if isinstance(data, dict) else data


def payload_of(vector: Vector) -> Any:
    """Find what a user of this client sends where one of a plain WebSocket sends text or bytes."""
    data = on_wire(vector["send"])
    if isinstance(data, bytes) or vector.get("text"):
        return data
    mended = mend_escapes(data)
    if is_json(mended):
        return msgspec.Raw(data)
    # A string with half a surrogate pair; UTF-8 has no such JSON.
    is_string = data.startswith('"') and not data.isascii()
    return json.loads(data) if is_string else data


@pytest.mark.parametrize("vector", TO_SERVER["sent"], ids=lambda vector: vector["about"])
def test_payloads_to_the_server(vector: Vector) -> None:
    """What is sent makes the very frame that the server's tests and other clients have."""
    frame = codec_of(vector).encode_payload(vector["stream"], payload_of(vector))
    assert frame == on_wire(vector["frame"])


@pytest.mark.parametrize("vector", TO_SERVER["events"], ids=lambda vector: vector["frame"])
def test_events_to_the_server(vector: Vector) -> None:
    """An event makes the very frame that the server's tests and other clients have."""
    frame = codec_of(vector).encode_event(vector["stream"], ClientEvent(vector["event"]))
    assert frame == vector["frame"]


@pytest.mark.parametrize(
    "vector", TO_CLIENT["sent"] + TO_CLIENT["understood"], ids=lambda vector: vector["about"]
)
def test_payloads_from_the_server(vector: Vector) -> None:
    """A frame of the server is the payload that it is for other clients."""
    incoming = codec_of(vector).decode(on_wire(vector["frame"]))
    assert isinstance(incoming, Payload)
    assert incoming.stream == vector["stream"]
    received = on_wire(vector["received"])
    if isinstance(received, bytes):
        assert incoming.data == received
    elif vector.get("text") and bytes(incoming.data).startswith(b'"'):
        assert msgspec.json.decode(incoming.data, type=str) == received
    elif vector.get("exact", True):
        # What Python's UTF-8 has no character for is mended: the one liberty that is taken.
        assert bytes(incoming.data) == mend_escapes(received).encode()
    else:
        assert msgspec.json.decode(incoming.data) == json.loads(received)


@pytest.mark.parametrize("vector", TO_CLIENT["events"], ids=lambda vector: vector["frame"])
def test_events_from_the_server(vector: Vector) -> None:
    """An event of the server says what it says to other clients."""
    event = Event(vector["stream"], ServerEvent(vector["event"]), **vector["fields"])
    assert codec_of(vector).decode(vector["frame"]) == event


@pytest.mark.parametrize("vector", TO_CLIENT["ignored"], ids=lambda vector: vector["about"])
def test_ignored(vector: Vector) -> None:
    """What other clients pass over is nothing here, or is about a stream that nobody has."""
    incoming = ClientCodec().decode(on_wire(vector["frame"]))
    assert incoming is None or incoming.stream == "other"


@pytest.mark.parametrize(
    "vector",
    [case for case in TO_CLIENT["sent"] + TO_CLIENT["understood"] if "keys" not in case],
    ids=lambda vector: vector["about"],
)
def test_payloads_that_the_tools_for_tests_receive(vector: Vector) -> None:
    """The communicator for tests sorts each frame of the server as the client does."""
    arrival = sort(on_wire(vector["frame"]), json.loads)
    assert (arrival.kind, arrival.stream) == (Kind.PAYLOAD, vector["stream"])
    received = on_wire(vector["received"])
    if isinstance(received, str) and not (vector.get("text") and isinstance(arrival.content, str)):
        received = json.loads(received)
    assert arrival.content == received


@pytest.mark.parametrize(
    "vector",
    [case for case in TO_CLIENT["events"] if "keys" not in case],
    ids=lambda vector: vector["frame"],
)
def test_events_that_the_tools_for_tests_receive(vector: Vector) -> None:
    """The communicator for tests finds the events of the server, with all their keys."""
    arrival = sort(vector["frame"], json.loads)
    assert (arrival.kind, arrival.stream) == (Kind.EVENT, vector["stream"])
    assert arrival.content == json.loads(vector["frame"])
