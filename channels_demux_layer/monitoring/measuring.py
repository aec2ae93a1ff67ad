"""What this process has to say to an exporter of metrics."""

from __future__ import annotations

from channels_demux_layer.metrics import Sample, samples
from channels_demux_layer.transport.nodes import all_nodes
from channels_demux_layer.transport.tally import all_tallies

__all__ = ["measure_process"]


def measure_process() -> list[Sample]:
    """Return the value of every metric, of all event loops of this process; any thread may ask."""
    streams = [tally.report() for tally in all_tallies()]
    nodes = [node.reporter.report() for node in all_nodes() if node.channel]
    return list(samples(streams, nodes))
