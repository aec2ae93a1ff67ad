"""The demo's ASGI application, for the server and for the workers."""

import os

from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "channels_demux_layer.demo.project.settings")
# This sets Django up, so it must precede the imports below. It serves static files as runserver
# does, which is good enough for a demo but not for a site.
http_application = ASGIStaticFilesHandler(get_asgi_application())

from channels_demux_layer.routing import stream_workers  # noqa: E402

from .demultiplexer import Demultiplexer  # noqa: E402

# The streams have no private data, so pages of any origin may connect. Commands check the origin
# (system.py). A site with users wraps the URLRouter in
# AllowedHostsOriginValidator(AuthMiddlewareStack(...)).
application = ProtocolTypeRouter(
    {
        "http": http_application,
        "websocket": URLRouter([path("ws/", Demultiplexer.as_asgi())]),
        "channel": ChannelNameRouter(stream_workers(Demultiplexer)),
    }
)
