"""Whatever comes over the channel layer: a node outlives it, and counts what made no sense."""

import asyncio
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.drivers import a_batch, an_open, feed, no_traceback

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
FIELDS = sorted({*a_batch(), *an_open(), "refs", "load", "stream_channel"})
FRAME = st.tuples(st.integers(0, 8), st.integers(0, 3), ANYTHING, ANYTHING).map(list)
FRAMES = st.lists(FRAME, max_size=4).map(msgspec.msgpack.encode) | st.binary(max_size=40)
BATCHES = st.builds(
    a_batch,
    seq=st.integers(0, 70),
    ack=st.integers(0, 70),
    link=st.sampled_from(["a", "b"]),
    to_edge=st.booleans(),
    frames=FRAMES,
)
OPENS = st.builds(an_open, ref=st.sampled_from(["a", "b"]), scope=st.binary(max_size=40))
CLAIMS = st.builds(lambda refs: {"type": "demux.claim", "version": 1, "refs": refs}, ANYTHING)


@st.composite
def messages(draw: st.DrawFn) -> Any:
    """Write a message of ours with some fields replaced, or anything."""
    message = draw(BATCHES | OPENS | CLAIMS | ANYTHING)
    if isinstance(message, dict) and "type" in message:
        message |= draw(st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=2))
    return message


@given(st.lists(messages(), max_size=12))
@settings(deadline=None, max_examples=150)
def test_a_node_outlives_whatever_is_sent(found: list[Any]) -> None:
    """Afterwards it claims an open and takes up a link; no error is in the log."""
    with no_traceback():
        node = asyncio.run(feed(found))
    assert sum(node.ignored.values()) >= sum(not isinstance(message, dict) for message in found)
