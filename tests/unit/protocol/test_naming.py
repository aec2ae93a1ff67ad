"""Names on the channel layer: readable where possible, valid always."""

from functools import partial

import pytest

from channels_demux_layer.exceptions import ConfigurationError
from channels_demux_layer.protocol.naming import (
    MAX_PREFIX,
    edge_group,
    is_layer_name,
    stream_channel,
    stream_group,
    valid_prefix,
)

CONNECTION = "0123456789abcdef" * 2


def test_safe_names_are_kept() -> None:
    """A stream name that channel layers allow is found unchanged in its channel and group."""
    assert stream_channel("demux", "echo") == "demux.echo"
    assert stream_group("demux", CONNECTION, "market.prices_v2-eu") == (
        f"demux.{CONNECTION}.market.prices_v2-eu"
    )
    assert edge_group("demux", CONNECTION) == f"demux.{CONNECTION}.edge"


@pytest.mark.parametrize(
    ("stream", "label"),
    [
        ("my stream", "-my_20stream"),
        ("a/b_c", "-a_2fb_5fc"),
        ("é", "-_c3_a9"),
        ("-x", "-_2dx"),
        ("", "-"),
        ("\ud800", "-_ed_a0_80"),
        ("٣", "-_d9_a3"),
        ("echo\n", "-echo_0a"),
    ],
)
def test_other_names_are_escaped(stream: str, label: str) -> None:
    """A name with other characters is escaped byte by byte, behind a mark."""
    assert stream_channel("demux", stream) == f"demux.{label}"
    assert stream_group("demux", CONNECTION, stream) == f"demux.{CONNECTION}.{label}"


def test_a_stream_named_edge_does_not_get_the_edges_group() -> None:
    """A stream may be called edge: its group is another than the edge's own."""
    assert stream_group("demux", CONNECTION, "edge") == f"demux.{CONNECTION}.-edge"
    assert stream_channel("demux", "edge") == "demux.edge"


def test_long_names_keep_their_beginning() -> None:
    """A name too long for the room is cut, stays recognisable, and fills the room."""
    channel = stream_channel("demux", "prices-" * 30)
    assert channel.startswith("demux.-prices_2dprices")
    assert len(channel) == 99
    assert channel != stream_channel("demux", "prices-" * 31)


@pytest.mark.parametrize(("name", "fixed"), [("channel", 6), ("group", 39)])
def test_names_are_kept_up_to_the_last_character(name: str, fixed: int) -> None:
    """The longest safe name that fits is kept; one character more is not."""

    def last_part(stream: str) -> str:
        if name == "channel":
            return stream_channel("demux", stream)[fixed:]
        return stream_group("demux", CONNECTION, stream)[fixed:]

    longest = "x" * (99 - fixed)
    assert last_part(longest) == longest
    assert last_part(longest + "x").startswith("-x")


def test_prefixes_up_to_the_limit_work() -> None:
    """With the longest prefix, the longest stream name still gets a name of 99 characters."""
    prefix = "p" * MAX_PREFIX
    assert MAX_PREFIX == 31
    assert valid_prefix(prefix) == prefix
    assert len(stream_group(prefix, CONNECTION, "é" * 127)) == 99


@pytest.mark.parametrize("prefix", ["", "de mux", "é", "a" * 32, "demux!", "demux\n", None, 5])
def test_other_prefixes_are_refused(prefix: str) -> None:
    """A prefix that cannot start a name is refused with its name and what is allowed."""
    for name in (
        partial(stream_channel, prefix, "echo"),
        partial(stream_group, prefix, CONNECTION, "echo"),
        partial(edge_group, prefix, CONNECTION),
    ):
        with pytest.raises(ConfigurationError, match=r"channel_prefix .* use 1 to 31 ASCII"):
            name()


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("demux.echo", True),
        ("specific.abc!def", True),
        ("specific.abc!", True),
        ("x" * 99, True),
        ("x" * 100, False),
        ("", False),
        ("a b", False),
        ("a!b!c", False),
        ("!a", False),
        ("demux.echo\n", False),
        ("größe", False),
    ],
)
def test_names_that_a_layer_takes(name: str, is_one: bool) -> None:
    """Of channels of one process as well, and nothing that would write a line of its own."""
    assert is_layer_name(name) is is_one
