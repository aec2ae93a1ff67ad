"""The three ways in which a call of a channel layer fails, told apart by public exception types."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator

from channels.exceptions import ChannelFull

from channels_demux_layer.exceptions import DemuxError

__all__ = ["Full", "LayerFailure", "Outage", "TimedOut", "Unreadable", "failure_of"]

#: Raised by calls that cannot work, and by servers that are gone.
OUTAGES = (OSError, asyncio.TimeoutError, AssertionError, RuntimeError)
#: The same of libraries that a project may do without: the module, and the root of its exceptions.
ROOTS = (("redis.exceptions", "RedisError"), ("psycopg", "Error"))


class LayerFailure(DemuxError):  # noqa: N818 - says what happened, as its subclasses do
    """A call of the channel layer failed."""


class Outage(LayerFailure):
    """The channel layer did not do what it was asked; it may do so later."""


class TimedOut(Outage):
    """The channel layer did not answer in time."""


class Full(LayerFailure):
    """The channel has no room for the message. The layer works."""


class Unreadable(LayerFailure):
    """A message was received and cannot be decrypted or decoded. It is gone; the layer works."""


def failure_of(error: Exception, *, receives: bool = False) -> LayerFailure:
    """Return the failure that an exception of a channel layer stands for.

    Args:
        error: What the layer raised.
        receives: Whether it was asked for a message.

    Returns:
        The failure, whose text is that of the exception.
    """
    if isinstance(error, LayerFailure):
        return error
    detail = str(error).rstrip(".") or type(error).__name__
    if isinstance(error, ChannelFull):
        return Full(detail)
    # Serializers raise whatever they like: what is no outage by its type is the message's fault.
    if receives and not isinstance(error, (*OUTAGES, *_roots())):
        return Unreadable(repr(error))
    return Outage(detail)


def _roots() -> Iterator[type[BaseException]]:
    # A library that is not loaded has raised nothing.
    for module, name in ROOTS:
        root = getattr(sys.modules.get(module), name, None)
        if root is not None:
            yield root
