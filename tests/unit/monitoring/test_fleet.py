"""The reports of all nodes are summed by stream, and shown as tables and warnings."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from channels_demux_layer.monitoring.fleet import (
    FleetReport,
    links_table,
    nodes_table,
    remarks,
    streams_table,
)
from channels_demux_layer.protocol.report import LinkReport, NodeReport, Side, StreamReport


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


def node_row(name: str = "n!1", **fields: Any) -> NodeReport:
    """A node's report."""
    given = {"kind": "server", "release": "1.0", "wire": 1, "host": "web", "pid": 7, **fields}
    return NodeReport(node=name, **given)


def stream_row(**fields: Any) -> StreamReport:
    """A stream's report."""
    given = {"side": "edge", "stream": "a", "channel": "demux.a", **fields}
    return StreamReport(**given)


def cells(table: Any, row: int = 0) -> dict[str, str]:
    """A row of a table by its columns."""
    return dict(zip((column.strip() for column in table.columns), table.rows[row], strict=True))


def test_a_server_has_its_sessions() -> None:
    """A server's sessions are those of its connections, the ones that wait included."""
    streams = [stream_row(sessions=2, pending=1), stream_row(side="inline", sessions=4)]
    row = cells(nodes_table(FleetReport(nodes=[node_row(streams=streams, uptime=61)])))
    expected = {"node": "server", "host": "web", "pid": "7", "release": "1.0", "uptime": "1m 1s"}
    expected |= {"state": "running", "sessions": "7", "links": "0", "hosts": ""}
    assert row == expected


@pytest.mark.parametrize(
    ("fields", "state", "sessions"),
    [
        ({"load": 3}, "running", "3"),
        ({"load": 3, "max_sessions": 9, "is_draining": True}, "draining", "3/9"),
        ({"is_draining": True, "is_cut_off": True}, "cut off", "0"),
    ],
)
def test_a_worker_has_its_load(fields: dict[str, Any], state: str, sessions: str) -> None:
    """A worker shows what it hosts, of how much, which streams, and what is the matter with it."""
    node = node_row(kind="worker", channels=["demux.a", "demux.b"], **fields)
    row = cells(nodes_table(FleetReport(nodes=[node])))
    assert (row["state"], row["sessions"], row["hosts"]) == (state, sessions, "demux.a demux.b")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.9, "0s"), (59, "59s"), (3600, "1h 0m"), (90_000, "1d 1h")],
)
def test_an_uptime_is_short(seconds: float, text: str) -> None:
    """Two units say enough."""
    fleet = FleetReport(nodes=[node_row(uptime=seconds)])
    assert cells(nodes_table(fleet))["uptime"] == text


def test_two_looks_make_rates() -> None:
    """Frames per second each way; a server that has gone makes no negative ones."""
    before = FleetReport(nodes=[node_row(streams=[stream_row(frames_in=100, frames_out=500)])])
    counts = {"frames_in": 2_300, "frames_out": 0, "in_flight": 3, "full_in": 4, "stalls_out": 5}
    ends = {"reopened": 6, "closed": {4408: 2, 1000: 1, 0: 9}}
    now = stream_row(sessions=7, pending=8, **counts, **ends)
    worker = node_row("w!1", kind="worker", channels=["demux.a", "demux.b"])
    fleet = FleetReport(nodes=[node_row(streams=[now]), worker])
    table = streams_table(fleet, before, 2.0)
    expected = {"stream": "demux.a", "workers": "1", "sessions": "7", "pending": "8"}
    expected |= {"in/s": "1,100", "out/s": "0", "in flight": "3", "full": "4", "stalls": "5"}
    expected |= {"reopened": "6", "closed": "other:9 1000:1 4408:2"}
    assert cells(table) == expected
    assert cells(table, 1)["in/s"] == "0"


def test_a_link_is_shown_once() -> None:
    """As the edge's end sees it, or the only end that has answered."""
    edge = LinkReport(peer="w!1", is_edge=True, sessions=2, batches_sent=9, round_trip=0.00456)
    far = LinkReport(peer="silent!9", is_edge=False)
    nodes = [
        node_row("n!1", links=[edge]),
        node_row("w!1", kind="worker", pid=8, links=[LinkReport(peer="n!1", is_edge=False), far]),
    ]
    table = links_table(FleetReport(nodes=nodes))
    assert len(table.rows) == 2
    row = cells(table)
    assert (row["link from"], row["to"]) == ("web:7", "web:8")
    assert (row["sessions"], row["round trip"], row["batches"]) == ("2", "4.6 ms", "9")
    assert (cells(table, 1)["to"], cells(table, 1)["round trip"]) == ("silent!9", "")


def test_all_is_well() -> None:
    """Where nothing is the matter nothing is said."""
    assert remarks(FleetReport(nodes=[node_row()])) == []


def test_what_should_be_known_at_once() -> None:
    """Silence, streams without workers, mixed releases and a layer that fails are all said."""
    assert remarks(FleetReport(nodes=[]))[0].startswith("No node answers.")
    nodes = [
        node_row(streams=[stream_row(pending=3, poisoned=2)], is_cut_off=True),
        node_row("w!1", release="2.0", wire=2),
    ]
    assert remarks(FleetReport(nodes=nodes, unreadable=1)) == [
        "demux.a: 3 connections wait, but no worker hosts the stream. "
        "Start one: manage.py runworker demux.a",
        "demux.a: 2 streams were closed (code 4422) since their workers died with them, one after "
        "the other. Look into the logs of the servers for which.",
        "Releases are mixed: 1.0 (1), 2.0 (1).",
        "Nodes with versions 1 and 2 of the layer wire cannot communicate. "
        "Deploy the same release everywhere.",
        "1 answers are unreadable: another release sent them.",
        "Calls to the channel layer fail in web:7.",
    ]
