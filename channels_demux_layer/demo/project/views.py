"""The page that uses the streams, and the health check."""

import secrets

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from channels_demux_layer.conf import get_settings
from channels_demux_layer.demo.plan import STREAMS

POLICY = "; ".join(
    [
        "default-src 'self'",
        "script-src 'self' 'nonce-{nonce}'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "object-src 'none'",
    ]
)
"""The content security policy: the page loads resources only from this server."""


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """Serve the page.

    Args:
        request: A GET or HEAD request.

    Returns:
        The page. It uses only static files and the WebSocket of this server.
    """
    nonce = secrets.token_urlsafe(16)
    context = {
        "csp_nonce": nonce,
        "streams": STREAMS,
        "peer_timeout": get_settings().PEER_TIMEOUT,
    }
    response = render(request, "demux_demo/page.html", context)
    response["Content-Security-Policy"] = POLICY.format(nonce=nonce)
    return response


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """Answer a health check.

    Args:
        request: A GET or HEAD request.

    Returns:
        200 with the text ``ok``.
    """
    return HttpResponse("ok", content_type="text/plain")
