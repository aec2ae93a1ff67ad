"""What a project's routing needs of this package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .exceptions import ConfigurationError
from .protocol.naming import stream_channel
from .streams import Stream
from .workers.worker import StreamWorker

if TYPE_CHECKING:
    from .demultiplexer import WebsocketDemultiplexer

__all__ = ["stream_workers"]


def stream_workers(*demultiplexers: type[WebsocketDemultiplexer]) -> dict[str, Any]:
    """Return the applications of all streams' channels, for a ChannelNameRouter.

    Args:
        demultiplexers: The demultiplexer classes whose streams workers shall host.

    Returns:
        Channel names, as ``runworker`` takes them, and the application of each.

    Raises:
        ConfigurationError: Two of them use one channel for different consumers, or with
            different worker_middleware.
    """
    workers: dict[str, Any] = {}
    owners: dict[str, tuple[Stream, type[WebsocketDemultiplexer]]] = {}
    for demultiplexer in demultiplexers:
        for name, stream in demultiplexer.stream_table().items():
            channel = stream_channel(demultiplexer.channel_prefix, name)
            known, owner = owners.setdefault(channel, (stream, demultiplexer))
            middleware = demultiplexer.worker_middleware
            if (known.target, known.own_thread) != (stream.target, stream.own_thread):
                difference = "consumers"
            elif owner.worker_middleware != middleware:
                difference = "worker_middleware"
            else:
                workers[channel] = StreamWorker(stream, middleware)
                continue
            raise ConfigurationError(
                f"{owner.__name__} and {demultiplexer.__name__} use the channel {channel!r} for "
                f"different {difference}. Give one of them another channel_prefix."
            )
    return workers
