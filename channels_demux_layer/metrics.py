"""The metrics of the package, and their values from reports.

Metrics are computed at each scrape, from the counts that the reports use. Without scrapes they cost
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from .protocol.report import NodeReport, StreamReport
from .transport.nodes import all_nodes
from .transport.tally import all_tallies

__all__ = ["METRICS", "Metric", "Sample", "measure_process"]


class Metric(NamedTuple):
    """One metric.

    Attributes:
        name: The name, stable across releases.
        kind: ``counter``, which only grows while a process lives, or ``gauge``.
        unit: The unit.
        labels: The names of the labels.
        help: A short description.
        merge: How to combine the values of several processes: ``sum`` or ``max``.
    """

    name: str
    kind: Literal["counter", "gauge"]
    unit: str
    labels: tuple[str, ...]
    help: str
    merge: Literal["sum", "max"] = "sum"


class Sample(NamedTuple):
    """The value of a metric for one set of labels, in the order of the metric's labels."""

    metric: Metric
    labels: tuple[str, ...]
    value: float


_STREAM = ("stream", "channel")
_SIDE = ("side", *_STREAM)
_DIRECTED = (*_SIDE, "direction")

PENDING = Metric(
    "demux_opens_pending", "gauge", "opens", _STREAM, "Opens that no consumer has accepted yet"
)
SESSIONS = Metric("demux_sessions", "gauge", "sessions", _SIDE, "Open sessions")
FRAMES = Metric("demux_frames_total", "counter", "payloads", _DIRECTED, "Payloads that passed")
IN_FLIGHT = Metric(
    *("demux_frames_in_flight", "gauge", "payloads", _SIDE),
    "Payloads that this side has sent and the other has not taken yet",
)
FULL = Metric(
    *("demux_window_full_total", "counter", "waits", _DIRECTED),
    "How often a sender found the window full",
)
STALLS = Metric(
    *("demux_stalls_total", "counter", "streams", _DIRECTED),
    "Streams closed because the receiver took nothing for STALL_TIMEOUT",
)
REOPENED = Metric(
    *("demux_reopened_total", "counter", "sessions", _STREAM),
    "Sessions that continued with a new consumer after their worker was lost",
)
POISONED = Metric(
    *("demux_poisoned_total", "counter", "streams", _STREAM),
    "Streams closed because MAX_DELIVERIES workers had died with them",
)
CLOSED = Metric(
    *("demux_closed_total", "counter", "streams", (*_SIDE, "code")),
    "Ended streams, by the close code that the client received",
)
LINKS = Metric("demux_links", "gauge", "links", (), "Links to other nodes")
ROUND_TRIP = Metric(
    *("demux_link_round_trip_seconds", "gauge", "seconds", ()),
    "The longest smoothed round-trip time of a link",
    "max",
)
BATCHES = Metric(
    *("demux_batches_total", "counter", "batches", ("direction",)),
    "Batches with frames that were sent or received, without retransmissions and repeats",
)
BATCHES_IN_FLIGHT = Metric(
    *("demux_batches_in_flight", "gauge", "batches", ()),
    "Batches that were sent but not acknowledged yet",
)
RETRANSMITS = Metric(
    "demux_retransmits_total", "counter", "batches", (), "Batches that were sent again"
)
REPEATS = Metric(
    *("demux_repeats_dropped_total", "counter", "batches", ()),
    "Batches that were dropped because they had arrived before",
)
IGNORED = Metric(
    *("demux_ignored_messages_total", "counter", "messages", ("reason",)),
    "Ignored messages of the channel layer, such as malformed, foreign or unreadable ones",
)
BLOCKS = Metric(
    *("demux_blocks_total", "counter", "blocks", ()),
    "How often the event loop was blocked for longer than an eighth of PEER_TIMEOUT",
)
LOAD = Metric(*("demux_load", "gauge", "sessions", ()), "Sessions that workers host")
MAX_SESSIONS = Metric(
    *("demux_max_sessions", "gauge", "sessions", ()),
    "The maximum of sessions that workers host; 0 for no limit",
)
DRAINING = Metric(*("demux_draining", "gauge", "0 or 1", ()), "Whether the process drains", "max")
CUT_OFF = Metric(
    *("demux_cut_off", "gauge", "0 or 1", ()), "Whether calls to the channel layer fail", "max"
)
INFO = Metric(
    *("demux_node_info", "gauge", "1", ("kind", "release", "wire")),
    "The release of the package, and its version of the layer wire",
    "max",
)

#: All metrics, in the order of the documentation.
METRICS: tuple[Metric, ...] = (
    *(PENDING, SESSIONS, FRAMES, IN_FLIGHT, FULL, STALLS, REOPENED, POISONED, CLOSED),
    *(LINKS, ROUND_TRIP, BATCHES, BATCHES_IN_FLIGHT, RETRANSMITS, REPEATS, IGNORED, BLOCKS),
    *(LOAD, MAX_SESSIONS, DRAINING, CUT_OFF, INFO),
)


def measure_process() -> list[Sample]:
    """Return the values of all metrics for all event loops of this process, from any thread."""
    streams = [tally.report() for tally in all_tallies()]
    nodes = [node.reporter.report() for node in all_nodes() if node.channel]
    return list(samples(streams, nodes))


def samples(streams: Iterable[StreamReport], nodes: Iterable[NodeReport]) -> Iterator[Sample]:
    """Yield the values of all metrics of one process.

    Args:
        streams: The reports of the process's streams.
        nodes: The reports of the process's nodes.
    """
    for stream in streams:
        yield from _of_stream(stream)
    known = list(nodes)
    if known:
        yield from _of_nodes(known)


def _of_stream(report: StreamReport) -> Iterator[Sample]:
    stream = (report.stream, report.channel)
    side = (report.side, *stream)
    yield Sample(SESSIONS, side, report.sessions)
    yield Sample(IN_FLIGHT, side, report.in_flight)
    for metric, inward, outward in (
        (FRAMES, report.frames_in, report.frames_out),
        (FULL, report.full_in, report.full_out),
        (STALLS, report.stalls_in, report.stalls_out),
    ):
        yield Sample(metric, (*side, "in"), inward)
        yield Sample(metric, (*side, "out"), outward)
    if report.side == "edge":
        yield Sample(PENDING, stream, report.pending)
        yield Sample(REOPENED, stream, report.reopened)
        yield Sample(POISONED, stream, report.poisoned)
    for code, count in report.closed.items():
        yield Sample(CLOSED, (*side, str(code)), count)


def _of_nodes(nodes: list[NodeReport]) -> Iterator[Sample]:
    links = [link for node in nodes for link in node.links]
    yield Sample(LINKS, (), len(links))
    yield Sample(ROUND_TRIP, (), max((link.round_trip or 0.0 for link in links), default=0.0))
    yield Sample(BATCHES, ("sent",), sum(node.batches_sent for node in nodes))
    yield Sample(BATCHES, ("received",), sum(node.batches_received for node in nodes))
    yield Sample(BATCHES_IN_FLIGHT, (), sum(link.in_flight for link in links))
    yield Sample(RETRANSMITS, (), sum(node.retransmits for node in nodes))
    yield Sample(REPEATS, (), sum(node.repeats for node in nodes))
    for reason in dict.fromkeys(reason for node in nodes for reason in node.ignored):
        count = sum(node.ignored.get(reason, 0) for node in nodes)
        yield Sample(IGNORED, (reason,), count)
    yield Sample(BLOCKS, (), sum(node.blocks for node in nodes))
    yield Sample(LOAD, (), sum(node.load for node in nodes))
    yield Sample(MAX_SESSIONS, (), sum(node.max_sessions for node in nodes))
    yield Sample(DRAINING, (), any(node.is_draining for node in nodes))
    yield Sample(CUT_OFF, (), any(node.is_cut_off for node in nodes))
    for labels in {(node.kind, node.release, str(node.wire)): None for node in nodes}:
        yield Sample(INFO, labels, 1)
