"""What a host needs of the session whose consumer it runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

__all__ = ["Outlet"]


class Outlet(Protocol):
    """Where a hosted consumer's doings go."""

    def accept(self) -> None:
        """The consumer has accepted."""

    def unaccepted(self) -> None:
        """The consumer has not accepted within OPEN_TIMEOUT; it may still do so."""

    def send(self, data: str | bytes) -> Awaitable[None] | None:
        """The consumer sends a payload; returns what to await where there is no room for it."""

    def after(self, call: Callable[[], None]) -> Awaitable[None] | None:
        """Call a function after all payloads that wait; returns what to await where some do."""

    def consumed(self, size: int) -> None:
        """The consumer has taken a payload of this size: it asks for the next one (L5.2)."""

    def close(self, code: int, reason: str) -> None:
        """End the stream, as the consumer wants, or fails; only the first end counts."""

    def finished(self, code: int) -> None:
        """The consumer has come to its end without a word of its own."""
