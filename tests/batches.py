"""Batches for tests that have no link to make them."""

from __future__ import annotations

from typing import Any

from channels_demux_layer.protocol.frames import VERSION, Batch

__all__ = ["make_batch"]


def make_batch(**fields: Any) -> Batch:
    """Return a batch with nothing remarkable about it but these fields."""
    plain: dict[str, Any] = {
        "version": VERSION,
        "link": "link",
        "to_edge": False,
        "channel": "node",
        "seq": 1,
        "base": 1,
        "ack": 0,
        "early": [],
        "again": False,
        "frames": b"\x90",
    }
    return Batch(**plain | fields)
