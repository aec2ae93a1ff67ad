"""Views that tell an orchestrator whether a server lives, and whether it is ready for clients.

urlpatterns = [
path("live", health.live),
path("ready", health.ready),
]
"""

from __future__ import annotations

from channels.routing import get_default_application
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse

from channels_demux_layer.discovery import find_demultiplexers
from channels_demux_layer.layer.nodes import running_nodes
from channels_demux_layer.readiness import find_problems, health_page, join_in_time

__all__ = ["live", "ready"]


async def live(request: HttpRequest) -> HttpResponse:
    """Say that the process lives: it answers."""
    return HttpResponse(b"live\n", content_type="text/plain; charset=utf-8")


async def ready(request: HttpRequest) -> HttpResponse:
    """Say whether the process is ready: 200, or 503 where its streams cannot reach their workers.

    A server whose streams are all inline is always ready. Any other joins the channel layer when
    it is asked first, if no connection has made it do so.
    """
    nodes = [node for node in running_nodes() if node.channel]
    if not nodes and _needs_workers():
        nodes = [await join_in_time()]
    problems = [problem for node in nodes for problem in await find_problems(node)]
    page = health_page(problems)
    return HttpResponse(page.body, status=page.status, content_type=page.content_type)


def _needs_workers() -> bool:
    try:
        classes = find_demultiplexers(get_default_application())
    except ImproperlyConfigured:
        return False  # Without ASGI_APPLICATION nobody knows, until a connection has come.
    return any(cls.hosting_of(name) == "workers" for cls in classes for name in cls.stream_table())
