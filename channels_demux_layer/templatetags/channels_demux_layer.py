"""The template tag that makes the browser client importable by name."""

import json
from typing import Any

from django import template
from django.template.context import Context
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

__all__ = ["register"]

register = template.Library()

#: The module name that pages import, and the static file behind it.
MODULE = "channels_demux_layer"
PATH = "channels_demux_layer/demultiplexer.js"

#: JSON escapes of characters that could end the script element or start a comment in it.
_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&"}
#: The request attributes that hold the nonce: of django-csp, and of Django 6.0 or later.
_NONCES = ("csp_nonce", "_csp_nonce")


@register.simple_tag(takes_context=True)
def demux_script(context: Context) -> SafeString:
    """Make ``import { Demultiplexer } from "channels_demux_layer"`` work on a page.

    Put the tag into the head, before any module script.

    Args:
        context: The template's context. The tag uses the nonce of a content security policy if
            the request has one, or else the context's ``csp_nonce``.

    Returns:
        An import map with the static URL of the client, and a link that preloads the client.
    """
    url = static(PATH)
    import_map = json.dumps({"imports": {MODULE: url}}).translate(_ESCAPES)
    nonce = _nonce(context)
    attribute = "" if nonce is None else format_html(' nonce="{}"', nonce)
    return format_html(
        '<script type="importmap"{}>{}</script>\n<link rel="modulepreload"{} href="{}">',
        attribute,
        mark_safe(import_map),
        attribute,
        url,
    )


def _nonce(context: Context) -> Any:
    """Return the nonce, or None. Both kinds are lazy objects, which are false until first use."""
    # Django sets context.request for every template that is rendered with a request.
    request = getattr(context, "request", None) or context.get("request")
    found = [getattr(request, attribute, None) for attribute in _NONCES]
    return next((nonce for nonce in [*found, context.get("csp_nonce")] if nonce is not None), None)
