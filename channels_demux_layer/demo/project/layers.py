"""The channel layer of the demo, chosen by environment variables."""

from collections.abc import Mapping
from typing import Any

from channels_demux_layer.demo.redis_clients import own_name
from channels_demux_layer.exceptions import ConfigurationError

BACKENDS = {
    "core": "channels_redis.core.RedisChannelLayer",
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
}
DEFAULT_LAYER = "pubsub"
"""The faster of the two. On the stand-in for Redis it is ten times as fast."""


def channel_layers(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return Django's setting ``CHANNEL_LAYERS``.

    Args:
        environ: ``REDIS_URL`` and ``DEMUX_DEMO_LAYER`` (``core`` or ``pubsub``). Without
            ``REDIS_URL`` the layer is in memory, and all streams run in the server's process.

    Raises:
        ConfigurationError: ``DEMUX_DEMO_LAYER`` names no layer.
    """
    url = environ.get("REDIS_URL")
    if not url:
        return {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    layer = environ.get("DEMUX_DEMO_LAYER") or DEFAULT_LAYER
    if layer not in BACKENDS:
        raise ConfigurationError(
            f"DEMUX_DEMO_LAYER is {layer!r}: set it to {' or '.join(BACKENDS)}."
        )
    # By default a read of redis-py 8 times out after 5 s, which ends the core layer's receive().
    host = {"address": url, "socket_timeout": None, "client_name": own_name(environ)}
    return {"default": {"BACKEND": BACKENDS[layer], "CONFIG": {"hosts": [host]}}}
