"""Whatever a client sends: its connection outlives it, and writes nothing that cannot be read."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.drivers import converse, no_traceback

STREAMS = st.sampled_from(["s", "lazy", "text", "no", "nowhere", ""])
JSON = st.recursive(
    st.sampled_from(["null", "1", '"x"', '"\\ud800"', "NaN", "01", "", "{", '{"a":1,"a":2}']),
    lambda inner: st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]"),
    max_leaves=5,
)
FRAMES = st.one_of(
    st.text(st.characters(exclude_categories=())),
    st.binary(max_size=300),
    st.builds('{{"stream": "{}", "payload": {}}}'.format, STREAMS, JSON),
    st.builds(
        '{{"stream": "{}", "event": "{}"}}'.format,
        STREAMS,
        st.sampled_from(["open", "close", "closed", ""]),
    ),
    st.builds(lambda name, data: bytes([len(name)]) + name.encode() + data, STREAMS, st.binary()),
)


@given(st.lists(FRAMES, max_size=12))
@settings(deadline=None, max_examples=150)
def test_a_connection_outlives_whatever_is_sent(frames: list[str | bytes]) -> None:
    """All frames are taken, each answer is an envelope, and no error is in the log."""
    with no_traceback():
        written = asyncio.run(converse(frames))
    assert written[-1]["type"] in ("websocket.send", "websocket.close")
    assert written[0]["type"] == "websocket.accept"
