"""Tells whether a channel layer is one of channels_redis', and works as those do.

A node does some of what these layers do in a way of its own, which needs to know what they are
made of. A project that has changed that in a subclass wants it so, and is left alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from .steadfast import RememberingLayer

__all__ = ["can_take_over", "find_class", "is_unchanged", "itself"]

#: What OwnConnection takes from redis-py.
CONNECTION = "redis.asyncio.connection"
STREAMS = ("_reader", "_writer")


def itself(layer: Any) -> Any:
    """Return a channel layer without the memory for groups that may be in front of it."""
    return layer.inner if isinstance(layer, RememberingLayer) else layer


def find_class(module: str, name: str) -> Any:
    """Return a class of a module that a project may do without.

    Args:
        module: The module's name.
        name: The class's name.

    Returns:
        The class; None where the module has not been imported, or has no such class.
    """
    return getattr(sys.modules.get(module), name, None)


def is_unchanged(layer: Any, cls: Any, methods: Iterable[str]) -> bool:
    """Tell whether a channel layer is of a class, and has what the class has for some methods.

    Args:
        layer: The layer itself.
        cls: The class, if there is one.
        methods: The methods' names.
    """
    return (
        cls is not None
        and isinstance(layer, cls)
        and all(getattr(type(layer), name, None) is getattr(cls, name, None) for name in methods)
    )


def can_take_over() -> bool:
    """Tell whether connections of redis-py have what it takes to read and write in its place."""
    connection = find_class(CONNECTION, "AbstractConnection")
    return all(hasattr(connection, name) for name in STREAMS)
