"""The channel layer of the demo, chosen by its environment."""

from collections.abc import Mapping
from typing import Any

from channels_demux_layer.demo.redis_clients import own_name
from channels_demux_layer.exceptions import ConfigurationError

BACKENDS = {
    "core": "channels_redis.core.RedisChannelLayer",
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
}
DEFAULT_LAYER = "pubsub"
"""The faster of the two; ten times so on the stand-in for Redis."""


def channel_layers(environ: Mapping[str, str]) -> dict[str, Any]:
    """Write Django's ``CHANNEL_LAYERS``.

    Args:
        environ: ``REDIS_URL`` and ``DEMUX_DEMO_LAYER`` (``core`` or ``pubsub``). Without the
            first the layer is in memory: then every stream runs in the server's process.

    Returns:
        The setting.

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
    # redis-py 8 gives up on a read after 5 s by default, which ends the core layer's receive().
    host = {"address": url, "socket_timeout": None, "client_name": own_name(environ)}
    return {"default": {"BACKEND": BACKENDS[layer], "CONFIG": {"hosts": [host]}}}
