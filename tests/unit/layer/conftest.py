"""What tests of a node on channels_redis' layers share: servers, and layers on them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from channels_redis.pubsub import RedisPubSubChannelLayer

from tests.unit.layer.redis.server import ScriptedServer, running_server

#: How many servers a layer has that has several.
SERVERS = 3


@pytest.fixture
async def all_is_handled() -> AsyncIterator[None]:
    """Fails a test that leaves the event loop with an error that nobody takes."""
    unhandled: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, error: unhandled.append(error))
    # To look at all that other tests have left would take most of the test's time.
    gc.freeze()
    yield
    gc.collect()
    gc.unfreeze()
    assert unhandled == []


@pytest.fixture
async def servers(all_is_handled: None) -> AsyncIterator[list[ScriptedServer]]:
    """Several servers that nobody has asked anything of."""
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(running_server()) for _ in range(SERVERS)]


@pytest.fixture
async def server(all_is_handled: None) -> AsyncIterator[ScriptedServer]:
    """A server that nobody has asked anything of."""
    async with running_server() as server:
        yield server


@pytest.fixture
async def make_layer(all_is_handled: None) -> AsyncIterator[Callable[..., Any]]:
    """Makes a layer, a pub/sub one unless told otherwise, and closes its connections."""
    layers: list[Any] = []

    def make(*hosts: Any, cls: Any = RedisPubSubChannelLayer, **options: Any) -> Any:
        layers.append(cls(hosts=list(hosts), **options))
        return layers[-1]

    yield make
    for layer in layers:
        # The core layer's flush() asks the servers to delete all that it has.
        await getattr(layer, "close_pools", layer.flush)()
