"""The options of a client."""

from dataclasses import dataclass, field

from .reconnect import Backoff
from .wire import ClientCodec

__all__ = ["Options"]


@dataclass(frozen=True)
class Options:
    """The options of `connect`, which describes each of them.

    Attributes:
        reconnect: Whether to reconnect when the socket is lost.
        keep_trying: Whether to retry the first connect too.
        backoff: How long to wait before reconnecting.
        window_frames: Maximum of frames that wait to be sent, and of unread ones per stream.
        window_bytes: The same maximum in bytes.
        close_timeout: Seconds that a stream or the connection may take to close.
        codec: Encodes and decodes envelopes.
    """

    reconnect: bool = True
    keep_trying: bool = False
    backoff: Backoff = field(default_factory=Backoff)
    window_frames: int = 64
    window_bytes: int = 1_048_576
    close_timeout: float = 10.0
    codec: ClientCodec = field(default_factory=ClientCodec)
