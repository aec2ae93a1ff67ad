"""The page that uses the streams, and what a health check asks for."""

from pathlib import Path

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

PAGE = Path(__file__).with_name("page.html").read_bytes()


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """Serve the page.

    Args:
        request: A GET or HEAD request.

    Returns:
        The page, whole: it asks for nothing else but its WebSocket.
    """
    return HttpResponse(PAGE)


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """Say that this process serves.

    Args:
        request: A GET or HEAD request.

    Returns:
        200 with the text ``ok``.
    """
    return HttpResponse("ok", content_type="text/plain")
