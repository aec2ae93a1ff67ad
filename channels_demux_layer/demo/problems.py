"""What ends the demo early, told in one sentence."""

from channels_demux_layer.exceptions import DemuxError


class DemoError(DemuxError):
    """The demo cannot go on: the message says why and what to do."""
