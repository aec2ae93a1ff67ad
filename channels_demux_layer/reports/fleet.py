"""All nodes of a deployment, and what follows from their reports taken together."""

from __future__ import annotations

import msgspec

from .report import NodeReport, StreamReport

__all__ = ["FleetReport", "StreamSummary"]


class StreamSummary(msgspec.Struct, kw_only=True):
    """One stream over all nodes.

    Attributes:
        channel: Its channel, as ``runworker`` takes it.
        stream: Its name.
        workers: Nodes whose workers take its opens: not those that drain.
        sessions: Its open sessions.
        pending: Its opens that no consumer has accepted yet.
        frames_in: Payloads that passed at the servers towards consumers.
        frames_out: Payloads that passed at the servers towards clients.
        in_flight: Payloads of both directions that were sent and not taken yet.
        full: How often a sender found a window full.
        stalls: Streams closed because one side took nothing.
        reopened: How often a session went on with another consumer after its worker was lost.
        closed: Streams that ended, by the code that the client was told.
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
    closed: dict[int, int] = msgspec.field(default_factory=dict)

    def add(self, report: StreamReport) -> None:
        """Count in what one side in one process has seen."""
        self.in_flight += report.in_flight
        self.full += report.full_in + report.full_out
        self.stalls += report.stalls_in + report.stalls_out
        if report.side == "worker":
            return  # The server has counted the same session and the same frames.
        self.sessions += report.sessions
        self.pending += report.pending
        self.frames_in += report.frames_in
        self.frames_out += report.frames_out
        self.reopened += report.reopened
        for code, count in report.closed.items():
            self.closed[code] = self.closed.get(code, 0) + count


class FleetReport(msgspec.Struct, frozen=True, kw_only=True):
    """What all nodes have said.

    Attributes:
        nodes: Their reports, by kind, host and process id.
        unreadable: How many have said what this release cannot read.
    """

    nodes: list[NodeReport]
    unreadable: int = 0

    @property
    def streams(self) -> list[StreamSummary]:
        """Every stream that a node has seen, or that workers wait for, by its channel."""
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
        """The streams that connections wait for, and no worker takes."""
        return [each for each in self.streams if each.pending and not each.workers]

    @property
    def releases(self) -> dict[str, int]:
        """How many nodes run each release of this package."""
        releases = [node.release for node in self.nodes]
        return {release: releases.count(release) for release in sorted(set(releases))}

    @property
    def wires(self) -> list[int]:
        """The versions of the layer wire that are spoken; more than one do not mix."""
        return sorted({node.wire for node in self.nodes})
