"""Whatever an application sends is converted or refused where it is handed over."""

from __future__ import annotations

import array
from typing import Any

from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy
from hypothesis import given, settings
from hypothesis import strategies as st

from channels_demux_layer import Stream
from channels_demux_layer.hosting.outgoing import (
    MAX_REASON,
    can_close_with,
    exact_bytes,
    exact_close,
    exact_disconnect,
    exact_text,
    text_writer,
)
from channels_demux_layer.protocol.frames import (
    Binary,
    Close,
    Frame,
    Text,
    decode_frames,
    encode_frames,
    fault_of,
)

ANY_TEXT = st.text(st.characters(codec=None))
BUFFERS = st.one_of(
    st.binary(),
    st.builds(bytearray, st.binary()),
    st.builds(
        lambda data, step: memoryview(data)[::step], st.binary(), st.sampled_from([1, 2, -3])
    ),
    st.builds(lambda items: array.array("i", items), st.lists(st.integers(-5, 5))),
)
TEXTS = st.one_of(ANY_TEXT, ANY_TEXT.map(mark_safe), ANY_TEXT.map(gettext_lazy))
ANYTHING = st.one_of(
    TEXTS,
    BUFFERS,
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.lists(st.integers()),
    st.dictionaries(st.text(), st.integers()),
    st.builds(object),
    st.just(ValueError("a fault")),
)
#: Values of Python's own types that msgspec encodes in its way.
REFUSALS = (TypeError, ValueError)


def travels(frame: Frame) -> None:
    """Assert that a frame reaches the peer as it is."""
    assert decode_frames(encode_frames([frame])) == [frame]


@given(ANYTHING, st.booleans(), st.booleans())
@settings(deadline=None)
def test_a_text_travels_or_is_refused(value: Any, bare: bool, managed: bool) -> None:
    """No value gets past the call as something that the link or the client cannot read."""
    write = text_writer(Stream("a.b", text=bare), manage_envelope=managed)
    try:
        text = write(exact_text(value))
    except REFUSALS:
        return
    travels(Text(1, text))


@given(ANYTHING)
@settings(deadline=None)
def test_bytes_travel_or_are_refused(value: Any) -> None:
    """What has a buffer is that buffer's bytes; everything else is an error at once."""
    try:
        data = exact_bytes(value)
    except REFUSALS:
        return
    assert data == memoryview(value).tobytes()
    travels(Binary(1, data))


@given(ANYTHING, ANYTHING)
@settings(deadline=None)
def test_a_close_can_be_carried_or_is_refused(code: Any, reason: Any) -> None:
    """By a frame and by a WebSocket, whatever the consumer gave."""
    try:
        number, text = exact_close(code, reason, "s")
    except REFUSALS:
        return
    assert type(number) is int
    assert can_close_with(number)
    assert len(text.encode()) <= MAX_REASON
    travels(Close(1, number, text))


@given(ANYTHING, ANYTHING)
@settings(deadline=None)
def test_what_a_server_says_can_be_carried(code: Any, reason: Any) -> None:
    """A frame to the worker takes whatever a server says of a client that has left."""
    exact = exact_disconnect({"type": "websocket.disconnect", "code": code, "reason": reason})
    travels(Close(1, exact["code"], exact["reason"]))


@given(st.builds(Close, st.just(1), ANYTHING, ANYTHING))
@settings(deadline=None)
def test_a_frame_is_sound_where_the_peer_can_read_it(frame: Close) -> None:
    """A frame without a fault is encoded, decoded, and has a code and a reason then."""
    if fault_of(frame) is None:
        (read,) = decode_frames(encode_frames([frame]))
        assert isinstance(read, Close)
        assert type(read.code) is int
        assert type(read.reason) is str
