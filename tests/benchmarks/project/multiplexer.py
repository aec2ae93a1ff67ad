"""The same consumer in channelsmultiplexer, which hosts all streams in the server's process."""

import os

from channelsmultiplexer import AsyncJsonWebsocketDemultiplexer

from .consumers import EchoConsumer


class Multiplexer(AsyncJsonWebsocketDemultiplexer):  # type: ignore[misc]
    """As many streams as are asked for."""

    applications = {name: EchoConsumer.as_asgi() for name in os.environ["DEMUX_STREAMS"].split()}
