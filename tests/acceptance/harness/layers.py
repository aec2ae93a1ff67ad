"""The two channel layers over Redis, and how to know that somebody listens on one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .redis_server import RedisServer

Kind = Literal["core", "pubsub"]

KINDS: tuple[Kind, ...] = ("core", "pubsub")

BACKENDS = {
    "core": "channels_redis.core.RedisChannelLayer",
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
}


def channel_layers(
    kind: Kind, url: str, host: Mapping[str, Any] | None = None, **config: Any
) -> dict[str, Any]:
    """Writes the setting CHANNEL_LAYERS for one Redis.

    Args:
        kind: Which of the two layers of channels_redis.
        url: The address of the Redis server.
        host: More options of redis-py's connections, such as `max_connections`.
        **config: More entries of the layer's CONFIG, such as `capacity`.

    Returns:
        The setting, with `default` as its one alias.
    """
    # The core layer waits on Redis for as long as nothing comes; redis-py gives up after 5 s.
    # Of what is pushed to subscribers over protocol 3, redis-py writes out every byte for its log.
    advised = {"socket_timeout": None} if kind == "core" else {"protocol": 2}
    hosts = [{"address": url, **advised, **(host or {})}]
    return {"default": {"BACKEND": BACKENDS[kind], "CONFIG": {"hosts": hosts, **config}}}


@dataclass(frozen=True)
class Layer:
    """One of the two Redis channel layers on the private server.

    Attributes:
        kind: `core` or `pubsub`.
        redis: The server it is on.
    """

    kind: Kind
    redis: RedisServer

    @property
    def channel_layers(self) -> dict[str, Any]:
        """The setting CHANNEL_LAYERS, with the layer's defaults."""
        return self.configured()

    def configured(self, **config: Any) -> dict[str, Any]:
        """Writes the setting CHANNEL_LAYERS with options.

        Args:
            **config: Arguments of `channel_layers()`, such as `capacity`.

        Returns:
            The setting, with `default` as its one alias.
        """
        return channel_layers(self.kind, self.redis.url, **config)

    def listeners(self, channel: str, client_name: str) -> int:
        """Counts who waits for messages on a normal channel.

        Args:
            channel: The channel's name.
            client_name: Counts, on the core layer, the waiting connections of this client only:
                Redis doesn't say which key a client waits for.

        Returns:
            The number of listeners.
        """
        with self.redis.client() as client:
            if self.kind == "pubsub":
                return int(client.pubsub_numsub(channel)[0][1])
            return sum(
                entry["name"] == client_name and entry["cmd"] == "bzpopmin"
                for entry in client.client_list()
            )
