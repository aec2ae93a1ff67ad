"""Settings of the demo project.

They read ``REDIS_URL`` and ``DEMUX_DEMO_LAYER`` from the environment, and
``DEMUX_DEMO_ALLOWED_HOSTS``, the server's host names, separated by commas.
"""

import os
from collections.abc import Mapping
from typing import Any

from django.core.management.utils import get_random_secret_key

from channels_demux_layer.demo.redis_clients import own_name
from channels_demux_layer.exceptions import ConfigurationError

_BACKENDS = {
    "core": "channels_redis.core.RedisChannelLayer",
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
}
_DEFAULT_LAYER = "pubsub"
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
    layer = environ.get("DEMUX_DEMO_LAYER") or _DEFAULT_LAYER
    if layer not in _BACKENDS:
        raise ConfigurationError(
            f"DEMUX_DEMO_LAYER is {layer!r}: set it to {' or '.join(_BACKENDS)}."
        )
    # By default a read of redis-py 8 times out after 5 s, which ends the core layer's receive().
    host = {"address": url, "socket_timeout": None, "client_name": own_name(environ)}
    return {"default": {"BACKEND": _BACKENDS[layer], "CONFIG": {"hosts": [host]}}}


SECRET_KEY = get_random_secret_key()  # nothing is signed, so each process may have its own
DEBUG = False
ALLOWED_HOSTS = os.environ.get("DEMUX_DEMO_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]").split(",")
INSTALLED_APPS = [
    "channels_demux_layer",  # above channels, so that its runworker replaces that of Channels
    "channels",
    "django.contrib.staticfiles",
    "channels_demux_layer.demo.project",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
STATIC_URL = "/static/"
ROOT_URLCONF = "channels_demux_layer.demo.project.urls"
ASGI_APPLICATION = "channels_demux_layer.demo.project.asgi.application"
CHANNEL_LAYERS = channel_layers(os.environ)
# Short timeouts show failover quickly. A site keeps the defaults, so that a pause of the network is
# not mistaken for a dead process.
CHANNELS_DEMUX_LAYER = {"PEER_TIMEOUT": 3.0, "OPEN_TIMEOUT": 3.0, "OPEN_RETRY": 1.0}
TIME_ZONE = "UTC"
USE_TZ = True

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["console"], "level": "INFO"},
}
