"""The reports of all nodes of a deployment, and summaries of them."""

from __future__ import annotations

import msgspec

from channels_demux_layer.protocol.report import NodeReport, StreamReport

__all__ = ["FleetReport", "StreamSummary"]


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
