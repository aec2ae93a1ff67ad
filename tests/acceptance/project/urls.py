"""The project's one page."""

import asyncio
from typing import Any

from channels.layers import get_channel_layer
from django.http import HttpRequest, HttpResponse
from django.urls import path


async def announce(request: HttpRequest) -> HttpResponse:
    """Sends to the group `room` from the view and from a task, and answers with what they raise."""
    outcomes = await asyncio.gather(say("view"), asyncio.ensure_future(say("task")))
    return HttpResponse(" ".join(outcomes))


async def say(content: str) -> str:
    """Sends to the group.

    Returns:
        The name of the exception; `sent` if there was none.
    """
    layer: Any = get_channel_layer()
    try:
        await layer.group_send("room", {"type": "room.said", "content": content})
    except Exception as error:
        return type(error).__name__
    return "sent"


urlpatterns = [path("announce/", announce)]
