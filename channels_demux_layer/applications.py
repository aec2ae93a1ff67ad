"""Walks through an ASGI application: its routers, its middleware, what they lead to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

__all__ = ["attribute", "consumer_name", "has_sync_consumer", "mapping_of", "walk"]

# An application whose attributes are made on the fly, such as a mock, has no last one.
_MAX_APPLICATIONS = 1_000

_WRAPPED = ("inner", "application", "app")
"""Where middleware keeps the application that it wraps: Channels, its security module, others."""


def walk(application: object) -> Iterator[object]:
    """Go through an application and all that it routes to or wraps, each once.

    Args:
        application: An ASGI application made of Channels' routers and of middleware.

    Yields:
        The applications, outer ones before what they hold.
    """
    seen: dict[int, object] = {}
    waiting = [application]
    while waiting and len(seen) < _MAX_APPLICATIONS:
        current = waiting.pop()
        if current is not None and id(current) not in seen:
            # Kept, not only counted: an object's id is another's once it is gone.
            seen[id(current)] = current
            yield current
            waiting += reversed(list(_parts(current)))


def _parts(application: object) -> Iterator[object]:
    """Yield what an application holds, one level down."""
    yield from mapping_of(application).values()
    routes = attribute(application, "routes")
    for route in routes if isinstance(routes, Iterable) else ():
        yield attribute(route, "callback")
    for name in _WRAPPED:
        yield attribute(application, name)


def mapping_of(application: object) -> Mapping[Any, object]:
    """Return what ``ProtocolTypeRouter`` and ``ChannelNameRouter`` route, of others nothing."""
    mapping = attribute(application, "application_mapping")
    return mapping if isinstance(mapping, Mapping) else {}


def attribute(application: object, name: str) -> Any:
    """Return an attribute of an application; None where it has none."""
    # A property of somebody's application may raise anything.
    try:
        return getattr(application, name, None)
    except Exception:
        return None


def has_sync_consumer(application: Any) -> bool:
    """Tell whether an ASGI application leads to a synchronous consumer.

    Args:
        application: What as_asgi() gave, or routers and middleware around it.

    Returns:
        Whether a SyncConsumer was found behind it.
    """
    # Not at the top: Django's setup imports this module, and needs no consumer.
    from channels.consumer import SyncConsumer

    classes = (attribute(inner, "consumer_class") for inner in walk(application))
    return any(isinstance(cls, type) and issubclass(cls, SyncConsumer) for cls in classes)


def consumer_name(application: object) -> str:
    """Return what a log calls the consumer behind an ASGI application.

    Args:
        application: What as_asgi() gave, or routers and middleware around it.

    Returns:
        The dotted name of the first consumer class behind it, or else of the application.
    """
    # Not at the top: Django's setup imports this module, and needs no consumer.

    classes = (attribute(inner, "consumer_class") for inner in walk(application))
    named = next((cls for cls in classes if isinstance(cls, type)), application)
    if not hasattr(named, "__qualname__"):
        named = type(named)
    return f"{named.__module__}.{attribute(named, '__qualname__')}"
