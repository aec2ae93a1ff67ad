"""What every log record of the package says beside its text: whom it is about."""

from __future__ import annotations

__all__ = ["KEYS", "about"]

#: The attributes of each record. None where one does not apply: so a format may name all of them.
KEYS = (
    "demux_connection",
    "demux_stream",
    "demux_node",
    "demux_peer",
    "demux_link",
    "demux_ref",
)


def about(
    *,
    connection: str | None = None,
    stream: str | None = None,
    node: str | None = None,
    peer: str | None = None,
    link: str | None = None,
    ref: str | None = None,
) -> dict[str, str | None]:
    """Return the ``extra`` of a log record.

    Args:
        connection: The connection's id.
        stream: The stream's name.
        node: The channel of this process's node.
        peer: The channel of the peer's node.
        link: The link's id.
        ref: The ref of an open.

    Returns:
        A value for each of KEYS.
    """
    return dict(zip(KEYS, (connection, stream, node, peer, link, ref), strict=True))
