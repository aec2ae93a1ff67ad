"""Writing commands, and reading what a Redis server says."""

from __future__ import annotations

import pytest

from channels_demux_layer.layer.redis.resp import (
    KEPT,
    LARGE,
    LARGE_ARGUMENT,
    LONGEST,
    ROOM,
    Push,
    Refusal,
    RespReader,
    Value,
    write_command,
)


def read(reader: RespReader, data: bytes) -> list[Value]:
    """Have a reader read bytes, in as many pieces as it asks for."""
    values: list[Value] = []
    while data:
        room = reader.room()
        count = min(len(room), len(data))
        room[:count] = data[:count]
        values += reader.read(count)
        data = data[count:]
    return values


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"+OK\r\n", b"OK"),
        (b"+\r\n", b""),
        (b"$3\r\na\r\n\r\n", b"a\r\n"),
        (b"$0\r\n\r\n", b""),
        (b"$-1\r\n", None),
        (b"*-1\r\n", None),
        (b"_\r\n", None),
        (b":-12\r\n", -12),
        (b",-1.5\r\n", -1.5),
        (b"-NOPERM no\r\n", Refusal("NOPERM no")),
        (b"*0\r\n", []),
        (b"*2\r\n+a\r\n*2\r\n:1\r\n$-1\r\n", [b"a", [1, None]]),
        (b">2\r\n+a\r\n*1\r\n:1\r\n", Push([b"a", [1]])),
        (b">-1\r\n", Push()),
    ],
)
def test_values_are_read(data: bytes, value: Value) -> None:
    """Of the kinds that Redis has; an error is told from a string, and a push from an array."""
    assert read(RespReader(), data * 2) == [value, value]
    assert type(read(RespReader(), data)[0]) is type(value)


@pytest.mark.parametrize("size", [LARGE - 1, LARGE, 100_000, 3_000_000])
def test_a_large_string_is_a_view(size: int) -> None:
    """What is not large is copied, for it would keep a buffer from being used again."""
    content = (b"0123456789" * (size // 10 + 1))[:size]
    data = b"$%d\r\n%b\r\n" % (size, content)
    (value,) = read(RespReader(), data)
    assert value == content
    assert type(value) is (memoryview if size >= LARGE else bytes)


def test_views_stay_as_they_are() -> None:
    """Whatever is read after them."""
    reader = RespReader()
    contents = [bytes([65 + number]) * LARGE for number in range(9)]
    views = [read(reader, b"$%d\r\n%b\r\n" % (LARGE, each)) for each in contents]
    assert views == [[each] for each in contents]


def test_small_values_share_one_buffer() -> None:
    """However many come, no other one is made."""
    reader = RespReader()
    buffer = reader.room().obj
    for _ in range(10):
        read(reader, b":1\r\n" * 10_000)
    assert reader.room().obj is buffer


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_value_may_come_in_pieces(cut: int) -> None:
    """It is there once it is complete, and not before."""
    data = b"*2\r\n$1\r\na\r\n"
    reader = RespReader()
    assert read(reader, data[:cut]) == []
    assert read(reader, data[cut:]) + read(reader, b":1\r\n") == [[b"a", 1]]


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\r\n",
        b":one\r\n",
        b",one\r\n",
        b"$\r\n",
        b"$x\r\n",
        b"*1.5\r\n",
        b"-\xff\r\n",
        b"$%d\r\n" % (LONGEST + 1),
        b"$" + b"9" * 5_000 + b"\r\n",
        b"*1\r\n" * 10_000,
        b":1\r\n%1\r\n+a\r\n+b\r\n",
    ],
    ids=lambda data: repr(data[:12]),
)
def test_what_redis_does_not_send_is_an_error(data: bytes) -> None:
    """Also what is merely too long or too deep, and what this has no use for."""
    with pytest.raises(ValueError, match=r"."):
        read(RespReader(), data)


@pytest.mark.parametrize(
    "content",
    [b"a", [b"a", b"b"], b"a" * LARGE_ARGUMENT, [b"a", b"b" * LARGE_ARGUMENT]],
    ids=["small", "parts", "large", "large parts"],
)
def test_commands_are_arrays_of_strings(content: bytes | list[bytes]) -> None:
    """What is large is not copied."""
    parts = write_command("ZADD", "ké", 1.5, content, 7)
    joined = content if isinstance(content, bytes) else b"".join(content)
    values = [b"ZADD", "ké".encode(), b"1.5", joined, b"7"]
    assert read(RespReader(), b"".join(parts)) == [values]
    pieces = content if isinstance(content, list) else [content]
    assert all(any(part is piece for part in parts) for piece in pieces if len(piece) > LARGE)
    assert (len(parts) > 1) == (len(joined) >= LARGE_ARGUMENT)


class Recorder:
    """Reads, and notes which buffers are read into."""

    def __init__(self) -> None:
        self.reader = RespReader()
        self.buffers: list[object] = []

    def read(self, data: bytes) -> list[Value]:
        """Have all bytes read."""
        values = read(self.reader, data)
        if not any(self.reader.room().obj is known for known in self.buffers):
            self.buffers.append(self.reader.room().obj)
        return values


def string(size: int) -> bytes:
    """Write a string of some size."""
    return b"$%d\r\n%b\r\n" % (size, b"x" * size)


def test_buffers_of_large_strings_are_used_again() -> None:
    """As soon as nobody has a view of them: two are enough, however many strings come."""
    recorder = Recorder()
    for size in (300_000, 200_000, 300_000) * 5:
        (value,) = recorder.read(string(size))
        assert value == b"x" * size
        del value
    assert len(recorder.buffers) <= 4  # those that were too small at first are among them


def test_buffers_are_not_used_again_while_somebody_has_a_view() -> None:
    """Whoever keeps a string keeps its bytes."""
    recorder = Recorder()
    kept = [recorder.read(string(LARGE + n))[0] for n in range(10)]
    assert kept == [b"x" * (LARGE + n) for n in range(10)]


@pytest.mark.parametrize(
    "data", [string(2 * KEPT), b"*100\r\n" + string(LARGE - 1) * 100], ids=["string", "array"]
)
def test_very_large_buffers_are_not_kept(data: bytes) -> None:
    """One message must not have a connection take as much memory for ever."""
    reader = RespReader()
    assert len(read(reader, data)) == 1
    for _ in range(3):
        assert len(reader.room()) <= KEPT
        assert read(reader, string(ROOM)) == [b"x" * ROOM]


def test_long_arrays_are_read_in_few_pieces() -> None:
    """Each time that more has come an array is read anew, so that must not be often."""
    reader, pieces = RespReader(), 0
    data = b"*20000\r\n" + string(10) * 20_000
    while data:
        room = reader.room()
        count = min(len(room), len(data))
        room[:count] = data[:count]
        values, data, pieces = reader.read(count), data[count:], pieces + 1
    assert values == [[b"x" * 10] * 20_000]
    assert pieces < 8
