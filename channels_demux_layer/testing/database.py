"""Keeps a test's database connections open while its consumers run."""

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

    Channels' communicators do the same. Here several users may overlap: the first one applies the
    patch, and the last one removes it.
    """
    global _users  # noqa: PLW0603 - the patch is global, too
    if not _users:
        _patch.start()
    _users += 1
    try:
        yield
    finally:
        _users -= 1
        if not _users:
            _patch.stop()
