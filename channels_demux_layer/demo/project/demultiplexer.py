"""The three streams of the demo."""

from channels_demux_layer import WebsocketDemultiplexer
from channels_demux_layer.demo.project.consumers import EchoConsumer


class Demultiplexer(WebsocketDemultiplexer):
    """One WebSocket for all of them."""

    consumer_classes = {
        "echo": EchoConsumer,
        # A dotted path is imported by the workers of its stream alone.
        "chat": "channels_demux_layer.demo.project.consumers.ChatConsumer",
        "prices": "channels_demux_layer.demo.project.consumers.PricesConsumer",
    }
