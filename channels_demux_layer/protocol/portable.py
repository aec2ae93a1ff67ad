"""Encodes the values of a scope as bytes and back, with their types.

The encoding is MessagePack. A type that MessagePack lacks is encoded as one of the extension types
below (L6.2). So is a type that the encoder would silently change, such as a tuple, which becomes a
list.

A scalar of a subclass is encoded as its base type, to which it compares equal: a ``SafeString`` as
a str, a member of an ``IntEnum`` as an int. ``OrderedDict`` and ``defaultdict`` are encoded as
dict. A `Report` names each such change. Other subclasses of containers have no portable form,
because they may hold more than their items.

A dict loses the entries that have no portable form. A list, tuple or set without one of its items
would look complete, so it is omitted as a whole.
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

__all__ = ["MAX_DEPTH", "Report", "pack", "pack_zone", "unpack", "unpack_zone"]

#: The maximum depth of containers (L6.3).
MAX_DEPTH = 64

# The codes of the extension types. They are part of the wire, so a code is never reused.
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

# The exceptions of the decoders below for invalid bytes. ZoneInfo raises OSError.
_DECODING_ERRORS = (
    msgspec.MsgspecError,
    ArithmeticError,
    LookupError,
    OSError,
    RecursionError,
    TypeError,
)

_encoder = msgspec.msgpack.Encoder()


class Report:
    """Names the values that were omitted or changed.

    Attributes:
        left_out: The values without a portable form.
        changed: The path and the change of each value that arrives as another type.
    """

    def __init__(self) -> None:
        self.left_out: list[NotPortable] = []
        self.changed: list[tuple[str, str]] = []


def pack(value: object, path: str = "", report: Report | None = None) -> bytes:
    """Encode a value.

    Args:
        value: None, a bool, int, float, str, bytes, bytearray, UUID, Decimal, datetime, date,
            time, timedelta, or a list, tuple, dict, set or frozenset of such.
        path: The value's path in the scope, for the exception and the report.
        report: Collects omitted entries of dicts, and values that arrive as another type. Without
            it, an entry without a portable form raises.

    Returns:
        The value as MessagePack.

    Raises:
        NotPortable: A value has no portable form. The exception has its path.
    """
    return _encoder.encode(_Walk(report).portable(value, path))


def unpack(data: bytes) -> Any:
    """Decode a value.

    Args:
        data: The result of `pack`.

    Returns:
        A value that is equal to the original. Its types differ only as the report says.

    Raises:
        ValueError: The bytes are not a result of `pack`.
    """
    try:
        return _decoder.decode(data)
    except _DECODING_ERRORS as error:
        raise ValueError(f"not a packed value: {error}") from error


class _Walk:
    """Encodes one value with all its items."""

    def __init__(self, report: Report | None) -> None:
        self._report = report
        self._entered: set[int] = set()

    def portable(self, value: Any, path: str) -> Any:
        """Return a value in which extension types replace what MessagePack lacks."""
        # type() rather than isinstance(): a lazy proxy claims the class of an object it lacks.
        kind = type(value)
        if kind in _CONTAINERS:
            return self._container(value, path)
        for base in kind.__mro__:
            to_scalar = _SCALARS.get(base)
            if to_scalar is not None:
                if base is not kind:
                    self._note_change(value, base, path)
                return to_scalar(value, path)
        raise NotPortable(path, f"{_name(kind)} has no portable form")

    def _container(self, value: Any, path: str) -> Any:
        if id(value) in self._entered:
            raise NotPortable(path, "it contains itself")
        if len(self._entered) == MAX_DEPTH:
            raise NotPortable(path, f"it is nested deeper than {MAX_DEPTH} levels")
        self._entered.add(id(value))
        try:
            return _CONTAINERS[type(value)](value, path, self)
        finally:
            self._entered.discard(id(value))

    def entry(self, key: Any, item: Any, path: str) -> tuple[Any, Any] | None:
        """Return one entry of a dict; None if it is omitted."""
        try:
            return self.portable(key, path), self.portable(item, path)
        except NotPortable as error:
            if self._report is None:
                raise
            self._report.left_out.append(error)
            return None

    def _note_change(self, value: Any, base: type, path: str) -> None:
        if self._report is not None:
            self._report.changed.append((path, f"{_name(type(value))} as {base.__name__}"))

    def renamed(self, value: Any, path: str) -> None:
        """Report a subclass of dict, which arrives as a dict."""
        if type(value) is not dict:
            self._note_change(value, dict, path)


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _ext(code: int, content: object) -> msgspec.msgpack.Ext:
    return msgspec.msgpack.Ext(code, _encoder.encode(content))


def _list(value: Iterable[Any], path: str, walk: _Walk) -> list[Any]:
    return [walk.portable(item, _join(path, index)) for index, item in enumerate(value)]


def _array_of(code: int) -> Callable[[Any, str, _Walk], Any]:
    return lambda value, path, walk: _ext(code, _list(value, path, walk))


def _dict(value: Mapping[Any, Any], path: str, walk: _Walk) -> Any:
    walk.renamed(value, path)
    has_plain_keys, entries = True, []
    for key, item in value.items():
        entry = walk.entry(key, item, _join(path, key))
        if entry is not None:
            entries.append(entry)
            has_plain_keys &= type(key) is str and entry[0] is key
    if has_plain_keys:
        return dict(entries)
    return _ext(_PAIRS, [part for entry in entries for part in entry])


def _join(path: str, key: object) -> str:
    name = str(key) if type(key) in (str, int) else repr(key)
    return f"{path}.{name}" if path else name


def _str(value: str, path: str) -> Any:
    # A member of a str enum overrides __str__().
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


def _zone(zone: tzinfo | None, path: str) -> str | tuple[int, str] | None:
    return None if zone is None else pack_zone(zone, path)


def _datetime(value: datetime, path: str) -> Any:
    plain = datetime.combine(value.date(), value.time())
    return _ext(_DATETIME, [plain.isoformat(), _zone(value.tzinfo, path), value.fold])


def _date(value: date, path: str) -> Any:
    return _ext(_DATE, date(value.year, value.month, value.day).isoformat())


def _time(value: time, path: str) -> Any:
    plain = time(value.hour, value.minute, value.second, value.microsecond)
    return _ext(_TIME, [plain.isoformat(), _zone(value.tzinfo, path), value.fold])


def pack_zone(zone: tzinfo, path: str) -> str | tuple[int, str]:
    """Encode a time zone.

    Args:
        zone: A ``ZoneInfo`` with a key, or a ``datetime.timezone``.
        path: Its path in the scope, for the exception.

    Returns:
        The key of the ``ZoneInfo``, or the offset in microseconds and the name.

    Raises:
        NotPortable: The time zone is of another class, or has no key.
    """
    if type(zone) is ZoneInfo and zone.key is not None:
        return zone.key
    if type(zone) is timezone:
        return zone.utcoffset(None) // timedelta(microseconds=1), zone.tzname(None)
    raise NotPortable(path, f"the time zone {zone!r} has no portable form")


def unpack_zone(content: str | tuple[int, str]) -> tzinfo:
    """Decode a result of `pack_zone`.

    Raises:
        ValueError: There is no such time zone.
    """
    try:
        return _read_zone(content)
    except _DECODING_ERRORS as error:
        raise ValueError(f"no time zone: {error}") from error


_CONTAINERS: dict[type, Callable[[Any, str, _Walk], Any]] = {
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


def _read_zone(content: Any) -> tzinfo:
    if isinstance(content, str):
        return ZoneInfo(content)
    offset, name = content
    zone = timezone(timedelta(microseconds=offset))
    return zone if zone.tzname(None) == name else timezone(zone.utcoffset(None), name)


def _read_zone_or_none(content: Any) -> tzinfo | None:
    return None if content is None else _read_zone(content)


def _read_datetime(content: Any) -> datetime:
    text, zone, fold = content
    return datetime.fromisoformat(text).replace(tzinfo=_read_zone_or_none(zone), fold=fold)


def _read_time(content: Any) -> time:
    text, zone, fold = content
    return time.fromisoformat(text).replace(tzinfo=_read_zone_or_none(zone), fold=fold)


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
