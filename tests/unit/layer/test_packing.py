"""Messages as channels_redis' serializer for MessagePack writes and reads them."""

from __future__ import annotations

from typing import Any

import msgpack
import msgspec
import pytest

from channels_demux_layer.layer.packing import LARGE, deserialize, serialize
from channels_demux_layer.link.frames import BATCH, Batch
from tests.batches import make_batch

CLAIM = {
    "type": "demux.claim",
    "version": 1,
    "channel": "asgispecific.ä" + "x" * 300,
    "stream_channel": "s",
    "refs": [f"ref{number}" for number in range(40)],
    "load": 2**40,
    "gone": None,
    "share": 0.25,
    "context": {},
    "flags": [True, False, -1, -(2**33)],
}
SIZES = [0, 1, 255, 256, 65_534, 65_535, 65_536, 65_537, 70_000, 1_000_000]


def a_batch(frames: bytes) -> Batch:
    """Return a batch with these frames."""
    return make_batch(seq=70_000, base=3, early=[4, 300], again=True, frames=frames)


@pytest.mark.parametrize("size", SIZES)
def test_batches_are_written_as_the_layer_writes_them(size: int) -> None:
    """To the byte; frames that are large are not copied."""
    batch = a_batch(b"\xc4" * size)
    parts = serialize(batch.to_message())
    assert b"".join(parts) == msgpack.packb(batch.to_message())
    assert (parts[-1] is batch.frames) == (size >= LARGE)


@pytest.mark.parametrize(
    "message",
    [
        CLAIM,
        {"type": "x"},
        {"type": "x", "data": bytearray(LARGE)},
        {"type": "x", "data": b"\x00" * LARGE},
        {"type": "x", "frames": bytearray(LARGE)},
        {"type": "x", "frames": None},
        {},
        {"type": "x", "text": "a" * LARGE},
        {"type": "x", "inner": {"data": b"\x00" * LARGE}},
        {"type": "x", "\xe9": b"\x00" * LARGE},
    ],
    ids=range(10),
)
def test_other_messages_are_written_as_the_layer_writes_them(message: dict[str, Any]) -> None:
    """Whatever is in them, and wherever they are large."""
    data = b"".join(serialize(message))
    assert data == msgpack.packb(message)
    assert deserialize(data) == message


def test_frames_may_stand_anywhere() -> None:
    """Whoever has put them elsewhere reads the same message."""
    message = {"frames": b"\x00" * LARGE, "type": "x", "last": 1}
    parts = serialize(message)
    assert parts[-1] is message["frames"]
    assert deserialize(b"".join(parts)) == msgpack.unpackb(b"".join(parts)) == message


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", [bytes, memoryview])
def test_batches_are_read(size: int, kind: Any) -> None:
    """From a copy or from a view of it; their frames are a view."""
    batch = a_batch(b"\x90" * size)
    read = deserialize(kind(msgpack.packb(batch.to_message())))
    assert isinstance(read, Batch)
    assert isinstance(read.frames, memoryview)
    assert {**msgspec.structs.asdict(read), "frames": bytes(read.frames)} == (
        msgspec.structs.asdict(batch)
    )


def test_frames_keep_the_bytes_that_they_are_a_view_of() -> None:
    """Whoever reads the next message into a buffer that is free does not write over them."""
    buffer = bytearray(msgpack.packb(a_batch(b"\x90").to_message()))
    frames = deserialize(memoryview(buffer)).frames  # type: ignore[union-attr]
    with pytest.raises(BufferError):
        buffer.pop()
    del frames
    buffer.pop()


@pytest.mark.parametrize(
    "message",
    [
        CLAIM,
        {},
        {"type": BATCH},
        {**a_batch(b"").to_message(), "seq": "one"},
        {**a_batch(b"").to_message(), "frames": "text"},
        {"type": 1},
        [1, 2],
        None,
    ],
    ids=range(8),
)
@pytest.mark.parametrize("kind", [bytes, memoryview])
def test_what_is_no_well_formed_batch_is_read_as_it_is(message: Any, kind: Any) -> None:
    """Somebody else says what is wrong with it."""
    assert deserialize(kind(msgpack.packb(message))) == message


def test_what_a_later_release_adds_to_a_batch_is_left_out() -> None:
    """It is a batch all the same."""
    batch = a_batch(b"\x90")
    read = deserialize(msgpack.packb({**batch.to_message(), "later": 1}))
    assert isinstance(read, Batch)
    assert read.seq == batch.seq


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x81", b"\x90\x90", b"{}", b"\x81\xa1"])
def test_what_is_no_messagepack_is_an_error(data: bytes) -> None:
    """Also what is cut off, and what goes on after its end."""
    with pytest.raises(msgspec.DecodeError):
        deserialize(data)
