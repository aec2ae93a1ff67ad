"""The client's frames: what it writes the server's reader takes, and it reads what that writes."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels_demux_layer.codes import ClientEvent, ErrorCode, ServerEvent
from channels_demux_layer.protocol.client_envelope import ClientCodec, Event, Payload
from channels_demux_layer.protocol.envelope import EnvelopeCodec, Incoming
from channels_demux_layer.protocol.envelope_format import check_name

client = ClientCodec()
server = EnvelopeCodec()

characters = st.characters(exclude_categories=["Cs"])
names = st.text(characters, min_size=1, max_size=60)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(characters),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(characters), inner),
    max_leaves=10,
)


@given(names, values)
def test_the_server_reads_what_the_client_writes(name: str, value: Any) -> None:
    """Any JSON value of any stream is an envelope that the server's reader takes apart."""
    frame = client.encode_payload(name, value)
    assert isinstance(frame, str)
    read = server.decode_text(frame)
    assert (read.stream, read.event) == (name, None)
    assert read.data is not None
    assert msgspec.json.decode(read.data) == value


@given(names, st.binary())
def test_binary_goes_both_ways(name: str, data: bytes) -> None:
    """Any bytes of any stream come out as they went in, at both ends."""
    frame = client.encode_payload(name, data)
    assert isinstance(frame, bytes)
    assert server.decode_binary(frame) == Incoming(name, data, None)
    assert client.decode(server.encode_binary(name, data)) == Payload(name, data)


@given(names, values)
def test_the_client_reads_what_the_server_writes(name: str, value: Any) -> None:
    """A payload is taken out of the server's envelope as it is, and its JSON is the consumer's."""
    text = msgspec.json.encode(value).decode()
    incoming = client.decode(server.encode_text(name, text))
    assert isinstance(incoming, Payload)
    assert incoming.stream == name
    assert bytes(incoming.data) == text.encode()


@pytest.mark.parametrize("data", [bytearray(b"ab"), memoryview(b"ab")])
def test_whatever_holds_bytes_is_binary(data: Any) -> None:
    """A bytearray or a memoryview is a binary payload like bytes."""
    assert client.encode_payload("s", data) == b"\x01sab"


def test_ready_made_json_is_left_as_it_is() -> None:
    """The text of a msgspec.Raw is sent byte for byte."""
    frame = client.encode_payload("s", msgspec.Raw(b'{"a":  1.50}'))
    assert frame == '{"stream":"s","payload":{"a":  1.50}}'


@pytest.mark.parametrize("forged", [b"", b"1}", b'1,"stream":"other"', b"[1"])
def test_ready_made_json_cannot_break_out(forged: bytes) -> None:
    """A msgspec.Raw that is not JSON is refused, and can't become more of the envelope."""
    with pytest.raises(msgspec.DecodeError):
        client.encode_payload("s", msgspec.Raw(forged))


def test_what_has_no_json_is_refused() -> None:
    """A payload that JSON can't say raises where it is sent."""
    with pytest.raises(TypeError):
        client.encode_payload("s", object())


@pytest.mark.parametrize("event", ClientEvent)
def test_events_to_the_server(event: ClientEvent) -> None:
    """The server's reader takes each of the client's events for what it is."""
    frame = client.encode_event('the "stream"', event)
    assert server.decode_text(frame) == Incoming('the "stream"', None, event)


@pytest.mark.parametrize(
    ("fields", "event"),
    [
        ({"event": ServerEvent.REOPENED}, Event("s", ServerEvent.REOPENED)),
        ({"event": ServerEvent.UNAVAILABLE}, Event("s", ServerEvent.UNAVAILABLE)),
        (
            {"event": ServerEvent.CLOSED, "code": 4001, "reason": "bye"},
            Event("s", ServerEvent.CLOSED, 4001, "bye"),
        ),
        (
            {"event": ServerEvent.ERROR, "code": ErrorCode.TOO_LARGE, "message": "Too much."},
            Event("s", ServerEvent.ERROR, "too_large", message="Too much."),
        ),
    ],
)
def test_events_from_the_server(fields: dict[str, Any], event: Event) -> None:
    """Each event that the server's writer makes is read with all that it says."""
    assert client.decode(server.encode_event(stream="s", **fields)) == event


def test_an_error_may_name_no_stream() -> None:
    """An error about a frame whose stream could not be read is read without one."""
    frame = server.encode_event(ServerEvent.ERROR, None, code="invalid_json", message="No.")
    assert client.decode(frame) == Event(None, ServerEvent.ERROR, "invalid_json", message="No.")


@pytest.mark.parametrize(
    ("frame", "incoming"),
    [
        ('{"stream":"s","event":"reopened","code":[1],"x":{}}', Event("s", ServerEvent.REOPENED)),
        ('{"stream":"s","event":"closed"}', Event("s", ServerEvent.CLOSED, 1005)),
        ('{"stream":"s","event":"closed","code":"1000"}', Event("s", ServerEvent.CLOSED, 1005)),
        (
            '{"stream":"s","event":"closed","code":4000,"reason":1}',
            Event("s", ServerEvent.CLOSED, 4000),
        ),
        ('{"stream":"s","event":"error","message":null}', Event("s", ServerEvent.ERROR)),
    ],
)
def test_events_with_what_is_not_known(frame: str, incoming: Event) -> None:
    """An event of a later release is read as far as this one understands it."""
    assert client.decode(frame) == incoming


def test_half_a_surrogate_pair() -> None:
    """Half a pair becomes U+FFFD, in a string sent and as an escape both ways; pairs stay."""
    assert client.encode_payload("s", "a\ud83d") == '{"stream":"s","payload":"a\ufffd"}'
    raw = msgspec.Raw(rb'["\ud83d \ud83d\ude00 \\ud83d"]')
    mended = r'{"stream":"s","payload":["\ufffd \ud83d\ude00 \\ud83d"]}'
    assert client.encode_payload("s", raw) == mended
    incoming = client.decode(r'{"stream":"s","payload":["\ud83d \ud83d\ude00 \\ud83d"]}')
    assert isinstance(incoming, Payload)
    assert msgspec.json.decode(incoming.data) == ["\ufffd \U0001f600 \\ud83d"]


def test_a_payload_is_a_payload_whatever_else_it_has() -> None:
    """Other keys beside a payload are ignored, even an event (client wire, 2.3 and 2.4)."""
    incoming = client.decode('{"event":5,"payload":[1],"stream":"s","x":{}}')
    assert incoming == Payload("s", msgspec.Raw(b"[1]"))


@pytest.mark.parametrize(
    "frame",
    [
        *("", "no", "[]", "{}", "1", '{"payload":1}', '{"stream":"s"}', '{"stream":1,"payload":2}'),
        *('{"stream":"s","event":"later"}', r'{"stream":"\ud83d","event":"later"}'),
        *('{"stream":"s","event":1}', '{"stream":1,"event":"closed"}', "[" * 100_000),
        *(b"", b"\x00", b"\x00x", b"\x02x", b"\x01\xff"),
    ],
)
def test_what_is_no_envelope_is_nothing(frame: str | bytes) -> None:
    """A frame that is neither a payload nor an event is ignored and raises nothing."""
    assert client.decode(frame) is None


def test_keys_are_configurable() -> None:
    """A client with a server's own keys writes and reads with these."""
    mine = ClientCodec("channel", "data", "what")
    theirs = EnvelopeCodec("channel", "data", "what")
    assert theirs.decode_text(str(mine.encode_payload("s", 1))) == Incoming("s", "1", None)
    assert theirs.decode_text(mine.encode_event("s", ClientEvent.OPEN)).event == "open"
    assert mine.decode(theirs.encode_text("s", "1")) == Payload("s", msgspec.Raw(b"1"))
    assert mine.decode(theirs.encode_event("reopened", "s")) == Event("s", ServerEvent.REOPENED)


@pytest.mark.parametrize("name", ["", "x" * 256, "ü" * 128, "\ud800"])
def test_what_can_be_no_name_is_refused(name: str) -> None:
    """A name that no frame can carry is refused with what a name is."""
    with pytest.raises(ValueError, match="1 to 255 bytes"):
        check_name(name)


@pytest.mark.parametrize("name", ["x", "x" * 255, "grüße an alle"])
def test_any_other_name_is_taken(name: str) -> None:
    """A name of 1 to 255 bytes is one that a binary frame can carry."""
    check_name(name)
    assert client.decode(client.encode_payload(name, b"data")) == Payload(name, b"data")
