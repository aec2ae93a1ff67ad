"""What must be true of every run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from channels_demux_layer.codes import CloseCode
from channels_demux_layer.edge.outbox import MUCH
from channels_demux_layer.reports.report import NODES

from .client import Client, expected
from .ledger import Attempt, Label
from .process import Process
from .scenario import STREAMS, Chapter
from .world import World

#: How often bounds are looked at, in seconds.
GLANCE = 0.1
#: The largest payload there is: what may cross the line of a window in bytes.
LARGEST = 500

#: So many messages of a peer must have been lost for it to be rightly taken for dead.
DROPS = 3

#: Tasks that a process has for as long as it lives.
LASTING = {
    "Node._receive_forever",
    "GroupRefresh.run",
    "listen",
    "SharedLayer.receive",
    "ProcessLayer.receive",
}


# -- bounds, while it runs ------------------------------------------------------------------------


async def watch(world: World, violations: list[str]) -> None:
    """Look at the bounds of everything, again and again."""
    while not violations:
        violations += bounds(world)
        await asyncio.sleep(GLANCE)


def bounds(world: World) -> list[str]:
    """Return what is larger than it may be."""
    problems = []
    for process in world.processes:
        if not process.is_over:
            for node in process.nodes.values():
                for wire in node._wires.values():
                    problems += [f"{process.name}: {text}" for text in _link_bounds(wire.link)]
    return problems


def _link_bounds(link: Any) -> Iterator[str]:
    config = link._config
    if len(link._recovery._in_flight) > config.max_in_flight:
        yield f"{len(link._recovery._in_flight)} batches in flight"
    if len(link._receiver._early) > config.max_early:
        yield f"{len(link._receiver._early)} batches held early"
    if link._recovery._next_seq - link._recovery.base > config.max_early:
        yield "the sender runs too far ahead"
    for session in link.sessions.values():
        untaken = session.outgoing.untaken
        if len(untaken) > config.window_frames:
            yield f"{len(untaken)} frames in a window of {config.window_frames}"
        if sum(map(len, untaken)) > config.window_bytes + LARGEST:
            yield f"{sum(map(len, untaken))} bytes in a window of {config.window_bytes}"
        yield from _owner_bounds(session.owner, config)


def _owner_bounds(owner: Any, config: Any) -> Iterator[str]:
    host = getattr(owner, "_host", None)
    if host is not None and len(host._inbox) > config.window_frames + 2:
        yield f"{len(host._inbox)} messages wait for a consumer"
    listener = getattr(owner, "_listener", None)
    if listener is not None:
        waiting = len(listener.outbox._waiting)
        if waiting > MUCH + len(STREAMS) * config.window_frames:
            yield f"{waiting} messages wait for a client"


# -- what was said and heard ----------------------------------------------------------------------


def check_traffic(world: World) -> Iterator[str]:
    """Tell of every payload that did not arrive as it should."""
    yield from world.ledger.violations
    for client in world.clients:
        if client.errors and not client.has_left:
            yield f"{client.path}: got an error: {client.errors[0]}"
        for stream, chapters in client.plan.chapters.items():
            if stream in client.stories:
                for problem in _check_stream(world, client, stream, chapters):
                    yield f"{client.path} {stream}: {problem}"


def _check_stream(
    world: World, client: Client, stream: str, chapters: list[Chapter]
) -> Iterator[str]:
    story = client.stories[stream]
    attempts = [a for a in world.ledger.attempts if (a.client, a.stream) == (client.path, stream)]
    parts = _split([attempt for attempt in attempts if not _was_in_vain(attempt)])
    for number, chapter in enumerate(chapters):
        mine = [a for a in attempts if any(of == number for of, _ in a.received)]
        for attempt in mine:
            if {of for of, _ in attempt.received} != {number}:
                yield f"consumer {attempt.number} got two chapters: {attempt.received}"
        is_whole = number < story.finished and chapter.closer != "at once"
        yield from _check_orders(world, mine, chapter, is_whole)
        heard = [label for of, label in story.replies if of == number]
        yield from _check_replies(world, heard, mine, chapter, is_whole)
    if len(parts) > len(story.codes) + 1:
        yield f"consumers were begun anew {len(parts)} times"
    for number, code in enumerate(story.codes):
        right = 4000 + number if chapters[number].closer == "consumer" else 1000
        if number < len(chapters) and code != right:
            yield f"chapter {number} was closed with {code}"


def _was_in_vain(attempt: Attempt) -> bool:
    # Its worker was not heard when it had been granted the session, so that another got it.
    was_unheard = attempt.disconnects == [CloseCode.ABNORMAL] or attempt.process.is_dead
    return was_unheard and not attempt.received


def _split(attempts: list[Attempt]) -> list[list[Attempt]]:
    parts: list[list[Attempt]] = []
    for attempt in attempts:
        if not parts or attempt.attempt <= parts[-1][-1].attempt:
            parts.append([])
        parts[-1].append(attempt)
    return parts


def may_repeat(world: World, attempt: Attempt) -> bool:
    """Tell whether what a consumer had may be given to another: only if its process failed it."""
    process = attempt.process
    return process.is_dead or process.name in world.late or _was_unheard(world, process)


def _was_unheard(world: World, process: Process) -> bool:
    """Tell whether the weather was so bad that nothing of a process was heard, or by it."""
    of = {channel: p for p in world.processes for channel in p.channels}
    patience = max(world.scenario.peer_timeouts)
    for when, by, channel in world.silences:
        peer = of[channel]
        lost = world.layer.losses.get(peer.name, [])
        unheard = sum(when - patience - 1 <= at <= when for at in lost) >= DROPS
        if process.name in (by, peer.name) and unheard:
            return True
    return False


def _check_orders(
    world: World, attempts: list[Attempt], chapter: Chapter, is_whole: bool
) -> Iterator[str]:
    due, before = 0, None
    for attempt in attempts:
        numbers = [number for _, number in attempt.received]
        first = numbers[0]
        if numbers != list(range(first, first + len(numbers))):
            yield f"consumer {attempt.number} got {numbers}"
        if first > due:
            yield f"consumer {attempt.number} began at {first} instead of {due}: lost"
        if first < due and before is not None and not may_repeat(world, before):
            yield f"consumer {attempt.number} began at {first} instead of {due}: repeated"
        due, before = max(due, numbers[-1] + 1), attempt
    if is_whole and due < len(chapter.orders):
        yield f"{due} of {len(chapter.orders)} orders were given to consumers"


def _check_replies(
    world: World, heard: list[Label], attempts: list[Attempt], chapter: Chapter, is_whole: bool
) -> Iterator[str]:
    position = 0
    for attempt in attempts:
        mine = []
        while position < len(heard) and heard[position][0] == attempt.number:
            mine.append(heard[position])
            position += 1
        said = attempt.sent + ([attempt.sending] if attempt.sending else [])
        if mine != said[: len(mine)]:
            yield f"of consumer {attempt.number}, which sent {said}, came {mine}"
        if is_whole and mine != attempt.sent and not may_repeat(world, attempt):
            yield f"of consumer {attempt.number}, which sent {attempt.sent}, came only {mine}"
    if position < len(heard):
        yield f"heard {heard[position]} out of turn"
    missing = expected(chapter) - {label[1:] for label in heard}
    if is_whole and missing:
        yield f"replies to {sorted(missing)} were lost"


# -- lives ----------------------------------------------------------------------------------------


def check_lives(world: World) -> Iterator[str]:
    """Tell of every consumer that did not live and die as it should."""
    seen: dict[tuple[str, str], Attempt] = {}
    for attempt in world.ledger.attempts:
        name = f"consumer {attempt.number} ({attempt.client} {attempt.stream})"
        key = (attempt.client, attempt.stream)
        before = seen.get(key)
        if (
            before is not None
            and attempt.attempt == before.attempt
            and not (_is_after(attempt, before) or _was_in_vain(before))
        ):
            yield f"{name}: attempt {attempt.attempt} began twice"
        seen[key] = attempt
        if attempt.process.is_dead:
            continue
        if attempt.end is None:
            yield f"{name} still runs"
        elif attempt.end == "cancelled" and attempt.process.name not in world.late:
            yield f"{name} was cancelled"
        elif attempt.end == "disconnect" and len(attempt.disconnects) != 1:
            yield f"{name} was disconnected {len(attempt.disconnects)} times"


def _is_after(attempt: Attempt, before: Attempt) -> bool:
    if before.process.is_dead:
        return True  # Nobody knows when it ended.
    return before.ended_at is not None and before.ended_at <= attempt.started_at


# -- what is left ---------------------------------------------------------------------------------


def leftovers(world: World) -> list[str]:
    """Return what is left of sessions that have ended."""
    problems = []
    for process in world.processes:
        if not process.is_dead:
            problems += [f"{process.name}: {text}" for text in _left_in(process)]
    gone = {channel for p in world.processes if p.is_dead for channel in p.channels}
    here = {channel for p in world.processes if not p.is_over for channel in p.channels}
    for group, members in world.shared.groups.items():
        if not set(members) <= (gone | here if group == NODES else gone):
            problems.append(f"group {group} still has {list(members)}")
    return problems


def _left_in(process: Process) -> Iterator[str]:
    tasks = [task.get_coro().__qualname__ for task in process.tasks if not task.done()]
    for _ in process.nodes:
        if "Event.wait" in tasks:
            # Until Python 3.12 wait_for() has a task: that of the node that waits to refresh.
            tasks.remove("Event.wait")
    if others := [name for name in tasks if name not in LASTING]:
        yield f"tasks {others}"
    for node in process.nodes.values():
        yield from _left_in_node(node)


def _left_in_node(node: Any) -> Iterator[str]:
    for name in ("_wires", "_edge_wires", "claimable", "grantable", "hosted"):
        if getattr(node, name):
            yield f"{name} has {getattr(node, name)}"
    if not node.channel:
        return
    for name in ("_wanted", "_joined", "_touched", "_turns"):
        if left := set(getattr(node.groups, name)) - {NODES}:
            yield f"groups.{name} has {left}"
    for channel, groups in node._own.groups._groups.items():
        if left := groups - {NODES}:
            yield f"the layer remembers {left} of {channel}"
