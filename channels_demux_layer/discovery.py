"""Finds what a project's ASGI application mounts, without running any of it."""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

from channels_demux_layer.applications import attribute, mapping_of, walk
from channels_demux_layer.naming import stream_channel
from channels_demux_layer.streams import StreamTable

__all__ = [
    "Edge",
    "Routes",
    "dotted_name",
    "find_demultiplexers",
    "find_routes",
    "load_application",
    "stream_applications",
]


class Routes(NamedTuple):
    """What an application does with channel-layer messages.

    Attributes:
        exist: Whether it has a ``channel`` route.
        channels: The channels that are routed; None where that cannot be seen.
    """

    exist: bool
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
        The channels below the ``channel`` entry of its ``ProtocolTypeRouter``.
    """
    for part in walk(application):
        mapping = mapping_of(part)
        if "channel" in mapping:
            routers = [mapping_of(inner) for inner in walk(mapping["channel"])]
            names = frozenset(name for router in routers for name in router)
            return Routes(exist=True, channels=names if any(routers) else None)
    return Routes(exist=False, channels=frozenset())


def stream_applications(application: object) -> dict[str, Any]:
    """Find the applications that host streams, as stream_workers() made them.

    Args:
        application: The ASGI application.

    Returns:
        The application of each stream's channel.
    """
    mappings = (mapping_of(part) for part in walk(application))
    return {
        channel: inner
        for mapping in mappings
        for channel, inner in mapping.items()
        if hasattr(type(inner), "hosts_stream")
    }


def dotted_name(cls: type) -> str:
    """Return the dotted path of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"
