"""Finds what a project's ASGI application mounts, without running any of it."""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

from channels_demux_layer.protocol.naming import stream_channel
from channels_demux_layer.streams import StreamTable

from .applications import attribute, is_opaque, mapping_of, walk, walk_routers

__all__ = [
    "Edge",
    "Routes",
    "dotted_name",
    "find_demultiplexers",
    "find_routes",
    "load_application",
    "stream_applications",
    "stream_routes",
]


class Routes(NamedTuple):
    """What an application does with channel-layer messages.

    Attributes:
        exist: Whether it has a ``channel`` route; None where that cannot be seen.
        channels: The channels that are routed; None where that cannot be seen.
    """

    exist: bool | None
    channels: frozenset[str] | None


class Edge(NamedTuple):
    """A demultiplexer class that the ASGI application mounts.

    Attributes:
        cls: The class.
        table: Its streams.
        remote: Names of the streams that run in workers.
    """

    cls: Any
    table: StreamTable
    remote: list[str]

    @property
    def name(self) -> str:
        """Dotted name of the class."""
        return dotted_name(self.cls)

    def channel(self, stream: str) -> str:
        """Name of the channel that workers of a stream listen on."""
        return stream_channel(self.cls.channel_prefix, stream)


def load_application(path: str) -> object:
    """Import the project's ASGI application.

    Args:
        path: The value of ``ASGI_APPLICATION``, a dotted path.

    Returns:
        The application.

    Raises:
        ImportError: The path is not dotted, or its module lacks the name.
        Exception: Whatever the module raises when it is imported.
    """
    module_path, dot, name = path.rpartition(".")
    if not dot:
        raise ImportError(f"{path!r} is not a dotted path")
    module = import_module(module_path)
    try:
        return getattr(module, name)
    except AttributeError:
        raise ImportError(f"the module {module_path!r} has no {name!r}") from None


def find_demultiplexers(application: object) -> list[Any]:
    """Find the demultiplexer classes that an application mounts.

    Args:
        application: The ASGI application.

    Returns:
        The classes, each once, in the order of the routes.
    """
    classes = (attribute(part, "consumer_class") for part in walk(application))
    found = [cls for cls in classes if isinstance(cls, type) and hasattr(cls, "stream_table")]
    return list(dict.fromkeys(found))


def find_routes(application: object) -> Routes:
    """Find the channels that an application routes to workers.

    Args:
        application: The ASGI application.

    Returns:
        The channels below the ``channel`` entry of its ``ProtocolTypeRouter``. A function, or an
        object of an unknown class, in front of that may route others.
    """
    route = _channel_route(application)
    if route is not None:
        routers = [mapping_of(inner) for inner in walk_routers(route)]
        names = frozenset(name for router in routers for name in router)
        return Routes(exist=True, channels=names if any(routers) else None)
    if is_opaque(application):
        return Routes(exist=None, channels=None)
    return Routes(exist=False, channels=frozenset())


def _channel_route(application: object) -> object:
    mappings = (mapping_of(part) for part in walk_routers(application))
    return next((mapping["channel"] for mapping in mappings if "channel" in mapping), None)


def stream_applications(application: object) -> dict[str, Any]:
    """Find the applications that host streams, as stream_workers() made them.

    Args:
        application: The ASGI application.

    Returns:
        The application of each stream's channel.
    """
    found: dict[str, Any] = {}
    for part in walk(application):
        for channel, inner in mapping_of(part).items():
            if hasattr(type(inner), "hosts_stream"):
                found.setdefault(channel, inner)
    return found


def stream_routes(application: object) -> dict[str, Any]:
    """Find what a worker calls for each stream's channel.

    Args:
        application: The ASGI application.

    Returns:
        For each channel the application of the ``channel`` route, or else that of the stream. What
        stands around the router was written for HTTP and WebSockets, and is left out.
    """
    route = _channel_route(application)
    below = stream_applications(route)
    return {
        channel: route if channel in below else inner
        for channel, inner in stream_applications(application).items()
    }


def dotted_name(cls: type) -> str:
    """Return the dotted path of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"
