"""Settings of the acceptance project; what differs between sites comes in the environment."""

import json
import os
from typing import Any

#: What the harness says about this site: see `Site.environment`.
SITE: dict[str, Any] = json.loads(os.environ["DEMUX_SITE"])

#: The name of this process, by which the harness finds its connections on Redis.
PROCESS = os.environ.get("DEMUX_PROCESS", "")

SECRET_KEY = "acceptance"
USE_TZ = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.acceptance.project.urls"
ASGI_APPLICATION = SITE.get("application", "tests.acceptance.project.asgi.application")

# The stock `runworker` is the one under test: the first application's command wins.
INSTALLED_APPS = [
    "channels",
    "channels_demux_layer",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": SITE["database"],
        "OPTIONS": {"timeout": 30},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

CHANNEL_LAYERS: dict[str, Any] = SITE["channel_layers"]
for _layer in CHANNEL_LAYERS.values():
    for _host in _layer.get("CONFIG", {}).get("hosts", []):
        _host["client_name"] = PROCESS

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        "channels_demux_layer": {"level": "INFO"},
        "django.channels": {"level": "INFO"},
        "daphne": {"level": "INFO"},
    },
}

globals().update(SITE.get("settings", {}))
