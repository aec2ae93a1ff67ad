"""Database connections that belong to a test, kept open while consumers run in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

__all__ = ["connections_kept"]

_patch = mock.patch("channels.db.close_old_connections", return_value=None)
_users = 0


@contextmanager
def connections_kept() -> Iterator[None]:
    """Keep Channels from closing the test's database connections around each handler.

    As Channels' communicators do, but any number of them side by side: the first puts the
    patch in place, the last takes it away.
    """
    global _users  # noqa: PLW0603 - what is patched is global as well
    if not _users:
        _patch.start()
    _users += 1
    try:
        yield
    finally:
        _users -= 1
        if not _users:
            _patch.stop()
