"""The demultiplexer of the demo."""

from channels_demux_layer import Stream, WebsocketDemultiplexer

from .consumers import EchoConsumer
from .system import SystemConsumer


class Demultiplexer(WebsocketDemultiplexer):
    """One WebSocket with five streams."""

    consumer_classes = {
        "echo": EchoConsumer,
        # Only the workers of a stream import its dotted path.
        "chat": "channels_demux_layer.demo.project.consumers.ChatConsumer",
        "prices": "channels_demux_layer.demo.project.consumers.PricesConsumer",
        "upload": "channels_demux_layer.demo.project.consumers.UploadConsumer",
        # A cheap stream can stay in the server's process.
        "system": Stream(SystemConsumer, hosting="inline"),
    }
