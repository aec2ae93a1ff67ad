"""The chat of Channels' tutorial, twice: over a socket of its own, and ported to a stream.

The page is the tutorial's. What porting changes is in `PORTED`, whole.
"""

import json
import re
from pathlib import Path
from typing import Any

from django.conf import settings

settings.configure(
    SECRET_KEY="tutorial",
    ALLOWED_HOSTS=["127.0.0.1"],
    INSTALLED_APPS=["channels_demux_layer", "channels", "django.contrib.staticfiles"],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
    ROOT_URLCONF=__name__,
    STATIC_URL="/static/",
)

import django  # noqa: E402

django.setup()

from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.http import HttpRequest, HttpResponse  # noqa: E402
from django.template import engines  # noqa: E402
from django.urls import path  # noqa: E402

from channels_demux_layer import WebsocketDemultiplexer  # noqa: E402

ORIGINAL = Path(__file__).with_name("room.html").read_text(encoding="utf-8")
#: The tag and the import make the client known; the rest is the constructor.
PORTED = {
    "<script>": """{% load channels_demux_layer %}{% demux_script %}
    <script type="module">
        import { Demultiplexer } from "channels_demux_layer";
""",
    "new WebSocket(": "new Demultiplexer(",
    "+ '/'\n        );": "+ '/'\n        ).stream('chat');",
    "'/ws/chat/'": "'/ws/streams/'",
}


class ChatConsumer(AsyncWebsocketConsumer):
    """The tutorial's consumer."""

    async def connect(self) -> None:
        self.room_name = self.scope["url_route"]["kwargs"]["room_name"]
        self.room_group_name = f"chat_{self.room_name}"
        await self.channel_layer.group_add(self.room_group_name, self.channel_name)
        await self.accept()

    async def disconnect(self, close_code: int) -> None:
        await self.channel_layer.group_discard(self.room_group_name, self.channel_name)

    async def receive(self, text_data: str) -> None:
        message = json.loads(text_data)["message"]
        await self.channel_layer.group_send(
            self.room_group_name, {"type": "chat.message", "message": message}
        )

    async def chat_message(self, event: dict[str, Any]) -> None:
        await self.send(text_data=json.dumps({"message": event["message"]}))


class Demultiplexer(WebsocketDemultiplexer):
    """Has the tutorial's consumer for a stream."""

    consumer_classes = {"chat": ChatConsumer}


def ported() -> str:
    """Ports the page.

    Returns:
        Its new text.
    """
    text = ORIGINAL
    for old, new in PORTED.items():
        assert len(re.findall(re.escape(old), text)) == 1
        text = text.replace(old, new)
    return text


def room(request: HttpRequest, kind: str, room_name: str) -> HttpResponse:
    """Serves the page as it was, or ported."""
    template = engines["django"].from_string(ported() if kind == "ported" else ORIGINAL)
    return HttpResponse(template.render({"room_name": room_name}, request))


urlpatterns = [path("<str:kind>/<str:room_name>/", room)]
application = ProtocolTypeRouter(
    {
        "http": ASGIStaticFilesHandler(get_asgi_application()),
        "websocket": URLRouter(
            [
                path("ws/chat/<str:room_name>/", ChatConsumer.as_asgi()),
                path("ws/streams/<str:room_name>/", Demultiplexer.as_asgi()),
            ]
        ),
    }
)
