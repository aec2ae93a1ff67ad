"""The channel-layer groups that a node is a member of."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Container
from functools import partial
from typing import Any

from .calls import alias_of, persist
from .steadfast import LEAVE

__all__ = ["Memberships"]


class Memberships:
    """Joins and leaves groups with one channel, so that the last word counts.

    A stream that closes and opens again may join its group while the leave is still on its way
    over another connection. So joins are counted, and each group is brought to its wanted state
    under a lock of its own.

    Args:
        layer: The channel layer.
        channel: The channel that is the member.
        slots: Bounds the calls of the layer that are under way at once.
    """

    def __init__(self, layer: Any, channel: str, slots: asyncio.Semaphore) -> None:
        self._layer = layer
        self._channel = channel
        self._slots = slots
        self._wanted: dict[str, int] = {}
        self._joined: set[str] = set()
        # Those joined, and those where a call failed, so that nobody knows.
        self._touched: set[str] = set()
        self._turns: dict[str, _Turn] = {}

    def has_joined(self, group: str) -> bool:
        """Tell whether the layer has put the channel into a group."""
        return group in self._joined

    def another(self, than: Container[str]) -> str | None:
        """Return a group that the channel is in, other than some; None where there is none."""
        # The first by name, since sets have no order.
        return min((group for group in self._joined if group not in than), default=None)

    async def join(self, group: str) -> None:
        """Join a group, or count one more reason to be in it.

        Args:
            group: The group's name.

        Raises:
            Exception: Whatever the channel layer raises; the join does not count then.
        """
        self._wanted[group] = self._wanted.get(group, 0) + 1
        try:
            await self.settle(group)
        except BaseException:
            # The layer may have taken a call that was cut off half-way.
            with contextlib.suppress(Exception):
                await self.leave(group)
            raise

    async def leave(self, group: str) -> None:
        """Undo one join; leave the group with the last one.

        Args:
            group: The group's name.

        Raises:
            Exception: Whatever the channel layer raises.
        """
        self.unwant(group)
        await self.settle(group)

    async def leave_all(self, timeout: float) -> None:
        """Leave every group, whatever the number of joins, as far as the layer lets us.

        Args:
            timeout: How long that may take, in seconds.
        """
        self._wanted.clear()
        alias = alias_of(self._layer)
        leaves = [
            asyncio.ensure_future(
                persist(LEAVE, partial(self.settle, group), alias=alias, target=group)
            )
            for group in self._touched
        ]
        if leaves:
            _, late = await asyncio.wait(leaves, timeout=timeout)
            for leave in late:
                leave.cancel()
            await asyncio.gather(*leaves, return_exceptions=True)

    def unwant(self, group: str) -> None:
        """Undo one join; settle() then leaves the group, if that was the last one."""
        count = self._wanted.pop(group, 1) - 1
        if count:
            self._wanted[group] = count

    async def settle(self, group: str) -> None:
        """Join or leave a group, as is wanted by now.

        Raises:
            Exception: Whatever the channel layer raises.
        """
        turn = self._turns.setdefault(group, _Turn())
        turn.users += 1
        try:
            async with turn.lock, self._slots:
                await self._bring_about(group, is_wanted=group in self._wanted)
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[group]

    async def _bring_about(self, group: str, *, is_wanted: bool) -> None:
        if is_wanted and group not in self._joined:
            self._touched.add(group)
            await self._layer.group_add(group, self._channel)
            self._joined.add(group)
        elif not is_wanted and group in self._touched:
            self._joined.discard(group)
            await self._layer.group_discard(group, self._channel)
            self._touched.discard(group)


class _Turn:
    """Who joins or leaves a group waits for its turn."""

    __slots__ = ("lock", "users")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0
