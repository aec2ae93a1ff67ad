"""Views for the liveness and readiness checks of an orchestrator.

urlpatterns = [
path("live", health.live),
path("ready", health.ready),
]
"""

from __future__ import annotations

from channels.routing import get_default_application
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse

from .hosting.discovery import find_demultiplexers
from .monitoring.readiness import find_problems, health_page, join_in_time
from .transport.nodes import running_nodes

__all__ = ["live", "ready"]


async def live(request: HttpRequest) -> HttpResponse:
    """Answer a liveness check with 200."""
    return HttpResponse(b"live\n", content_type="text/plain; charset=utf-8")


async def ready(request: HttpRequest) -> HttpResponse:
    """Answer a readiness check with 200, or with 503 if the channel layer cannot be used.

    A server whose streams are all inline is always ready. Any other server joins the channel layer
    with the first check, unless a connection has made it join before.
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
        return False  # Without ASGI_APPLICATION the first connection shows which streams there are.
    return any(cls.hosting_of(name) == "workers" for cls in classes for name in cls.stream_table())
