"""Walks through an ASGI application: its routers, its middleware, what they lead to.

Nothing is called: the walk reads attributes, the closures of functions, and the global names that
functions use.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

__all__ = [
    "attribute",
    "consumer_name",
    "has_sync_consumer",
    "is_opaque",
    "layer_aliases",
    "mapping_of",
    "object_name",
    "walk",
    "walk_routers",
]

# An application whose attributes are made on the fly, such as a mock, has no last one.
_MAX_APPLICATIONS = 1_000

_WRAPPED = (
    *("inner", "application", "app", "asgi_app", "router", "wrapped"),
    *("_inner", "_application", "_app"),
)
"""Where middleware keeps the application that it wraps: Channels, its security module, others."""


def walk(application: object) -> Iterator[object]:
    """Go through an application and all that it routes to or wraps, each once.

    Functions and objects of unknown classes may do anything with what they hold, so what is found
    behind them need not be mounted.

    Args:
        application: An ASGI application.

    Yields:
        The applications, outer ones before what they hold.
    """
    return _walk(application, _held)


def walk_routers(application: object) -> Iterator[object]:
    """Go through routers, and middleware that keeps what it wraps in an attribute known for it.

    Args:
        application: An ASGI application.

    Yields:
        The applications, outer ones before what they hold.
    """
    return _walk(application, lambda current: ())


def _walk(application: object, held_by: Callable[[object], Iterable[object]]) -> Iterator[object]:
    seen: dict[int, object] = {}
    waiting = deque([application])
    while waiting and len(seen) < _MAX_APPLICATIONS:
        current = waiting.popleft()
        if current is not None and id(current) not in seen:
            # Kept, not only counted: an object's id is another's once it is gone.
            seen[id(current)] = current
            yield current
            if attribute(current, "consumer_class") is None:  # A consumer leads nowhere else.
                waiting.extendleft(reversed(list(_parts(current))))
                waiting.extend(held_by(current))  # After all that is sure to be mounted.


def _parts(application: object) -> Iterator[object]:
    """Yield what an application says that it holds, one level down."""
    yield from mapping_of(application).values()
    routes = attribute(application, "routes")
    for route in routes if isinstance(routes, Iterable) else ():
        yield attribute(route, "callback")
        yield attribute(route, "app")
    for name in _WRAPPED:
        yield attribute(application, name)


def _held(application: object) -> Iterator[object]:
    """Yield what else may be an application, of what a function or an object can reach."""
    if isinstance(application, functools.partial):
        found = [application.func, *application.args, *application.keywords.values()]
    elif isinstance(application, types.MethodType):
        found = [application.__self__, application.__func__]
    elif isinstance(application, types.FunctionType):
        found = list(_named(application))
    elif isinstance(application, (list, tuple)):
        found = list(application)
    elif _is_foreign(application):
        call = attribute(type(application), "__call__")
        found = [*_attributes(application), *(_named(call) if inspect.isfunction(call) else ())]
    else:
        found = []
    return filter(_may_be_application, found)


def _is_foreign(application: object) -> bool:
    # Django's own handler leads to views and no sockets.
    return str(type(application).__module__).partition(".")[0] not in ("builtins", "django")


def _attributes(application: object) -> Iterator[object]:
    values = attribute(application, "__dict__")
    yield from values.values() if isinstance(values, dict) else ()
    for cls in type(application).__mro__:
        slots = attribute(cls, "__slots__") or ()
        for name in (slots,) if isinstance(slots, str) else slots:
            yield attribute(application, name)


def _named(function: types.FunctionType) -> Iterator[object]:
    """Yield what a function encloses, and the asynchronous globals that it names."""
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not filled yet
            continue
    names = list(_names(function.__code__))
    for name in names:
        value = function.__globals__.get(name)
        scope = vars(value) if isinstance(value, types.ModuleType) else {}
        # Of a module those that the function names as well, as in routing.application.
        for named in (value, *map(scope.get, names)):
            if _is_asynchronous(named):
                yield named


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _is_asynchronous(value: object) -> bool:
    if isinstance(value, (functools.partial, Mapping)):
        return True
    return any(map(inspect.iscoroutinefunction, (value, attribute(value, "__call__"))))


def _may_be_application(value: object) -> bool:
    if isinstance(value, (Mapping, list, tuple)):
        return True
    return callable(value) and not isinstance(value, (type, types.BuiltinFunctionType))


def is_opaque(application: object) -> bool:
    """Tell whether nobody can say what an application routes.

    Args:
        application: An ASGI application.

    Returns:
        True for a function, and for an object of an unknown class, unless the router that it wraps
        is in an attribute known for it.
    """
    is_djangos = str(type(application).__module__).startswith("django.")
    if is_djangos or not callable(application):
        return False
    return not any(map(_is_router, walk_routers(application)))


def _is_router(application: object) -> bool:
    return (
        isinstance(attribute(application, "application_mapping"), Mapping)
        or isinstance(attribute(application, "routes"), Iterable)
        or attribute(application, "consumer_class") is not None
    )


def mapping_of(application: object) -> Mapping[Any, object]:
    """Return what ``ProtocolTypeRouter`` and ``ChannelNameRouter`` route, of others nothing.

    A plain mapping is one that a project's own router has.
    """
    if isinstance(application, Mapping):
        return application
    mapping = attribute(application, "application_mapping")
    return mapping if isinstance(mapping, Mapping) else {}


def attribute(application: object, name: str) -> Any:
    """Return an attribute of an application; None where it has none."""
    # A property of somebody's application may raise anything.
    try:
        return getattr(application, name, None)
    except Exception:
        return None


def layer_aliases(application: Any) -> set[str]:
    """Return the channel layers that the consumers behind an ASGI application use.

    Args:
        application: What as_asgi() gave, or routers and middleware around it.

    Returns:
        Their names in CHANNEL_LAYERS.
    """
    classes = (attribute(inner, "consumer_class") for inner in walk(application))
    aliases = (attribute(cls, "channel_layer_alias") for cls in classes)
    return {alias for alias in aliases if isinstance(alias, str)}


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
    return object_name(next((cls for cls in classes if isinstance(cls, type)), application))


def object_name(named: object) -> str:
    """Return the dotted name of a class or a function, or of an object's class."""
    if attribute(named, "__qualname__") is None:
        named = type(named)
    return f"{named.__module__}.{attribute(named, '__qualname__')}"
