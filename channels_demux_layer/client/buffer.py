"""A bounded queue of items that wait to be sent or read."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

__all__ = ["Buffer"]

Item = TypeVar("Item")


class Buffer(Generic[Item]):
    """A queue that is full at a number of items or of bytes.

    `put()` never waits. Callers check `is_full` first and await `changed()` while it is true.

    Args:
        max_items: The queue is full with this many items.
        max_bytes: The queue is full with this many bytes. A larger item fits an empty queue.
    """

    def __init__(self, max_items: int, max_bytes: int) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._items: deque[tuple[Item, int]] = deque()
        self._size = 0
        self._change = asyncio.Event()

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Item]:
        return (item for item, _ in self._items)

    @property
    def is_full(self) -> bool:
        """Whether the next item has to wait."""
        return len(self._items) >= self._max_items or self._size >= self._max_bytes

    @property
    def first(self) -> Item:
        """The oldest item."""
        return self._items[0][0]

    def put(self, item: Item, size: int) -> None:
        """Append an item, even to a full buffer.

        Args:
            item: The item.
            size: Its size in bytes.
        """
        self._items.append((item, size))
        self._size += size
        self.stir()

    def take(self) -> Item:
        """Remove and return the first item."""
        item, size = self._items.popleft()
        self._size -= size
        self.stir()
        return item

    def stir(self) -> None:
        """Wake every task in `changed()`, so that it checks its condition again."""
        # set() wakes the tasks that wait now. clear() makes later ones wait for the next change.
        self._change.set()
        self._change.clear()

    async def changed(self) -> None:
        """Wait for the next `put()`, `take()` or `stir()`."""
        await self._change.wait()
