"""A distributed demultiplexer for Django Channels: one WebSocket, many streams, many workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .demultiplexer import WebsocketDemultiplexer
    from .streams import Stream

__all__ = ["Stream", "WebsocketDemultiplexer"]

__version__ = "0.1.0"

_HOMES = {"Stream": "streams", "WebsocketDemultiplexer": "demultiplexer"}


def __getattr__(name: str) -> Any:
    # Lazy, so that importing the package needs neither Django's settings nor Channels.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
