"""Template tags: the browser's client, made importable by name on a page."""

import json
from typing import Any

from django import template
from django.template.context import Context
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

__all__ = ["register"]

register = template.Library()

#: The name that pages import, and the file behind it.
MODULE = "channels_demux_layer"
PATH = "channels_demux_layer/demultiplexer.js"

#: What could end the script or start a comment in it, as JSON may write it.
_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&"}
#: The attributes of a request with the nonce of django-csp, and of Django itself from 6.0 on.
_NONCES = ("csp_nonce", "_csp_nonce")


@register.simple_tag(takes_context=True)
def demux_script(context: Context) -> SafeString:
    """Make ``import { Demultiplexer } from "channels_demux_layer"`` work on a page.

    Belongs into the head, before any module script.

    Args:
        context: The template's context. Where its request has the nonce of a content security
            policy, or the context itself as ``csp_nonce``, it is used.

    Returns:
        An import map with the static URL of the client, and a link that has the browser fetch the
        client at once.
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
    """Return the nonce, or None. Both kinds are lazy, and false until somebody has used them."""
    # Every template that is rendered for a request has it here, whatever the context processors.
    request = getattr(context, "request", None) or context.get("request")
    found = [getattr(request, attribute, None) for attribute in _NONCES]
    return next((nonce for nonce in [*found, context.get("csp_nonce")] if nonce is not None), None)
