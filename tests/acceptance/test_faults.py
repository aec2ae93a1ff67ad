"""Each row of the table of faults in docs/topics/guarantees.md, shown by breaking the thing."""

import asyncio
import contextlib
import json
import re
import signal
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import MakeSite
from .harness.client import connect
from .harness.layers import Kind
from .harness.processes import Process
from .harness.redis_server import RedisServer
from .harness.site import Server, Site
from .harness.traffic import steady_traffic
from .harness.waiting import wait_until

pytestmark = pytest.mark.acceptance

APPLICATION = "tests.acceptance.project.faults.application"
#: Silence counts as death soon here, so that the tests need not wait for it.
OPTIONS = {"PEER_TIMEOUT": 2.0, "OPEN_RETRY": 0.5, "OPEN_TIMEOUT": 1.0}
STREAMS = ("number", "room", "tick", "stuck", "thread", "harm", "dying")
ALL = tuple(f"demux.{stream}" for stream in STREAMS)

WITHOUT_UVLOOP = Path(__file__).parent / "harness" / "without_uvloop"

MakeFaulty = Callable[..., Site]


@pytest.fixture
def make_faulty(make_site: MakeSite, layer_kind: Kind) -> MakeFaulty:
    """Makes sites of the application with faults, on each layer in turn.

    Those on the pub/sub layer run on uvloop, those on the core layer on asyncio's own loop.

    Returns:
        A function that takes keys of CHANNELS_DEMUX_LAYER.
    """

    def make(*, is_above: bool = True, **options: Any) -> Site:
        apps = ["channels_demux_layer", "channels"]
        settings = {
            "INSTALLED_APPS": apps if is_above else apps[::-1],
            "CHANNELS_DEMUX_LAYER": {**OPTIONS, **options},
        }
        path = WITHOUT_UVLOOP if layer_kind == "core" else None
        return make_site(layer_kind, application=APPLICATION, settings=settings, path=path)

    return make


def redis_of(site: Site) -> RedisServer:
    """Gives the Redis of a site that has one."""
    assert site.redis is not None
    return site.redis


async def in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Runs what blocks while the traffic goes on."""
    return await asyncio.to_thread(function, *args)


def tracebacks(site: Site) -> str:
    """Finds what this package has let through: tracebacks, and tasks that failed unseen.

    Returns:
        The lines around each; those of channels_redis' own tasks are left out.
    """
    blocks = re.split(r"\n(?=\S)", site.logs())
    theirs = re.compile(r"channels_redis|receive task|RedisChannelLayer|redis\.exceptions|^During")
    return "\n".join(
        block
        for before, block in zip(["", *blocks], blocks, strict=False)
        if ("Traceback" in block or "never retrieved" in block)
        and not theirs.search(before + block + "".join(blocks[blocks.index(block) + 1 :][:3]))
    )


# -- workers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("is_above", [True, False], ids=["own-command", "stock-command"])
async def test_killed_workers(make_faulty: MakeFaulty, is_above: bool) -> None:
    """Every frame is answered though workers are killed; repeats come with `reopened` alone."""
    site = make_faulty(is_above=is_above)
    server = site.server()
    channels = ALL if is_above else ("demux.number",)
    workers = site.workers([channels, channels])
    async with steady_traffic(server.url()) as traffic:
        for _ in range(2):
            # First, so that it is there for those whose worker is killed, however slow it starts.
            workers += await in_thread(site.workers, [channels])
            await in_thread(workers.pop(0).kill)
            await traffic.flows()
        account = await traffic.finish()
    assert (account.lost, account.disordered, account.closed.total()) == (0, 0, 0)
    assert account.unexcused == 0
    assert account.events.keys() == {"reopened"}
    assert account.attempts[2] > 0
    # Which of the two that are left got more is a matter of luck.
    assert set(account.pids) & {worker.pid for worker in workers}
    assert not tracebacks(site)


async def test_a_stock_worker_that_is_asked_to_go(make_faulty: MakeFaulty) -> None:
    """Under Channels' own command SIGTERM is a crash, and nothing is lost by it."""
    site = make_faulty(is_above=False)
    server = site.server()
    old, _ = site.workers([("demux.number",)] * 2)
    async with steady_traffic(server.url()) as traffic:
        old.signal(signal.SIGTERM)
        assert await in_thread(old.wait) == -signal.SIGTERM
        await traffic.flows()
        account = await traffic.finish()
    assert (account.lost, account.disordered, account.closed.total()) == (0, 0, 0)
    assert account.unexcused == 0


async def test_a_rolling_deployment(make_faulty: MakeFaulty) -> None:
    """Workers that are replaced one by one lose nothing, repeat nothing, and end with 0."""
    site = make_faulty()
    server = site.server()
    workers = site.workers([ALL] * 3)
    async with steady_traffic(server.url(), connections=20) as traffic:
        signals = (signal.SIGTERM, signal.SIGINT, signal.SIGTERM)
        for old, number in zip(workers, signals, strict=True):
            await in_thread(site.workers, [ALL])
            old.signal(number)
            assert await in_thread(old.wait) == 0
            await traffic.flows()
        account = await traffic.finish()
    assert account.faults == (0, 0, 0, 0)
    assert not account.events
    assert account.attempts[2] > 0
    assert not tracebacks(site)
    ends = site.journal("disconnect")
    assert {end["code"] for end in ends if end["pid"] in {old.pid for old in workers}} == {1012}


async def test_ordinary_channels_are_finished(make_faulty: MakeFaulty) -> None:
    """Messages of an ordinary channel that a worker has taken are handled before it ends."""
    site = make_faulty()
    worker = site.worker("plain.note", "demux.number")
    send = (
        "import asyncio, django; django.setup(); from channels.layers import get_channel_layer;"
        "send = get_channel_layer().send\n"
        "async def main():\n"
        "    for n in range(3): await send('plain.note', {'type': 'note.down', 'text': n})\n"
        "asyncio.run(main())"
    )
    site.start("sender", ["-c", send])
    await in_thread(site.wait_for_journal, "taken")
    worker.signal(signal.SIGTERM)
    assert await in_thread(worker.wait) == 0
    taken = len(site.journal("taken"))
    assert len(site.journal("noted")) == taken > 0


@pytest.mark.parametrize("stream", ["stuck", "thread"])
async def test_a_drain_does_not_wait_for_ever(make_faulty: MakeFaulty, stream: str) -> None:
    """A consumer that never returns is given up: its worker ends with 0, its stream goes on."""
    site = make_faulty()
    server = site.server()
    worker = draining_at_once(site)
    async with connect(server.url()) as client:
        await client.send(stream, "hang")
        await in_thread(site.wait_for_journal, "stuck")
        await in_thread(site.workers, [ALL])
        worker.signal(signal.SIGTERM)
        assert await in_thread(worker.wait) == 0
        await in_thread(lambda: wait_until(lambda: len(site.journal("stuck")) == 2, "a retry"))
        assert [entry["attempt"] for entry in site.journal("stuck")] == [1, 2]


async def test_a_second_signal_ends_at_once(make_faulty: MakeFaulty) -> None:
    """Who has no patience with a drain signals again."""
    site = make_faulty()
    server = site.server()
    worker = site.worker(*ALL)
    async with connect(server.url()) as client:
        await client.send("stuck", "hang")
        await in_thread(site.wait_for_journal, "stuck")
        worker.signal(signal.SIGINT)
        await in_thread(worker.wait_for_line, "Draining: 2 sessions")
        worker.signal(signal.SIGINT)
        assert await in_thread(worker.wait) == -signal.SIGINT
    assert "KeyboardInterrupt" not in worker.log()


def draining_at_once(site: Site) -> Process:
    """Starts a worker whose consumers have a second to end, and waits until it has begun."""
    command = ["-m", "django", "runworker", "--drain-timeout", "1", *ALL]
    worker = site.start("worker", command)
    worker.wait_for_line("Running worker")
    return worker


# -- consumers that harm their process ---------------------------------------------------------


@pytest.mark.parametrize("stream", ["harm", "dying"])
async def test_a_payload_that_ends_its_worker(make_faulty: MakeFaulty, stream: str) -> None:
    """Three workers die of a payload, or of a connect(); then its stream ends, and no other."""
    site = make_faulty()
    server = site.server()
    workers = await in_thread(site.workers, [ALL] * 5)
    async with connect(server.url()) as client, connect(server.url()) as neighbour:
        for each in (client, neighbour):
            assert (await each.ask("number", 1))[0] == 1
        await client.send(stream, "die")
        closed = await client.receive_event("closed", stream=stream)
        assert closed["code"] == 4422
        assert closed["reason"] == "its workers do not survive it"
        for each in (client, neighbour):
            assert (await each.ask("number", 2))[0] == 2
        assert sum(not worker.running for worker in workers) == 3
    line = f"Stream '{stream}' is closed: 3 workers in a row died with it."
    await in_thread(server.process.wait_for_line, line)


async def test_a_consumer_that_blocks(make_faulty: MakeFaulty, tmp_path: Path) -> None:
    """Its worker is not taken for dead: it is asked once, and answers; others wait unharmed."""
    site = make_faulty()
    server = site.server()
    workers = await in_thread(site.workers, [ALL] * 2)
    async with contextlib.AsyncExitStack() as stack:
        client, *others = [await stack.enter_async_context(connect(server.url())) for _ in range(5)]
        for each in others:
            assert (await each.ask("number", 1))[0] == 1
        release = tmp_path / "release"
        await client.send("harm", str(release))
        pid = (await in_thread(site.wait_for_journal, "harm"))["pid"]
        blocked, *_ = (worker for worker in workers if worker.pid == pid)
        await in_thread(
            blocked.wait_for_line, "event loop has been blocked .*by the consumer of stream 'harm'"
        )
        await in_thread(blocked.wait_for_line, r"time\.sleep\(0\.01\)")
        await asyncio.sleep(3 * OPTIONS["PEER_TIMEOUT"])
        async with connect(server.url()) as late:  # The other worker takes it.
            assert (await late.ask("number", 1))[2] != pid
        release.touch()
        assert await client.receive_from("harm") == [str(release), 1, pid]
        for each in others:
            await each.send("number", 2)
            answer = await each.receive()  # and no event before it
            assert answer["payload"][:2] == [2, 1]
    assert len(site.journal("harm")) == 1
    assert not site.journal("disconnect", code=1006)


async def test_a_server_that_is_blocked(make_faulty: MakeFaulty, tmp_path: Path) -> None:
    """Its workers do not take it for dead: the consumers of its clients stay."""
    site = make_faulty()
    server = site.server("uvicorn", "--ws-ping-interval", "600")
    await in_thread(site.workers, [ALL])
    async with connect(server.url()) as client:
        assert (await client.ask("number", 1))[0] == 1
        release = tmp_path / "release"
        await client.send("inline", str(release))
        await in_thread(server.process.wait_for_line, "event loop has been blocked")
        await asyncio.sleep(3 * OPTIONS["PEER_TIMEOUT"])
        release.touch()
        assert (await client.receive_from("inline"))[0] == str(release)
        assert (await client.ask("number", 2))[:2] == [2, 1]
    assert not site.journal("disconnect", code=1006)


@pytest.mark.parametrize("how", ["exit", "task"])
async def test_a_consumer_that_exits(make_faulty: MakeFaulty, how: str) -> None:
    """sys.exit() ends its stream with 1011 and a traceback, and not its worker."""
    site = make_faulty()
    server = site.server()
    worker = await in_thread(site.worker, *ALL)
    async with connect(server.url()) as client:
        await client.send("harm", how)
        assert (await client.receive_event("closed", stream="harm"))["code"] == 1011
        assert (await client.ask("number", 1)) == [1, 1, worker.pid]
    await in_thread(worker.wait_for_line, "SystemExit: 9")
    worker.signal(signal.SIGTERM)
    assert await in_thread(worker.wait) == 0


# -- Redis ------------------------------------------------------------------------------------


async def restart(redis: RedisServer) -> None:
    """Ends Redis, and starts it again empty."""
    await in_thread(redis.go_away)
    await in_thread(redis.come_back)


async def flush(redis: RedisServer) -> None:
    """Has Redis forget everything."""
    with redis.client() as client:
        client.flushall()


async def cut(redis: RedisServer) -> None:
    """Has Redis close all connections."""
    await in_thread(redis.cut_clients)


async def freeze(redis: RedisServer) -> None:
    """Has Redis answer nothing for longer than a peer may be silent."""
    redis.process.signal(signal.SIGSTOP)
    await asyncio.sleep(1.5 * OPTIONS["PEER_TIMEOUT"])
    redis.process.signal(signal.SIGCONT)


@pytest.mark.parametrize("harm", [restart, flush, cut, freeze])
async def test_redis_fails(make_faulty: MakeFaulty, harm: Callable[..., Any]) -> None:
    """Whatever happens to Redis: nothing lost, nothing repeated, no socket closed, no event."""
    site = make_faulty()
    # A server held back for long reads no pongs, and would end the socket by its own rule.
    server = site.server("uvicorn", "--ws-ping-interval", "600")
    site.workers([ALL] * 2)
    async with (
        connect(server.url()) as one,
        connect(server.url()) as other,
        steady_traffic(server.url()) as traffic,
    ):
        assert await one.ask("room", "first") == {"said": "first"}
        assert await other.ask("room", "second") == {"said": "second"}
        assert await one.receive_from("room") == {"said": "second"}
        for _ in range(2):
            await harm(redis_of(site))
            await traffic.flows()
        account = await traffic.finish()
        await rooms_work(one, other)
    assert account.faults == (0, 0, 0, 0)
    assert not account.events
    assert not tracebacks(site)


async def rooms_work(one: Any, other: Any) -> None:
    """Waits until what one says in the room reaches the other; what is said meanwhile may not."""
    hearing = asyncio.ensure_future(other.receive_from("room"))
    for number in range(60):
        await one.send("room", number)
        if (await asyncio.wait([hearing], timeout=1.0))[0]:
            assert "said" in hearing.result()
            return
    pytest.fail("The room stays silent.")


def announce(server: Server) -> str:
    """Has a view of the server send to the consumers' group.

    Returns:
        What the view, and a task that it started, were told.
    """
    url = f"http://127.0.0.1:{server.port}/announce/"
    with urllib.request.urlopen(url, timeout=60) as answer:
        told: str = answer.read().decode()
        return told


async def test_views_of_a_server_are_told_that_redis_is_away(make_faulty: MakeFaulty) -> None:
    """A view's group_send() raises as without this package, after sockets have been served."""
    site = make_faulty()
    server = site.server("uvicorn", "--ws-ping-interval", "600")
    site.workers([ALL])
    async with connect(server.url()) as client:
        assert await client.ask("room", "hello") == {"said": "hello"}
        assert await in_thread(announce, server) == "sent sent"
        assert {(await client.receive_from("room"))["said"] for _ in range(2)} == {"view", "task"}
        await in_thread(redis_of(site).go_away)
        assert await in_thread(announce, server) == "ConnectionError ConnectionError"
        await in_thread(redis_of(site).come_back)
        assert (await client.ask("number", 1))[0] == 1
        await rooms_work(client, client)


async def test_connecting_while_redis_is_away(make_faulty: MakeFaulty) -> None:
    """Who connects without Redis gets `unavailable`, and the stream once Redis is back."""
    site = make_faulty()
    server = site.server()
    site.workers([ALL])
    await in_thread(redis_of(site).go_away)
    async with connect(server.url()) as client:
        await client.send("number", 1)
        assert (await client.receive_event("unavailable"))["stream"] == "number"
        await in_thread(redis_of(site).come_back)
        assert (await client.receive_from("number"))[0] == 1
    assert not tracebacks(site)


async def test_a_worker_starts_while_redis_is_away(make_faulty: MakeFaulty) -> None:
    """A worker that finds no Redis waits for it, with a line in its log and no traceback."""
    site = make_faulty()
    redis = redis_of(site)
    redis.go_away()
    server = site.server()
    worker = site.start("worker", ["-m", "django", "runworker", "demux.number", "demux.room"])
    await in_thread(worker.wait_for_line, "Cannot receive on the channel layer")
    async with connect(server.url()) as client:
        await client.receive_event("unavailable")
        await in_thread(redis.come_back)
        assert (await client.ask("number", 1))[0] == 1
    assert worker.log().count("Cannot receive") == 1
    assert "Traceback" not in worker.log()


async def test_a_drain_without_redis(make_faulty: MakeFaulty) -> None:
    """A worker that is asked to go while Redis is away, or frozen, goes all the same."""
    site = make_faulty()
    server = site.server()
    workers = [draining_at_once(site) for _ in range(2)]
    redis = redis_of(site)
    async with steady_traffic(server.url()) as traffic:
        redis.process.signal(signal.SIGSTOP)
        workers[0].signal(signal.SIGTERM)
        assert await in_thread(workers[0].wait) == 0
        redis.process.signal(signal.SIGCONT)
        await in_thread(redis.go_away)
        workers[1].signal(signal.SIGTERM)
        assert await in_thread(workers[1].wait) == 0
        await in_thread(redis.come_back)
        await in_thread(site.workers, [ALL])
        await traffic.flows()
        account = await traffic.finish()
    assert (account.lost, account.disordered, account.closed.total()) == (0, 0, 0)


# -- servers ----------------------------------------------------------------------------------


async def test_a_killed_server(make_faulty: MakeFaulty, layer_kind: Kind) -> None:
    """When a server dies, its consumers get 1006, and none of its groups are left in Redis."""
    site = make_faulty()
    server = site.server()
    workers = site.workers([ALL] * 2)
    async with steady_traffic(server.url()) as traffic:
        await in_thread(server.process.kill)
        await in_thread(
            lambda: wait_until(lambda: len(site.journal("disconnect")) == 10, "the disconnects")
        )
        await traffic.finish()
    assert {entry["code"] for entry in site.journal("disconnect")} == {1006}
    await in_thread(lambda: wait_until(lambda: not groups(site, layer_kind), "empty groups"))
    assert not tracebacks(site)
    assert all(worker.running for worker in workers)


def groups(site: Site, kind: Kind) -> list[bytes]:
    """Lists the groups of connections that Redis knows."""
    with redis_of(site).client() as client:
        if kind == "pubsub":
            return list(client.pubsub_channels("asgi__group__demux.*"))
        return list(client.keys("asgi:group:demux.*"))


# -- slow ends --------------------------------------------------------------------------------


async def test_clients_that_do_not_read(make_faulty: MakeFaulty) -> None:
    """Clients that read nothing cost a bounded amount of memory, and the others get every tick."""
    site = make_faulty()
    server = site.server()
    (worker,) = site.workers([ALL])
    flood = {"stream": "tick", "payload": {"count": 1_000_000, "size": 10_000}}
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(10):
            # Its goodbye would wait behind all that it does not read.
            deaf = await stack.enter_async_context(connect(server.url(), close_timeout=0.1))
            await deaf.send_raw(json.dumps(flood))
        reader = await stack.enter_async_context(connect(server.url()))
        await reader.send("tick", {"count": 2_000, "size": 10})
        for number in range(1_000):
            assert (await reader.receive_from("tick"))[0] == number
        before = [memory(server.process), memory(worker)]
        for number in range(1_000, 2_000):
            assert (await reader.receive_from("tick"))[0] == number
        after = [memory(server.process), memory(worker)]
    # Ten windows of a megabyte at each end; a flood that is not held back is gigabytes.
    assert all(late < early + 50 for early, late in zip(before, after, strict=True))


async def test_a_consumer_that_does_not_return(make_faulty: MakeFaulty) -> None:
    """A consumer that never returns fills its window and no more; the others are served."""
    site = make_faulty(STALL_TIMEOUT=2.0)
    server = site.server()
    site.workers([ALL])
    # Its goodbye would wait behind the answers to its flood, which it does not read.
    flooding = connect(server.url(), close_timeout=0.1)
    async with flooding as client, steady_traffic(server.url()) as traffic:
        for _ in range(1_000):
            await client.send("stuck", "x" * 1_000)
            if site.journal("stuck"):
                break
        flood = asyncio.ensure_future(send_on(client))
        closed = await client.receive_event("closed", stream="stuck")
        flood.cancel()
        await traffic.flows()
        account = await traffic.finish()
    assert closed["code"] == 4408
    assert account.faults == (0, 0, 0, 0)


async def send_on(client: Any) -> None:
    """Sends to the consumer that does not return, for ever."""
    while True:
        await client.send("stuck", "x" * 1_000)


# -- versions ---------------------------------------------------------------------------------


async def test_another_version_is_refused(make_faulty: MakeFaulty) -> None:
    """A worker that meets a server of another wire version says so once, and takes nothing."""
    site = make_faulty()
    server = site.server()
    worker = other_version(site)
    await in_thread(worker.wait_for_line, "Running worker")
    async with connect(server.url()) as client:
        await client.receive_event("unavailable")
        line = await in_thread(worker.wait_for_line, "Cannot take opens of version 1 .*")
        assert "Run the same release of channels_demux_layer in servers and workers" in line[0]
        await in_thread(site.workers, [ALL])
        assert (await client.ask("number", 1))[0] == 1
    assert worker.log().count("Cannot take opens") == 1


def other_version(site: Site) -> Process:
    """Starts a worker that speaks another version of the layer wire."""
    code = (
        "from channels_demux_layer.protocol import frames; frames.VERSION = 99;"
        "from django.core.management import execute_from_command_line as run;"
        "run(['manage.py', 'runworker', 'demux.number'])"
    )
    return site.start("worker", ["-c", code])


def memory(process: Process) -> float:
    """Measures a process.

    Returns:
        Its resident memory in megabytes.
    """
    command = ["ps", "-o", "rss=", "-p", str(process.pid)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) / 1024
