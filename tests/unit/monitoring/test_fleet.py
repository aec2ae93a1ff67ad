"""What follows from all nodes' reports taken together."""

from __future__ import annotations

from typing import Any, Literal

from channels_demux_layer.monitoring.fleet import FleetReport
from channels_demux_layer.protocol.report import NodeReport, Side, StreamReport


def a_node(
    kind: Literal["server", "worker", "both"], *streams: StreamReport, **fields: Any
) -> NodeReport:
    """A node's report."""
    given = {"node": "n!1", "release": "1", "wire": 1, "host": "h", "pid": 1, **fields}
    return NodeReport(kind=kind, streams=list(streams), **given)


def a_stream(side: Side, name: str = "a", **counts: Any) -> StreamReport:
    """A stream's report."""
    return StreamReport(side=side, stream=name, channel=f"demux.{name}", **counts)


def test_each_session_is_counted_once() -> None:
    """Sessions and frames are those of the servers; what each side alone can see is added up."""
    edge = a_stream("edge", sessions=3, pending=1, frames_in=5, frames_out=6, in_flight=1)
    inline = a_stream("inline", sessions=2, frames_in=1, full_in=1, stalls_out=1)
    worker = a_stream("worker", sessions=3, frames_in=5, frames_out=6, in_flight=2, full_out=4)
    ends = [a_stream("edge", closed={1000: 1}), a_stream("inline", closed={1000: 2, 4408: 1})]
    nodes = [
        a_node("server", edge, inline),
        a_node("worker", worker, channels=["demux.a"]),
        a_node("server", *ends),
    ]
    (summary,) = FleetReport(nodes=nodes).streams
    assert (summary.stream, summary.workers) == ("a", 1)
    assert (summary.sessions, summary.pending, summary.in_flight) == (5, 1, 3)
    assert (summary.frames_in, summary.frames_out) == (6, 6)
    assert (summary.full, summary.stalls) == (5, 1)
    assert summary.closed == {1000: 3, 4408: 1}


def test_what_nobody_takes_is_named() -> None:
    """A stream with pending opens is unhosted where no worker takes opens: not one that drains."""
    nodes = [
        a_node("server", a_stream("edge", "a", pending=1), a_stream("edge", "b", pending=1)),
        a_node("worker", channels=["demux.a", "demux.c"], is_draining=True),
        a_node("worker", channels=["demux.b"]),
    ]
    fleet = FleetReport(nodes=nodes)
    assert [summary.channel for summary in fleet.streams] == ["demux.a", "demux.b", "demux.c"]
    assert [summary.channel for summary in fleet.unhosted] == ["demux.a"]


def test_releases_are_told_apart() -> None:
    """How many nodes run each release, and which versions of the layer wire are spoken."""
    nodes = [
        a_node("server", release="2", wire=2),
        a_node("worker", release="1"),
        a_node("worker", release="1"),
    ]
    fleet = FleetReport(nodes=nodes)
    assert fleet.releases == {"1": 2, "2": 1}
    assert fleet.wires == [1, 2]
