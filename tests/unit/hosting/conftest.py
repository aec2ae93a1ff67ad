"""A database whose connections are closed by the test that opened them."""

from collections.abc import AsyncIterator

import pytest
from asgiref.sync import sync_to_async
from django.db import connection


@pytest.fixture
async def database(transactional_db: None) -> AsyncIterator[None]:
    """Give a real database; close the connection of the thread that asks it."""
    yield

    def close() -> None:
        # Django keeps an in-memory database's connection open, also when told to close it.
        if connection.connection is not None:
            connection.connection.close()
            connection.connection = None

    await sync_to_async(close)()
