"""Writes commands, and reads what a Redis server says out of bytes as they come.

RESP 2, and what is used of 3.

A payload may be large, and the bytes of one that is are not copied once they have been received:
who gets it gets a view of the buffer, which is not used again until nobody has one.

See https://redis.io/docs/latest/develop/reference/protocol-spec/.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

__all__ = ["Argument", "Push", "Refusal", "RespReader", "Value", "write_command"]

#: Bytes that are received together where no more are known to come.
ROOM = 65_536
#: Less room than this is not worth a read.
LEAST_ROOM = 4_096
#: Strings of so many bytes are given as a view.
LARGE = 32_768
#: Arguments of so many bytes are not copied: it costs less to write parts one by one.
LARGE_ARGUMENT = 65_536
#: Buffers of more bytes are not kept for what comes later.
KEPT = 1_048_576
#: Longer strings than this Redis does not take, unless it is told to (proto-max-bulk-len).
LONGEST = 512 * 1024 * 1024
END = b"\r\n"

#: A string, or a view of one that is large; a number, an error, an array of these, or nothing.
Value: TypeAlias = "bytes | memoryview | float | Refusal | list[Any] | None"


#: What a command is made of: text, a number, or bytes, in one part or in several.
Argument: TypeAlias = "str | float | bytes | list[bytes]"


def write_command(*arguments: Argument) -> list[bytes]:
    """Write a command.

    Args:
        *arguments: Its name, and what follows it.

    Returns:
        Its bytes, in several parts where any of it is large.
    """
    parts: list[bytes] = []
    small = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        content = argument if isinstance(argument, list) else [_as_bytes(argument)]
        size = sum(map(len, content))
        small.append(b"$%d\r\n" % size)
        if size >= LARGE_ARGUMENT:
            parts += [b"".join(small), *content]
            small = [END]
        else:
            small += [*content, END]
    return [*parts, b"".join(small)]


def _as_bytes(argument: str | float | bytes) -> bytes:
    return argument if isinstance(argument, bytes) else str(argument).encode()


class Refusal(str):
    """What a server answers to a command that it refuses."""

    __slots__ = ()


class Push(list[Any]):
    """What a server says without having been asked, where RESP 3 is spoken."""

    __slots__ = ()


def _nothing(_: bytearray) -> None:
    pass


#: How values of one line are read.
SCALARS: dict[str, Callable[[bytearray], Value]] = {
    "+": bytes,
    "-": lambda line: Refusal(line.decode()),
    ":": int,
    ",": float,
    "_": _nothing,
}


def _new_buffer(size: int) -> bytearray:
    return bytearray(max(size, ROOM))


def _is_free(buffer: bytearray) -> bool:
    # Whoever has a view of one keeps it from getting shorter.
    try:
        buffer.append(buffer.pop())
    except BufferError:
        return False
    return True


class _IncompleteError(Exception):
    """More bytes are to come: at least so many."""


class RespReader:
    """Takes the bytes of one connection apart."""

    def __init__(self) -> None:
        self._buffer = _new_buffer(ROOM)
        # The one before: it is taken again when nobody has a view of it any more.
        self._spare = bytearray()
        self._start = self._end = 0
        self._missing = 0
        self._is_shared = False

    def room(self) -> memoryview:
        """Return where the next bytes go."""
        if self._start == self._end and not self._is_shared and len(self._buffer) <= KEPT:
            self._start = self._end = 0
        elif self._start == self._end or not self._has_room:
            self._change_buffers()
        return memoryview(self._buffer)[self._end :]

    @property
    def _has_room(self) -> bool:
        return len(self._buffer) - self._end >= max(self._missing, LEAST_ROOM)

    def _change_buffers(self) -> None:
        left = memoryview(self._buffer)[self._start : self._end]
        # An array does not say how long it is, and is read anew each time that more has come.
        least = max(len(left) + self._missing, 2 * len(left))
        buffer = self._take_spare(least + LEAST_ROOM)
        buffer[: len(left)] = left
        self._spare = self._buffer if len(self._buffer) <= KEPT else bytearray()
        self._buffer = buffer
        self._start, self._end = 0, len(left)
        self._is_shared = False

    def _take_spare(self, size: int) -> bytearray:
        spare = self._spare
        if len(spare) >= max(size, ROOM) and _is_free(spare):
            return spare
        # No smaller than what has been of use.
        return _new_buffer(max(size, len(spare)))

    def read(self, count: int) -> list[Value]:
        """Return the values that are complete with the bytes received last.

        Args:
            count: How many bytes those were.

        Returns:
            The values, in order. A view keeps its bytes for as long as it is kept itself.

        Raises:
            ValueError: This is not what Redis sends.
        """
        self._end += count
        self._missing = 0
        values = []
        try:
            while self._start < self._end:
                value, self._start = self._value(self._start)
                values.append(value)
        except _IncompleteError as incomplete:
            (self._missing,) = incomplete.args
        except RecursionError as error:
            raise ValueError("Redis does not nest so deep.") from error
        return values

    def _value(self, start: int) -> tuple[Value, int]:
        line_end = self._buffer.find(END, start, self._end)
        if line_end < 0:
            raise _IncompleteError(1)
        kind, line = chr(self._buffer[start]), self._buffer[start + 1 : line_end]
        after = line_end + len(END)
        if kind == "$":
            return self._string(after, int(line))
        if kind == "*":
            return self._array(after, int(line))
        if kind == ">":
            items, after = self._array(after, int(line))
            return Push(items or ()), after
        if kind in SCALARS:
            return SCALARS[kind](line), after
        raise ValueError(f"No value of Redis begins with {kind!r}.")

    def _string(self, start: int, length: int) -> tuple[Value, int]:
        if length < 0:
            return None, start
        if length > LONGEST:
            raise ValueError(f"No string of Redis has {length} bytes.")
        end = start + length
        after = end + len(END)
        if after > self._end:
            raise _IncompleteError(after - self._end)
        if length < LARGE:
            return bytes(self._buffer[start:end]), after
        self._is_shared = True
        return memoryview(self._buffer)[start:end], after

    def _array(self, start: int, length: int) -> tuple[list[Any] | None, int]:
        if length < 0:
            return None, start
        items = []
        for _ in range(length):
            item, start = self._value(start)
            items.append(item)
        return items, start
