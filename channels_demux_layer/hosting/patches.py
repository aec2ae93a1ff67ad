"""What this package changes in Channels and asgiref, which offer no other way. Each has a guard.

A guard looks whether the other library is as it was when the change was written. If it is not,
nothing is changed, one line is logged, and everything works as without this package.

Before each message, Channels' consumers have a thread close old database connections. That costs
more than everything else about a message. If no thread has a connection, there is none to close,
and most streams never open any.
"""

from __future__ import annotations

import inspect
import logging
import threading
import weakref
from collections.abc import MutableMapping
from concurrent.futures import Executor
from typing import Any

import channels.consumer
import channels.db
import channels.generic.websocket
from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async
from django.db import connections
from django.db.backends.signals import connection_created

from channels_demux_layer.logs import about

__all__ = ["close_connections", "run_synchronous_code_in", "spare_hops"]

logger = logging.getLogger(__name__)

#: The modules of Channels that call the function.
CALLERS = (channels.consumer, channels.generic.websocket)
#: The name of the function, and the names that it uses.
CLOSER = "aclose_old_connections"
USES = ("sync_to_async", "close_old_connections")
#: The threads that may have an open connection.
_threads: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
#: What was logged: each line once in a process.
_logged: set[str] = set()


# ---- old database connections -----------------------------------------------------------


def spare_hops() -> None:
    """Have all consumers of this process go to a thread only if there may be a connection."""
    if all(getattr(module, CLOSER, None) is aclose_old_connections for module in CALLERS):
        return
    if _is_as_known():
        for module in CALLERS:
            setattr(module, CLOSER, aclose_old_connections)
    else:
        _log_once(
            "Channels' aclose_old_connections() is not the one that this release knows, so it is "
            "left alone. Each message of a consumer takes a thread, as without this package."
        )


def _is_as_known() -> bool:
    """Tell whether Channels' function does what ours does, and nobody has replaced it."""
    stock = getattr(channels.db, CLOSER, None)
    return (
        inspect.iscoroutinefunction(stock)
        and stock.__code__.co_names == USES
        and not stock.__code__.co_argcount
        and vars(channels.db).get("sync_to_async") is sync_to_async
        and all(getattr(module, CLOSER, None) is stock for module in CALLERS)
    )


async def aclose_old_connections() -> None:
    """Close old database connections as Channels' function of this name does."""
    if _threads:
        await sync_to_async(_close)()


def _close() -> None:
    # Looked up each time: tools for tests replace it for a while.
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


connection_created.connect(_note_connection, dispatch_uid="channels_demux_layer.hosting.patches")


# ---- threads of synchronous code --------------------------------------------------------


async def run_synchronous_code_in(executor: Executor) -> bool:
    """Have asgiref run the synchronous code of the current task in an executor.

    asgiref 3.13 takes an executor as an argument. Django permits older releases.

    Args:
        executor: The executor.

    Returns:
        Whether it does. If not, the code shares asgiref's one thread with all other code.
    """
    executors = getattr(SyncToAsync, "context_to_thread_executor", None)
    if not isinstance(executors, MutableMapping):
        _log_once(
            "asgiref is not the one that this release knows: all synchronous consumers of this "
            "process share one thread. SYNC_THREADS has no effect."
        )
        return False
    context = ThreadSensitiveContext()
    executors[context] = executor
    # Not left: leaving it would wait for the thread.
    await context.__aenter__()  # type: ignore[no-untyped-call]
    return True


def _log_once(text: str) -> None:
    if text not in _logged:
        _logged.add(text)
        logger.warning(text, extra=about())
