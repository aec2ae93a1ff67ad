"""Settings with the package's layers and most of its keys."""

from typing import Any

INSTALLED_APPS = ["channels_demux_layer", "channels", "django.contrib.auth"]
ASGI_APPLICATION = "mysite.asgi.application"
CHANNEL_LAYERS: dict[str, dict[str, Any]] = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": ["redis://127.0.0.1:6379/0"]},
    },
}
CHANNELS_DEMUX_LAYER: dict[str, Any] = {
    "HOSTING": "auto",
    "MAX_PAYLOAD": 65_536,
    "PEER_TIMEOUT": 5.0,
    "SCOPE_COOKIES": ["sessionid"],
}
