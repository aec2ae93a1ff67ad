"""An application of consumers that come from other packages, written as those document them.

For sites with `application="tests.acceptance.project.third_party.application"`.
"""

from django.core.asgi import get_asgi_application

# Loads the applications, which the consumers below need.
http_application = get_asgi_application()

import asyncio  # noqa: E402
import os  # noqa: E402
from collections.abc import AsyncGenerator  # noqa: E402

import strawberry  # noqa: E402
from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.urls import path  # noqa: E402
from djangochannelsrestframework import mixins  # noqa: E402
from djangochannelsrestframework.decorators import action  # noqa: E402
from djangochannelsrestframework.generics import GenericAsyncAPIConsumer  # noqa: E402
from djangochannelsrestframework.observer import model_observer  # noqa: E402
from djangochannelsrestframework.permissions import IsAuthenticated  # noqa: E402
from pycrdt.websocket.django_channels_consumer import YjsConsumer  # noqa: E402
from rest_framework import serializers  # noqa: E402
from strawberry.channels import GraphQLWSConsumer  # noqa: E402

from channels_demux_layer import Stream, WebsocketDemultiplexer  # noqa: E402
from channels_demux_layer.routing import stream_workers  # noqa: E402

# -- strawberry-graphql ----------------------------------------------------------------------------


@strawberry.type
class Query:
    """What a client may ask."""

    @strawberry.field
    def pid(self) -> int:
        """Which process answers."""
        return os.getpid()

    @strawberry.field
    def me(self, info: strawberry.Info) -> str:
        """Who asks."""
        name: str = info.context["ws"].scope["user"].get_username()
        return name


@strawberry.type
class Mutation:
    """What a client may do."""

    @strawberry.mutation
    async def say(self, info: strawberry.Info, room: str, text: str) -> bool:
        """Say something to a room."""
        layer = info.context["ws"].channel_layer
        await layer.group_send(f"room.{room}", {"type": "room.said", "text": text})
        return True


@strawberry.type
class Subscription:
    """What a client may listen to."""

    @strawberry.subscription
    async def count(self, target: int) -> AsyncGenerator[int, None]:
        """Count, and stop."""
        for number in range(target):
            yield number

    @strawberry.subscription
    async def ticks(self) -> AsyncGenerator[int, None]:
        """Count, and go on."""
        number = 0
        while True:
            yield number
            number += 1
            await asyncio.sleep(0.01)

    @strawberry.subscription
    async def room(self, info: strawberry.Info, name: str) -> AsyncGenerator[str, None]:
        """Hear what is said in a room."""
        ws = info.context["ws"]
        async with ws.listen_to_channel("room.said", groups=[f"room.{name}"]) as messages:
            yield "you are in"
            async for message in messages:
                yield message["text"]


schema = strawberry.Schema(query=Query, mutation=Mutation, subscription=Subscription)
graphql = GraphQLWSConsumer.as_asgi(schema=schema)


# -- djangochannelsrestframework -------------------------------------------------------------------


class UserSerializer(serializers.ModelSerializer):
    """A user as JSON."""

    class Meta:
        """What of it."""

        model = User
        fields = ["id", "username", "email"]


class UserConsumer(
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    mixins.CreateModelMixin,
    mixins.PatchModelMixin,
    mixins.DeleteModelMixin,
    GenericAsyncAPIConsumer,
):
    """The users, for whoever is one."""

    queryset = User.objects.all()
    serializer_class = UserSerializer
    permission_classes = (IsAuthenticated,)


class ActivityConsumer(GenericAsyncAPIConsumer):
    """What becomes of the users, for whoever wants to know."""

    queryset = User.objects.all()
    serializer_class = UserSerializer

    @model_observer(User, serializer_class=UserSerializer)
    async def user_activity(self, message, action, subscribing_request_ids=(), **kwargs):  # type: ignore[no-untyped-def]
        """Tell the client, once for each of its subscriptions."""
        for request_id in subscribing_request_ids:
            await self.reply(action=action, data=message, request_id=request_id)

    @action()
    async def subscribe_to_user_activity(self, request_id, **kwargs):  # type: ignore[no-untyped-def]
        """Have the client told."""
        await self.user_activity.subscribe(request_id=request_id)
        return {"pid": os.getpid()}, 200


# -- the demultiplexer -----------------------------------------------------------------------------


class ThirdParty(WebsocketDemultiplexer):
    """One socket for all of them; the path has the name of a Yjs room."""

    consumer_classes = {
        "graphql": Stream(graphql, subprotocol="graphql-transport-ws", stateful=True),
        "graphql-of-the-socket": Stream(graphql, lazy=True),
        "users": Stream(UserConsumer, lazy=True),
        "activity": Stream(ActivityConsumer, lazy=True, stateful=True),
        "document": Stream(YjsConsumer, lazy=True, stateful=True),
    }


application = ProtocolTypeRouter(
    {
        "http": http_application,
        "websocket": AuthMiddlewareStack(
            URLRouter([path("ws/<str:room>/", ThirdParty.as_asgi())]),
        ),
        "channel": ChannelNameRouter(stream_workers(ThirdParty)),
    }
)
