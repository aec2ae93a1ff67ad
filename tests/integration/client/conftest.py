"""A server that the test plays, and no task left behind by the client."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from .peer import PeerServer, peer_server, until


@pytest.fixture(autouse=True)
async def nothing_left() -> AsyncIterator[None]:
    """No task is left running by a test, however its client has ended."""
    before = asyncio.all_tasks()
    yield
    own = asyncio.current_task()
    await until(lambda: not asyncio.all_tasks() - before - {own})


@pytest.fixture
async def server() -> AsyncIterator[PeerServer]:
    """A server that the test plays."""
    async with peer_server() as running:
        yield running
