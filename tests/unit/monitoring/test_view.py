"""A fleet's report as tables and sentences."""

from __future__ import annotations

from typing import Any

import pytest

from channels_demux_layer.monitoring.fleet import FleetReport
from channels_demux_layer.monitoring.view import links_table, nodes_table, remarks, streams_table
from channels_demux_layer.protocol.report import LinkReport, NodeReport, StreamReport


def a_node(name: str = "n!1", **fields: Any) -> NodeReport:
    """A node's report."""
    given = {"kind": "server", "release": "1.0", "wire": 1, "host": "web", "pid": 7, **fields}
    return NodeReport(node=name, **given)


def a_stream(**fields: Any) -> StreamReport:
    """A stream's report."""
    given = {"side": "edge", "stream": "a", "channel": "demux.a", **fields}
    return StreamReport(**given)


def cells(table: Any, row: int = 0) -> dict[str, str]:
    """A row of a table by its columns."""
    return dict(zip((column.strip() for column in table.columns), table.rows[row], strict=True))


def test_a_server_has_its_sessions() -> None:
    """A server's sessions are those of its connections, the ones that wait included."""
    streams = [a_stream(sessions=2, pending=1), a_stream(side="inline", sessions=4)]
    row = cells(nodes_table(FleetReport(nodes=[a_node(streams=streams, uptime=61)])))
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
    node = a_node(kind="worker", channels=["demux.a", "demux.b"], **fields)
    row = cells(nodes_table(FleetReport(nodes=[node])))
    assert (row["state"], row["sessions"], row["hosts"]) == (state, sessions, "demux.a demux.b")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.9, "0s"), (59, "59s"), (3600, "1h 0m"), (90_000, "1d 1h")],
)
def test_an_uptime_is_short(seconds: float, text: str) -> None:
    """Two units say enough."""
    fleet = FleetReport(nodes=[a_node(uptime=seconds)])
    assert cells(nodes_table(fleet))["uptime"] == text


def test_two_looks_make_rates() -> None:
    """Frames per second each way; a server that has gone makes no negative ones."""
    before = FleetReport(nodes=[a_node(streams=[a_stream(frames_in=100, frames_out=500)])])
    counts = {"frames_in": 2_300, "frames_out": 0, "in_flight": 3, "full_in": 4, "stalls_out": 5}
    ends = {"reopened": 6, "closed": {4408: 2, 1000: 1, 0: 9}}
    now = a_stream(sessions=7, pending=8, **counts, **ends)
    worker = a_node("w!1", kind="worker", channels=["demux.a", "demux.b"])
    fleet = FleetReport(nodes=[a_node(streams=[now]), worker])
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
        a_node("n!1", links=[edge]),
        a_node("w!1", kind="worker", pid=8, links=[LinkReport(peer="n!1", is_edge=False), far]),
    ]
    table = links_table(FleetReport(nodes=nodes))
    assert len(table.rows) == 2
    row = cells(table)
    assert (row["link from"], row["to"]) == ("web:7", "web:8")
    assert (row["sessions"], row["round trip"], row["batches"]) == ("2", "4.6 ms", "9")
    assert (cells(table, 1)["to"], cells(table, 1)["round trip"]) == ("silent!9", "")


def test_all_is_well() -> None:
    """Where nothing is the matter nothing is said."""
    assert remarks(FleetReport(nodes=[a_node()])) == []


def test_what_should_be_known_at_once() -> None:
    """Silence, streams without workers, mixed releases and a layer that fails are all said."""
    assert remarks(FleetReport(nodes=[]))[0].startswith("No node answers.")
    nodes = [
        a_node(streams=[a_stream(pending=3, poisoned=2)], is_cut_off=True),
        a_node("w!1", release="2.0", wire=2),
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
