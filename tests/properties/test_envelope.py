"""Envelopes, for any frame at all: understood or refused, and never anything else."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from channels_demux_layer.codes import ClientEvent, ErrorCode
from channels_demux_layer.exceptions import BadFrame
from channels_demux_layer.protocol import json_text
from channels_demux_layer.protocol.envelope import MAX_DEPTH, EnvelopeCodec, Incoming

MANAGED = EnvelopeCodec()
SHORT = EnvelopeCodec("s", "p", "e")
WHOLE = EnvelopeCodec(manage_envelope=False)

#: Any text, halves of surrogate pairs included.
ANY_TEXT = st.text(st.characters(exclude_categories=()))
NAMES = st.text(min_size=1, max_size=60)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    # What misleads a reader that looks at text: brackets, commas, quotes and backslashes.
    | st.text() | st.text('",[]{}\\:', max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=10,
)  # fmt: skip
JSON = st.builds(
    lambda value, ascii_only, spaced: json.dumps(
        value, ensure_ascii=ascii_only, separators=None if spaced else (",", ":")
    ),
    VALUES,
    st.booleans(),
    st.booleans(),
)
SPACE = st.sampled_from(["", "", "", " ", "\n  ", "\t\r"])


@st.composite
def spelled(draw: st.DrawFn, text: str) -> str:
    """Write a JSON string, with some of its characters escaped."""
    escape = draw(st.sets(st.integers(0, max(len(text) - 1, 0)), max_size=2))
    parts = [
        f"\\u{ord(char):04x}" if index in escape and ord(char) < 0x10000 else json.dumps(char)[1:-1]
        for index, char in enumerate(text)
    ]
    return f'"{"".join(parts)}"'


KEYS = st.one_of(
    st.sampled_from(
        ["stream", "payload", "event", "stream", "payload", "s", "p", "", "x", ",", '"']
    ),
    st.text(max_size=3),
).flatmap(spelled)
STRANGE = st.sampled_from(
    [
        *("NaN", "-Infinity", "01", "1e9999", "7" * 4500, "", "'a'", "[1,]", "[" * 600 + "]" * 600),
        *('"a"', '"open"', '"open"', '"close"'),
        *('"\\ud83d\\ude00"', '"\\ud800"', '"\\udc00x"', '"\ud800"'),
    ]
)


@st.composite
def frames(draw: st.DrawFn) -> str:
    """Write what is an envelope, or nearly one."""
    members = draw(st.lists(st.tuples(KEYS, JSON | STRANGE | NAMES.flatmap(spelled)), max_size=5))
    if draw(st.booleans()):
        members = [('"stream"', '"a"'), *members]
    text = ",".join(
        f"{draw(SPACE)}{key}{draw(SPACE)}:{draw(SPACE)}{value}{draw(SPACE)}"
        for key, value in members
    )
    text = f"{draw(SPACE)}{{{text}}}{draw(SPACE)}"
    if draw(st.integers(0, 9)) == 0:
        cut = draw(st.integers(0, len(text)))
        text = text[:cut] + draw(st.text('{}[]",:\\ue0', max_size=2)) + text[cut + 1 :]
    return text


class NotJsonError(Exception):
    """The oracle's reader met a constant that is not JSON."""


def _no_constant(name: str) -> Any:
    raise NotJsonError(name)


def _depth(value: Any) -> int:
    # Level by level: Python 3.12 counts recursion through map() as the C stack's.
    depth, level = 0, [value]
    while level := [inner for inner in level if isinstance(inner, list)]:
        depth += 1
        level = [
            part
            for inner in level
            for part in ([pair[1] for pair in inner] if isinstance(inner, Pairs) else inner)
        ]
    return depth


class Pairs(list[tuple[str, Any]]):
    """The members of an object, in order, with repetitions."""


def _as_client_reads(text: str) -> Any:
    """Say what a consumer's text is for its client: JSON, with null for NaN, or a string."""
    try:
        return _loads(text)
    except NotJsonError:
        try:
            return _loads(text, lambda word: None) if text.lstrip()[:1] in "[{" else text
        except ValueError:
            return text
    except ValueError:
        return text


def _loads(text: str, constant: Callable[[str], Any] = _no_constant) -> Any:
    """Read JSON as browsers do: halves of surrogate pairs may be escaped."""
    # Numbers as text: Python's limit on the digits of an int is no rule of JSON.
    return json.loads(
        text,
        object_pairs_hook=Pairs,
        parse_constant=constant,
        parse_int=str.encode,
        parse_float=str.encode,
    )


def _read(text: str) -> Any:
    """Read JSON strictly."""
    text.encode()
    value = _loads(text)
    _check_characters(value)
    return value


def _check_characters(value: Any) -> None:
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _check_characters(inner)


def oracle(text: str, stream_key: str, payload_key: str, event_key: str) -> Any:  # noqa: PLR0911
    """Say what a frame is, with the standard library: an error code, an event or a payload."""
    try:
        value = _read(text)
    except (ValueError, NotJsonError):
        return ErrorCode.INVALID_JSON
    if not isinstance(value, Pairs):
        return ErrorCode.NOT_AN_OBJECT
    if _depth(value) > MAX_DEPTH:
        return ErrorCode.TOO_DEEP
    members = dict(value)
    if len(members) < len(value):
        return ErrorCode.DUPLICATE_KEY
    if stream_key not in members:
        return ErrorCode.MISSING_KEY
    if not isinstance(members[stream_key], str):
        return ErrorCode.WRONG_TYPE
    if payload_key in members:
        return members[stream_key], members[payload_key]
    if event_key not in members:
        return ErrorCode.MISSING_KEY
    if not isinstance(members[event_key], str):
        return ErrorCode.WRONG_TYPE
    if members[event_key] not in {str(event) for event in ClientEvent}:
        return ErrorCode.UNKNOWN_EVENT
    return Incoming(members[stream_key], None, ClientEvent(members[event_key]))


def outcome(decode: Callable[[Any], Incoming], frame: str | bytes) -> Incoming | ErrorCode:
    """Decode a frame; whatever it raises but BadFrame fails the test."""
    try:
        return decode(frame)
    except BadFrame as error:
        json.dumps(error.message).encode()
        error.message.encode()
        return error.code if len(error.message) < 500 else ErrorCode.TOO_LARGE


@given(frames())
@example('{"stream":"a","payload":1,"":0,"":0}')
@example('{"s":"a","p":1,"p":1}')
@example('{"stream":"a","payload":"' + "[" * 600 + '"}')
@example('{"stream":"a","payload":' + "[" * 600 + "]" * 600 + "}")
@settings(max_examples=500, deadline=None)
def test_frames_are_read_as_the_standard_library_reads_them(text: str) -> None:
    """Code, stream, event and payload are what a strict reader with json.loads makes of a frame."""
    for codec, keys in (
        (MANAGED, ("stream", "payload", "event")),
        (SHORT, ("s", "p", "e")),
    ):
        expected, got = oracle(text, *keys), outcome(codec.decode_text, text)
        if isinstance(expected, tuple) and not isinstance(expected, Incoming):
            assert isinstance(got, Incoming)
            assert isinstance(got.data, str)
            assert (got.stream, _read(got.data), got.event) == (*expected, None)
            assert got.data in text
        else:
            assert got == expected


@given(frames())
@settings(max_examples=300, deadline=None)
def test_whole_envelopes_are_checked_alike(text: str) -> None:
    """Without managed envelopes the same frames are refused, and the others come out whole."""
    managed, whole = outcome(MANAGED.decode_text, text), outcome(WHOLE.decode_text, text)
    if isinstance(managed, Incoming) and managed.event is None:
        managed = msgspec.structs.replace(managed, data=text)
    assert whole == managed


@given(ANY_TEXT | JSON)
@settings(deadline=None)
def test_any_text_is_understood_or_refused(text: str) -> None:
    """No text whatever makes the reader raise anything but BadFrame."""
    outcome(MANAGED.decode_text, text)
    outcome(WHOLE.decode_text, text)
    outcome(lambda frame: Incoming("a", MANAGED.decode_string(frame, "a"), None), text)


@given(st.binary())
@settings(deadline=None)
def test_any_bytes_are_understood_or_refused(data: bytes) -> None:
    """No bytes whatever make the reader raise anything but BadFrame."""
    got = outcome(MANAGED.decode_binary, data)
    if isinstance(got, Incoming):
        assert isinstance(got.data, bytes)
        assert MANAGED.encode_binary(got.stream, got.data) == data
    else:
        assert got == ErrorCode.INVALID_BINARY


@given(NAMES, JSON, st.booleans())
@settings(deadline=None)
def test_payloads_come_through_unchanged(stream: str, payload: str, spaced: bool) -> None:
    """JSON that goes out in an envelope comes back character for character."""
    frame = MANAGED.encode_text(stream, payload)
    assert MANAGED.decode_text(frame) == Incoming(stream, payload, None)
    assert json.loads(frame) == {"stream": stream, "payload": json.loads(payload)}


@given(NAMES, ANY_TEXT | frames())
@settings(deadline=None)
def test_whatever_a_consumer_sends_can_be_sent(stream: str, text: str) -> None:
    """Any text makes a frame that is JSON and UTF-8, and says the same as far as that can be."""
    frame = MANAGED.encode_text(stream, json_text.as_json(text))
    frame.encode()
    sendable = json_text.sendable(text)
    payload = dict(_loads(frame))["payload"]
    assert payload == _as_client_reads(sendable)
    string = MANAGED.encode_text(stream, json_text.as_string(text))
    assert MANAGED.decode_string(str(MANAGED.decode_text(string).data), stream) == sendable


@given(NAMES.filter(lambda name: len(name.encode()) <= 255), st.binary())
def test_bytes_come_through_unchanged(stream: str, payload: bytes) -> None:
    """Bytes that go out behind a stream's name come back as they were."""
    frame = MANAGED.encode_binary(stream, payload)
    assert MANAGED.decode_binary(frame) == Incoming(stream, payload, None)


@given(ANY_TEXT)
def test_sendable_text_keeps_all_characters(text: str) -> None:
    """Only halves of surrogate pairs are replaced; every other character stays."""
    sendable = json_text.sendable(text)
    sendable.encode()
    assume("\ufffd" not in text)
    joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")
    assert sendable.replace("\ufffd", "") == joined


@given(ANY_TEXT | st.none(), ANY_TEXT, st.integers(-(2**53), 2**53))
def test_events_can_always_be_sent(stream: str | None, reason: str, code: int) -> None:
    """An event is JSON and UTF-8 whatever a consumer gave as its reason."""
    frame = MANAGED.encode_event("closed", stream, code=code, reason=reason)
    frame.encode()
    event = json.loads(frame)
    assert event["event"] == "closed"
    assert event["code"] == code
    assert event["reason"] == json_text.sendable(reason)
    assert ("stream" in event) == (stream is not None)
