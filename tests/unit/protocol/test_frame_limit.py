"""Frames that are refused by their length."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from channels_demux_layer.codes import ErrorCode
from channels_demux_layer.exceptions import BadFrame
from channels_demux_layer.protocol import envelope as envelope_module
from channels_demux_layer.protocol.envelope import EnvelopeCodec
from channels_demux_layer.protocol.frame_limit import ENVELOPE_ROOM, FrameLimit

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
        FrameLimit(100, "stream").check(frame)
    assert (caught.value.code, caught.value.stream) == (ErrorCode.TOO_LARGE, stream)
    assert f"length is {len(frame)}, and {LIMIT} are allowed" in caught.value.message


@pytest.mark.parametrize("frame", [padded("", LIMIT), bytes(LIMIT), "", b""])
def test_a_frame_that_is_not_too_long_passes(frame: str | bytes) -> None:
    """Whatever it holds: that is for others to see."""
    FrameLimit(100, "stream").check(frame)


def test_a_long_frame_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing looks at what is in it: not at its JSON, nor at its characters."""

    def must_not_be_called(*args: Any) -> Any:
        raise AssertionError("the frame was read")

    codec = EnvelopeCodec(max_payload=100)
    for name in ("validate", "decode_members", "explain", "has_more"):
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
