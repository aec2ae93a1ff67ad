"""A third application of the project: streams that not everybody may use as much as they like.

For sites with `application="tests.acceptance.project.limited.application"`.
"""

from django.core.asgi import get_asgi_application

# Loads the applications, which the consumers below need.
http_application = get_asgi_application()

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import path  # noqa: E402

from channels_demux_layer import Stream, WebsocketDemultiplexer  # noqa: E402
from channels_demux_layer.routing import stream_workers  # noqa: E402

from .consumers import EchoConsumer, SlowConsumer  # noqa: E402


def is_known(scope):  # type: ignore[no-untyped-def]
    """Tell whether the client is logged in."""
    return scope["user"].is_authenticated


class Limited(WebsocketDemultiplexer):
    """A stream that is open, and others to open."""

    channel_prefix = "limited"
    consumer_classes = {
        "echo": EchoConsumer,
        "slow": Stream(SlowConsumer, lazy=True),
        "members": Stream(EchoConsumer, lazy=True, permission=is_known),
        "staff": Stream(EchoConsumer, lazy=True, permission="auth.view_user"),
    }


class Streams(Limited):
    """Two streams at a time."""

    max_open_streams = 2


class Opens(Limited):
    """Few opens."""

    opens_per_minute = 3


class Frames(Limited):
    """Few frames."""

    frames_per_second = 20


class Bytes(Limited):
    """Few bytes."""

    bytes_per_second = 100_000


class Buffered(Limited):
    """Few bytes on their way."""

    max_buffered = 20_000


classes = (Limited, Streams, Opens, Frames, Bytes, Buffered)
application = ProtocolTypeRouter(
    {
        "http": http_application,
        "websocket": AuthMiddlewareStack(
            URLRouter([path(f"{cls.__name__.lower()}/", cls.as_asgi()) for cls in classes])
        ),
        "channel": ChannelNameRouter(stream_workers(Limited)),
    }
)
