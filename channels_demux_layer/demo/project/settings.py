"""Settings of the demo project.

They read ``REDIS_URL`` and ``DEMUX_DEMO_LAYER`` (see ``layers.py``) from the environment, and
``DEMUX_DEMO_ALLOWED_HOSTS``, the server's host names, separated by commas.
"""

import os

from django.core.management.utils import get_random_secret_key

from .layers import channel_layers

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
