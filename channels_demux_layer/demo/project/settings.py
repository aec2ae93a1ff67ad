"""Settings of the demo project.

Read from the environment: ``REDIS_URL`` and ``DEMUX_DEMO_LAYER`` (see ``layers.py``), and
``DEMUX_DEMO_ALLOWED_HOSTS``, the names that the page may be asked for by, separated by commas.
"""

import os

from django.core.management.utils import get_random_secret_key

from channels_demux_layer.demo.project.layers import channel_layers

SECRET_KEY = get_random_secret_key()  # nothing is signed, so no two processes need the same
DEBUG = False
ALLOWED_HOSTS = os.environ.get("DEMUX_DEMO_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]").split(",")
INSTALLED_APPS = [
    "channels_demux_layer",  # above channels: its runworker is the one that drains
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
# Short, so that one sees what comes of a process that was killed. A site on many machines leaves
# them as they are: a pause of the network is no end.
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
