"""What those ask who watch a server."""

from django.urls import path

from channels_demux_layer import health
from channels_demux_layer.contrib.prometheus import metrics_view

urlpatterns = [
    path("live", health.live),
    path("ready", health.ready),
    path("metrics", metrics_view),
]
