"""The same consumer as streams of this package, in workers or inline."""

import os
from typing import Literal

from channels_demux_layer import Stream, WebsocketDemultiplexer

from . import consumers

CONSUMER = getattr(consumers, os.environ["DEMUX_CONSUMER"])
HOSTING: Literal["inline", "workers"] = (
    "inline" if os.environ["DEMUX_VARIANT"] == "inline" else "workers"
)


class Demultiplexer(WebsocketDemultiplexer):
    """As many streams as are asked for."""

    consumer_classes = {
        name: Stream(CONSUMER, hosting=HOSTING) for name in os.environ["DEMUX_STREAMS"].split()
    }
