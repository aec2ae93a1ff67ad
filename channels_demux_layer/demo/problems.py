"""The exception that ends the demo."""

from channels_demux_layer.exceptions import DemuxError


class DemoError(DemuxError):
    """The demo cannot start or continue. The message says why and what to do."""
