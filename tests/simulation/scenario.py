"""What happens in a run, all of it drawn from the seed before it begins; times in seconds."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

STREAMS = ("echo", "prices", "o d d")

#: From when on nothing fails any more.
HEALS_AT = 15.0
#: Within which everything must have come to its end, without or with the pauses between opens.
LIMIT = 200.0


@dataclass(frozen=True)
class Order:
    """One payload of a client: what its consumer is to do with it.

    One that kills ends the process of the consumer that has it, and so does each repetition.
    """

    number: int
    replies: int
    think: float
    filler: int
    pause: float
    binary: bool
    ends: bool
    kills: bool = False


@dataclass(frozen=True)
class Chapter:
    """A stream from its opening to its end.

    Attributes:
        orders: The payloads.
        closer: Who ends it: the "client" once all is answered, "at once" when all is sent, or the
            "consumer"; "nobody" before the client leaves. A "payload" that kills its workers ends
            it, too.
    """

    orders: list[Order]
    closer: str


@dataclass(frozen=True)
class ClientPlan:
    """What a client does.

    Attributes:
        edge: Which edge it connects to.
        arrives_at: When.
        leaves_at: When it leaves, whatever is under way; None: when all is done.
        reading: How long it takes over each message, at most.
        chapters: What it says, by stream.
    """

    edge: int
    arrives_at: float
    leaves_at: float | None
    reading: float
    chapters: dict[str, list[Chapter]]


@dataclass(frozen=True)
class Trouble:
    """One thing that goes wrong.

    Attributes:
        at: When.
        kind: "kill worker", "drain worker", "kill edge", "restart", "forget", "block" (an event
            loop), or how a process's connection is half-open: "deaf" (what is for it is lost),
            "late" (what is for it waits), "mute" (what it sends is lost) or "cut" (both are lost).
            "deaf node": a node hears nothing any more over the layer object that it has.
        lasts: How long until the layer is back, a new process is there, or the trouble ends.
        target: Which of the processes.
    """

    at: float
    kind: str
    lasts: float
    target: int


@dataclass(frozen=True)
class Scenario:
    """All that a run is made of."""

    weather: dict[str, Any]
    settings: dict[str, Any]
    capacity: int
    #: How long a call of the layer takes at most.
    latency: float
    is_pubsub: bool
    edges: int
    workers: int
    #: Whether the first edge's process hosts consumers as well.
    is_shared: bool
    connect_time: float
    #: The PEER_TIMEOUTs of the processes, which take turns.
    peer_timeouts: tuple[float, ...] = ()
    clients: list[ClientPlan] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    #: How long until another worker is there where a payload has killed one.
    replaced_after: float = 0.0


def draw(rng: random.Random) -> Scenario:
    """Draw a scenario."""
    edges, workers = rng.choice([1, 1, 2]), rng.choice([1, 2, 2, 3])
    is_shared = rng.random() < 0.15
    # A server that hosts consumers would take its clients along.
    may_kill = not is_shared and rng.random() < 0.15
    window = rng.choice([2, 4, 8, 64])
    scenario = Scenario(
        weather=_weather(rng),
        settings={
            "HOSTING": "workers",
            "WINDOW_FRAMES": window,
            "WINDOW_BYTES": rng.choice([1_024, 1_500, 1_048_576]),
            "BATCH_BYTES": rng.choice([1_024, 2_000, 131_072]),
            "MAX_SESSIONS": rng.choice([0, 0, 0, 6]),
        },
        capacity=rng.choice([5, 20, 100]),
        latency=rng.choice([0.0, 0.0, 0.005, 0.1]),
        is_pubsub=rng.random() < 0.4,
        edges=edges,
        workers=workers,
        is_shared=is_shared,
        connect_time=rng.choice([0.0, 0.0, 0.3, 1.0]),
        peer_timeouts=rng.choice([(5.0,), (10.0,), (10.0,), (2.5, 12.0)]),
        clients=[_client(rng, edges, may_kill) for _ in range(rng.choice([1, 1, 2, 3]))],
        troubles=_troubles(rng),
        replaced_after=rng.choice([0.0, 1.0, 8.0]),
    )
    if may_kill:
        # A lone worker may be killed six times in a row, by payloads of two streams.
        scenario.settings["STALL_TIMEOUT"] = 180.0
    if scenario.workers * scenario.settings["MAX_SESSIONS"] < len(scenario.clients) * len(STREAMS):
        # Clients that have some of their streams would wait for each other's.
        scenario.settings["MAX_SESSIONS"] = 0
    return scenario


def _weather(rng: random.Random) -> dict[str, Any]:
    if rng.random() < 0.15:
        return {}
    return {
        "drop": rng.choice([0.0, 0.02, 0.1, 0.2]),
        "repeat": rng.choice([0.0, 0.05, 0.3]),
        "reorder": rng.choice([0.0, 0.05, 0.2]),
        "delay": rng.choice([(0.0, 0.0), (0.001, 0.002), (0.001, 0.05), (0.05, 0.3)]),
        "fail": rng.choice([0.0, 0.0, 0.02]),
    }


def _troubles(rng: random.Random) -> list[Trouble]:
    kinds = ["kill worker", "kill worker", "drain worker", "drain worker", "restart", "forget"]
    kinds += ["kill edge"] if rng.random() < 0.3 else []
    kinds += ["block", "block", "deaf node", rng.choice(["deaf", "late", "mute", "cut"])]
    troubles = [
        Trouble(
            # Often while streams are being opened, where most is under way.
            at=rng.uniform(0.0, rng.choice([5.0, HEALS_AT - 3])),
            kind=rng.choice(kinds),
            lasts=rng.choice([0.0, 0.1, 1.0, 3.0, 8.0, 14.0]) * rng.uniform(0.5, 1.5),
            target=rng.randrange(100),
        )
        for _ in range(rng.choice([0, 1, 1, 2, 3]))
    ]
    return sorted(troubles, key=lambda trouble: trouble.at)


def _client(rng: random.Random, edges: int, may_kill: bool) -> ClientPlan:
    pace = rng.choice([0.0, 0.02, 0.3, 1.0])
    count = rng.choice([1, 1, 2])
    return ClientPlan(
        edge=rng.randrange(edges),
        arrives_at=rng.uniform(0.0, 4.0),
        leaves_at=rng.uniform(4.0, HEALS_AT) if rng.random() < 0.2 else None,
        reading=rng.choice([0.0, 0.0, 0.01, 0.2]),
        chapters={stream: _chapters(rng, pace, may_kill) for stream in rng.sample(STREAMS, count)},
    )


def _chapters(rng: random.Random, pace: float, may_kill: bool) -> list[Chapter]:
    thinking = rng.choice([0.0, 0.0, 0.01, 0.3])
    chapters = []
    for number in range(rng.choice([1, 1, 1, 2])):
        closer = rng.choice(["client", "consumer", "at once"] if number else ["client", "consumer"])
        if may_kill and rng.random() < 0.4:
            closer = "payload"
        chapters.append(_chapter(rng, pace, thinking, closer))
    last = chapters[-1]
    if last.closer != "payload" and rng.random() < 0.5:
        chapters[-1] = Chapter([_tame(order) for order in last.orders], "nobody")
    return chapters


def _tame(order: Order) -> Order:
    return Order(**{**order.__dict__, "ends": False})


def _chapter(rng: random.Random, pace: float, thinking: float, closer: str) -> Chapter:
    length = rng.choice([1, 3, 10, 10, 25])
    fillers = rng.choice([[0], [0, 40], [0, 300]])
    orders = []
    for number in range(length):
        is_last = number == length - 1
        orders.append(
            Order(
                number=number,
                replies=rng.choice([1, 2]) if is_last else rng.choice([0, 1, 1, 3]),
                think=rng.uniform(0.0, thinking),
                filler=rng.choice(fillers),
                pause=rng.uniform(0.0, pace) if rng.random() < 0.7 else 0.0,
                binary=rng.random() < 0.2,
                ends=is_last and closer == "consumer",
                kills=is_last and closer == "payload",
            )
        )
    return Chapter(orders, closer)
