"""The demultiplexers of the project: one class for each path in `asgi.py`."""

from channels.routing import URLRouter
from django.urls import path

from channels_demux_layer import Stream, WebsocketDemultiplexer

from . import consumers

CONSUMERS = "tests.acceptance.project.consumers"

#: Routes by what the outer router has left of the path, as nested routers do.
routed_application = URLRouter(
    [
        path("", consumers.RoutedConsumer.as_asgi(), {"extra": "no room"}),
        path("<uuid:room>/", consumers.RoutedConsumer.as_asgi(), {"extra": "a room"}),
    ]
)


class Demultiplexer(WebsocketDemultiplexer):
    """A stream of each kind; those with a part in only a few tests open on demand."""

    consumer_classes = {
        "echo": consumers.EchoConsumer,
        "other": f"{CONSUMERS}.EchoConsumer",
        "inline": Stream(consumers.EchoConsumer, hosting="inline"),
        "sync": Stream(consumers.SyncConsumer, lazy=True),
        "text": Stream(consumers.TextConsumer, lazy=True, text=True),
        "plain": Stream(consumers.TextConsumer, lazy=True),
        "bytes": Stream(f"{CONSUMERS}.BytesConsumer", lazy=True),
        "raw": Stream(consumers.raw_application, lazy=True),
        "chat": Stream(consumers.ChatConsumer, lazy=True),
        "failing": Stream(consumers.FailingConsumer, lazy=True),
        "refusing": Stream(consumers.RefusingConsumer, lazy=True),
        "denying": Stream(consumers.DenyingConsumer, lazy=True),
        "closing": Stream(consumers.ClosingConsumer, lazy=True),
        "slow": Stream(consumers.SlowConsumer, lazy=True),
        "scope": Stream(consumers.ScopeConsumer, lazy=True),
        "scope-inline": Stream(consumers.ScopeConsumer, lazy=True, hosting="inline"),
        "lazy": Stream(consumers.EchoConsumer, lazy=True),
        "grüße an alle": Stream(consumers.EchoConsumer, lazy=True),
        "nobody": Stream(consumers.EchoConsumer, lazy=True),
    }


class Single(WebsocketDemultiplexer):
    """One stream and nothing else, for the tests with many connections."""

    channel_prefix = "single"
    consumer_classes = {"echo": consumers.EchoConsumer}


class Closing(WebsocketDemultiplexer):
    """Two streams that close when they are told to."""

    channel_prefix = "closing"
    consumer_classes = {
        "first": consumers.ClosingConsumer,
        "last": consumers.ClosingConsumer,
    }


class Routed(WebsocketDemultiplexer):
    """A stream that is a router."""

    channel_prefix = "routed"
    consumer_classes = {"router": routed_application}


class Refusing(WebsocketDemultiplexer):
    """Every stream refuses."""

    channel_prefix = "refusing"
    consumer_classes = {"only": consumers.RefusingConsumer}


class Silent(WebsocketDemultiplexer):
    """Sends no events."""

    channel_prefix = "silent"
    send_events = False
    consumer_classes = {"echo": Stream(consumers.EchoConsumer, hosting="inline")}
