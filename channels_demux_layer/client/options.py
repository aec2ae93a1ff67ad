"""How a client behaves."""

from dataclasses import dataclass, field

from .reconnect import Backoff
from .wire import ClientCodec

__all__ = ["Options"]


@dataclass(frozen=True)
class Options:
    """How a client behaves; `connect` has the words for each.

    Attributes:
        reconnect: Whether to connect again.
        keep_trying: Whether to try on where the first connect fails.
        backoff: How long to wait before connecting again.
        window_frames: So many frames may wait to be sent, and of each stream to be read.
        window_bytes: So many bytes may.
        close_timeout: Seconds that an end may take: of a stream, or of all.
        codec: Reads and writes envelopes.
    """

    reconnect: bool = True
    keep_trying: bool = False
    backoff: Backoff = field(default_factory=Backoff)
    window_frames: int = 64
    window_bytes: int = 1_048_576
    close_timeout: float = 10.0
    codec: ClientCodec = field(default_factory=ClientCodec)
