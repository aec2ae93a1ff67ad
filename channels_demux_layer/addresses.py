"""Where the servers of a channel layer are, as logs and messages may show it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

__all__ = ["addresses_of"]

REDIS_PORT = 6379
POSTGRES_PORT = 5432
UNKNOWN = "an unknown address"


def addresses_of(alias: str) -> str:
    """Return the addresses of a channel layer's servers, without users and passwords.

    Args:
        alias: The layer's name in CHANNEL_LAYERS.

    Returns:
        For example ``10.0.0.1:6379, 10.0.0.2:6379``; empty where the configuration names none.
    """
    # Not at the top: Django's setup imports this module, and needs no layer.
    from channels.layers import channel_layers

    entry = channel_layers.configs.get(alias)
    config = entry.get("CONFIG") if isinstance(entry, Mapping) else None
    return ", ".join(_addresses(config)) if isinstance(config, Mapping) else ""


def _addresses(config: Mapping[str, Any]) -> Iterator[str]:
    hosts = config.get("hosts")
    if isinstance(hosts, (list, tuple)):
        yield from map(_address, hosts)
    elif isinstance(config.get("HOST"), str):  # PostgreSQL's, as DATABASES has it
        yield f"{config['HOST'] or 'localhost'}:{config.get('PORT') or POSTGRES_PORT}"


def _address(host: Any) -> str:
    if isinstance(host, Mapping):
        if "master_name" in host:
            return f"Sentinel's {host['master_name']}"
        place = (host.get("host", "localhost"), host.get("port", REDIS_PORT))
        host = host.get("address", place)
    if isinstance(host, (list, tuple)) and len(host) == 2:
        return f"{host[0]}:{host[1]}"
    try:
        url = urlsplit(host)
        return f"{url.hostname}:{url.port or REDIS_PORT}" if url.hostname else url.path or UNKNOWN
    except (AttributeError, TypeError, ValueError):
        return UNKNOWN
