"""An application that is traced: each process prints its spans, each as a line of JSON.

For sites with `application="tests.acceptance.project.traced.application"`.
"""

from django.core.asgi import get_asgi_application

# Loads the applications, which the consumers below need.
http_application = get_asgi_application()

import os  # noqa: E402
from typing import Any  # noqa: E402

from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402
from channels.routing import ChannelNameRouter, ProtocolTypeRouter  # noqa: E402
from opentelemetry.sdk.trace import TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor  # noqa: E402

from channels_demux_layer import WebsocketDemultiplexer  # noqa: E402
from channels_demux_layer.contrib.opentelemetry import instrument  # noqa: E402
from channels_demux_layer.routing import stream_workers  # noqa: E402

provider = TracerProvider(shutdown_on_exit=False)
printer = ConsoleSpanExporter(formatter=lambda span: f"{span.to_json(indent=None)}\n")
provider.add_span_processor(SimpleSpanProcessor(printer))
tracer = provider.get_tracer("tests")
instrument(provider)


class WorkingConsumer(AsyncJsonWebsocketConsumer):
    """Works in a span of its own, and says which process did."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Works, and answers."""
        with tracer.start_as_current_span("query"):
            await self.send_json(os.getpid())


class TracedDemultiplexer(WebsocketDemultiplexer):
    """Has one stream."""

    consumer_classes = {"work": WorkingConsumer}


async def websocket(scope: Any, receive: Any, send: Any) -> None:
    """Gives each connection a span, as an instrumentation of ASGI does."""
    with tracer.start_as_current_span("websocket"):
        await TracedDemultiplexer.as_asgi()(scope, receive, send)


application = ProtocolTypeRouter(
    {
        "http": http_application,
        "websocket": websocket,
        "channel": ChannelNameRouter(stream_workers(TracedDemultiplexer)),
    }
)
