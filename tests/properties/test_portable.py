"""Whatever can be packed arrives as it was, and whatever arrives is a value or a ValueError."""

import contextlib
import datetime as dt

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from channels_demux_layer.protocol.portable import pack, unpack
from tests.unit.protocol.test_portable import same

ZONES = (
    st.none()
    | st.timezones()
    | st.timedeltas(min_value=dt.timedelta(hours=-23), max_value=dt.timedelta(hours=23)).map(
        dt.timezone
    )
)
KEYS = (
    st.text(st.characters())
    | st.integers()
    | st.booleans()
    | st.binary()
    | st.uuids()
    | st.dates()
    | st.decimals(allow_nan=False)
)
SCALARS = (
    st.none()
    | KEYS
    | st.floats(allow_nan=False)
    | st.binary().map(bytearray)
    | st.datetimes(timezones=ZONES, allow_imaginary=True)
    | st.times(timezones=st.none() | st.just(dt.timezone.utc))
    | st.timedeltas()
    | st.sets(KEYS)
    | st.frozensets(KEYS)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text(), inner)
        | st.dictionaries(KEYS | st.tuples(KEYS, KEYS), inner)
    ),
    max_leaves=20,
)


@given(VALUES)
def test_round_trip(value: object) -> None:
    """Every portable value arrives as an equal value of the same types, order included."""
    assert same(unpack(pack(value)), value)


@given(st.binary(max_size=60))
@example(b"\xc7\x00\x01")
def test_any_bytes_are_a_value_or_a_value_error(data: bytes) -> None:
    """Bytes from anywhere never raise anything but ValueError."""
    with contextlib.suppress(ValueError):
        unpack(data)


@given(st.integers(-128, 127), st.recursive(SCALARS, st.lists, max_leaves=5))
def test_any_extension_is_a_value_or_a_value_error(code: int, content: object) -> None:
    """Extension types with any content never raise anything but ValueError."""
    data = msgspec.msgpack.encode(msgspec.msgpack.Ext(code, pack(content)))
    with contextlib.suppress(ValueError):
        unpack(data)
