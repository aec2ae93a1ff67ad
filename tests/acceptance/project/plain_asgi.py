"""The project without the package: shows that the harness itself works."""

from django.core.asgi import get_asgi_application

http_application = get_asgi_application()

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.consumer import AsyncConsumer  # noqa: E402
from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import path  # noqa: E402

from .consumers import EchoConsumer, Message, ScopeConsumer  # noqa: E402
from .journal import note  # noqa: E402


class NoteConsumer(AsyncConsumer):
    """Writes down what it is sent."""

    async def note_down(self, message: Message) -> None:
        """Writes the message's text to the journal."""
        note("noted", text=message["text"])


application = ProtocolTypeRouter(
    {
        "http": http_application,
        "websocket": AuthMiddlewareStack(
            URLRouter(
                [path("ws/", EchoConsumer.as_asgi()), path("scope/", ScopeConsumer.as_asgi())]
            )
        ),
        "channel": ChannelNameRouter({"plain.note": NoteConsumer.as_asgi()}),
    }
)
