"""The client wire in examples, which the clients' tests read as well, by the server's codec."""

import json
from pathlib import Path
from typing import Any

import pytest

from channels_demux_layer.codes import ClientEvent, ErrorCode, ServerEvent
from channels_demux_layer.exceptions import BadFrame
from channels_demux_layer.protocol.envelope import EnvelopeCodec, Incoming
from channels_demux_layer.protocol.json_text import as_json, as_string

Case = dict[str, Any]

FILE = Path(__file__).parents[2] / "vectors" / "client_wire.json"
VECTORS = json.loads(FILE.read_text(encoding="utf-8"))
SECTIONS = {
    "client_to_server": {"sent", "events", "understood", "refused"},
    "server_to_client": {"sent", "events", "understood", "ignored"},
}
TO_SERVER, TO_CLIENT = (VECTORS[direction] for direction in SECTIONS)


def each(cases: list[Case]) -> pytest.MarkDecorator:
    """Run a test for each case."""
    return pytest.mark.parametrize("case", cases, ids=range(len(cases)))


def plain(data: Any) -> Any:
    """Return text as it is, and bytes for their digits."""
    return bytes.fromhex(data["hex"]) if isinstance(data, dict) else data


def codec_of(case: Case) -> EnvelopeCodec:
    """Return a codec with the keys of a case."""
    return EnvelopeCodec(**{f"{name}_key": key for name, key in case.get("keys", {}).items()})


def receive(case: Case) -> tuple[str, Any]:
    """Take the frame of a case apart as the edge does."""
    codec, frame = codec_of(case), plain(case["frame"])
    incoming = codec.decode_binary(frame) if isinstance(frame, bytes) else codec.decode_text(frame)
    if case.get("text") and isinstance(incoming.data, str):
        return incoming.stream, codec.decode_string(incoming.data, incoming.stream)
    return incoming.stream, incoming.data


def send(case: Case) -> str | bytes:
    """Put what a consumer sends into a frame, as its host and the edge do between them."""
    codec, data = codec_of(case), plain(case["send"])
    if isinstance(data, bytes):
        return codec.encode_binary(case["stream"], data)
    write = as_string if case.get("text") else as_json
    return codec.encode_text(case["stream"], write(data))


@each(TO_SERVER["sent"] + TO_SERVER["understood"])
def test_consumers_get_what_clients_send(case: Case) -> None:
    """What a client's frame holds comes to the consumer as the example has it."""
    assert receive(case) == (case["stream"], plain(case["received"]))


@each(TO_SERVER["events"])
def test_events_of_clients(case: Case) -> None:
    """A client's event is understood, and it is one that a client can send."""
    incoming = codec_of(case).decode_text(case["frame"])
    assert incoming == Incoming(case["stream"], None, ClientEvent(case["event"]))


@each(TO_SERVER["refused"])
def test_bad_frames_of_clients(case: Case) -> None:
    """A bad frame is refused with the example's code, and names the stream where it can."""
    with pytest.raises(BadFrame) as caught:
        receive(case)
    assert (caught.value.code, caught.value.stream) == (
        ErrorCode(case["code"]),
        case.get("stream"),
    )


@each(TO_CLIENT["sent"])
def test_frames_of_the_server(case: Case) -> None:
    """What a consumer sends becomes the example's frame, byte for byte."""
    assert send(case) == plain(case["frame"])


@each(TO_CLIENT["events"])
def test_events_of_the_server(case: Case) -> None:
    """The server writes its events as the examples have them."""
    event = ServerEvent(case["event"])
    assert codec_of(case).encode_event(event, case["stream"], **case["fields"]) == case["frame"]


@pytest.mark.parametrize(("direction", "sections"), SECTIONS.items())
def test_every_section_is_read(direction: str, sections: set[str]) -> None:
    """No example stands where no test looks."""
    assert VECTORS[direction].keys() == sections
    assert all(VECTORS[direction][section] for section in sections)
