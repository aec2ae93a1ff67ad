"""Python values to bytes and back, types included, for what a scope may hold.

The form is MessagePack. What it has no type for (and what the encoder would quietly turn into
something else, a tuple into a list for one) travels as one of the extension types below (L6.2).

Scalars of a subclass travel as their base type, to which they compare equal: a ``SafeString`` as
a str, a member of an ``IntEnum`` as an int. Containers must be of the exact type, as a subclass
may hold more than its items; ``OrderedDict`` and ``defaultdict`` count as dict.
"""

import re
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from channels_demux_layer.exceptions import NotPortable

__all__ = ["MAX_DEPTH", "pack", "unpack"]

#: Deepest nesting of containers (L6.3); a value that holds itself passes every depth.
MAX_DEPTH = 64

# The codes of the extension types; they are on the wire, so a code is never used again.
_TUPLE = 1  # an array
_PAIRS = 2  # a dict with keys other than plain strings: an array of keys and values in turn
_SURROGATES = 3  # a str that has no UTF-8: its bytes with surrogates passed
_BIG_INT = 4  # big-endian two's complement
_UUID = 5  # its 16 bytes
_DECIMAL = 6  # its text
_DATETIME = 7  # [text without zone, zone, fold]
_DATE = 8  # its text
_TIME = 9  # [text without zone, zone, fold]
_TIMEDELTA = 10  # [days, seconds, microseconds]
_SET = 11  # an array
_FROZENSET = 12  # an array
_BYTEARRAY = 13  # its bytes

_SURROGATE = re.compile("[\ud800-\udfff]")
_MIN_INT, _MAX_INT = -(2**63), 2**64 - 1

# What the readers below raise for bytes that are not theirs; an OSError is a time zone's.
_DECODING_ERRORS = (
    msgspec.MsgspecError,
    ArithmeticError,
    LookupError,
    OSError,
    RecursionError,
    TypeError,
)

_encoder = msgspec.msgpack.Encoder()


def pack(value: object, path: str = "") -> bytes:
    """Turn a value into bytes.

    Args:
        value: None, a bool, int, float, str, bytes, bytearray, UUID, Decimal, datetime, date,
            time, timedelta, or a list, tuple, dict, set or frozenset of such.
        path: Where the value stands, for the exception.

    Returns:
        The value as MessagePack.

    Raises:
        NotPortable: It is or holds something else; names the path to that.
    """
    return _encoder.encode(_portable(value, path, 0))


def unpack(data: bytes) -> Any:
    """Turn what `pack` made back into the value.

    Args:
        data: The bytes.

    Returns:
        A value that equals the one packed, of the same types.

    Raises:
        ValueError: The bytes are none that `pack` makes.
    """
    try:
        return _decoder.decode(data)
    except _DECODING_ERRORS as error:
        raise ValueError(f"not a packed value: {error}") from error


def _portable(value: Any, path: str, depth: int) -> Any:
    """Replace what MessagePack does not have by extension types, all the way down."""
    # By type() and not isinstance(): a lazy proxy claims the class of what it has not fetched.
    kind = type(value)
    to_container = _CONTAINERS.get(kind)
    if to_container is not None:
        if depth == MAX_DEPTH:
            raise NotPortable(path, f"it is nested deeper than {MAX_DEPTH} levels")
        return to_container(value, path, depth + 1)
    for base in kind.__mro__:
        to_scalar = _SCALARS.get(base)
        if to_scalar is not None:
            return to_scalar(value, path)
    raise NotPortable(path, f"{kind.__module__}.{kind.__qualname__} has no portable form")


def _ext(code: int, content: object) -> msgspec.msgpack.Ext:
    return msgspec.msgpack.Ext(code, _encoder.encode(content))


def _list(value: Iterable[Any], path: str, depth: int) -> list[Any]:
    return [_portable(item, _join(path, index), depth) for index, item in enumerate(value)]


def _array_of(code: int) -> Callable[[Any, str, int], Any]:
    return lambda value, path, depth: _ext(code, _list(value, path, depth))


def _dict(value: Mapping[Any, Any], path: str, depth: int) -> Any:
    if all(type(key) is str and not _SURROGATE.search(key) for key in value):
        return {key: _portable(item, _join(path, key), depth) for key, item in value.items()}
    content = []
    for key, item in value.items():
        inner = _join(path, key)
        content += [_portable(key, inner, depth), _portable(item, inner, depth)]
    return _ext(_PAIRS, content)


def _join(path: str, key: object) -> str:
    name = str(key) if type(key) in (str, int) else repr(key)
    return f"{path}.{name}" if path else name


def _str(value: str, path: str) -> Any:
    # A member of a str enum has a str() of its own.
    text = str.__str__(value)
    if _SURROGATE.search(text):
        return msgspec.msgpack.Ext(_SURROGATES, text.encode("utf-8", "surrogatepass"))
    return text


def _int(value: int, path: str) -> Any:
    number = int.__int__(value)
    if _MIN_INT <= number <= _MAX_INT:
        return number
    size = number.bit_length() // 8 + 1
    return msgspec.msgpack.Ext(_BIG_INT, number.to_bytes(size, "big", signed=True))


def _timedelta(value: timedelta, path: str) -> Any:
    return _ext(_TIMEDELTA, [value.days, value.seconds, value.microseconds])


def _datetime(value: datetime, path: str) -> Any:
    plain = datetime.combine(value.date(), value.time())
    return _ext(_DATETIME, [plain.isoformat(), _zone(value.tzinfo, path), value.fold])


def _date(value: date, path: str) -> Any:
    return _ext(_DATE, date(value.year, value.month, value.day).isoformat())


def _time(value: time, path: str) -> Any:
    plain = time(value.hour, value.minute, value.second, value.microsecond)
    return _ext(_TIME, [plain.isoformat(), _zone(value.tzinfo, path), value.fold])


def _zone(zone: tzinfo | None, path: str) -> Any:
    """Write a time zone as None, the key of a ZoneInfo, or [offset in microseconds, name]."""
    if zone is None:
        return None
    if type(zone) is ZoneInfo and zone.key is not None:
        return zone.key
    if type(zone) is timezone:
        name = zone.tzname(None)
        return [zone.utcoffset(None) // timedelta(microseconds=1), name]
    raise NotPortable(path, f"its time zone {zone!r} has no portable form")


_CONTAINERS: dict[type, Callable[[Any, str, int], Any]] = {
    list: _list,
    tuple: _array_of(_TUPLE),
    set: _array_of(_SET),
    frozenset: _array_of(_FROZENSET),
    dict: _dict,
    OrderedDict: _dict,
    defaultdict: _dict,
}
_SCALARS: dict[type, Callable[[Any, str], Any]] = {
    type(None): lambda value, path: None,
    bool: lambda value, path: value,
    int: _int,
    float: lambda value, path: float.__float__(value),
    str: _str,
    bytes: lambda value, path: bytes(value),
    bytearray: lambda value, path: msgspec.msgpack.Ext(_BYTEARRAY, bytes(value)),
    UUID: lambda value, path: msgspec.msgpack.Ext(_UUID, value.bytes),
    Decimal: lambda value, path: _ext(_DECIMAL, Decimal.__str__(value)),
    datetime: _datetime,
    date: _date,
    time: _time,
    timedelta: _timedelta,
}


def _pairs(content: list[Any]) -> dict[Any, Any]:
    return dict(zip(content[::2], content[1::2], strict=True))


def _read_zone(content: Any) -> tzinfo | None:
    if content is None:
        return None
    if isinstance(content, str):
        return ZoneInfo(content)
    offset, name = content
    zone = timezone(timedelta(microseconds=offset))
    return zone if zone.tzname(None) == name else timezone(zone.utcoffset(None), name)


def _read_datetime(content: Any) -> datetime:
    text, zone, fold = content
    return datetime.fromisoformat(text).replace(tzinfo=_read_zone(zone), fold=fold)


def _read_time(content: Any) -> time:
    text, zone, fold = content
    return time.fromisoformat(text).replace(tzinfo=_read_zone(zone), fold=fold)


def _read_timedelta(content: Any) -> timedelta:
    days, seconds, microseconds = content
    return timedelta(days, seconds, microseconds)


_FROM_BYTES: dict[int, Callable[[bytes], Any]] = {
    _SURROGATES: lambda data: data.decode("utf-8", "surrogatepass"),
    _BIG_INT: lambda data: int.from_bytes(data, "big", signed=True),
    _UUID: lambda data: UUID(bytes=data),
    _BYTEARRAY: bytearray,
}
_FROM_CONTENT: dict[int, Callable[[Any], Any]] = {
    _TUPLE: tuple,
    _PAIRS: _pairs,
    _DECIMAL: Decimal,
    _DATETIME: _read_datetime,
    _DATE: date.fromisoformat,
    _TIME: _read_time,
    _TIMEDELTA: _read_timedelta,
    _SET: set,
    _FROZENSET: frozenset,
}


def _restore(code: int, data: memoryview) -> Any:
    if code in _FROM_BYTES:
        return _FROM_BYTES[code](bytes(data))
    if code in _FROM_CONTENT:
        return _FROM_CONTENT[code](_decoder.decode(data))
    raise ValueError(f"unknown extension type {code}")


_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(ext_hook=_restore)
