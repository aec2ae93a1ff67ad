"""System checks: ``manage.py check`` finds what would fail at run time.

Each check is a pure function from the configuration to messages. The three registered functions
read the configuration and call the checks. Identifiers are stable: a retired one is never reused.

==== =====================================================================================
E001 a setting has a wrong key, type or value
E002 a setting names a channel layer that does not exist
E003 streams should run in workers, but there is no channel layer
E004 streams should run in workers, but the channel layer is in memory
E005 the ``socket_timeout`` of redis-py interrupts an idle core layer
E006 the layer's serializer is JSON, which cannot encode bytes
E007 layer messages may exceed 1 MB
E008 ``ASGI_APPLICATION`` cannot be imported
E009 a demultiplexer's ``consumer_classes`` is wrong
E010 a demultiplexer's ``channel_prefix`` is too long or invalid
E011 a dotted path leads nowhere
E012 importing a dotted path fails (only with ``check --deploy``)
E013 two demultiplexers use one channel for different consumers
E014 there is no ``channel`` route, although streams run in workers
E015 the ``channel`` route lacks the channel of a stream
E016 the channel layer of a demultiplexer cannot be created
E017 a stream's permission is malformed, or its app is not installed
E018 a limit or a list of a demultiplexer is invalid for the setting
E019 the layer of channels_rabbitmq, which is not supported
E020 a demultiplexer's ``worker_middleware`` cannot wrap an application
W001 group memberships of the core layer expire soon
W002 opens use a core layer with several hosts
W003 a limit delays or refuses normal clients
W004 opens use channels_postgres' own layer, which sends them to one worker
W005 the checks cannot find a router or the streams behind ``ASGI_APPLICATION``
==== =====================================================================================
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Collection, Iterable, Iterator
from importlib import util
from typing import Any

from django.conf import settings as django_settings
from django.core import checks as django_checks
from django.core.checks import CheckMessage

from channels_demux_layer import conf
from channels_demux_layer.exceptions import ConfigurationError
from channels_demux_layer.hosting.discovery import (
    Edge,
    Routes,
    dotted_name,
    find_demultiplexers,
    find_routes,
    load_application,
    stream_applications,
)
from channels_demux_layer.protocol.naming import valid_prefix
from channels_demux_layer.streams import Stream, load_middleware

from .layers import TAG, fault, layer_faults
from .limits import protection_faults

__all__ = ["TAG", "check_imports", "check_settings", "check_wiring"]

MAX_LAYER_MESSAGE = 1_000_000
"""The maximum size of a message on any layer, in bytes (Channels' specification: 1 MB)."""
BATCH_OVERHEAD = 16_384
"""The size of a batch without payloads in bytes, rounded up."""

# ---- settings ---------------------------------------------------------------------------


def setting_faults(problems: Iterable[conf.Problem]) -> list[CheckMessage]:
    """Return the problems of the settings dict (E001)."""
    return [fault(1, problem.message, problem.hint) for problem in problems]


def size_faults(settings: conf.Settings) -> list[CheckMessage]:
    """Return sizes that allow larger messages than channel layers accept (E007)."""
    room = MAX_LAYER_MESSAGE - BATCH_OVERHEAD
    # A batch has at most BATCH_BYTES, or a single payload of at most MAX_PAYLOAD.
    hint = f"A channel layer may refuse more than 1 MB. Set it to {room} or less."
    found: list[CheckMessage] = []
    for key in ("MAX_PAYLOAD", "BATCH_BYTES"):
        size = getattr(settings, key)
        if size > room:
            message = f"{conf.SETTING}[{key!r}] is {size}: channel-layer messages may exceed 1 MB."
            found.append(fault(7, message, hint))
    return found


# ---- demultiplexers ---------------------------------------------------------------------


def read_edges(classes: Iterable[Any]) -> tuple[list[Edge], list[CheckMessage]]:
    """Return demultiplexers with their streams, and their problems (E009, E010, E016)."""
    results = [_read_edge(cls) for cls in classes]
    edges = [result for result in results if isinstance(result, Edge)]
    return edges, [result for result in results if isinstance(result, CheckMessage)]


def _read_edge(cls: Any) -> Edge | CheckMessage:
    name = dotted_name(cls)
    try:
        valid_prefix(cls.channel_prefix)
    except ConfigurationError as error:
        return fault(10, f"{name}: {error}", "Correct its channel_prefix.")
    try:
        table = cls.stream_table()
    except ConfigurationError as error:
        return fault(9, f"{name}: {error}", "Correct its consumer_classes.")
    try:
        remote = [stream for stream in table if cls.hosting_of(stream) == "workers"]
    except Exception as error:  # the class of the channel layer may raise anything
        message = f"{name}: its channel layer cannot be created: {type(error).__name__}: {error}."
        return fault(16, message, "Correct the layer in CHANNEL_LAYERS.")
    return Edge(cls, table, remote)


def path_faults(edges: Iterable[Edge]) -> list[CheckMessage]:
    """Return dotted paths that lead nowhere, without importing their targets (E011)."""
    found: list[CheckMessage] = []
    for edge, name, stream in _dotted(edges):
        reason = _why_missing(str(stream.target))
        if reason:
            message = f"Stream {name!r} of {edge.name}: {stream.target!r} leads nowhere: {reason}."
            hint = (
                "Correct the path in consumer_classes, or install what it needs. If only workers "
                "have the code, silence this check in the server's settings."
            )
            found.append(fault(11, message, hint))
    return found


def import_faults(edges: Iterable[Edge]) -> list[CheckMessage]:
    """Return dotted paths whose import fails (E012)."""
    found = [fault for edge in edges for fault in _middleware_import_faults(edge)]
    for edge, name, stream in _dotted(edges):
        if not _why_missing(str(stream.target)):
            try:
                stream.application()
            except ConfigurationError as error:
                message = f"Stream {name!r} of {edge.name}: {error}"
                found.append(fault(12, message, "Make the module importable in workers."))
    return found


def _middleware_import_faults(edge: Edge) -> Iterator[CheckMessage]:
    middleware = edge.cls.worker_middleware
    if isinstance(middleware, str) and not _why_missing(middleware):
        try:
            load_middleware(middleware)
        except ConfigurationError as error:
            yield fault(12, f"{edge.name}: {error}", "Make the module importable in workers.")


def middleware_faults(edges: Iterable[Edge]) -> list[CheckMessage]:
    """Return worker_middleware that cannot wrap an application (E020)."""
    hint = (
        "Make worker_middleware a callable that takes an ASGI application and returns one, or the "
        "dotted path of such a callable. A method must be a staticmethod."
    )
    problems = [(edge, _middleware_problem(edge.cls.worker_middleware)) for edge in edges]
    return [
        fault(20, f"{edge.name}: its worker_middleware {problem}.", hint)
        for edge, problem in problems
        if problem
    ]


def _middleware_problem(middleware: object) -> str | None:
    if middleware is None:
        return None
    if isinstance(middleware, str):
        reason = _why_missing(middleware) if "." in middleware else "this is not a dotted path"
        return None if reason is None else f"{middleware!r} leads nowhere: {reason}"
    if not callable(middleware):
        return f"is {middleware!r}, which cannot be called"
    try:
        inspect.signature(middleware).bind(None)
    except TypeError as error:
        return f"{middleware!r} cannot be called with one application: {error}"
    except ValueError:  # a callable written in C may have no signature
        return None
    return None


def conflict_faults(edges: Iterable[Edge]) -> list[CheckMessage]:
    """Return channels that two demultiplexers use for different consumers (E013).

    A consumer with other worker_middleware counts as different.
    """
    owners: dict[str, tuple[Edge, object]] = {}
    found: list[CheckMessage] = []
    for edge in edges:
        for name in edge.remote:
            target = _identity(edge.table[name])
            owner, owned = owners.setdefault(edge.channel(name), (edge, target))
            if owned != target:
                difference = f"for different consumers, {owned} and {target}"
            elif owner.cls.worker_middleware != edge.cls.worker_middleware:
                difference = "with different worker_middleware"
            else:
                continue
            message = f"{owner.name} and {edge.name} use the channel {edge.channel(name)!r} "
            hint = f"Set another channel_prefix for {edge.name}, or rename the stream."
            found.append(fault(13, f"{message}{difference}.", hint))
    return found


def route_faults(edges: Iterable[Edge], routes: Routes) -> list[CheckMessage]:
    """Return streams that the ``channel`` route lacks (E014, E015)."""
    found: list[CheckMessage] = []
    for edge in edges:
        hint = (
            'Add "channel": ChannelNameRouter(stream_workers('
            f"{edge.cls.__name__})) to its ProtocolTypeRouter (channels_demux_layer.routing)."
        )
        channels = [edge.channel(name) for name in edge.remote]
        missing = [name for name in channels if name not in (routes.channels or ())]
        if missing and routes.exist is False:
            message = f'ASGI_APPLICATION has no "channel" route, which workers of {edge.name} need.'
            found.append(fault(14, message, hint))
        elif missing and routes.channels is not None:
            message = f'The "channel" route lacks channels of {edge.name}: {", ".join(missing)}.'
            found.append(fault(15, message, hint))
    return found


def opaque_faults(
    edges: list[Edge], routes: Routes, streams: Collection[str]
) -> list[CheckMessage]:
    """Return what the checks cannot find behind the application (W005).

    Args:
        edges: The demultiplexers that were found.
        routes: The routes of the application.
        streams: The channels with an application.
    """
    if routes.exist is not None:
        return []
    hint = (
        "Use a ProtocolTypeRouter as the application, or make it the attribute 'app' of its "
        "wrapper. Otherwise, pass runworker the names of its channels."
    )
    problems = [] if edges else ["its demultiplexers were not found, and are not checked"]
    for edge in edges:
        missing = [edge.channel(name) for name in edge.remote if edge.channel(name) not in streams]
        if missing:
            problems.append(f"no workers of {edge.name} were found for {', '.join(missing)}")
    return [
        django_checks.Warning(
            f"ASGI_APPLICATION is a function, or an object of an unknown class: {problem}.",
            hint=hint,
            id=f"{TAG}.W005",
        )
        for problem in problems
    ]


def _dotted(edges: Iterable[Edge]) -> Iterator[tuple[Edge, str, Stream]]:
    for edge in edges:
        for name, stream in edge.table.items():
            if isinstance(stream.target, str):
                yield edge, name, stream


def _why_missing(path: str) -> str | None:
    """Return why a dotted path leads nowhere. This imports only the packages above its module."""
    module, _, name = path.rpartition(".")
    if module in sys.modules:
        present = hasattr(sys.modules[module], name)
        return None if present else f"the module {module!r} has no {name!r}"
    try:
        present = util.find_spec(module) is not None
    except Exception as error:  # the packages above it are the user's, and may raise anything
        return f"{type(error).__name__}: {error}"
    return None if present else f"there is no module {module!r}"


def _identity(stream: Stream) -> object:
    """Return the identity of a stream's consumer. A class and its dotted path are equal."""
    return dotted_name(stream.target) if isinstance(stream.target, type) else stream.target


# ---- registered checks ------------------------------------------------------------------


def check_settings(app_configs: object = None, **kwargs: object) -> list[CheckMessage]:
    """Check the settings dict."""
    configured, old = conf.read_django_settings()
    problems = conf.find_problems(configured, old)
    return setting_faults(problems) or size_faults(conf.build_settings(configured, old))


def check_wiring(app_configs: object = None, **kwargs: object) -> list[CheckMessage]:
    """Check how settings, channel layers, demultiplexers and routes fit together."""
    settings = _read_settings()
    if settings is None:
        return []
    application, found = read_application(getattr(django_settings, "ASGI_APPLICATION", None))
    edges, faults = read_edges(find_demultiplexers(application))
    found += faults
    found += layer_faults(settings, getattr(django_settings, "CHANNEL_LAYERS", {}), edges)
    found += path_faults(edges) + middleware_faults(edges) + conflict_faults(edges)
    found += protection_faults(edges, settings)
    routes = find_routes(application)
    found += opaque_faults(edges, routes, stream_applications(application))
    return found + route_faults(edges, routes)


def check_imports(app_configs: object = None, **kwargs: object) -> list[CheckMessage]:
    """Import the targets of all streams, for ``check --deploy``."""
    if _read_settings() is None:
        return []
    application, _ = read_application(getattr(django_settings, "ASGI_APPLICATION", None))
    edges, _ = read_edges(find_demultiplexers(application))
    return import_faults(edges)


def read_application(path: object) -> tuple[object, list[CheckMessage]]:
    """Import ``ASGI_APPLICATION``, and return it with its problems (E008).

    Channels reports that the setting is missing.
    """
    if not isinstance(path, str):
        return None, []
    try:
        return load_application(path), []
    except Exception as error:  # the module is the user's, and may raise anything
        message = f"ASGI_APPLICATION {path!r} cannot be imported: {type(error).__name__}: {error}."
        return None, [fault(8, message, "Correct the path, or the module that it names.")]


def _read_settings() -> conf.Settings | None:
    """Return the settings; None if they are invalid, which check_settings() reports."""
    try:
        return conf.get_settings()
    except ConfigurationError:
        return None
