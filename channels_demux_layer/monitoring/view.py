"""Presents a fleet's report as tables and sentences."""

from __future__ import annotations

from typing import NamedTuple

from channels_demux_layer.protocol.report import LinkReport, NodeReport

from .fleet import FleetReport, StreamSummary

__all__ = ["TableView", "links_table", "nodes_table", "remarks", "streams_table"]


class TableView(NamedTuple):
    """A table of text and numbers.

    Attributes:
        title: The title above the table.
        columns: The column headings. Those of numeric columns end with a space.
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
        fleet: The latest report.
        before: The report before it, to compute rates.
        seconds: The time between the two.
    """
    columns = "stream|workers |sessions |pending |in/s |out/s |in flight |full |stalls |"
    columns += "reopened |closed"
    earlier = {each.channel: each for each in before.streams}
    rows = [_stream_row(each, earlier.get(each.channel, each), seconds) for each in fleet.streams]
    return TableView("Streams", columns.split("|"), rows)


def _stream_row(now: StreamSummary, before: StreamSummary, seconds: float) -> tuple[str, ...]:
    # Counts shrink when a server ends; a rate must not be negative.
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
    """Return the table of links, from the reports of edges, or of workers if no edge answered."""
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
    """Return warnings about problems; an empty list if there are none."""
    said = [] if fleet.nodes or fleet.unreadable else [_NOBODY]
    said += [
        f"{each.channel}: {each.pending} connections wait, but no worker hosts the stream. "
        f"Start one: manage.py runworker {each.channel}"
        for each in fleet.unhosted
    ]
    said += [
        f"{each.channel}: {each.poisoned} streams were closed (code 4422) since their workers died "
        "with them, one after the other. Look into the logs of the servers for which."
        for each in fleet.streams
        if each.poisoned
    ]
    if len(fleet.releases) > 1:
        parts = ", ".join(f"{release} ({count})" for release, count in fleet.releases.items())
        said.append(f"Releases are mixed: {parts}.")
    if len(fleet.wires) > 1:
        versions = " and ".join(map(str, fleet.wires))
        said.append(
            f"Nodes with versions {versions} of the layer wire cannot communicate. "
            "Deploy the same release everywhere."
        )
    if fleet.unreadable:
        said.append(f"{fleet.unreadable} answers are unreadable: another release sent them.")
    cut_off = [f"{node.host}:{node.pid}" for node in fleet.nodes if node.is_cut_off]
    if cut_off:
        said.append(f"Calls to the channel layer fail in {', '.join(cut_off)}.")
    return said


_NOBODY = (
    "No node answers. Workers answer once they run, and servers after the first connection with a "
    "stream that workers host. Both must use the same channel layer as this command."
)
