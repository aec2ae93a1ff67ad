"""The server's codec reads and writes envelopes, and refuses those that are invalid or too long."""

from __future__ import annotations

import json
import sys
from typing import Any

import msgspec
import pytest

from channels_demux_layer.codes import ClientEvent, ErrorCode, ServerEvent
from channels_demux_layer.exceptions import BadFrame, ConfigurationError
from channels_demux_layer.protocol import envelope as envelope_module
from channels_demux_layer.protocol.envelope import ENVELOPE_ROOM, MAX_DEPTH, EnvelopeCodec, Incoming
from channels_demux_layer.protocol.json_text import as_string

CODEC = EnvelopeCodec()
WHOLE = EnvelopeCodec(manage_envelope=False)


def refusal(frame: str | bytes, codec: EnvelopeCodec = CODEC) -> BadFrame:
    """Return how a frame is refused."""
    with pytest.raises(BadFrame) as caught:
        codec.decode_text(frame) if isinstance(frame, str) else codec.decode_binary(frame)
    return caught.value


def nested(levels: int) -> str:
    """Return an envelope of this many levels."""
    return '{"stream":"a","payload":' + "[" * (levels - 1) + "]" * (levels - 1) + "}"


# Text from clients


@pytest.mark.parametrize(
    "payload",
    [
        "1",
        "null",
        '"text"',
        '{"b": [1, 2.50, true],\t"a":1e+3}',
        '"\\u00e9\\/ \\ud83d\\ude00 é😀"',
        "1" * 5000,
        "-1e9999",
        '{"x":1,"x":2}',
        '",{}[]\\"\\\\"',
    ],
)
def test_payload_is_left_as_it_is(payload: str) -> None:
    """A payload comes out character for character as the client wrote it."""
    assert CODEC.decode_text(f'{{"stream":"a","payload":{payload}}}') == Incoming(
        "a", payload, None
    )
    assert CODEC.decode_text(f'{{"payload": {payload} , "stream": "a"}}') == Incoming(
        "a", payload, None
    )


@pytest.mark.parametrize(
    ("text", "stream"),
    [
        ('{"stream":"\\u0061\\"","payload":1}', 'a"'),
        ('{"\\u0073tream":"a","payl\\u006fad":1}', "a"),
        ('\r\n{\n    "stream" : "чат" ,\n    "payload" : 1\n}\n', "чат"),
        ('{"stream":"","payload":1}', ""),
    ],
)
def test_any_way_to_write_an_envelope_is_understood(text: str, stream: str) -> None:
    """Escapes and white space in the envelope do not change what it says."""
    assert CODEC.decode_text(text) == Incoming(stream, "1", None)


def test_other_keys_are_ignored() -> None:
    """An envelope may have other keys: later clients may say more."""
    text = '{"id":17,"stream":"a","payload":[1,2],"x":{"stream":"b"},",\\"":[1,2,3]}'
    assert CODEC.decode_text(text) == Incoming("a", "[1,2]", None)


@pytest.mark.parametrize("event", ['"open"', '"nonsense"', "5"])
def test_an_envelope_with_a_payload_is_a_payload(event: str) -> None:
    """A payload key makes an envelope a payload, whatever its event key says."""
    text = f'{{"stream":"a","event":{event},"payload":1}}'
    assert CODEC.decode_text(text) == Incoming("a", "1", None)


@pytest.mark.parametrize("codec", [CODEC, WHOLE], ids=["managed", "whole"])
@pytest.mark.parametrize("event", list(ClientEvent), ids=str)
def test_client_events(codec: EnvelopeCodec, event: ClientEvent) -> None:
    """A client opens and closes a stream with an event."""
    incoming = codec.decode_text(f'{{"stream":"a","event":"{event}"}}')
    assert incoming == Incoming("a", None, event)


@pytest.mark.parametrize(
    ("text", "code", "stream"),
    [
        ("", ErrorCode.INVALID_JSON, None),
        (" \n", ErrorCode.INVALID_JSON, None),
        ("hello", ErrorCode.INVALID_JSON, None),
        ('{"stream":"a","payload":1', ErrorCode.INVALID_JSON, None),
        ('{"stream":"a","payload":1}}', ErrorCode.INVALID_JSON, None),
        ('{"stream":"a","payload":1,}', ErrorCode.INVALID_JSON, None),
        ("{'stream':'a','payload':1}", ErrorCode.INVALID_JSON, None),
        ('\ufeff{"stream":"a","payload":1}', ErrorCode.INVALID_JSON, None),
        ('{"stream":"a","payload":01}', ErrorCode.INVALID_JSON, None),
        ('{"stream":"a","payload":"\n"}', ErrorCode.INVALID_JSON, None),
        ('{"stream":"a","payload":NaN}', ErrorCode.INVALID_JSON, None),
        ('{"stream":"a","payload":[-Infinity]}', ErrorCode.INVALID_JSON, None),
        ('{"stream":"a","payload":"\\ud800"}', ErrorCode.INVALID_JSON, None),
        ('{"stream":"\\udc00","payload":1}', ErrorCode.INVALID_JSON, None),
        ('{"stream":"a","payload":1,"\\ud800\\u0020":1}', ErrorCode.INVALID_JSON, None),
        ('{"stream":"a","payload":"\ud800"}', ErrorCode.INVALID_JSON, None),
        ("[1,", ErrorCode.INVALID_JSON, None),
        ("[]", ErrorCode.NOT_AN_OBJECT, None),
        ('"stream"', ErrorCode.NOT_AN_OBJECT, None),
        ("null", ErrorCode.NOT_AN_OBJECT, None),
        ("1e9999", ErrorCode.NOT_AN_OBJECT, None),
        ("{}", ErrorCode.MISSING_KEY, None),
        ('{"payload":1}', ErrorCode.MISSING_KEY, None),
        ('{"event":"open"}', ErrorCode.MISSING_KEY, None),
        ('{"stream":"a"}', ErrorCode.MISSING_KEY, "a"),
        ('{"stream":5,"payload":1}', ErrorCode.WRONG_TYPE, None),
        ('{"stream":null,"payload":1}', ErrorCode.WRONG_TYPE, None),
        ('{"stream":["a"]}', ErrorCode.WRONG_TYPE, None),
        ('{"stream":1e9999,"payload":1}', ErrorCode.WRONG_TYPE, None),
        ('{"stream":"a","event":5}', ErrorCode.WRONG_TYPE, "a"),
        ('{"stream":"a","event":null}', ErrorCode.WRONG_TYPE, "a"),
        ('{"stream":"a","event":"closed"}', ErrorCode.UNKNOWN_EVENT, "a"),
        ('{"stream":"a","event":""}', ErrorCode.UNKNOWN_EVENT, "a"),
    ],
)
def test_bad_text_is_refused(text: str, code: ErrorCode, stream: str | None) -> None:
    """Each kind of malformed frame has its own stable code, with envelopes managed or not."""
    for codec in (CODEC, WHOLE):
        error = refusal(text, codec)
        assert (error.code, error.stream) == (code, stream)


@pytest.mark.parametrize(
    "text",
    [
        '{"stream":"a","stream":"a","payload":1}',
        '{"stream":0,"stream":"a","payload":1}',
        '{"stream":"a","\\u0073tream":"b","payload":1}',
        '{"stream":"a","payload":0,"payload":1}',
        '{"payload":0,"stream":"a","\\u0070ayload":"long, and [1,2]"}',
        '{"stream":"a","payload":1,"":0,"":0}',
        '{"stream":"a","payload":1,"x":[1,2],"x":",","y":3}',
        '{"stream":"a","payload":1,"event":0,"event":0}',
        '{"stream":"a","event":"open","event":"close"}',
        '{"stream":"a","stream":5}',
        '{"stream":"чат","payload":"é","payload":"é"}',
        '{"x":1,"x":1}',
    ],
)
def test_a_key_may_not_stand_twice(text: str) -> None:
    """A repeated key is refused however it is written: readers would differ over the frame."""
    assert refusal(text).code == ErrorCode.DUPLICATE_KEY
    assert refusal(text, WHOLE).code == ErrorCode.DUPLICATE_KEY


def test_short_keys_are_checked_for_repetition_as_well() -> None:
    """The shortest repetition that the configured keys allow is found."""
    codec = EnvelopeCodec("s", "p", "e")
    assert codec.decode_text('{"s":"a","p":1,"":0}') == Incoming("a", "1", None)
    for text in ('{"s":"a","p":1,"p":1}', '{"s":0,"s":"a","p":1}', '{"s":"a","p":1,"":0,"":0}'):
        assert refusal(text, codec).code == ErrorCode.DUPLICATE_KEY


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 900, 5_000, 9_999, 10_000, 200_000])
def test_deep_text_is_refused(levels: int) -> None:
    """Nesting beyond the limit is refused, be it more than msgspec takes or less."""
    assert refusal(nested(levels)).code == ErrorCode.TOO_DEEP
    assert refusal("[" * levels + "]" * levels).code in {
        ErrorCode.TOO_DEEP,
        ErrorCode.NOT_AN_OBJECT,
    }
    event = '{"stream":"a","event":"open","x":' + "[" * levels + "]" * levels + "}"
    assert refusal(event).code == ErrorCode.TOO_DEEP


def test_text_up_to_the_limit_is_taken() -> None:
    """The deepest payload that is allowed can be read by a consumer, on any Python."""
    incoming = CODEC.decode_text(nested(MAX_DEPTH))
    assert isinstance(incoming.data, str)
    assert json.dumps(json.loads(incoming.data)) == incoming.data


@pytest.mark.parametrize("item", ["[]", '{"a":[1]}', '"[{"', '"\\\\\\"["'])
def test_many_brackets_are_not_many_levels(item: str) -> None:
    """A broad payload, or one with brackets in its strings, is not taken for a deep one."""
    payload = f"[{','.join([item] * (MAX_DEPTH + 1))}]"
    assert CODEC.decode_text(f'{{"stream":"a","payload":{payload}}}').data == payload


def test_brackets_in_strings_do_not_hide_levels() -> None:
    """Closing brackets in strings do not make a deep payload look flat."""
    payload = '["]]]\\"]",' * MAX_DEPTH + "1" + "]" * MAX_DEPTH
    assert refusal(f'{{"stream":"a","payload":{payload}}}').code == ErrorCode.TOO_DEEP


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        ("", "The frame is empty"),
        ("{", "The frame is not JSON"),
        ('{"stream":"a","payload":NaN}', "NaN or Infinity, which are not JSON: write null"),
        ('{"stream":"a","payload":"\\ud800"}', "half a surrogate pair"),
        ('{"stream":"a","payload":"\ud800"}', "half a surrogate pair"),
        ("[]", "not a JSON object"),
        ('{"payload":1}', "The key 'stream' is missing"),
        ('{"stream":"a"}', "The key 'payload' is missing"),
        ('{"stream":1,"payload":1}', "The value of 'stream' is not a string"),
        ('{"stream":"a","event":[]}', "The value of 'event' is not a string"),
        ('{"stream":"a","event":"shut"}', "'shut' is not an event of clients"),
        ('{"stream":"a","event":"shut"}', "Those are 'open', 'close'"),
        ('{"stream":"a","stream":"a"}', "A key appears twice"),
        (nested(10_000), "more than 500 levels deep"),
    ],
)
def test_messages_say_what_to_do(frame: str, says: str) -> None:
    """A refusal names the problem and shows how an envelope looks."""
    message = refusal(frame).message
    assert says in message
    assert message.endswith('Send {"stream": "<name>", "payload": <any JSON>}.')


def test_messages_stay_short() -> None:
    """What a client wrote is quoted in part, so that a refusal is never long."""
    assert len(refusal(f'{{"stream":"a","event":"{"x" * 100_000}"}}').message) < 250


# Binary from clients


@pytest.mark.parametrize("payload", [b"", b"\x00", b"\xff\xfe", bytes(range(256))])
@pytest.mark.parametrize("stream", ["a", "чат", "é" * 127 + "x"])
def test_binary_frames(stream: str, payload: bytes) -> None:
    """A binary frame is a length, a name and bytes, which come out as they are."""
    frame = bytes([len(stream.encode())]) + stream.encode() + payload
    assert CODEC.decode_binary(frame) == Incoming(stream, payload, None)
    assert WHOLE.decode_binary(frame) == Incoming(stream, frame, None)
    assert CODEC.encode_binary(stream, payload) == frame
    assert WHOLE.encode_binary(stream, frame) == frame


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (b"", "The frame is empty"),
        (b"\x00payload", "the name has no bytes"),
        (b"\x05echo", "the name has 5 bytes, but 4 follow"),
        (b"\xff", "the name has 255 bytes, but 0 follow"),
        (b"\x02\xff\xfe", "The name is not UTF-8"),
        (b"\x03\xed\xa0\x80", "The name is not UTF-8"),
        (b"\x01\xc3\xa9", "The name is not UTF-8"),
    ],
)
def test_bad_binary_is_refused(frame: bytes, says: str) -> None:
    """A binary frame without a stream's name is refused, and its form explained."""
    for codec in (CODEC, WHOLE):
        error = refusal(frame, codec)
        assert (error.code, error.stream) == (ErrorCode.INVALID_BINARY, None)
        assert says in error.message
        assert "Send one byte with the length of the stream's name" in error.message


# Streams of plain text


@pytest.mark.parametrize("text", ["", "hello", '"\\', "é😀\n\x00", "1"])
def test_strings_go_in_and_out(text: str) -> None:
    """What a stream of plain text sends comes back bare."""
    frame = CODEC.encode_text("a", as_string(text))
    assert json.loads(frame) == {"stream": "a", "payload": text}
    assert CODEC.decode_string(str(CODEC.decode_text(frame).data), "a") == text


@pytest.mark.parametrize("payload", ["1", "null", '["a"]', "{}", "", "nonsense", '"', '"\ud800"'])
def test_other_payloads_are_no_strings(payload: str) -> None:
    """A stream of plain text refuses every other payload, with its name."""
    with pytest.raises(BadFrame, match="Make 'payload' a JSON string") as caught:
        CODEC.decode_string(payload, "a")
    assert (caught.value.code, caught.value.stream) == (ErrorCode.NOT_A_STRING, "a")


def test_deep_payloads_are_no_strings() -> None:
    """A stream of plain text refuses a payload too deep to be looked at."""
    with pytest.raises(BadFrame):
        CODEC.decode_string("[" * 200_000, "a")


# To clients


@pytest.mark.parametrize(
    "text",
    ["1", ' {"b": 1, "a":\n[1.50]} ', '"é\\u00e9"', '{"x":1,"x":2}', '"\\ud800"', "1" * 5000],
)
def test_payloads_are_spliced(text: str) -> None:
    """A payload's JSON goes into the envelope character for character."""
    assert CODEC.encode_text("a", text) == f'{{"stream":"a","payload":{text}}}'


def test_stream_names_are_quoted() -> None:
    """A stream's name may hold anything that must be escaped in JSON."""
    name = 'a"\\\n%s{}é'
    assert json.loads(CODEC.encode_text(name, "1")) == {"stream": name, "payload": 1}
    assert CODEC.decode_text(CODEC.encode_text(name, "1")) == Incoming(name, "1", None)


@pytest.mark.parametrize(
    ("arguments", "fields", "expected"),
    [
        (
            (ServerEvent.CLOSED, "a"),
            {"code": 1000, "reason": ""},
            '{"stream":"a","event":"closed","code":1000,"reason":""}',
        ),
        ((ServerEvent.REOPENED, "é"), {}, '{"stream":"é","event":"reopened"}'),
        (
            (ServerEvent.ERROR, None),
            {"code": ErrorCode.TOO_DEEP, "message": 'a "b"'},
            '{"event":"error","code":"too_deep","message":"a \\"b\\""}',
        ),
        (
            (ServerEvent.ERROR, "\ud800"),
            {"message": "\udc00"},
            '{"stream":"\ufffd","event":"error","message":"\ufffd"}',
        ),
    ],
)
def test_server_events(arguments: Any, fields: dict[str, Any], expected: str) -> None:
    """An event names its stream, if it has one, and carries its fields; it can always be sent."""
    assert CODEC.encode_event(*arguments, **fields) == expected
    assert WHOLE.encode_event(*arguments, **fields) == expected


# Configuration


def test_whole_envelopes_pass_unchanged() -> None:
    """With managed envelopes off, consumers get envelopes whole and send what they like."""
    text = ' {"id": 1, "stream": "a", "payload": [1]} '
    assert WHOLE.decode_text(text) == Incoming("a", text, None)
    for answer in (text, "not JSON", ""):
        assert WHOLE.encode_text("a", answer) == answer
        assert WHOLE.decode_string(answer, "a") == answer


@pytest.mark.parametrize(
    "keys", [("s", "p", "e"), ("канал", "% s", 'e"'), ("payload", "stream", "x")]
)
def test_keys_can_be_configured(keys: tuple[str, str, str]) -> None:
    """All three keys can be any three strings, in both directions and in messages."""
    stream, payload, event = keys
    codec = EnvelopeCodec(*keys)
    assert json.loads(codec.encode_text("%s", "[1]")) == {stream: "%s", payload: [1]}
    assert codec.decode_text(json.dumps({stream: "a", payload: [1]})) == Incoming("a", "[1]", None)
    assert codec.decode_text(json.dumps({stream: "a", event: "open"})) == Incoming(
        "a", None, ClientEvent.OPEN
    )
    assert json.loads(codec.encode_event("closed", "a", code=1)) == {
        stream: "a",
        event: "closed",
        "code": 1,
    }
    assert json.dumps(payload, ensure_ascii=False) in refusal("{}", codec).message


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (("", "payload", "event"), "not all non-empty strings"),
        ((None, "payload", "event"), "not all non-empty strings"),
        (("stream", "p\ud800", "event"), "not all non-empty strings"),
        (("a", "a", "event"), "not all different"),
        (("stream", "a", "a"), "not all different"),
        (("code", "payload", "event"), "'code' has another meaning in events"),
        (("stream", "payload", "reason"), "'reason' has another meaning in events"),
    ],
)
def test_keys_that_cannot_be_told_apart_are_refused(keys: Any, says: str) -> None:
    """Keys that would make an envelope ambiguous are refused, and the settings named."""
    with pytest.raises(ConfigurationError, match=says) as caught:
        EnvelopeCodec(*keys)
    assert "MULTIPLEX_KEY" in str(caught.value)


def test_payload_may_have_the_key_of_an_events_field() -> None:
    """A payload key that events use as well is allowed: events are told by the event key."""
    codec = EnvelopeCodec(payload_key="message")
    assert codec.decode_text('{"stream":"a","message":1}') == Incoming("a", "1", None)


def test_reading_works_deep_in_the_call_stack() -> None:
    """Little room on the call stack makes the deepest frames be refused, and nothing worse."""

    def descend(levels: int) -> str:
        if levels:
            return descend(levels - 1)
        try:
            return CODEC.decode_text(nested(MAX_DEPTH)).stream
        except BadFrame as error:
            return error.code

    frame, used = sys._getframe(), 0
    while frame := frame.f_back:  # type: ignore[assignment]
        used += 1
    assert descend(sys.getrecursionlimit() - used - 60) in {"a", ErrorCode.TOO_DEEP}


LIMIT = 100 + ENVELOPE_ROOM


def padded(start: str, size: int) -> str:
    """Return a text of this length, which need not be JSON."""
    return start + "x" * (size - len(start))


@pytest.mark.parametrize(
    ("frame", "stream"),
    [
        (padded('{"stream":"echo","payload":"', LIMIT + 1), "echo"),
        (padded(' { "stream" : "\\u00e9\\"" , ', LIMIT + 1), 'é"'),
        (padded('{"payload":"', LIMIT + 1), None),
        (padded('{"stream":"\\ud800","payload":"', LIMIT + 1), None),
        (padded('{"stream":"', LIMIT + 1), None),
        (padded("[", LIMIT + 1), None),
        (b"\x04echo" + bytes(LIMIT), "echo"),
        (b"\x00" + bytes(LIMIT), None),
        (b"\x02\xff\xff" + bytes(LIMIT), None),
    ],
)
def test_a_frame_that_is_too_long_is_refused(frame: str | bytes, stream: str | None) -> None:
    """The error names the stream where the frame begins with its name (C6.2)."""
    with pytest.raises(BadFrame) as caught:
        EnvelopeCodec(max_payload=100).check_length(frame)
    assert (caught.value.code, caught.value.stream) == (ErrorCode.TOO_LARGE, stream)
    assert f"length is {len(frame)}, and {LIMIT} are allowed" in caught.value.message


@pytest.mark.parametrize("frame", [padded("", LIMIT), bytes(LIMIT), "", b""])
def test_a_frame_that_is_not_too_long_passes(frame: str | bytes) -> None:
    """Whatever it holds: that is for others to see."""
    EnvelopeCodec(max_payload=100).check_length(frame)


def test_a_long_frame_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing looks at what is in it: not at its JSON, nor at its characters."""

    def must_not_be_called(*args: Any) -> Any:
        raise AssertionError("the frame was read")

    codec = EnvelopeCodec(max_payload=100)
    for name in ("validate", "decode_members", "explain", "is_deeper"):
        monkeypatch.setattr(envelope_module, name, must_not_be_called)
    codec._decode = must_not_be_called
    for frame in (padded('{"stream":"e","payload":"', LIMIT + 1), "é" * (LIMIT + 1)):
        with pytest.raises(BadFrame) as caught:
            codec.decode_text(frame)
        assert caught.value.code == ErrorCode.TOO_LARGE
    with pytest.raises(BadFrame):
        codec.decode_binary(b"\x01e" + bytes(LIMIT))


def test_the_largest_payload_has_room_in_any_envelope() -> None:
    """Also with a long name, all of it in escapes, white space, and keys that are ignored."""
    name = "é" * 127
    payload = "x" * 98
    head = msgspec.json.encode(name).decode().replace("é", "\\u00e9")
    text = f'{{ "more": "{"y" * 60_000}", "stream" : {head} , "payload": "{payload}" }}'
    incoming = EnvelopeCodec(max_payload=100).decode_text(text)
    assert (incoming.stream, incoming.data) == (name, f'"{payload}"')
