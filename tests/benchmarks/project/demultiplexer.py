"""The echo as a stream of this package."""

from channels_demux_layer import WebsocketDemultiplexer

from .consumers import EchoConsumer


class Demultiplexer(WebsocketDemultiplexer):
    """One stream."""

    consumer_classes = {"echo": EchoConsumer}
