"""What a frame, a connection and a link cost, counted: the same on every machine.

No test here measures a time. The system runs on virtual time, where one run is like the other,
and bounds lie a little above what is seen: who makes the package cheaper lowers them.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio.connection import AbstractConnection

from channels_demux_layer.edge import opening as opening_module
from channels_demux_layer.testing import DemuxCommunicator
from channels_demux_layer.transport.typed import TypedLayer
from tests.simulation.fleet import Fleet, fleet

from . import consumers
from .conftest import FAKE, REDIS, params
from .harness import Place

#: Frames that each client has echoed while they are counted.
FRAMES = 500
#: The same where each call of a function is noted, which takes long.
FRAMES_NOTED = 50
#: Connections where what is held is counted.
CONNECTIONS = 20
PUBLISHES = ("send", "group_send")
KINDS = ("publishes", "tasks", "callbacks", "turns", "timers")

#: For so many connections, and frames under way on each of them: the most that one echoed frame
#: may cost, there and back, in server, worker and layer together. In turn: messages of the layer;
#: tasks; callbacks, turns and timers of the event loop.
FRAME = {
    (1, 1): (2.1, 0.01, 8.3, 10.3, 2.3),
    (1, 16): (0.14, 0.01, 0.65, 0.7, 0.17),
    (50, 1): (0.05, 0.01, 2.2, 0.22, 0.05),
    (50, 4): (0.014, 0.01, 0.56, 0.06, 0.013),
}
if sys.version_info < (3, 12):
    # A task cannot begin at once there: each that writes to a client is one more of the loop's.
    FRAME = {
        (1, 1): (2.1, 1.05, 10.3, 11.3, 2.3),
        (1, 16): (0.14, 0.08, 0.78, 0.8, 0.17),
        (50, 1): (0.05, 1.02, 4.3, 0.24, 0.05),
        (50, 4): (0.014, 0.27, 1.1, 0.06, 0.013),
    }

#: The same for a connection with one stream, from nothing to the stream open, and to its end.
OPENING: dict[str, float] = {
    "send": 4,
    "group_send": 1,
    "group_add": 2,
    "tasks": 6,
    "timers": 19.5,
    "callbacks": 33.5,
}
CLOSING = {"group_discard": 2, "send": 0.1, "group_send": 0.1, "tasks": 1, "timers": 6}

#: The most objects of the package, tasks and timers that are alive for each connection with one
#: stream, in server and worker together.
HELD: dict[str, float] = {"objects": 17, "tasks": 2, "timers": 0}

#: Commands that clients of Redis send for a message to a channel, or to a group, until it has been
#: received.
COMMANDS = {"core": {"send": 8, "group_send": 8}, "pubsub": {"send": 1, "group_send": 1}}
#: The core layer asks Redis anew every five seconds, for each channel that is received from.
ASKED_MEANWHILE = 40


def over(costs: Counter[str], bounds: dict[str, float], count: int) -> dict[str, float]:
    """Return what costs more for each of so many than it may."""
    each = {kind: costs[kind] / count for kind in bounds}
    return {kind: cost for kind, cost in each.items() if cost > bounds[kind]}


def ours() -> list[Any]:
    """Return all objects of the package's classes."""
    gc.collect()
    prefix = "channels_demux_layer."
    return [each for each in gc.get_objects() if str(type(each).__module__).startswith(prefix)]


@contextmanager
def nothing_else_ends() -> Iterator[None]:
    """Hold on to what earlier tests have left: it may end at any time, and would be missed."""
    left = ours()
    yield
    left.clear()


def alive(system: Fleet) -> Counter[str]:
    """Count what is alive: the package's objects, tasks and timers."""
    tasks = len(asyncio.all_tasks(system.loop))
    return Counter(objects=len(ours()), tasks=tasks, timers=system.timers)


@pytest.mark.parametrize(("connections", "in_flight"), FRAME)
def test_what_a_frame_costs(connections: int, in_flight: int) -> None:
    """An echoed frame costs no more messages, tasks, callbacks, turns and timers than it did."""
    with fleet(1, 1) as system:
        system.connect(connections)
        system.converse(FRAMES, in_flight)
        costs = system.converse(FRAMES, in_flight)
    costs["publishes"] = sum(costs[name] for name in PUBLISHES)
    bounds = dict(zip(KINDS, FRAME[connections, in_flight], strict=True))
    assert over(costs, bounds, FRAMES * connections) == {}


def test_a_frame_leaves_nothing_behind() -> None:
    """However many frames pass, no memory is kept for any of them."""
    with fleet(1, 1) as system:
        system.connect(CONNECTIONS)
        kept = []
        for _ in range(4):
            system.converse(FRAMES, 4)
            gc.collect()
            kept.append(sys.getallocatedblocks())
    # One block for each hundred frames: of what Python itself keeps now and then.
    assert kept[-1] - kept[-2] < FRAMES * CONNECTIONS / 100


def modules_called(system: Fleet) -> Counter[str]:
    """Count the calls of functions while frames pass, by the name of their module."""
    called: Counter[str] = Counter()

    def note(frame: Any, event: str, argument: Any) -> None:
        if event == "call":
            called[Path(frame.f_code.co_filename).stem] += 1

    sys.setprofile(note)
    try:
        system.converse(FRAMES_NOTED, 4)
    finally:
        sys.setprofile(None)
    assert called["link"] > FRAMES_NOTED  # the profiler has seen the links at work
    return called


def test_what_tracing_costs() -> None:
    """Where it is off, no frame calls anything of it; only a node's new tasks do, one for many."""
    with fleet(1, 1) as system:
        system.connect(CONNECTIONS)
        called = modules_called(system)
    assert called["tracing"] * 10 < FRAMES * CONNECTIONS
    assert not called["opentelemetry"]


def test_what_metrics_cost() -> None:
    """Frames call nothing of metrics, tallies and reports: what they count is an addition."""
    with fleet(1, 1) as system:
        system.connect(CONNECTIONS)
        called = modules_called(system)
    assert not called.keys() & {"metrics", "tally", "report", "reporter"}


def test_what_a_connection_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection is opened and closed with no more calls of the layer, tasks and timers."""
    # How long the very first open waits shifts all that follows against the timers of the links,
    # and with it how often these are set anew.
    monkeypatch.setattr(opening_module, "FIRST_WINDOW", opening_module.CLAIM_WINDOW)
    with fleet(1, 1) as system:
        system.connect(1)
        opening = system.connect(CONNECTIONS)
        closing = system.disconnect()
    assert over(opening, OPENING, CONNECTIONS) == {}
    assert over(closing, CLOSING, CONNECTIONS + 1) == {}


def test_what_a_connection_holds() -> None:
    """A connection holds a bounded number of objects and tasks, and when it is gone nothing."""
    with nothing_else_ends(), fleet(1, 1) as system:
        system.connect(1)
        system.converse(FRAMES, 1)
        system.pass_time(10)  # from here on no claim waits to lapse
        empty = alive(system)
        system.connect(CONNECTIONS)
        system.converse(FRAMES, 1)
        system.pass_time(10)
        full = alive(system)
        system.disconnect(CONNECTIONS)
        system.pass_time(10)
        assert over(full - empty, HELD, CONNECTIONS) == {}
        assert alive(system) == empty


@pytest.mark.parametrize("connections", [1, CONNECTIONS])
def test_what_silence_costs(connections: int) -> None:
    """Where nothing is said, each link has a heartbeat in each direction and nothing else."""
    seconds, links = 1_000, 4
    with fleet(2, 2) as system:
        system.connect(2 * connections)
        system.pass_time(10)
        costs = system.pass_time(seconds)
        assert system.links == links
    heartbeats = links * seconds * 2 / 2.5
    assert costs["send"] == pytest.approx(heartbeats, rel=0.01)
    assert over(costs, {"group_send": 0, "group_add": 0, "tasks": 1.01}, int(heartbeats)) == {}


@pytest.mark.parametrize("layered", params((*FAKE, *REDIS)), indirect=True)
async def test_what_a_message_costs_redis(layered: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames cause messages of the layer, and no other commands of Redis."""
    counts: Counter[str] = Counter()
    streams = {"echo": consumers.Json}
    async with layered.client(streams) as client, echoing(client, monkeypatch, counts):
        for number in range(60):
            await client.send_to("echo", number)
            assert await client.receive_from("echo") == number
    cost = COMMANDS[layered.name.partition("-")[2]]
    explained = sum(cost[name] * counts[name] for name in PUBLISHES)
    assert 2 * 60 <= counts["commands"] <= explained + ASKED_MEANWHILE


@asynccontextmanager
async def echoing(
    client: DemuxCommunicator, monkeypatch: pytest.MonkeyPatch, counts: Counter[str]
) -> AsyncIterator[None]:
    """Count messages of the layer and commands of Redis, once the stream is open."""
    await client.send_to("echo", None)
    await client.receive_from("echo")

    def counted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def count(*arguments: Any, **options: Any) -> Any:
            counts[name] += 1
            return call(*arguments, **options)

        return count

    send = AbstractConnection.send_packed_command
    with monkeypatch.context() as patch:
        for name in PUBLISHES:
            patch.setattr(TypedLayer, name, counted(name, getattr(TypedLayer, name)))
        patch.setattr(AbstractConnection, "send_packed_command", counted("commands", send))
        yield
