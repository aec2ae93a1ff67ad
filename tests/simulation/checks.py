"""What must be true of every run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from channels_demux_layer.codes import CloseCode
from channels_demux_layer.conf import Settings
from channels_demux_layer.edge.outbox import MUCH
from channels_demux_layer.protocol.report import NODES

from .client import Client, StreamStory, expected
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
#: The same while its event loop is blocked: until its watchdog sends the first heartbeat, more than
#: half of the time may have gone by.
DROPS_WHILE_BLOCKED = 1
#: The same where the other process went deaf meanwhile: the next heartbeats are lost to it.
DROPS_BEFORE_DEAFNESS = 2
#: For so much of a PEER_TIMEOUT a connection must have been half-open.
SILENT_PART = 0.25
#: How much later than after its PEER_TIMEOUT a process notices a silence, in seconds.
DELAY = 1.0

#: Tasks that a process has for as long as it lives.
LASTING = {
    "Node._receive_forever",
    "NodeGroups.run",
    "Hearing.run",
    "listen",
    "SharedLayer.receive",
    "ProcessLayer.receive",
    "OwnLayer.receive",
    "TypedLayer.receive",
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
        for error in [] if client.has_left else client.errors:
            # What the client sends before it hears of such an end is refused.
            if CloseCode.UNPROCESSABLE not in client.stories[error["stream"]].codes:
                yield f"{client.path}: got an error: {error}"
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
        code = story.codes[number] if number < len(story.codes) else None
        is_cut_short = code == CloseCode.UNPROCESSABLE and _may_be_given_up(world, attempts)
        is_whole = number < story.finished and chapter.closer != "at once" and not is_cut_short
        yield from _check_orders(world, mine, chapter, is_whole)
        heard = [label for of, label in story.replies if of == number]
        # The last reply before a payload that kills may have been on its way out.
        are_all_heard = is_whole and chapter.closer != "payload"
        yield from _check_replies(world, heard, mine, chapter, are_all_heard)
    if len(parts) > len(story.codes) + 1:
        yield f"consumers were begun anew {len(parts)} times"
    for number, code in enumerate(story.codes):
        is_right = number >= len(chapters) or code == _right_code(number, chapters[number])
        is_given_up = code == CloseCode.UNPROCESSABLE and _may_be_given_up(world, attempts)
        if not (is_right or is_given_up):
            yield f"chapter {number} was closed with {code}"
    is_over = story.finished == len(chapters)
    yield from _check_reopened(world, story, attempts, is_over=is_over)


def _right_code(number: int, chapter: Chapter) -> int:
    if chapter.closer == "payload":
        return CloseCode.UNPROCESSABLE
    return 4000 + number if chapter.closer == "consumer" else 1000


def _may_be_given_up(world: World, attempts: list[Attempt]) -> bool:
    """Tell whether MAX_DELIVERIES workers may have died one after the other with a stream."""
    # A worker that dies, or is half-open, once it has claimed may never have begun a consumer.
    began = {attempt.process for attempt in attempts}
    silent = {p for p in world.processes if p.cuts or (p.is_dead and p not in began)}
    longest, row = 0, set(silent)
    for attempt in attempts:
        row = row | {attempt.process} if may_repeat(world, attempt) else set(silent)
        longest = max(longest, len(row))
    return max(longest, len(silent)) >= Settings.MAX_DELIVERIES


def _check_reopened(
    world: World, story: StreamStory, attempts: list[Attempt], *, is_over: bool
) -> Iterator[str]:
    reopened = [event for event in story.events if event["event"] == "reopened"]
    lost = [attempt for attempt in attempts if may_repeat(world, attempt)]
    repeats = 0
    due: dict[int, int] = {}
    for attempt in attempts:
        for chapter, number in attempt.received[:1]:
            repeats += number < due.get(chapter, 0)
        for chapter, number in attempt.received:
            due[chapter] = max(due.get(chapter, 0), number + 1)
    if is_over and repeats > len(reopened):
        yield f"had orders repeated {repeats} times, and was reopened {len(reopened)} times"
    if len(reopened) > len(lost):
        yield f"was reopened {len(reopened)} times, and lost {len(lost)} consumers"


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
    """Tell whether what a consumer had may be given to another: only if its process failed it.

    Or if that and the server took each other for dead; check_silences() tells whether rightly so.
    """
    process = attempt.process
    if process.is_dead or process.name in world.late:
        return True
    edge = next(client.edge for client in world.clients if client.path == attempt.client)
    ends = {process.name, edge.name}
    return any(
        {silence.by, _owner(world, silence.channel).name} == ends for silence in world.silences
    )


def _owner(world: World, channel: str) -> Process:
    return next(process for process in world.processes if channel in process.channels)


def check_silences(world: World) -> Iterator[str]:
    """Tell of every process that was taken for dead while it could be heard."""
    by_name = {process.name: process for process in world.processes}
    for since, when, by, channel in world.silences:
        peer = _owner(world, channel)
        if peer.name in world.late or (peer.is_dead and when >= peer.over_at):
            continue
        # It has nothing more to say to a process that it has taken for dead itself.
        is_answer = any(
            other.at <= when and other.by == peer.name and _owner(world, other.channel).name == by
            for other in world.silences
        )
        is_excused = (
            is_answer
            or _was_granted_in_vain(world, since, when, by, peer)
            or _was_unheard(world, when, by_name[by], peer)
            or _was_forgotten(world, when, by_name[by], peer)
        )
        if not is_excused:
            yield f"{peer.name} was taken for dead by {by} at {when:.1f}"


def _was_unheard(world: World, when: float, by: Process, peer: Process) -> bool:
    """Tell whether hardly anything of a process can have been heard by another one."""
    patience = by.peer_timeout or max(world.scenario.peer_timeouts)
    since = when - patience - DELAY
    lost = [
        *world.layer.losses.get(peer.name, ()),
        *world.shared.overflows.get(peer.name, ()),
        *world.layer.flushes,
    ]
    losses = sum(since <= at <= when for at in lost)
    enough = DROPS
    if _overlap(peer.blocks, since, when) > 0:
        enough = DROPS_WHILE_BLOCKED
    elif _overlap(by.deafness, since, when) > 0:
        enough = DROPS_BEFORE_DEAFNESS
    silent = _overlap(peer.cuts, since, when) + _overlap(by.cuts, since, when)
    return losses >= enough or silent >= SILENT_PART * patience


def _was_granted_in_vain(world: World, since: float, when: float, by: str, peer: Process) -> bool:
    """Tell whether a worker had drained, or was blocked, before a grant reached it.

    Args:
        world: The run.
        since: When the worker was last heard.
        when: When the server took it for dead.
        by: The name of the server.
        peer: The worker.
    """
    clients = {client.path for client in world.clients if client.edge.name == by}
    consumers = [a for a in world.ledger.attempts if a.process is peer and a.client in clients]
    # What a consumer says last must arrive, so the worker is heard after it.
    is_all_heard = not any(attempt.has_outlived(since) for attempt in consumers)
    has_drained = peer.is_over and not peer.is_dead
    return is_all_heard and (has_drained or _overlap(peer.blocks, since, when) > 0)


def _was_forgotten(world: World, when: float, by: Process, peer: Process) -> bool:
    """Tell whether a server may have forgotten a link, with the end of a session.

    It keeps a link without sessions for its PEER_TIMEOUT. In that time the worker may not have
    heard that the session has ended: in an outage, while it was deaf, or while the server was
    blocked and could not send that again. Or the server did not hear that there is a consumer.
    No consumer is lost by it that was given anything.
    """
    clients = {client.path for client in world.clients if client.edge is peer}
    consumers = [a for a in world.ledger.attempts if a.process is by and a.client in clients]
    lost = [a for a in consumers if a.disconnects == [CloseCode.ABNORMAL] and a.received]
    if any(attempt.has_outlived(when - DELAY) for attempt in lost):
        return False
    patience = peer.peer_timeout or max(world.scenario.peer_timeouts)
    since = when - (by.peer_timeout or patience) - DELAY
    spans = world.layer.outages + by.deafness + by.cuts + peer.blocks
    is_kept_from = any(end - start >= patience / 2 and end >= since for start, end in spans)
    return peer in world.edges and is_kept_from


def _overlap(spans: list[tuple[float, float]], since: float, until: float) -> float:
    return sum(max(0.0, min(end, until) - max(start, since)) for start, end in spans)


def _check_orders(
    world: World, attempts: list[Attempt], chapter: Chapter, is_whole: bool
) -> Iterator[str]:
    due, before = 0, None
    yield from _check_deliveries(attempts, chapter)
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


def _check_deliveries(attempts: list[Attempt], chapter: Chapter) -> Iterator[str]:
    if chapter.closer == "payload":
        last = chapter.orders[-1].number
        deadly = [a for a in attempts if a.received[-1][1] == last]
        if len(deadly) > Settings.MAX_DELIVERIES:
            firsts = [a.received[0][1] for a in deadly]
            yield f"{len(deadly)} consumers got the order that kills, from {firsts} on"


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
            and not may_repeat(world, before)
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
    coroutines: list[Any] = [task.get_coro() for task in process.tasks if not task.done()]
    tasks = [each.__qualname__ for each in coroutines if not _is_standing_by(each)]
    for _ in process.nodes:
        if "Event.wait" in tasks:
            # Until Python 3.12 wait_for() has a task: that of the node that waits to refresh.
            tasks.remove("Event.wait")
    if others := [name for name in tasks if name not in LASTING]:
        yield f"tasks {others}"
    for node in process.nodes.values():
        yield from _left_in_node(node)


def _is_standing_by(coroutine: Any) -> bool:
    """Tell whether a task waits for its next call, and has none."""
    is_standing: bool = coroutine.__qualname__ == "StandingTask._run"
    return is_standing and coroutine.cr_frame.f_locals["call"] is None


def _left_in_node(node: Any) -> Iterator[str]:
    for name in ("_wires", "_edge_wires", "claimable", "grantable", "hosted"):
        if getattr(node, name):
            yield f"{name} has {getattr(node, name)}"
    if not node.channel:
        return
    if node.is_deaf or node._own.typed.inner.is_deaf:
        yield "it does not hear itself"
    for name in ("_wanted", "_touched", "_turns"):
        if left := set(getattr(node.groups, name)) - {NODES}:
            yield f"groups.{name} has {left}"
    for channel, groups in node.groups._groups.items():
        if left := groups - {NODES}:
            yield f"the layer remembers {left} of {channel}"
