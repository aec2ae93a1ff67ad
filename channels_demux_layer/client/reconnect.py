"""When a client connects again, and after how long: full-jitter exponential back-off.

Many clients lose their sockets at the same moment, when a server restarts. Each waits for a
random part of a bound that doubles, so that they come back spread out (C1.6).
"""

from dataclasses import dataclass

from channels_demux_layer.codes import CloseCode

__all__ = ["Attempts", "Backoff", "is_final_close", "is_final_status"]

#: Closes after which another try can only end the same way (RFC 6455, section 7.4.1): on purpose,
#: a protocol error, data of a kind that is not taken, invalid data, a policy, a frame that is too
#: big, an extension that is missing.
_FINAL_CLOSES = frozenset({CloseCode.NORMAL, 1002, 1003, 1007, 1008, CloseCode.TOO_BIG, 1010})
#: Codes of libraries and applications: they have ended the connection with a word of their own.
_PRIVATE_CLOSES = range(3000, 5000)
#: The client is not logged in, not allowed, or at the wrong address.
_FINAL_STATUSES = frozenset({401, 403, 404})
#: The doublings that any bound in floating point can bear.
_MOST_DOUBLINGS = 64


@dataclass(frozen=True)
class Backoff:
    """How long a client waits before it connects again.

    Attributes:
        first: Bound of the first wait, in seconds; each failure doubles it.
        longest: Bound of all waits, in seconds.
        min_uptime: Seconds that a socket must have been open for the waits to begin anew: a
            server that takes sockets and drops them at once is not to be hammered.
    """

    first: float = 1.0
    longest: float = 30.0
    min_uptime: float = 5.0

    def delay(self, failures: int, randomness: float) -> float:
        """Choose a wait.

        Args:
            failures: How many attempts have failed since all was well.
            randomness: A random number from 0 to 1.

        Returns:
            The wait, in seconds.
        """
        bound = self.first * 2.0 ** min(failures, _MOST_DOUBLINGS)
        return randomness * min(self.longest, bound)


class Attempts:
    """Counts the attempts to connect since all was well.

    Args:
        backoff: How long to wait.
    """

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._failures = 0
        self._connected_at: float | None = None

    def connected(self, now: float) -> None:
        """Note that a socket is open.

        Args:
            now: The time, in seconds.
        """
        self._connected_at = now

    def next_delay(self, now: float, randomness: float) -> float:
        """Choose the wait before the next attempt, after a failed one or a lost socket.

        Args:
            now: The time, in seconds.
            randomness: A random number from 0 to 1.

        Returns:
            The wait, in seconds.
        """
        connected_at, self._connected_at = self._connected_at, None
        if connected_at is not None and now - connected_at >= self._backoff.min_uptime:
            self._failures = 0
        delay = self._backoff.delay(self._failures, randomness)
        self._failures += 1
        return delay


def is_final_close(code: int) -> bool:
    """Tell whether a close of the socket ends everything.

    Args:
        code: The close code.

    Returns:
        False where the client is to connect again.
    """
    return code in _FINAL_CLOSES or code in _PRIVATE_CLOSES


def is_final_status(status: int) -> bool:
    """Tell whether an HTTP status in place of a WebSocket ends everything.

    Args:
        status: The status code of the server's answer.

    Returns:
        False where the client is to connect again.
    """
    return status in _FINAL_STATUSES
