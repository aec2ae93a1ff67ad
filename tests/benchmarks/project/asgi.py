"""The ways side by side; a process imports only the one that it runs."""

import os
from typing import Any

from django.core.asgi import get_asgi_application

http_application = get_asgi_application()

from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import path  # noqa: E402

from . import consumers  # noqa: E402


def routes(variant: str) -> tuple[Any, dict[str, Any]]:
    """Looks up one of the ways.

    Args:
        variant: `plain`, `by-hand`, `multiplexer`, `worker` or `inline`.

    Returns:
        The application of the socket, and those of the channels that workers listen on.
    """
    if variant == "plain":
        return getattr(consumers, os.environ["DEMUX_CONSUMER"]).as_asgi(), {}
    if variant == "by-hand":
        from . import by_hand

        return by_hand.EdgeConsumer.as_asgi(), {by_hand.CHANNEL: by_hand.WorkerConsumer.as_asgi()}
    if variant == "multiplexer":
        from .multiplexer import Multiplexer

        return Multiplexer.as_asgi(), {}
    from channels_demux_layer.routing import stream_workers

    from .demultiplexer import Demultiplexer

    return Demultiplexer.as_asgi(), stream_workers(Demultiplexer)


socket_application, channel_applications = routes(os.environ["DEMUX_VARIANT"])

application = ProtocolTypeRouter(
    {
        "http": http_application,
        "websocket": URLRouter([path("ws/", socket_application)]),
        "channel": ChannelNameRouter(channel_applications),
    }
)
