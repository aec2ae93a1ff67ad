"""Whatever a Redis server says is read as it was said, and anything else is a ValueError."""

from __future__ import annotations

import contextlib

from hypothesis import example, given, settings
from hypothesis import strategies as st

from channels_demux_layer.layer.redis.resp import Push, Refusal, RespReader, Value

#: What bytes that stand for nothing are made of.
DIGITS = bytes(range(251))
LARGEST = 200 * 1024


def content(size: int, start: int) -> bytes:
    """Return so many bytes, which differ by where they start."""
    return (DIGITS * (size // len(DIGITS) + 2))[start : start + size]


def line(kind: bytes, text: bytes) -> bytes:
    """Write a value of one line."""
    return kind + text + b"\r\n"


def bulk(data: bytes) -> tuple[bytes, Value]:
    """Write a string."""
    return line(b"$", b"%d" % len(data)) + data + b"\r\n", data


def array(kind: bytes, items: list[tuple[bytes, Value]]) -> tuple[bytes, Value]:
    """Write an array."""
    head = line(kind, b"%d" % len(items))
    values = [value for _, value in items]
    data = head + b"".join(data for data, _ in items)
    return data, Push(values) if kind == b">" else values


TEXTS = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=30)
#: What is sent, and what it says.
SCALARS = st.one_of(
    st.integers().map(lambda number: (line(b":", b"%d" % number), number)),
    st.floats(allow_nan=False).map(lambda number: (line(b",", b"%r" % number), number)),
    TEXTS.map(lambda text: (line(b"-", text.encode()), Refusal(text))),
    TEXTS.map(lambda text: (line(b"+", text.encode()), text.encode())),
    st.sampled_from([b"$-1\r\n", b"*-1\r\n", b"_\r\n"]).map(lambda data: (data, None)),
    st.binary(max_size=50).map(bulk),
    st.builds(content, st.integers(0, LARGEST), st.integers(0, 250)).map(bulk),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.builds(array, st.sampled_from([b"*", b">"]), st.lists(inner, max_size=4)),
    max_leaves=6,
)
PIECES = st.lists(st.integers(1, 100_000) | st.integers(1, 20), min_size=1, max_size=20)


def read(data: bytes, pieces: list[int]) -> list[Value]:
    """Read bytes that come in pieces of these sizes, over and over, or as there is room."""
    reader = RespReader()
    values: list[Value] = []
    number = 0
    while data:
        room = reader.room()
        # Small ones all the way would be read from the start too often.
        size = pieces[number] if number < len(pieces) else len(data)
        count = min(size, len(room), len(data))
        room[:count] = data[:count]
        values += reader.read(count)
        data = data[count:]
        number += 1
    return values


def kinds(value: Value) -> object:
    """Return the types of what a value is made of; a view is as good as its bytes."""
    if isinstance(value, list):
        return type(value), [kinds(item) for item in value]
    return bytes if isinstance(value, memoryview) else type(value)


@given(st.lists(VALUES, max_size=8), PIECES)
@settings(deadline=None)
def test_round_trip(sent: list[tuple[bytes, Value]], pieces: list[int]) -> None:
    """All values are there, in order and unchanged once all of them have been read."""
    expected = [value for _, value in sent]
    values = read(b"".join(data for data, _ in sent), pieces)
    assert values == expected
    assert [kinds(value) for value in values] == [kinds(value) for value in expected]


LINES = st.builds(
    line,
    st.sampled_from([bytes([kind]) for kind in b"$*>:+-_,%"]),
    st.integers().map(lambda number: b"%d" % number) | st.binary(max_size=8),
)


@given(st.lists(LINES | st.binary(max_size=40), max_size=12).map(b"".join), PIECES)
@example(b"*1\r\n" * 5_000, [1])
@example(b"$99999999999999999999\r\n", [1])
@example(b"*99999999999999999999\r\n:1\r\n", [1])
@settings(deadline=None)
def test_any_bytes_are_values_or_a_value_error(data: bytes, pieces: list[int]) -> None:
    """Bytes from anywhere never raise anything but ValueError, nor ask for more than is said."""
    with contextlib.suppress(ValueError):
        read(data, pieces)
