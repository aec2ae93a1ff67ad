"""The reports of all nodes of a deployment, their sums by stream, and tables of both."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from channels_demux_layer.protocol.report import LinkReport, NodeReport, StreamReport

__all__ = [
    "FleetReport",
    "StreamSummary",
    "TableView",
    "links_table",
    "nodes_table",
    "remarks",
    "streams_table",
]


class StreamSummary(msgspec.Struct, kw_only=True):
    """One stream over all nodes.

    Attributes:
        channel: The stream's channel, as passed to ``runworker``.
        stream: The stream's name.
        workers: Nodes whose workers accept opens of the stream, which excludes draining ones.
        sessions: Open sessions.
        pending: Opens that no consumer has accepted yet.
        frames_in: Payloads that the servers have sent towards consumers.
        frames_out: Payloads that the servers have sent towards clients.
        in_flight: Payloads of both directions that were sent but not taken yet.
        full: How often a sender found a window full.
        stalls: Streams closed because one side took nothing.
        reopened: How often a session continued with a new consumer after its worker was lost.
        poisoned: Streams closed because MAX_DELIVERIES workers had died with them.
        closed: Ended streams, by the close code that the client received.
    """

    channel: str
    stream: str
    workers: int = 0
    sessions: int = 0
    pending: int = 0
    frames_in: int = 0
    frames_out: int = 0
    in_flight: int = 0
    full: int = 0
    stalls: int = 0
    reopened: int = 0
    poisoned: int = 0
    closed: dict[int, int] = msgspec.field(default_factory=dict)

    def add(self, report: StreamReport) -> None:
        """Add the counts of one side of the stream in one process."""
        self.in_flight += report.in_flight
        self.full += report.full_in + report.full_out
        self.stalls += report.stalls_in + report.stalls_out
        if report.side == "worker":
            return  # The server counts the same sessions and frames.
        self.sessions += report.sessions
        self.pending += report.pending
        self.frames_in += report.frames_in
        self.frames_out += report.frames_out
        self.reopened += report.reopened
        self.poisoned += report.poisoned
        for code, count in report.closed.items():
            self.closed[code] = self.closed.get(code, 0) + count


class FleetReport(msgspec.Struct, frozen=True, kw_only=True):
    """The reports of all nodes.

    Attributes:
        nodes: The reports, sorted by kind, host and process id.
        unreadable: How many answers this release could not read.
    """

    nodes: list[NodeReport]
    unreadable: int = 0

    @property
    def streams(self) -> list[StreamSummary]:
        """Every stream that a node has seen or that a worker hosts, sorted by channel."""
        found: dict[str, StreamSummary] = {}
        for report in (report for node in self.nodes for report in node.streams):
            summary = StreamSummary(channel=report.channel, stream=report.stream)
            found.setdefault(report.channel, summary).add(report)
        for node in self.nodes:
            for channel in node.channels:
                summary = found.setdefault(channel, StreamSummary(channel=channel, stream=""))
                summary.workers += not node.is_draining
        return [found[channel] for channel in sorted(found)]

    @property
    def unhosted(self) -> list[StreamSummary]:
        """The streams that connections wait for and no worker hosts."""
        return [each for each in self.streams if each.pending and not each.workers]

    @property
    def releases(self) -> dict[str, int]:
        """How many nodes run each release of this package."""
        releases = [node.release for node in self.nodes]
        return {release: releases.count(release) for release in sorted(set(releases))}

    @property
    def wires(self) -> list[int]:
        """The versions of the layer wire in use. Nodes of different versions cannot communicate."""
        return sorted({node.wire for node in self.nodes})


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
