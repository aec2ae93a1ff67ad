"""What a project's routing needs of this package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .exceptions import ConfigurationError
from .naming import stream_channel
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
        ConfigurationError: Two of them give different consumers the same channel.
    """
    workers: dict[str, Any] = {}
    streams: dict[str, Stream] = {}
    for demultiplexer in demultiplexers:
        for name, stream in demultiplexer.stream_table().items():
            channel = stream_channel(demultiplexer.channel_prefix, name)
            known = streams.setdefault(channel, stream)
            if (known.target, known.own_thread) != (stream.target, stream.own_thread):
                raise ConfigurationError(
                    f"{demultiplexer.__name__} and another demultiplexer both use the channel "
                    f"{channel!r} for different consumers. Give one of them another "
                    "channel_prefix."
                )
            workers[channel] = StreamWorker(stream)
    return workers
