"""Counts the workers that died of a stream, to bound the deliveries of one payload (L4.9).

A payload whose handler ends the process would otherwise end one worker after the other, because the
next worker gets what the last had not taken. A consumer whose connect() ends the process does the
same.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from channels_demux_layer.conf import get_settings
from channels_demux_layer.protocol.session import SendWindow

__all__ = ["Survival", "note_suspect", "suspects_on"]

#: The pause before the second delivery after a death, in seconds. Each pause is twice the last.
#: The first delivery comes at once, because most deaths are not the payload's fault.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
#: Bounds of the random factor of a pause. Streams whose worker died together should not meet again
#: on the next worker.
JITTER = (0.5, 1.5)


class Survival:
    """Counts the workers that died one after the other with the same payload in hand.

    A worker dies before it has acknowledged all that its consumer took. So the next one may make
    progress with earlier payloads, and die of the same later one. A death therefore counts until
    the stream has got past everything that the dead worker had in hand.

    Each worker counts once. A worker whose connection is half-open still claims opens, so the edge
    may grant it the stream several times and find it silent each time.

    Args:
        window: The window of the payloads towards the consumer.
    """

    __slots__ = ("__weakref__", "_doubted", "_ends", "_limit", "_settled", "_window")

    def __init__(self, window: SendWindow) -> None:
        self._window = window
        self._limit = get_settings().MAX_DELIVERIES
        # Each dead worker, and how many payloads are taken once the last one is that it had.
        self._ends: tuple[tuple[str, int], ...] = ()
        # The workers that do not answer, each as often as it was granted the stream.
        self._doubted: tuple[str, ...] = ()
        self._settled: asyncio.Event | None = None

    @property
    def deaths(self) -> int:
        """How many workers died one after the other with the next payload in hand."""
        return len(self._dead())

    def _dead(self) -> set[str]:
        taken = self._window.taken_frames
        return {worker for worker, end in self._ends if end > taken}

    @property
    def _risked(self) -> int:
        """How many workers are dead or may be."""
        return len(self._dead().union(self._doubted))

    @property
    def is_suspect(self) -> bool:
        """Whether the stream may end its worker."""
        return self.deaths > 0

    @property
    def is_exhausted(self) -> bool:
        """Whether MAX_DELIVERIES workers have died."""
        return 0 < self._limit <= self.deaths

    def worker_died(self, worker: str, *, was_accepted: bool) -> None:
        """Note that a worker is dead.

        Args:
            worker: The channel of the worker's node.
            was_accepted: Whether its consumer had accepted.
        """
        taken = self._window.taken_frames
        ends = {worker: end for worker, end in self._ends if end > taken}
        # A consumer without payloads can hardly have ended its worker. Another stream has.
        in_hand = len(self._window.untaken) if was_accepted else 1
        if in_hand:
            ends[worker] = max(ends.get(worker, 0), taken + in_hand)
        self._ends = tuple(ends.items())

    def doubt(self, worker: str) -> None:
        """Note that a worker does not answer; settle() is to follow.

        Args:
            worker: The channel of the worker's node.
        """
        self._doubted += (worker,)

    def settle(self, worker: str, *, is_dead: bool) -> None:
        """Note whether a worker that was doubted is dead.

        Args:
            worker: The channel of the worker's node.
            is_dead: Whether it is.
        """
        doubted = list(self._doubted)
        doubted.remove(worker)
        self._doubted = tuple(doubted)
        if is_dead:
            self.worker_died(worker, was_accepted=False)
        if self._settled is not None:
            self._settled.set()

    async def wait(self) -> bool:
        """Wait until the next worker may have the stream.

        Returns:
            Whether it may. False if MAX_DELIVERIES workers have died.
        """
        risked = self._risked
        if risked > 1:
            pause = min(FIRST_PAUSE * 2 ** (risked - 2), LONGEST_PAUSE)
            await asyncio.sleep(pause * random.uniform(*JITTER))
        # Risk no more workers than that. The doubted ones may be dead.
        while self._doubted and 0 < self._limit <= self._risked:
            self._settled = asyncio.Event()
            await self._settled.wait()
        return not self.is_exhausted


#: By node and worker: the streams of this process that were given to the worker as suspects.
_suspects: WeakKeyDictionary[Any, dict[str, WeakSet[Survival]]] = WeakKeyDictionary()


def note_suspect(node: Any, worker: str, suspect: Survival) -> None:
    """Note that a worker is given a stream that may end it.

    Args:
        node: The edge's node.
        worker: The channel of the worker's node.
        suspect: The stream.
    """
    by_worker = _suspects.setdefault(node, {})
    for other in [other for other in by_worker if not _present(by_worker[other])]:
        del by_worker[other]
    by_worker.setdefault(worker, WeakSet()).add(suspect)


def suspects_on(node: Any, worker: str) -> int:
    """Return how many suspects a worker has.

    Args:
        node: The edge's node.
        worker: The channel of the worker's node.
    """
    return _present(_suspects.get(node, {}).get(worker, ()))


def _present(suspects: Iterable[Survival]) -> int:
    return sum(suspect.is_suspect for suspect in suspects)
