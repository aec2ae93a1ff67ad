"""Batches and frames survive their way through a channel layer, and nothing else is taken."""

import array
from typing import Any

import msgspec
import pytest
from django.utils.safestring import SafeString

from channels_demux_layer.protocol.frames import (
    BATCH,
    VERSION,
    Accept,
    Batch,
    Binary,
    Close,
    Context,
    Credit,
    Frame,
    Grant,
    Reset,
    Text,
    Unreadable,
    decode_frames,
    encode_frames,
    fault_of,
    parse_batch,
    read_frames,
)
from tests.batches import make_batch

ALL_FRAMES: list[Frame] = [
    Grant(1, "ref"),
    Accept(1),
    Text(1, "é😀"),
    Text(1, ""),
    Binary(2**40, b"\x00\xff"),
    Close(1, 4001, "enough"),
    Credit(1, 32),
    Reset(1),
    Context(1, {"traceparent": "00-1-2-01", "tracestate": ""}),
    Context(1, {}),
]


def test_frames_come_back_as_they_were() -> None:
    """Each kind of frame is the same after encoding and decoding, and so is their order."""
    assert decode_frames(encode_frames(ALL_FRAMES)) == ALL_FRAMES


def test_the_wire_is_version_1() -> None:
    """Frames are arrays of tag, session and the rest: releases of one version agree on that."""
    wire = [[0, 1, "r"], [1, 1], [2, 1, "t"], [3, 1, b"b"], [4, 1, 1000, ""], [5, 1, 2], [6, 1]]
    frames: list[Frame] = [
        Grant(1, "r"),
        Accept(1),
        Text(1, "t"),
        Binary(1, b"b"),
        Close(1, 1000),
        Credit(1, 2),
        Reset(1),
    ]
    assert msgspec.msgpack.decode(encode_frames(frames)) == wire
    assert VERSION == 1


def test_a_later_release_may_add_to_a_frame() -> None:
    """Elements that this release does not know are passed over."""
    assert decode_frames(msgspec.msgpack.encode([[1, 7, "new"]])) == [Accept(7)]


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"\xc1",
        b"\x90\x90",
        msgspec.msgpack.encode({}),
        msgspec.msgpack.encode([[9, 1]]),
        msgspec.msgpack.encode([[2, 1]]),
        msgspec.msgpack.encode([[2, "1", "text"]]),
        msgspec.msgpack.encode([[2, 1, b"bytes"]]),
        b"\x91\x93\x02\x01\xa1\xff",
        b"\x91\x93\x01\x01" + b"\x91" * 100_000,
    ],
)
def test_anything_else_is_refused(wire: bytes) -> None:
    """What encode_frames() does not make, be it broken text or a deep nest, is a DecodeError."""
    with pytest.raises(msgspec.DecodeError):
        decode_frames(wire)


def test_a_lone_surrogate_does_not_take_the_batch_along() -> None:
    """Half a surrogate pair becomes U+FFFD; the frames beside it are untouched."""
    frames: list[Frame] = [
        Text(1, "a\ud800b"),
        Close(2, 1000, "\udfff"),
        Binary(3, b"x"),
        Context(4, {"\ud800": "\udfff"}),
    ]
    assert decode_frames(encode_frames(frames)) == [
        Text(1, "a\ufffdb"),
        Close(2, 1000, "\ufffd"),
        Binary(3, b"x"),
        Context(4, {"\ufffd": "\ufffd"}),
    ]


def test_a_batch_comes_back_as_it_was() -> None:
    """A batch is the same after its way as a channel-layer message."""
    batch = make_batch(seq=7, base=5, ack=3, early=[5, 9], again=True, frames=b"\x91\x92\x01\x01")
    message = batch.to_message()
    assert message["type"] == BATCH == "demux.batch"
    assert parse_batch(message) == batch


@pytest.mark.parametrize(
    "change",
    [{"seq": "1"}, {"seq": 1.5}, {"early": 3}, {"early": ["x"]}, {"again": 1}, {"link": None}],
)
def test_a_field_of_the_wrong_type_is_refused(change: dict[str, Any]) -> None:
    """A batch with a wrong field is no batch."""
    with pytest.raises(msgspec.ValidationError):
        parse_batch(make_batch().to_message() | change)


#: What earlier releases do not say.
LATER = ("peer_timeout", "group")


@pytest.mark.parametrize("field", [f for f in Batch.__struct_fields__ if f not in LATER])
def test_a_missing_field_is_refused(field: str) -> None:
    """A batch that lacks a field is no batch."""
    message = make_batch().to_message()
    del message[field]
    with pytest.raises(msgspec.ValidationError):
        parse_batch(message)


def test_a_batch_of_an_earlier_release_can_be_read() -> None:
    """It tells neither its peer timeout nor where a retransmission went first."""
    batch = make_batch(peer_timeout=7.0, group="demux.c.edge", again=True)
    message = batch.to_message()
    assert parse_batch(message) == batch
    for field in LATER:
        del message[field]
    told = parse_batch(message)
    assert (told.peer_timeout, told.group) == (0.0, None)


def test_an_earlier_release_can_read_a_batch() -> None:
    """It passes over the fields that it does not know (L0.4)."""

    class Earlier(msgspec.Struct, kw_only=True):
        version: int
        seq: int
        frames: bytes

    message = make_batch(peer_timeout=7.0, group="demux.c.edge", again=True, seq=3).to_message()
    assert msgspec.convert(message, Earlier).seq == 3


FOREIGN: list[Any] = [
    Text(1, SafeString("x")),
    Text(1, [1]),  # type: ignore[arg-type]
    Binary(1, [1]),  # type: ignore[arg-type]
    Binary(1, array.array("B", [1])),  # type: ignore[arg-type]
    Close(1, None),  # type: ignore[arg-type]
    Close(1, "4000"),  # type: ignore[arg-type]
    Close(1, 2**70),
    Close(1, 1000, 5),  # type: ignore[arg-type]
    Close(1, 1000, b"bye"),  # type: ignore[arg-type]
    Context(1, {"a": 1}),  # type: ignore[dict-item]
]


@pytest.mark.parametrize("frame", FOREIGN)
def test_a_frame_that_the_peer_could_not_read_has_a_fault(frame: Frame) -> None:
    """Whether it has no encoding at all, or one that is not what stands in its place."""
    fault = fault_of(frame)
    assert fault is not None
    assert fault.startswith(f"a {type(frame).__name__.lower()} frame cannot be encoded: ")


@pytest.mark.parametrize("frame", [Text(1, "\ud800"), Close(1, 1000, "\ud800"), Binary(1, b"")])
def test_a_frame_that_is_repaired_has_no_fault(frame: Frame) -> None:
    """Half a surrogate pair costs nobody a session."""
    assert fault_of(frame) is None


def test_frames_around_one_that_cannot_be_read_are_read() -> None:
    """Its session's number is enough to know whose it is."""
    frames = [encode_frames([Text(1, "a")])[1:], b"\x93\x02\x02\xa1\xff", b"\x92\x63\x03"]
    one, two, three = read_frames(b"\x93" + b"".join(frames))
    assert one == Text(1, "a")
    assert isinstance(two, Unreadable)
    assert isinstance(three, Unreadable)
    assert (two.session, three.session) == (2, 3)
    assert two.fault.startswith("a frame cannot be decoded: ")


@pytest.mark.parametrize("frame", [b"\x91\x02", b"\x01", b"\x92\x02\xa1x", b"\x92\x02\xa1\xff"])
def test_a_frame_of_nobody_spoils_the_batch(frame: bytes) -> None:
    """Where nobody can tell whose frame it is, nothing of the batch counts."""
    with pytest.raises(msgspec.DecodeError):
        read_frames(b"\x91" + frame)
