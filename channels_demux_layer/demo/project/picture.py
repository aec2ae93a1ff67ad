"""Turns the nodes' reports into the few figures that the page shows."""

from typing import Any

from channels_demux_layer.demo.plan import STREAMS
from channels_demux_layer.monitoring.fleet import FleetReport
from channels_demux_layer.protocol.report import NodeReport

CHANNELS = {f"demux.{stream}": stream for stream in STREAMS}


def draw(fleet: FleetReport) -> dict[str, Any]:
    """Return the figures of all nodes, and of all streams that workers host.

    Args:
        fleet: The nodes' reports.

    Returns:
        A value for JSON. ``frames`` counts both directions since the start of each process.
    """
    streams = {stream: _nothing() for stream in STREAMS}
    for each in fleet.streams:
        if each.channel in CHANNELS:
            streams[CHANNELS[each.channel]] = {
                "workers": each.workers,
                "sessions": each.sessions,
                "pending": each.pending,
                "in_flight": each.in_flight,
                "reopened": each.reopened,
                "frames": each.frames_in + each.frames_out,
            }
    return {"nodes": [_draw_node(node) for node in fleet.nodes], "streams": streams}


def _nothing() -> dict[str, int]:
    return dict.fromkeys(("workers", "sessions", "pending", "in_flight", "reopened", "frames"), 0)


def _draw_node(node: NodeReport) -> dict[str, Any]:
    side = "edge" if node.kind == "server" else "worker"
    seen = [report for report in node.streams if report.side == side]
    return {
        "node": node.node,
        "kind": node.kind,
        "host": node.host,
        "pid": node.pid,
        "uptime": round(node.uptime),
        "draining": node.is_draining,
        "hosts": [CHANNELS[channel] for channel in node.channels if channel in CHANNELS],
        "sessions": sum(report.sessions for report in seen),
        "frames": sum(report.frames_in + report.frames_out for report in seen),
    }
