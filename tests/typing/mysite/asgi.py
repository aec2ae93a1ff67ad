"""The routing."""

from typing import Any

from channels.auth import AuthMiddlewareStack
from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path

from channels_demux_layer import health
from channels_demux_layer.contrib.prometheus import metrics_view, register
from channels_demux_layer.routing import stream_workers
from mysite.demultiplexer import Demultiplexer

register()
workers = ChannelNameRouter(stream_workers(Demultiplexer))
# To the types of Django path() leads to views alone, though Channels routes by it.
consumer: Any = Demultiplexer.as_asgi()
routes: list[Any] = [path("ws/", consumer)]
urlpatterns = [
    path("live", health.live),
    path("ready", health.ready),
    path("metrics", metrics_view),
]
application = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": AuthMiddlewareStack(URLRouter(routes)),
        "channel": workers,
    }
)

# Consumers have no streams.
stream_workers(str)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
