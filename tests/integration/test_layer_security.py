"""What protects a channel layer: encryption, access lists of Redis, and what a node ignores."""

from __future__ import annotations

import contextlib
import re
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
import redis
from channels.layers import get_channel_layer

from channels_demux_layer import Stream, WebsocketDemultiplexer
from channels_demux_layer.logs import RepeatedLog
from channels_demux_layer.testing import DemuxCommunicator
from channels_demux_layer.transport import calls
from channels_demux_layer.transport.nodes import find_node, stop_nodes
from tests.acceptance.harness.layers import KINDS, Kind, channel_layers
from tests.acceptance.harness.redis_server import RedisServer

from . import consumers
from .harness import LIMIT, demultiplexer, lone_worker, until

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "redis-layers.md"
#: A text that no other message has.
SECRET = "a secret that must not be read on the way"


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each of the two Redis layers in turn."""
    found: Kind = request.param
    return found


@contextlib.asynccontextmanager
async def hosted(layers: dict[str, Any], settings: Any) -> AsyncIterator[DemuxCommunicator]:
    """Run a server and a worker of one stream over a layer, with a client."""
    settings.CHANNEL_LAYERS = layers
    streams = {"echo": Stream(consumers.Json, hosting="workers")}
    cls: type[WebsocketDemultiplexer] = demultiplexer(streams)
    async with lone_worker(cls), DemuxCommunicator(cls.as_asgi(), timeout=LIMIT) as client:
        yield client
    await stop_nodes()
    layer = get_channel_layer()
    if hasattr(layer, "close_pools"):
        await layer.close_pools()
    else:
        for shard in layer._get_layer()._shards:
            await shard.flush()


def layers_of(kind: Kind, url: str, **config: Any) -> dict[str, Any]:
    """Configure a layer with a prefix of its own."""
    return channel_layers(kind, url, prefix=f"test{uuid.uuid4().hex[:8]}", **config)


async def ask(client: DemuxCommunicator, payload: Any) -> Any:
    """Send a payload to the stream, and return its answer."""
    await client.send_to("echo", payload)
    return await client.receive_from("echo")


# ---- encryption -------------------------------------------------------------------------


async def test_streams_work_over_an_encrypted_layer(
    kind: Kind, redis_server: RedisServer, settings: Any
) -> None:
    """With symmetric_encryption_keys payloads pass, and Redis never sees them in clear."""
    for keys in ([], ["key"]):
        layers = layers_of(kind, redis_server.url, symmetric_encryption_keys=keys)
        with redis_server.monitor() as monitor:
            async with hosted(layers, settings) as client:
                assert await ask(client, SECRET) == SECRET
                assert not find_node("default").ignored
        assert bool(monitor.matching(re.escape(SECRET))) is (not keys)


async def test_messages_of_another_key_are_ignored(
    kind: Kind,
    redis_server: RedisServer,
    settings: Any,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who has not the key is not heard, by nodes and by workers, and disturbs nobody."""
    monkeypatch.setattr(calls, "repeated", RepeatedLog(calls.logger))
    layers = layers_of(kind, redis_server.url, symmetric_encryption_keys=["key"])
    prefix = layers["default"]["CONFIG"]["prefix"]
    async with hosted(layers, settings) as client:
        assert await ask(client, 1) == 1
        node = find_node("default")
        caplog.clear()
        for _ in range(20):
            for channel in (node.channel, "demux.echo"):
                await forge(redis_server, kind, prefix, channel, b"garbage")
        assert await ask(client, 2) == 2
        await until(lambda: node.ignored["unreadable"] == 20)
        await until(lambda: any("demux.echo cannot be read" in text for text in caplog.messages))
        assert not node.is_cut_off
        assert await ask(client, 3) == 3
    assert not [text for text in caplog.messages if "Retrying" in text]


@pytest.mark.parametrize("message", [5, [1], "x", {}, {"type": 7}, {"type": "x" * 10_000}])
async def test_messages_of_no_shape_are_ignored(
    kind: Kind,
    redis_server: RedisServer,
    settings: Any,
    caplog: pytest.LogCaptureFixture,
    message: Any,
) -> None:
    """What is no dict, or none of ours, is counted or warned of, and disturbs nobody."""
    layers = layers_of(kind, redis_server.url)
    prefix = layers["default"]["CONFIG"]["prefix"]
    async with hosted(layers, settings) as client:
        assert await ask(client, 1) == 1
        node = find_node("default")
        packed = msgpack.packb(message)
        for channel in (node.channel, "demux.echo"):
            await forge(redis_server, kind, prefix, channel, packed)
        assert await ask(client, 2) == 2
        await until(
            lambda: (
                node.ignored["foreign"] + node.ignored["unreadable"] >= 1
                or "demux.echo cannot be read" in caplog.text
            )
        )
    assert all(len(text) < 1000 for text in caplog.messages)
    assert "Traceback" not in caplog.text


async def forge(server: RedisServer, kind: Kind, prefix: str, channel: str, content: bytes) -> None:
    """Put bytes where a layer's messages are, as anybody can who reaches Redis."""
    with server.client() as client:
        if kind == "pubsub":
            client.publish(channel, content)
        else:
            key = prefix + channel[: channel.find("!") + 1 or None]
            client.zadd(key, {uuid.uuid4().bytes[:12] + content: time.time()})


# ---- access lists -----------------------------------------------------------------------


@pytest.fixture
def guarded_redis(
    redis_installed: None, tmp_path: Path, kind: Kind
) -> Iterator[tuple[RedisServer, str]]:
    """A Redis where a user may do what the page on Redis says, and nobody else anything.

    Yields:
        The server, and the address with the user.
    """
    server = RedisServer(tmp_path)
    rules = access_rules(kind)
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "demux", "reset", "on", ">pw", *rules)
    yield server, f"redis://demux:pw@127.0.0.1:{server.port}/0"
    server.stop()


def access_rules(kind: Kind) -> list[str]:
    """Read the rules of a layer out of the page."""
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(rf"^user {kind} on >secret (.*)$", text, re.MULTILINE)[0].split()


async def test_the_access_rules_of_the_page_are_enough(
    guarded_redis: tuple[RedisServer, str], kind: Kind, settings: Any
) -> None:
    """A server and a worker with no other rights serve a stream, and nothing is denied them."""
    server, url = guarded_redis
    async with hosted(channel_layers(kind, url), settings) as client:
        for number in range(5):
            assert await ask(client, number) == number
        await client.close("echo")
        assert (await client.receive_event("echo"))["code"] == 1000
    with server.client() as admin:
        assert admin.execute_command("ACL", "LOG") == []


async def test_the_access_rules_of_the_page_deny_the_rest(
    guarded_redis: tuple[RedisServer, str], kind: Kind
) -> None:
    """The user reaches neither other keys and channels nor commands that rule the server."""
    _, url = guarded_redis
    with redis.Redis.from_url(url) as client:
        for words in (
            ("GET", "session:1"),
            ("ZADD", "other:queue", "1", "x"),
            ("ZADD", "asgiother.stream", "1", "x"),
            ("PUBLISH", "other", "x"),
            ("PUBLISH", "asgiother.stream", "x"),
            ("FLUSHALL",),
            ("KEYS", "*"),
            ("CONFIG", "GET", "*"),
            ("ACL", "LIST"),
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*words)
