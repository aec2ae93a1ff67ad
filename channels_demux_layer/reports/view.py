"""A fleet's report as tables and sentences, for people to read."""

from __future__ import annotations

from typing import NamedTuple

from .fleet import FleetReport, StreamSummary
from .report import LinkReport, NodeReport

__all__ = ["TableView", "links_table", "nodes_table", "remarks", "streams_table"]


class TableView(NamedTuple):
    """A table of words and figures.

    Attributes:
        title: What stands above it.
        columns: The heads of its columns; those of figures end with a space.
        rows: The cells of each row.
    """

    title: str
    columns: list[str]
    rows: list[tuple[str, ...]]


def nodes_table(fleet: FleetReport) -> TableView:
    """Return the table of nodes."""
    columns = "node|host|pid |release|uptime |state|sessions |links |hosts"
    return TableView("Nodes", columns.split("|"), [_node_row(node) for node in fleet.nodes])


def _node_row(node: NodeReport) -> tuple[str, ...]:
    state = "cut off" if node.is_cut_off else "draining" if node.is_draining else "running"
    bound = f"/{node.max_sessions}" if node.max_sessions else ""
    edges = sum(each.sessions + each.pending for each in node.streams if each.side != "worker")
    return (
        node.kind,
        node.host,
        str(node.pid),
        node.release,
        _span(node.uptime),
        state,
        str(edges) if node.kind == "server" else f"{node.load}{bound}",
        str(len(node.links)),
        " ".join(node.channels),
    )


def _span(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes}m"
    return f"{minutes}m {seconds}s" if minutes else f"{seconds}s"


def streams_table(fleet: FleetReport, before: FleetReport, seconds: float) -> TableView:
    """Return the table of streams.

    Args:
        fleet: What was said last.
        before: What was said the time before: the two make rates.
        seconds: The time between them.
    """
    columns = "stream|workers |sessions |pending |in/s |out/s |in flight |full |stalls |"
    columns += "reopened |closed"
    earlier = {each.channel: each for each in before.streams}
    rows = [_stream_row(each, earlier.get(each.channel, each), seconds) for each in fleet.streams]
    return TableView("Streams", columns.split("|"), rows)


def _stream_row(now: StreamSummary, before: StreamSummary, seconds: float) -> tuple[str, ...]:
    # A server that has gone takes its counts along.
    rates = (
        max(now.frames_in - before.frames_in, 0) / seconds,
        max(now.frames_out - before.frames_out, 0) / seconds,
    )
    closed = " ".join(f"{code or 'other'}:{count}" for code, count in sorted(now.closed.items()))
    counts = (now.in_flight, now.full, now.stalls, now.reopened)
    return (
        now.channel,
        str(now.workers),
        str(now.sessions),
        str(now.pending),
        *(f"{rate:,.0f}" for rate in rates),
        *map(str, counts),
        closed,
    )


def links_table(fleet: FleetReport) -> TableView:
    """Return the table of links, as the edges' ends see them; others where no edge has answered."""
    columns = "link from|to|sessions |round trip |batches |in flight |retransmits |repeats "
    names = {node.node: f"{node.host}:{node.pid}" for node in fleet.nodes}
    rows = [
        _link_row(names[node.node], names.get(link.peer, link.peer), link)
        for node in fleet.nodes
        for link in node.links
        if link.is_edge or link.peer not in names
    ]
    return TableView("Links", columns.split("|"), rows)


def _link_row(here: str, peer: str, link: LinkReport) -> tuple[str, ...]:
    round_trip = "" if link.round_trip is None else f"{link.round_trip * 1000:.1f} ms"
    counts = (link.batches_sent, link.in_flight, link.retransmits, link.repeats)
    return (here, peer, str(link.sessions), round_trip, *map(str, counts))


def remarks(fleet: FleetReport) -> list[str]:
    """Return what somebody should know at once, a sentence each; none where all is well."""
    said = [] if fleet.nodes or fleet.unreadable else [_NOBODY]
    said += [
        f"{each.channel}: {each.pending} connections wait and no worker takes the stream. "
        f"Start one: manage.py runworker {each.channel}"
        for each in fleet.unhosted
    ]
    if len(fleet.releases) > 1:
        parts = ", ".join(f"{release} ({count})" for release, count in fleet.releases.items())
        said.append(f"Releases are mixed: {parts}.")
    if len(fleet.wires) > 1:
        versions = " and ".join(map(str, fleet.wires))
        said.append(f"Versions {versions} of the layer wire do not work together.")
    if fleet.unreadable:
        said.append(f"{fleet.unreadable} answers cannot be read: they are of another release.")
    cut_off = [f"{node.host}:{node.pid}" for node in fleet.nodes if node.is_cut_off]
    if cut_off:
        said.append(f"The channel layer fails for {', '.join(cut_off)}.")
    return said


_NOBODY = (
    "No node answers. A worker does from its start, a server from its first connection with a "
    "stream that workers host; both must use the same channel layer as this command."
)
