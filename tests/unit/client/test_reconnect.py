"""When a client connects again, and after how long; time and randomness are numbers."""

import pytest

from channels_demux_layer.client.reconnect import Attempts, Backoff, is_final_close, is_final_status


def test_the_bound_doubles_up_to_the_longest() -> None:
    """Each failure doubles the bound of the wait, until it is the longest."""
    backoff = Backoff(first=1.0, longest=10.0)
    assert [backoff.delay(failures, 1.0) for failures in range(6)] == [1, 2, 4, 8, 10, 10]


def test_any_number_of_failures_has_a_wait() -> None:
    """After years of failures the wait is still the longest one."""
    assert Backoff(longest=30.0).delay(10**9, 1.0) == 30.0


@pytest.mark.parametrize("failures", [0, 3, 50])
def test_jitter_is_full(failures: int) -> None:
    """A wait is anything from nothing to its bound, in proportion to the random number."""
    backoff = Backoff(first=1.0, longest=10.0)
    whole = backoff.delay(failures, 1.0)
    assert backoff.delay(failures, 0.0) == 0.0
    assert backoff.delay(failures, 0.25) == whole / 4


def test_each_attempt_waits_longer() -> None:
    """Attempts that fail one after the other wait for bounds that double."""
    attempts = Attempts(Backoff(first=1.0, longest=30.0))
    assert [attempts.next_delay(now, 1.0) for now in (0.0, 1.0, 3.0)] == [1, 2, 4]


def test_a_lasting_socket_begins_the_waits_anew() -> None:
    """After a socket that was open for min_uptime the first wait is the shortest again."""
    attempts = Attempts(Backoff(first=1.0, min_uptime=5.0))
    attempts.next_delay(0.0, 1.0)
    attempts.connected(10.0)
    assert attempts.next_delay(15.0, 1.0) == 1.0


def test_a_socket_that_is_dropped_at_once_is_a_failure() -> None:
    """A server that takes sockets and drops them is not tried ever faster."""
    attempts = Attempts(Backoff(first=1.0, min_uptime=5.0))
    delays = []
    for now in (0.0, 10.0, 20.0):
        attempts.connected(now)
        delays.append(attempts.next_delay(now + 4.9, 1.0))
    assert delays == [1, 2, 4]


def test_uptime_counts_once() -> None:
    """The uptime of a lost socket doesn't count for the failures after it."""
    attempts = Attempts(Backoff(first=1.0, min_uptime=5.0))
    attempts.connected(0.0)
    assert [attempts.next_delay(now, 1.0) for now in (100.0, 200.0, 300.0)] == [1, 2, 4]


@pytest.mark.parametrize("code", [1000, 1002, 1003, 1007, 1008, 1009, 1010, 3000, 4001, 4408, 4999])
def test_final_closes(code: int) -> None:
    """A close on purpose, for what the client is or sends, or with a private code ends it all."""
    assert is_final_close(code)


@pytest.mark.parametrize("code", [1001, 1005, 1006, 1011, 1012, 1013, 1014, 1015, 2999, 5000])
def test_passing_closes(code: int) -> None:
    """A close for what the server or the network is going through is one to come back from."""
    assert not is_final_close(code)


def test_statuses() -> None:
    """Who isn't let in stays out; who met a server in trouble comes back."""
    assert [status for status in range(300, 600) if is_final_status(status)] == [401, 403, 404]
