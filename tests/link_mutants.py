"""Faults put into the link on purpose, by which more than one test is tested."""

from __future__ import annotations

from typing import Any

import pytest

from channels_demux_layer.protocol.delivery import Receiver


def no_dedupe(patch: pytest.MonkeyPatch) -> None:
    """Batches are delivered as often as they come."""
    original = Receiver.receive

    def receive(self: Receiver, seq: int, frames: bytes, **options: Any) -> list[bytes]:
        repeated = seq <= self.delivered
        return original(self, seq, frames, **options) + ([frames] if repeated else [])

    patch.setattr(Receiver, "receive", receive)


def no_order(patch: pytest.MonkeyPatch) -> None:
    """Batches are delivered as they come, once each."""
    original = Receiver.receive

    def receive(self: Receiver, seq: int, frames: bytes, **options: Any) -> list[bytes]:
        is_new = seq > self.delivered and seq not in self.early
        original(self, seq, frames, **options)
        return [frames] if is_new else []

    patch.setattr(Receiver, "receive", receive)
