"""Whether a client reconnects, and after how long: exponential back-off with full jitter.

A server that restarts drops all its clients at the same moment. Each client waits a random part of
a bound that doubles with each failure, so that the reconnects spread out (C1.6).
"""

from dataclasses import dataclass

from channels_demux_layer.codes import CloseCode

__all__ = ["Attempts", "Backoff", "is_final_close", "is_final_status"]

#: Close codes after which a retry would only fail again (RFC 6455, section 7.4.1): normal closure,
#: protocol error, unsupported data, invalid payload data, policy violation, message too big,
#: missing extension.
_FINAL_CLOSES = frozenset({CloseCode.NORMAL, 1002, 1003, 1007, 1008, CloseCode.TOO_BIG, 1010})
#: Codes of libraries and applications. Either ended the connection on purpose.
_PRIVATE_CLOSES = range(3000, 5000)
#: HTTP 401, 403 and 404: not logged in, not allowed, wrong address.
_FINAL_STATUSES = frozenset({401, 403, 404})
#: Limit of doublings, so that ``2.0 ** failures`` cannot overflow.
_MOST_DOUBLINGS = 64


@dataclass(frozen=True)
class Backoff:
    """How long a client waits before it reconnects.

    Attributes:
        first: Upper bound of the first wait, in seconds. Each failure doubles it.
        longest: Upper bound of all waits, in seconds.
        min_uptime: Seconds that a socket must stay open to reset the waits. So a server that
            accepts sockets and drops them at once is not flooded.
    """

    first: float = 1.0
    longest: float = 30.0
    min_uptime: float = 5.0

    def delay(self, failures: int, randomness: float) -> float:
        """Return how long to wait.

        Args:
            failures: Failed attempts since the last reset.
            randomness: A random number from 0 to 1.

        Returns:
            The wait, in seconds.
        """
        bound = self.first * 2.0 ** min(failures, _MOST_DOUBLINGS)
        return randomness * min(self.longest, bound)


class Attempts:
    """Counts attempts to connect, and chooses the wait before each.

    Args:
        backoff: The bounds of the waits.
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
        """Return the wait before the next attempt, after a failed one or a lost socket.

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
    """Return whether a close of the socket ends the connection.

    Args:
        code: The close code.

    Returns:
        False if the client should reconnect.
    """
    return code in _FINAL_CLOSES or code in _PRIVATE_CLOSES


def is_final_status(status: int) -> bool:
    """Return whether an HTTP status in place of a WebSocket ends the connection.

    Args:
        status: The status code of the server's response.

    Returns:
        False if the client should retry.
    """
    return status in _FINAL_STATUSES
