"""The demo as an ASGI application: for the server and for the workers alike."""

import os

from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "channels_demux_layer.demo.project.settings")
# Before anything that needs Django to be set up. It serves static files as runserver does: good
# enough for a demo, not for a site.
http_application = ASGIStaticFilesHandler(get_asgi_application())

from channels_demux_layer.demo.project.demultiplexer import Demultiplexer  # noqa: E402
from channels_demux_layer.routing import stream_workers  # noqa: E402

# Nothing here belongs to anybody, so a page of any origin may connect; the buttons of the page look
# for themselves (system.py). A site with users wraps the URLRouter in
# AllowedHostsOriginValidator(AuthMiddlewareStack(...)).
application = ProtocolTypeRouter(
    {
        "http": http_application,
        "websocket": URLRouter([path("ws/", Demultiplexer.as_asgi())]),
        "channel": ChannelNameRouter(stream_workers(Demultiplexer)),
    }
)
