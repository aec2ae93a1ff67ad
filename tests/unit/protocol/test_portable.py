"""Values that keep their types on the way, and those that cannot go."""

import enum
import io
import math
import struct
import threading
from collections import OrderedDict, defaultdict, namedtuple
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from django.http import QueryDict
from django.utils.functional import SimpleLazyObject
from django.utils.safestring import mark_safe

from channels_demux_layer.exceptions import NotPortable
from channels_demux_layer.protocol.portable import (
    MAX_DEPTH,
    Report,
    pack,
    pack_zone,
    unpack,
    unpack_zone,
)


class Colour(str, enum.Enum):
    """A str with a str() of its own."""

    RED = "red"


class Level(enum.IntEnum):
    """An int of a subclass."""

    HIGH = 3


class Plain(enum.Enum):
    """No scalar at all."""

    ONE = 1


class OwnZone(tzinfo):
    """A time zone that only its project knows."""


Point = namedtuple("Point", "x y")
UUID_VALUE = UUID("12345678-1234-5678-1234-567812345678")


def same(one: object, other: object) -> bool:
    """Compare values with their types, all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        assert isinstance(other, (list, tuple))
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        assert isinstance(other, dict)
        return same(list(one.items()), list(other.items()))
    return one == other


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -(2**63),
        2**64 - 1,
        2**64,
        -(2**63) - 1,
        2**1000,
        -(2**1000),
        1.5,
        float("inf"),
        "",
        "größe",
        "\ud800 alone",
        b"\x00\xff",
        bytearray(b"x"),
        (),
        [],
        {},
        set(),
        frozenset({(1, "a")}),
        ("a", ["b", ("c",)]),
        {"a": {"b": (1,)}},
        {1: "a", (2, 3): "b", None: "c"},
        {"\ud800": 1},
        {UUID_VALUE: 1},
        UUID_VALUE,
        Decimal("-0.10"),
        Decimal("Infinity"),
        date(2024, 2, 29),
        time(1, 2, 3, 4),
        time(1, tzinfo=timezone(timedelta(hours=-3))),
        timedelta(days=-1, microseconds=1),
        datetime.max,
        datetime(2024, 1, 1, tzinfo=timezone.utc),
    ],
)
def test_values_keep_value_and_type(value: object) -> None:
    """What is portable arrives as the same value of the same type."""
    assert same(unpack(pack(value)), value)


def test_nan_arrives() -> None:
    """A float that equals nothing is still that float."""
    assert math.isnan(unpack(pack(math.nan)))


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (mark_safe("<b>"), "<b>"),
        (OrderedDict(a=1), {"a": 1}),
        (defaultdict(list, a=[1]), {"a": [1]}),
    ],
)
def test_subclasses_arrive_as_the_base(value: object, plain: object) -> None:
    """A scalar of a subclass, and a dict with defaults or order, arrives as the plain thing."""
    assert same(unpack(pack(value)), plain)
    assert value == plain


@pytest.mark.parametrize("fold", [0, 1])
def test_zones_keep_their_rules(fold: int) -> None:
    """A date and time in a named zone keeps the zone, and which side of the change it is on."""
    value = datetime(2024, 10, 27, 2, 30, fold=fold, tzinfo=ZoneInfo("Europe/Berlin"))
    restored = unpack(pack(value))
    assert restored.tzinfo is value.tzinfo
    assert (restored.fold, restored.utcoffset()) == (fold, value.utcoffset())


def test_fixed_zones_keep_their_names() -> None:
    """A zone of a fixed offset keeps offset and name."""
    for zone in (timezone(timedelta(hours=1), "CET"), timezone(timedelta(seconds=-1))):
        restored = unpack(pack(datetime(2024, 1, 1, tzinfo=zone)))
        assert repr(restored.tzinfo) == repr(zone)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (object(), "x"),
        ({"id": object()}, "x.id"),
        ({"kwargs": [1, (2, Plain.ONE)]}, "x.kwargs.1.1"),
        ({"a": {b"k": threading.Lock()}}, "x.a.b'k'"),
        ({Plain.ONE: 1}, f"x.{Plain.ONE!r}"),
        (Point(1, 2), "x"),
        (QueryDict("a=1&a=2"), "x"),
        (SimpleLazyObject(lambda: "text"), "x"),
        ([datetime(2024, 1, 1, tzinfo=OwnZone())], "x.0"),
        ({"s": {Plain.ONE}}, "x.s.0"),
    ],
)
def test_what_cannot_travel_is_named(value: object, path: str) -> None:
    """The exception names the path to the very value that cannot travel."""
    with pytest.raises(NotPortable) as caught:
        pack(value, "x")
    assert caught.value.path == path


def test_path_starts_at_the_value_if_it_has_no_name() -> None:
    """Without a name for the value itself, paths start inside of it."""
    with pytest.raises(NotPortable) as caught:
        pack({"a": [object()]})
    assert caught.value.path == "a.0"
    assert "builtins.object" in caught.value.problem


def test_zone_without_a_key_cannot_travel() -> None:
    """A zone read from a file of its own is not to be had elsewhere."""
    one_zone_and_no_changes = struct.pack(">6l", 0, 0, 0, 0, 1, 4) + struct.pack(">lBB", 0, 0, 0)
    file = io.BytesIO(b"TZif" + bytes(16) + one_zone_and_no_changes + b"UTC\0")
    zone = ZoneInfo.from_file(file)
    with pytest.raises(NotPortable, match="time zone"):
        pack(datetime(2024, 1, 1, tzinfo=zone))


def test_nesting_is_bounded() -> None:
    """A value nested as deep as allowed arrives; one nested deeper is refused."""
    value: list[object] = []
    for _ in range(MAX_DEPTH - 1):
        value = [value]
    assert unpack(pack(value)) == value
    with pytest.raises(NotPortable, match="nested deeper"):
        pack([value])


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Colour.RED, "Colour as str"),
        (Level.HIGH, "Level as int"),
        (mark_safe("<b>"), "django.utils.safestring.SafeString as str"),
        (OrderedDict(a=1), "collections.OrderedDict as dict"),
        (defaultdict(list, a=[1]), "collections.defaultdict as dict"),
        ({Level.HIGH: 1}, "Level as int"),
    ],
)
def test_changes_of_type_are_reported(value: object, plain: str) -> None:
    """What arrives as another type than it has is never changed in silence."""
    report = Report()
    assert unpack(pack({"a": [value]}, "x", report)) == {"a": [value]}
    ((path, note),) = report.changed
    assert path.startswith("x.a.0")
    assert note.endswith(plain)


def entries_left(value: object) -> tuple[object, list[str]]:
    """Return what arrives of a value, and the paths of what does not."""
    report = Report()
    arrived = unpack(pack(value, "x", report))
    return arrived, [error.path for error in report.left_out]


def test_an_entry_of_a_dict_is_left_out_alone() -> None:
    """Whatever stands beside it arrives, at any depth and with keys of any type."""
    value = {"a": [{"b": object(), "c": 1}], 2: Plain.ONE, (3,): (4,), "d": {"e": {Plain.ONE: 1}}}
    arrived, left_out = entries_left(value)
    assert same(arrived, {"a": [{"c": 1}], (3,): (4,), "d": {"e": {}}})
    assert left_out == ["x.a.0.b", "x.2", f"x.d.e.{Plain.ONE!r}"]


@pytest.mark.parametrize("sequence", [[1, Plain.ONE], (1, Plain.ONE), {Plain.ONE}])
def test_a_sequence_without_an_item_is_left_out(sequence: object) -> None:
    """It would pass for a complete one: a list of what is forbidden, for example."""
    arrived, left_out = entries_left({"s": sequence, "t": 1})
    assert arrived == {"t": 1}
    assert len(left_out) == 1
    assert left_out[0].startswith("x.s.")


def test_what_holds_itself_is_left_out_at_once() -> None:
    """A circle is cut where it closes, and costs no more than its first round."""
    circle: dict[str, object] = {"a": 1}
    circle["again"] = {"b": 2, "circle": circle}
    assert entries_left(circle) == ({"a": 1, "again": {"b": 2}}, ["x.again.circle"])
    many: list[object] = []
    many += [many, many]
    assert entries_left({"many": many}) == ({}, ["x.many.0"])
    with pytest.raises(NotPortable, match="it contains itself"):
        pack(many)
    twice = [1]
    assert entries_left([twice, twice]) == ([[1], [1]], [])


def test_what_is_nested_too_deep_is_left_out_alone() -> None:
    """The entry beyond the last level is left out, and what is above it arrives."""
    value: dict[str, object] = {"last": 1}
    for _ in range(MAX_DEPTH):
        value = {"in": value}
    arrived, (path,) = entries_left(value)
    assert path == "x" + MAX_DEPTH * ".in"
    for _ in range(MAX_DEPTH - 1):
        assert isinstance(arrived, dict)
        arrived = arrived["in"]
    assert arrived == {}


@pytest.mark.parametrize(
    "zone", [ZoneInfo("Asia/Tokyo"), timezone.utc, timezone(timedelta(hours=1), "CET")]
)
def test_zones_travel_by_themselves(zone: tzinfo) -> None:
    """A zone of the system, and one of a fixed offset, can be written down."""
    assert repr(unpack_zone(pack_zone(zone, "x"))) == repr(zone)


@pytest.mark.parametrize("content", ["America/Nowhere", "../etc", "", [1], [10**30, "x"], [0, 1]])
def test_zones_that_are_none_are_a_value_error(content: object) -> None:
    """What another process sends may be no zone, or one that is not installed here."""
    with pytest.raises(ValueError, match=r"."):
        unpack_zone(content)  # type: ignore[arg-type]


def ext(code: int, content: object) -> bytes:
    """Pack an extension type with any content."""
    return msgspec.msgpack.encode(msgspec.msgpack.Ext(code, msgspec.msgpack.encode(content)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x01\x02",
        b"\x82\xa1a",
        ext(100, None),
        ext(1, 5),
        ext(2, [1]),
        ext(2, [[], 1]),
        ext(6, "ten"),
        ext(7, ["2024-01-01", "America/Nowhere", 0]),
        ext(7, ["2024-01-01", "/etc", 0]),
        ext(7, ["2024-01-01"]),
        ext(7, ["2024-01-01", [10**18, "x"], 0]),
        ext(8, "2024-02-30"),
        ext(9, [1, None, 0]),
        ext(10, [10**18, 0, 0]),
        ext(11, [[1], {}]),
    ],
)
def test_foreign_bytes_are_a_value_error(data: bytes) -> None:
    """Bytes that pack() never makes are a ValueError, whatever is wrong with them."""
    with pytest.raises(ValueError, match=r"."):
        unpack(data)


def test_endless_nesting_of_foreign_bytes_is_a_value_error() -> None:
    """Extension types nested without end do not overflow the stack."""
    data = b"\x90"
    for _ in range(5000):
        data = b"\xc9" + len(data).to_bytes(4, "big") + b"\x01" + data
    with pytest.raises(ValueError, match="recursion"):
        unpack(data)
