"""Spares hosted consumers a thread that they do not need.

Before each message Channels' consumers have a thread close old database connections, which costs
more than everything else about a message. Where no thread has a connection there is none to
close, and most streams never open any.
"""

from __future__ import annotations

import logging
import threading
import weakref
from typing import Any

import channels.consumer
import channels.db
import channels.generic.websocket
from asgiref.sync import sync_to_async
from django.db import connections
from django.db.backends.signals import connection_created

from channels_demux_layer.logs import about

__all__ = ["close_connections", "spare_hops"]

logger = logging.getLogger(__name__)

#: The threads that may have an open connection.
_threads: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


def spare_hops() -> None:
    """Have all consumers of this process go to a thread only where there may be a connection."""
    stock = channels.db.aclose_old_connections
    for module in (channels.consumer, channels.generic.websocket):
        if module.aclose_old_connections is stock:
            module.aclose_old_connections = aclose_old_connections


async def aclose_old_connections() -> None:
    """Close old database connections as Channels' function of this name does."""
    if _threads:
        await sync_to_async(_close)()


def _close() -> None:
    channels.db.close_old_connections()
    if all(open_one.connection is None for open_one in connections.all(initialized_only=True)):
        _threads.discard(threading.current_thread())


def close_connections() -> None:
    """Close all database connections of this thread, which is about to end."""
    for connection in connections.all(initialized_only=True):
        try:
            connection.close()
        except Exception as error:
            text = "Closing a connection to database %r failed: %r. It is dropped."
            logger.warning(text, connection.alias, error, extra=about())
    _threads.discard(threading.current_thread())


def _note_connection(**kwargs: Any) -> None:
    _threads.add(threading.current_thread())


connection_created.connect(_note_connection, dispatch_uid="channels_demux_layer.hosting.hops")
