"""A script that asks the nodes how they are."""

from channels_demux_layer.exceptions import LayerFailed
from channels_demux_layer.metrics import METRICS
from channels_demux_layer.status import ask_nodes


async def full_workers() -> list[str]:
    """Name the workers that host all they may."""
    try:
        fleet = await ask_nodes(limit=1.0)
    except LayerFailed as error:
        return [str(error)]
    return [node.host for node in fleet.nodes if 0 < node.max_sessions <= node.load]


def counters() -> list[str]:
    """Name the metrics that grow."""
    return [metric.name for metric in METRICS if metric.kind == "counter"]


async def wrong() -> None:
    """Each of these has to be said to be wrong."""
    await ask_nodes("default", 1.0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    fleet = await ask_nodes()
    fleet.node  # type: ignore[attr-defined]  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
