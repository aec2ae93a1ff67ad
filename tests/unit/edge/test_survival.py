"""How often a payload is given to another worker, and where suspects go."""

from __future__ import annotations

import asyncio
import gc

import pytest

from channels_demux_layer.edge import survival
from channels_demux_layer.edge.survival import Survival, note_suspect, suspects_on
from channels_demux_layer.protocol.session import SendWindow
from tests.integration.harness import until


def a_suspect() -> tuple[Survival, SendWindow]:
    """A stream whose worker has died with a payload in hand, and its window."""
    window = SendWindow(64, 1024)
    suspect = Survival(window)
    window.push("1")
    suspect.worker_died("w", was_accepted=True)
    return suspect, window


async def test_pauses_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first delivery after a death comes at once, and each later one after a longer pause."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(survival, "JITTER", (1.0, 1.0))
    suspect, _ = a_suspect()
    suspect._limit = 0
    for number in range(8):
        assert await suspect.wait()
        suspect.worker_died(f"w{number}", was_accepted=True)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


async def test_a_death_counts_until_all_that_the_worker_had_is_taken() -> None:
    """A payload that ends its workers is found though earlier ones are taken between the deaths."""
    window = SendWindow(64, 1024)
    stream = Survival(window)
    for payload in "12345":
        window.push(payload)
    for deaths in (1, 2):
        stream.worker_died(f"w{deaths}", was_accepted=True)
        assert stream.deaths == deaths
        window.taken(1)
        assert stream.is_suspect
    window.push("6")
    stream.worker_died("w3", was_accepted=True)
    assert stream.is_exhausted
    window.taken(3)
    assert stream.deaths == 1
    window.taken(1)
    assert not stream.is_suspect


async def test_a_death_before_the_accept_counts_until_a_payload_is_taken() -> None:
    """A worker whose consumer never accepted had none of the payloads that wait."""
    window = SendWindow(64, 1024)
    stream = Survival(window)
    window.push("1")
    window.push("2")
    stream.worker_died("w", was_accepted=False)
    assert stream.is_suspect
    window.taken(1)
    assert not stream.is_suspect


async def test_workers_that_have_suspects_are_known() -> None:
    """A suspect counts for its worker until its payload is taken, or the stream is gone."""
    node = type("Node", (), {})()
    one, window = a_suspect()
    other, _ = a_suspect()
    assert suspects_on(node, "w") == 0
    note_suspect(node, "w", one)
    note_suspect(node, "w", other)
    note_suspect(node, "v", other)
    assert (suspects_on(node, "w"), suspects_on(node, "v")) == (2, 1)
    window.taken(1)
    assert suspects_on(node, "w") == 1
    del other, _
    gc.collect()
    assert suspects_on(node, "w") == 0
    another, _ = a_suspect()
    note_suspect(node, "u", another)
    assert list(survival._suspects[node]) == ["u"]


@pytest.mark.parametrize("is_dead", [False, True])
async def test_one_doubt_holds_nothing_up(is_dead: bool) -> None:
    """A worker that does not answer counts once it is dead, and the next one is asked meanwhile."""
    stream = Survival(SendWindow(64, 1024))
    stream.doubt("w")
    assert await stream.wait()
    stream.settle("w", is_dead=is_dead)
    assert stream.deaths == is_dead
    assert stream.is_suspect == is_dead


async def test_a_worker_counts_once_however_often_it_is_silent() -> None:
    """A half-open worker that is granted a stream again and again is one dead worker."""
    stream = Survival(SendWindow(64, 1024))
    for _ in range(4):
        stream.doubt("w")
        assert await stream.wait()
    for _ in range(4):
        stream.settle("w", is_dead=True)
        stream.worker_died("w", was_accepted=False)
    assert stream.deaths == 1
    assert await stream.wait()


async def test_a_worker_that_died_twice_counts_until_the_later_payloads_are_taken() -> None:
    """A worker that was found dead, and came back, counts for all that it ever had in hand."""
    window = SendWindow(64, 1024)
    stream = Survival(window)
    for payload in "123":
        window.push(payload)
    stream.worker_died("w", was_accepted=True)
    stream.worker_died("w", was_accepted=False)
    window.taken(2)
    assert stream.deaths == 1
    window.taken(1)
    assert stream.deaths == 0


async def test_no_more_workers_are_risked_than_may_die(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that do not answer count together with dead ones, until it is known what they are."""
    monkeypatch.setattr(survival, "FIRST_PAUSE", 0.0)
    stream = Survival(SendWindow(64, 1024))
    stream.worker_died("a", was_accepted=False)
    stream.doubt("a")
    assert stream._risked == 1
    for worker in "bc":
        stream.doubt(worker)
    assert stream._risked == 3
    waiting = asyncio.ensure_future(stream.wait())
    await until(lambda: stream._settled is not None)
    stream.settle("a", is_dead=True)
    await asyncio.sleep(0)
    assert not waiting.done()
    stream.settle("b", is_dead=False)
    assert await waiting
