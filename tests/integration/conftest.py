"""Where the streams of a test are hosted: inline, or by workers over each channel layer."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from channels.layers import get_channel_layer

from channels_demux_layer.contrib.postgres import PostgresChannelLayer
from channels_demux_layer.demo import redis_stand_in
from channels_demux_layer.logs import layer_faults
from channels_demux_layer.transport.steadfast import inner_of
from tests.acceptance.harness.layers import channel_layers

from .harness import Place, within

#: Seconds that what is ending may take to end.
GRACE = 5.0

INLINE = "inline"
MEMORY = "memory"
ODD = "odd"
FAKE = ("fakeredis-core", "fakeredis-pubsub")
REDIS = ("redis-core", "redis-pubsub")
POSTGRES = "postgres"
MARKS = {
    POSTGRES: pytest.mark.postgres,
    **dict.fromkeys(REDIS, pytest.mark.redis),
}

IN_MEMORY = {"BACKEND": "channels.layers.InMemoryChannelLayer"}

#: Every way to host a stream. The inline one has an in-memory layer for consumers' own groups.
PLACES = (INLINE, MEMORY, ODD, *FAKE, *REDIS, POSTGRES)
#: Those with a layer between the edge and its workers.
LAYERS = PLACES[1:]
#: The same without fakeredis, which is slow: for what does not depend on the layer in detail.
QUICK_PLACES = (INLINE, MEMORY, *REDIS, POSTGRES)
QUICK_LAYERS = QUICK_PLACES[1:]


def params(names: tuple[str, ...]) -> list[Any]:
    """Mark those places that need a server."""
    return [pytest.param(name, marks=MARKS.get(name, ())) for name in names]


@pytest.fixture(autouse=True)
def no_earlier_faults() -> None:
    """A test does not find what failed for an earlier one, and would not be logged again."""
    layer_faults._failing.clear()


@pytest.fixture(scope="session")
def fakeredis_url() -> Iterator[str]:
    """The address of fakeredis' server, which runs in a thread."""
    server = redis_stand_in.make_server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield redis_stand_in.address(server)
    server.shutdown()
    server.server_close()
    thread.join()


def _layers(name: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    if name in (INLINE, MEMORY):
        return {"default": IN_MEMORY}
    if name == ODD:
        # It raises what it should not, returns what is no dict, and hangs.
        config = {"layer": IN_MEMORY, "fail": 0.05}
        return {"default": {"BACKEND": "tests.odd_layer.OddForNodes", "CONFIG": config}}
    if name == POSTGRES:
        layers: dict[str, Any] = request.getfixturevalue("postgres_server").channel_layers()
        return layers
    is_fake = name in FAKE
    url = request.getfixturevalue("fakeredis_url" if is_fake else "redis_server")
    kind = "core" if name.endswith("core") else "pubsub"
    # A prefix of its own for each test, so that nothing is left of another one.
    prefix = f"test{uuid.uuid4().hex[:8]}"
    return channel_layers(kind, url if is_fake else url.url, prefix=prefix)


@contextlib.asynccontextmanager
async def _open_place(
    name: str, request: pytest.FixtureRequest, settings: Any
) -> AsyncIterator[Place]:
    settings.CHANNEL_LAYERS = _layers(name, request)
    yield Place(name, is_inline=name == INLINE)
    left = await _end(get_channel_layer())
    assert not left, f"Still running: {left}"


async def _end(layer: Any) -> set[asyncio.Task[Any]]:
    """Close a layer, and return what runs on."""
    await layer.flush()
    if isinstance(inner_of(layer), PostgresChannelLayer):
        await within(layer.close_pools())  # Its pool has tasks of its own.
    left = await _still_running({getattr(layer, "_listener", None)})
    await layer.flush()  # again, for what that moment may have opened
    if hasattr(layer, "close_pools"):
        await within(layer.close_pools())
    return left


async def _still_running(known: set[Any]) -> set[asyncio.Task[Any]]:
    left = asyncio.all_tasks() - known - {asyncio.current_task()}
    if left:  # a consumer that was cut off has a moment to end
        _, left = await asyncio.wait(left, timeout=GRACE)
    return left


@pytest.fixture(params=params(PLACES))
async def place(request: pytest.FixtureRequest, settings: Any) -> AsyncIterator[Place]:
    """Every place in turn; after the test nothing is left running."""
    async with _open_place(request.param, request, settings) as opened:
        yield opened


@pytest.fixture(params=params(LAYERS))
async def layered(request: pytest.FixtureRequest, settings: Any) -> AsyncIterator[Place]:
    """Every place with a layer in turn; after the test nothing is left running."""
    async with _open_place(request.param, request, settings) as opened:
        yield opened


@pytest.fixture(params=params(QUICK_PLACES))
async def quick_place(request: pytest.FixtureRequest, settings: Any) -> AsyncIterator[Place]:
    """Every place but those over fakeredis; after the test nothing is left running."""
    async with _open_place(request.param, request, settings) as opened:
        yield opened


@pytest.fixture(params=params(QUICK_LAYERS))
async def quick_layer(request: pytest.FixtureRequest, settings: Any) -> AsyncIterator[Place]:
    """Every place with a layer but fakeredis; after the test nothing is left running."""
    async with _open_place(request.param, request, settings) as opened:
        yield opened


@pytest.fixture
async def memory(request: pytest.FixtureRequest, settings: Any) -> AsyncIterator[Place]:
    """Workers over the in-memory layer, for what the layer has no part in."""
    async with _open_place(MEMORY, request, settings) as opened:
        yield opened


@pytest.fixture
async def inline(request: pytest.FixtureRequest, settings: Any) -> AsyncIterator[Place]:
    """Inline hosting alone."""
    async with _open_place(INLINE, request, settings) as opened:
        yield opened
