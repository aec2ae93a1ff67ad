"""The ASGI application of servers and workers alike."""

from django.core.asgi import get_asgi_application

# Loads the applications, which the consumers below need.
http_application = get_asgi_application()

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import path, re_path  # noqa: E402

from channels_demux_layer.routing import stream_workers  # noqa: E402

from .demultiplexers import Closing, Demultiplexer, Refusing, Routed, Silent, Single  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": http_application,
        "websocket": AuthMiddlewareStack(
            URLRouter(
                [
                    path("ws/", Demultiplexer.as_asgi()),
                    path("ws/<uuid:room>/", Demultiplexer.as_asgi()),
                    path("single/", Single.as_asgi()),
                    path("closing/", Closing.as_asgi()),
                    path("refusing/", Refusing.as_asgi()),
                    re_path("^routed/", Routed.as_asgi()),
                    path("silent/", Silent.as_asgi()),
                ]
            )
        ),
        "channel": ChannelNameRouter(
            stream_workers(Demultiplexer, Single, Closing, Refusing, Routed, Silent)
        ),
    }
)
