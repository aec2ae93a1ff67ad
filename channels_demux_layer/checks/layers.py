"""System checks of the channel layers. `channels_demux_layer.checks.wiring` runs them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from django.core import checks as django_checks
from django.core.checks import CheckMessage
from django.utils.module_loading import import_string

from channels_demux_layer import conf
from channels_demux_layer.hosting.discovery import Edge, dotted_name

__all__ = ["TAG", "Layer", "fault", "layer_faults", "read_layers"]

TAG = "channels_demux_layer"
"""The tag of all checks: ``manage.py check --tag channels_demux_layer``."""

CORE_LAYER = "channels_redis.core.RedisChannelLayer"
PUBSUB_LAYER = "channels_redis.pubsub.RedisPubSubChannelLayer"
MEMORY_LAYER = "channels.layers.InMemoryChannelLayer"
POSTGRES_LAYER = "channels_demux_layer.contrib.postgres.PostgresChannelLayer"
PLAIN_POSTGRES_LAYER = "channels_postgres.core.PostgresChannelLayer"
RABBITMQ_LAYER = "channels_rabbitmq.core.RabbitmqChannelLayer"

LAYERS = (
    *(CORE_LAYER, PUBSUB_LAYER, MEMORY_LAYER),
    *(POSTGRES_LAYER, PLAIN_POSTGRES_LAYER, RABBITMQ_LAYER),
)
"""Known layers, whose class is not imported."""

MIN_GROUP_EXPIRY = 3600
"""The minimum group_expiry in seconds. Shorter memberships cost more than they save."""
POLL = 5.0
"""Seconds that the core layer makes Redis wait for a message (its ``brpop_timeout``)."""


class Layer(NamedTuple):
    """A configured channel layer.

    Attributes:
        alias: Its key in ``CHANNEL_LAYERS``.
        kinds: The dotted names of its class and of the bases.
        config: Its ``CONFIG``.
    """

    alias: str
    kinds: frozenset[str]
    config: Mapping[str, Any]


def fault(number: int, message: str, hint: str) -> CheckMessage:
    """Return an error with the identifier of this number."""
    return django_checks.Error(message, hint=hint, id=f"{TAG}.E{number:03}")


def layer_faults(settings: conf.Settings, configured: Any, edges: list[Edge]) -> list[CheckMessage]:
    """Return the problems of the layers in use (E002 to E006, E019, W001, W002, W004)."""
    layers = read_layers(configured)
    found = alias_faults(settings, layers) or hosting_faults(settings, layers, edges)
    used = [layers[alias] for alias in _aliases(settings) if alias in layers]
    for layer in used:
        found += timeout_faults(layer, _default_timeout())
    if settings.HOSTING != "inline" or any(edge.remote for edge in edges):
        for layer in used:
            found += serializer_faults(layer) + expiry_faults(layer) + dead_faults(layer)
            if layer.alias == settings.dispatch_layer:
                found += shard_faults(layer) + listener_faults(layer)
    return found


def read_layers(configured: Any) -> dict[str, Layer]:
    """Return the layers in ``CHANNEL_LAYERS``, without creating them and without invalid ones."""
    return {
        alias: Layer(alias, _kinds(entry.get("BACKEND")), _mapping(entry.get("CONFIG")))
        for alias, entry in _mapping(configured).items()
        if isinstance(entry, Mapping)
    }


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _kinds(backend: Any) -> frozenset[str]:
    if backend in LAYERS:
        return frozenset([backend])
    try:
        return frozenset(map(dotted_name, import_string(backend).__mro__))
    except Exception:  # Channels reports a layer's class that cannot be imported
        return frozenset()


def _default_timeout() -> float | None:
    try:
        major = int(metadata.version("redis").partition(".")[0])
    except metadata.PackageNotFoundError:
        return None
    return 5.0 if major >= 8 else None


def alias_faults(settings: conf.Settings, layers: Mapping[str, Layer]) -> list[CheckMessage]:
    """Return aliases that CHANNEL_LAYERS lacks (E002)."""
    found: list[CheckMessage] = []
    for key in ("CHANNEL_LAYER", "DISPATCH_LAYER"):
        alias = getattr(settings, key)
        # Without a default layer, everything is hosted inline. That is valid.
        if alias not in layers and alias != getattr(conf.Settings, key):
            message = f"{conf.SETTING}[{key!r}] is {alias!r}, which CHANNEL_LAYERS lacks."
            hint = f"Layers: {', '.join(map(repr, layers))}." if layers else "There are no layers."
            found.append(fault(2, message, f"Configure it, or use another alias. {hint}"))
    return found


def hosting_faults(
    settings: conf.Settings, layers: Mapping[str, Layer], edges: Iterable[Edge]
) -> list[CheckMessage]:
    """Return streams for workers that no layer can reach (E003, E004)."""
    asked = [f"{conf.SETTING}['HOSTING']"] if settings.HOSTING == "workers" else []
    for edge in edges:
        streams = [name for name, stream in edge.table.items() if stream.hosting == "workers"]
        asked += [f"stream {name!r} of {edge.name}" for name in streams]
    if not asked:
        return []
    found: list[CheckMessage] = []
    for alias in _aliases(settings):
        if alias not in layers:
            message = f"There is no channel layer {alias!r}, but workers are required by "
            hint = 'Configure it in CHANNEL_LAYERS, or set the hosting to "auto" or "inline".'
            found.append(fault(3, f"{message}{', '.join(asked)}.", hint))
        elif MEMORY_LAYER in layers[alias].kinds:
            message = f"The channel layer {alias!r} is in memory and reaches no other process, "
            message += f"but workers are required by {', '.join(asked)}."
            hint = 'Use a layer of channels_redis, or set the hosting to "auto" or "inline".'
            found.append(fault(4, message, hint))
    return found


def timeout_faults(layer: Layer, default: float | None) -> list[CheckMessage]:
    """Return hosts of a core layer that time out while the layer is idle (E005).

    Args:
        layer: The layer.
        default: The default ``socket_timeout`` of the installed redis-py, in seconds.
    """
    if CORE_LAYER not in layer.kinds:
        return []
    hosts = _hosts(layer)
    bad = [f"hosts[{i}]" for i, host in enumerate(hosts) if _gives_up(host, default)]
    if not bad:
        return []
    where = f"CHANNEL_LAYERS[{layer.alias!r}]['CONFIG']: {', '.join(bad)}"
    message = (
        f"{where}: socket_timeout is {POLL:g} seconds or less (the default of redis-py 8 is 5), so "
        "an idle channel layer raises TimeoutError in workers and consumers."
    )
    hint = (
        'Write each host as a dict with "socket_timeout": None, such as '
        '{"address": "redis://localhost:6379", "socket_timeout": None}. Remove it from URLs.'
    )
    return [fault(5, message, hint)]


def serializer_faults(layer: Layer) -> list[CheckMessage]:
    """Return a serializer that cannot encode bytes (E006)."""
    if layer.config.get("serializer_format") != "json":
        return []
    message = f"The channel layer {layer.alias!r} has serializer_format 'json'."
    hint = "Batches and scopes are bytes, which JSON lacks. Remove it for 'msgpack'."
    return [fault(6, message, hint)]


def expiry_faults(layer: Layer) -> list[CheckMessage]:
    """Return group memberships that expire soon (W001)."""
    expiry = layer.config.get("group_expiry")
    if CORE_LAYER not in layer.kinds or not isinstance(expiry, int) or expiry >= MIN_GROUP_EXPIRY:
        return []
    message = f"Group memberships of the channel layer {layer.alias!r} expire after {expiry} s."
    hint = f"Streams use groups. Set group_expiry to {MIN_GROUP_EXPIRY} or more."
    return [django_checks.Warning(message, hint=hint, id=f"{TAG}.W001")]


def shard_faults(layer: Layer) -> list[CheckMessage]:
    """Return a sharded core layer that is used for opens (W002)."""
    if CORE_LAYER not in layer.kinds or len(_hosts(layer)) < 2:
        return []
    message = (
        f"Opens use the channel layer {layer.alias!r}, which has several hosts. A worker waits on "
        "one host at a time, so it finds most opens only after a retry."
    )
    hint = f"Set {conf.SETTING}['DISPATCH_LAYER'] to a layer with one host or a pub/sub layer."
    return [django_checks.Warning(message, hint=hint, id=f"{TAG}.W002")]


def dead_faults(layer: Layer) -> list[CheckMessage]:
    """Return a layer that is not supported (E019)."""
    if RABBITMQ_LAYER not in layer.kinds:
        return []
    message = f"The channel layer {layer.alias!r} is that of channels_rabbitmq, which is not "
    message += "supported: it lacks normal channels, and its calls may never return."
    hint = "Use a layer of channels_redis, or that of channels_demux_layer.contrib.postgres."
    return [fault(19, message, hint)]


def listener_faults(layer: Layer) -> list[CheckMessage]:
    """Return a layer that sends all opens to the same worker (W004)."""
    if PLAIN_POSTGRES_LAYER in layer.kinds and POSTGRES_LAYER not in layer.kinds:
        message = (
            f"The channel layer {layer.alias!r} sends opens only to the worker of a stream that "
            "started first, and to none after that worker ends or PostgreSQL restarts."
        )
        hint = f"Set its BACKEND to {POSTGRES_LAYER!r}, with the same CONFIG."
        return [django_checks.Warning(message, hint=hint, id=f"{TAG}.W004")]
    return []


def _aliases(settings: conf.Settings) -> list[str]:
    return list(dict.fromkeys([settings.CHANNEL_LAYER, settings.dispatch_layer]))


def _hosts(layer: Layer) -> list[Any]:
    hosts = layer.config.get("hosts") or ["redis://localhost:6379"]
    return list(hosts) if isinstance(hosts, (list, tuple)) else [hosts]


def _gives_up(host: Any, default: float | None) -> bool:
    """Return whether redis-py times out on this host while Redis still waits for a message."""
    options = host if isinstance(host, Mapping) else {"address": host}
    timeout = options.get("socket_timeout", default)
    address = options.get("address")
    if isinstance(address, str):
        # redis-py prefers the options of the URL.
        in_url = parse_qs(address.partition("?")[2]).get("socket_timeout")
        timeout = in_url[0] if in_url else timeout
    try:
        return timeout is not None and not float(timeout) > POLL
    except (TypeError, ValueError):
        return True
