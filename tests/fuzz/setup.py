"""Sets Django up for what is fuzzed, without a channel layer."""

import logging
import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()
# Warnings are what most inputs are for.
logging.getLogger("channels_demux_layer").addHandler(logging.NullHandler())
logging.getLogger("channels_demux_layer").propagate = False
