"""Names on the channel layer, for any stream names at all."""

from channels.layers import BaseChannelLayer
from hypothesis import assume, given
from hypothesis import strategies as st

from channels_demux_layer.protocol.naming import (
    MAX_PREFIX,
    edge_group,
    stream_channel,
    stream_group,
)

SAFE = "abcXYZ019-_."
#: Any text, halves of surrogate pairs included, with those names more often that nearly collide.
NAMES = st.one_of(
    st.text(st.characters(exclude_categories=())),
    st.text(SAFE + "5fd /é", max_size=8),
    st.text(SAFE, min_size=55, max_size=110),
    st.sampled_from(["", "-", "_", "edge", "-edge", "_65dge", "--", "é" * 127, "é" * 126 + "e"]),
)
PREFIXES = st.text(SAFE, min_size=1, max_size=MAX_PREFIX)
CONNECTIONS = st.text("0123456789abcdef", min_size=32, max_size=32)
LAYER = BaseChannelLayer()


@given(PREFIXES, CONNECTIONS, NAMES)
def test_every_name_is_valid(prefix: str, connection: str, stream: str) -> None:
    """Channels' own check takes every channel and group name that we make."""
    assert LAYER.require_valid_channel_name(stream_channel(prefix, stream), receive=True)
    assert LAYER.require_valid_group_name(stream_group(prefix, connection, stream))
    assert LAYER.require_valid_group_name(edge_group(prefix, connection))


@given(PREFIXES, CONNECTIONS, NAMES, NAMES)
def test_different_streams_have_different_names(
    prefix: str, connection: str, stream: str, other: str
) -> None:
    """Two streams of a connection share neither channel nor group, and none has the edge's."""
    assume(stream != other)
    assert stream_channel(prefix, stream) != stream_channel(prefix, other)
    groups = {
        stream_group(prefix, connection, stream),
        stream_group(prefix, connection, other),
        edge_group(prefix, connection),
    }
    assert len(groups) == 3


@given(CONNECTIONS, CONNECTIONS, NAMES, NAMES)
def test_different_connections_have_different_groups(
    connection: str, other: str, stream: str, other_stream: str
) -> None:
    """No group of one connection is a group of another."""
    assume(connection != other)
    ours = {edge_group("demux", connection), stream_group("demux", connection, stream)}
    theirs = {edge_group("demux", other), stream_group("demux", other, other_stream)}
    assert not ours & theirs


@given(PREFIXES, CONNECTIONS, st.text(SAFE, min_size=1, max_size=34))
def test_safe_names_are_their_own_labels(prefix: str, connection: str, stream: str) -> None:
    """A short name of allowed characters is kept, so that it can be typed for runworker."""
    assume(not stream.startswith("-") and stream != "edge")
    assert stream_channel(prefix, stream) == f"{prefix}.{stream}"
    assert stream_group(prefix, connection, stream) == f"{prefix}.{connection}.{stream}"
