"""A bounded line of what waits, either to be sent or to be read."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

__all__ = ["Buffer"]

Item = TypeVar("Item")


class Buffer(Generic[Item]):
    """Items in order, until there are too many or too many bytes of them.

    Who puts an item looks first whether it is full, and waits for a change while it is.

    Args:
        max_items: So many items fill it.
        max_bytes: So many bytes fill it; a larger item passes through an empty one.
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
        """The item whose turn it is."""
        return self._items[0][0]

    def put(self, item: Item, size: int) -> None:
        """Put an item last, full or not.

        Args:
            item: The item.
            size: Its size in bytes.
        """
        self._items.append((item, size))
        self._size += size
        self.stir()

    def take(self) -> Item:
        """Take the first item out."""
        item, size = self._items.popleft()
        self._size -= size
        self.stir()
        return item

    def stir(self) -> None:
        """Wake all who wait for a change, to look again at what they wait for."""
        # Each that waits now is woken by the first call; the second is for those who come later.
        self._change.set()
        self._change.clear()

    async def changed(self) -> None:
        """Wait until something was put or taken, or the buffer was stirred."""
        await self._change.wait()
