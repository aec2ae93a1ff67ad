"""The closed list of metrics, and their values."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from channels_demux_layer.metrics import METRICS, samples
from channels_demux_layer.protocol.report import LinkReport, NodeReport, StreamReport

EDGE = StreamReport(
    side="edge",
    stream="a b",
    channel="demux.-a_20b",
    sessions=1,
    pending=2,
    frames_in=3,
    frames_out=4,
    in_flight=5,
    full_in=6,
    full_out=7,
    stalls_in=8,
    stalls_out=9,
    reopened=10,
    poisoned=13,
    closed={1000: 11, 4408: 12},
)
LINKS = [
    LinkReport(peer="w!1", is_edge=True, in_flight=3, round_trip=0.002),
    LinkReport(peer="w!2", is_edge=True, in_flight=4, round_trip=0.004),
    LinkReport(peer="w!3", is_edge=True),
]
NODE = NodeReport(
    node="n!1",
    kind="server",
    release="1.0",
    wire=1,
    host="h",
    pid=1,
    load=1,
    max_sessions=2,
    batches_sent=3,
    batches_received=4,
    retransmits=5,
    repeats=6,
    blocks=7,
    ignored={"foreign": 7, "malformed": 0},
    links=LINKS,
    is_cut_off=True,
)


def values(streams: list[StreamReport], nodes: list[NodeReport]) -> dict[tuple[str, ...], float]:
    """The values by name and labels."""
    return {(each.metric.name, *each.labels): each.value for each in samples(streams, nodes)}


def test_names_are_as_prometheus_has_them() -> None:
    """Each name is there once, with the package's prefix, and says by its end what grows."""
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    for metric in METRICS:
        assert re.fullmatch(r"demux_[a-z_]+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert metric.name.endswith("_seconds") == (metric.unit == "seconds")


def test_every_metric_has_its_value() -> None:
    """A server with a stream and links gives a sample of each metric, with all its labels."""
    given = list(samples([EDGE], [NODE]))
    assert {each.metric for each in given} == set(METRICS)
    assert all(len(each.labels) == len(each.metric.labels) for each in given)
    assert len({(each.metric, each.labels) for each in given}) == len(given)


def test_what_a_stream_gives() -> None:
    """Each figure of a report is that of its metric, its side and its direction."""
    stream = ("a b", "demux.-a_20b")
    side = ("edge", *stream)
    assert values([EDGE], []) == {
        ("demux_opens_pending", *stream): 2,
        ("demux_sessions", *side): 1,
        ("demux_frames_total", *side, "in"): 3,
        ("demux_frames_total", *side, "out"): 4,
        ("demux_frames_in_flight", *side): 5,
        ("demux_window_full_total", *side, "in"): 6,
        ("demux_window_full_total", *side, "out"): 7,
        ("demux_stalls_total", *side, "in"): 8,
        ("demux_stalls_total", *side, "out"): 9,
        ("demux_reopened_total", *stream): 10,
        ("demux_poisoned_total", *stream): 13,
        ("demux_closed_total", *side, "1000"): 11,
        ("demux_closed_total", *side, "4408"): 12,
    }


def test_a_worker_has_no_opens() -> None:
    """What waits is known where it waits: at the edge."""
    report = StreamReport(side="worker", stream="a", channel="demux.a")
    names = {key[0] for key in values([report], [])}
    assert not names & {"demux_opens_pending", "demux_reopened_total"}
    assert "demux_sessions" in names


def test_what_nodes_give() -> None:
    """Counts of a process's nodes add up; of states and round trips the worst is told."""
    quiet: dict[str, Any] = {
        "batches_sent": 0,
        "batches_received": 0,
        "retransmits": 0,
        "repeats": 0,
    }
    given: dict[str, Any] = {"load": 10, "max_sessions": 0, "links": [], "is_cut_off": False}
    given["ignored"] = {"foreign": 1, "version": 2}
    other = msgspec.structs.replace(NODE, is_draining=True, **quiet, **given)
    assert values([], [NODE, other]) == {
        ("demux_links",): 3,
        ("demux_link_round_trip_seconds",): 0.004,
        ("demux_batches_total", "sent"): 3,
        ("demux_batches_total", "received"): 4,
        ("demux_batches_in_flight",): 7,
        ("demux_retransmits_total",): 5,
        ("demux_repeats_dropped_total",): 6,
        ("demux_ignored_messages_total", "foreign"): 8,
        ("demux_ignored_messages_total", "malformed"): 0,
        ("demux_ignored_messages_total", "version"): 2,
        ("demux_blocks_total",): 14,
        ("demux_load",): 11,
        ("demux_max_sessions",): 2,
        ("demux_draining",): 1,
        ("demux_cut_off",): 1,
        ("demux_node_info", "server", "1.0", "1"): 1,
    }
