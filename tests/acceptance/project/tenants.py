"""An application whose users are found by their tenant, each of which has tables of its own.

For sites with `application="tests.acceptance.project.tenants.application"`, and the path of the
tenant's database as the setting TENANT_DATABASE.
"""

from django.core.asgi import get_asgi_application

# Loads the applications, which the consumers below need.
http_application = get_asgi_application()

import os  # noqa: E402
from contextvars import ContextVar  # noqa: E402
from typing import Any  # noqa: E402

from channels.db import database_sync_to_async  # noqa: E402
from channels.generic.websocket import (  # noqa: E402
    AsyncJsonWebsocketConsumer,
    JsonWebsocketConsumer,
)
from channels.middleware import BaseMiddleware  # noqa: E402
from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter  # noqa: E402
from django.conf import settings  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.db.backends.signals import connection_created  # noqa: E402
from django.urls import path  # noqa: E402
from django.utils import timezone, translation  # noqa: E402

from channels_demux_layer import Stream, WebsocketDemultiplexer  # noqa: E402
from channels_demux_layer.routing import stream_workers  # noqa: E402

tenant: ContextVar[str] = ContextVar("tenant", default="")


def select_tables(connection: Any, **kwargs: Any) -> None:
    """Put a tenant's users in front of those of everybody, as the search path of PostgreSQL."""
    if tenant.get():
        with connection.cursor() as cursor:
            cursor.execute("ATTACH DATABASE %s AS tenant", [settings.TENANT_DATABASE])
            cursor.execute("CREATE TEMP VIEW auth_user AS SELECT * FROM tenant.auth_user")


connection_created.connect(select_tables)


class AtTheEdge(BaseMiddleware):
    """What a project has around its routes."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        """Find tenant and user, and activate what is theirs."""
        tenant.set("acme")
        translation.activate("de")
        timezone.activate("Asia/Tokyo")
        user = await database_sync_to_async(User.objects.get)(pk=1)
        user.flags = ["beta"]
        scope = {**scope, "tenant": "acme", "user": user, "own": {"plain": 1, "object": object()}}
        return await super().__call__(scope, receive, send)


class InTheWorker(BaseMiddleware):
    """What it has around its consumers in workers."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        """Select the tenant."""
        tenant.set(scope["tenant"])
        return await super().__call__(scope, receive, send)


def report(scope: Any) -> dict[str, Any]:
    """Say what a consumer sees."""
    user = scope["user"]
    return {
        "user": user.username,
        "is_authenticated": user.is_authenticated,
        "flags": getattr(user, "flags", None),
        "language": translation.get_language(),
        "zone": timezone.get_current_timezone_name(),
        "tenant": tenant.get(),
        "own": scope["own"]["plain"],
        "pid": os.getpid(),
    }


class Reporting(AsyncJsonWebsocketConsumer):
    """Says what it sees."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Answer."""
        await self.send_json(report(self.scope))


class SyncReporting(JsonWebsocketConsumer):
    """Says what it sees, in a thread."""

    def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Answer."""
        self.send_json(report(self.scope))


class Plain(WebsocketDemultiplexer):
    """Has nothing around its consumers in workers."""

    channel_prefix = "plain"
    consumer_classes = {"report": Reporting}


class Tenants(WebsocketDemultiplexer):
    """Has each consumer in the tenant of its client."""

    channel_prefix = "tenants"
    worker_middleware = InTheWorker
    consumer_classes = {
        "report": Reporting,
        "sync": SyncReporting,
        "inline": Stream(Reporting, hosting="inline"),
    }


class Failing(Plain):
    """Cannot say what travels."""

    def portable_scope(self) -> dict[str, Any]:
        """Fail."""
        raise RuntimeError("the project was told to fail")


application = ProtocolTypeRouter(
    {
        "http": http_application,
        "websocket": AtTheEdge(
            URLRouter(
                [
                    path("plain/", Plain.as_asgi()),
                    path("tenants/", Tenants.as_asgi()),
                    path("failing/", Failing.as_asgi()),
                ]
            )
        ),
        "channel": ChannelNameRouter(stream_workers(Plain, Tenants)),
    }
)
