"""Which stream leads where, and who may open it."""

from typing import Any

from channels_demux_layer import Stream, WebsocketDemultiplexer
from mysite.consumers import ChatConsumer, ReportConsumer


async def is_member(scope: dict[str, Any]) -> bool:
    """Tell whether a client may chat."""
    return bool(scope["user"].is_authenticated)


class Demultiplexer(WebsocketDemultiplexer):
    """An entry of each kind."""

    consumer_classes = {
        "chat": Stream(ChatConsumer, permission=is_member),
        "reports": Stream(ReportConsumer, text=True, lazy=True, own_thread=True),
        "prices": "market.consumers.PriceConsumer",
        "audit": Stream("audit.asgi.application", hosting="workers", permission="audit.view"),
        "echo": ChatConsumer,
    }
    channel_prefix = "site"
    max_open_streams = 8


# Each of these is wrong, and has to be said to be.
Stream(ChatConsumer, hosting="nowhere")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Stream(ChatConsumer, True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Stream(ChatConsumer, late=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Stream(12)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Stream(ChatConsumer, permission=lambda: True)  # type: ignore[arg-type, misc]  # pyright: ignore[reportArgumentType]
