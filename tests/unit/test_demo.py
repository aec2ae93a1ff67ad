"""The demo's parts: what it starts, how it watches and ends that."""

import asyncio
import dataclasses
import importlib
import os
import re
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from channels_demux_layer.demo import (
    __main__,
    child,
    control,
    preflight,
    redis_clients,
    redis_stand_in,
    supervisor,
)
from channels_demux_layer.demo.child import Child
from channels_demux_layer.demo.control import Add, Answer, Drain, Kill
from channels_demux_layer.demo.plan import WORKERS, Options, Plan, Project
from channels_demux_layer.demo.preflight import DemoError
from channels_demux_layer.demo.project import apps

LIMIT = 30.0
FOREVER = "import sys; sys.stdin.read()"
URL = "redis://127.0.0.1:6379/0"


def scripted(name: str, code: str = FOREVER, **environ: str) -> Plan:
    """A plan that runs a line of Python."""
    return Plan(name, ("-c", code), {"DEMUX_DEMO_NAME": name, **environ})


def worker(stream: str, number: int) -> Plan:
    """A worker that is a line of Python."""
    return dataclasses.replace(scripted(f"worker-{stream}-{number}"), stream=stream)


async def written(child: Child, text: str) -> None:
    """Wait until a child has written a text."""
    while text not in child.log.read_text():
        assert not child.ended.done()
        await asyncio.sleep(0.01)


# Addresses


def test_a_free_port_is_found() -> None:
    """Port 0 stands for any port that is free."""
    port = preflight.reserve_port("127.0.0.1", 0)
    assert preflight.reserve_port("127.0.0.1", port) == port


def test_a_free_port_is_found_where_sockets_are_not_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system whose SO_REUSEADDR shares a port is not asked for it."""
    monkeypatch.setattr(preflight, "REUSE_IS_HARMLESS", False)
    assert preflight.reserve_port("127.0.0.1", 0) > 0


def test_a_port_in_use_is_told() -> None:
    """A port that somebody listens on is refused, with what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(DemoError, match=rf"port {port} of 127\.0\.0\.1 is in use: stop what"):
            preflight.reserve_port("127.0.0.1", port)


def test_a_host_of_another_machine_is_told() -> None:
    """An address that is not this machine's is refused, with what to do."""
    with pytest.raises(DemoError, match=r"cannot listen on 192\.0\.2\.1 port 80.*--host"):
        preflight.reserve_port("192.0.2.1", 80)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "ws://127.0.0.1:80/ws/"),
        ("0.0.0.0", "ws://127.0.0.1:80/ws/"),
        ("::", "ws://[::1]:80/ws/"),
        ("example.org", "ws://example.org:80/ws/"),
    ],
)
def test_a_web_address_can_be_opened(host: str, expected: str) -> None:
    """What is shown is what a browser on this machine can open."""
    assert preflight.web_address("ws", host, 80, "/ws/") == expected


def test_a_password_is_not_shown() -> None:
    """A URL loses user and password, and nothing else, before it is shown."""
    assert preflight.without_password("redis://me:secret@box:1/2") == "redis://***@box:1/2"
    assert preflight.without_password(URL) == URL


# What must be there


def test_installed_modules_are_found() -> None:
    """A module counts as installed when it can be imported, and only then."""
    assert preflight.is_installed("channels_redis")
    assert not preflight.is_installed("no_such_module")
    assert not preflight.is_installed("no_such_package.module")


def test_nothing_is_missing() -> None:
    """With everything installed the demo may start."""
    preflight.check_extras(stand_in=True, installed=lambda module: True)
    preflight.check_extras(stand_in=False, installed=lambda module: module != "fakeredis")


def test_a_missing_extra_is_told() -> None:
    """What is not installed is named, with the command that installs it."""
    with pytest.raises(DemoError) as caught:
        preflight.check_extras(stand_in=True, installed=lambda module: module != "uvicorn")
    assert str(caught.value) == (
        "uvicorn is not installed: run pip install 'channels-demux-layer[demo]'."
    )


def test_a_missing_stand_in_can_be_avoided() -> None:
    """Where only the stand-in is missing, a real Redis is the other way out."""
    with pytest.raises(DemoError) as caught:
        preflight.check_extras(
            stand_in=True, installed=lambda module: module not in {"fakeredis", "lupa"}
        )
    assert str(caught.value) == (
        "fakeredis and fakeredis[lua] are not installed: run pip install "
        "'channels-demux-layer[demo]', or set REDIS_URL to the address of a Redis server."
    )


# Redis and its stand-in


@pytest.fixture
def stand_in_url() -> Iterator[str]:
    """The URL of a stand-in that runs in this process."""
    server = redis_stand_in.make_server()
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield redis_stand_in.address(server)
    server.shutdown()
    server.server_close()
    thread.join()


def test_clients_are_known_by_name(stand_in_url: str) -> None:
    """A connection that was given a name is listed under it, one without a name is not."""
    redis = pytest.importorskip("redis")
    with redis.Redis.from_url(stand_in_url, client_name="worker") as client:
        client.ping()
        assert redis_clients.client_names(stand_in_url) == {"worker"}
        environ = {"REDIS_URL": stand_in_url, "DEMUX_DEMO_NAME": "worker"}
        assert redis_clients.main(environ) == 0
        assert redis_clients.main(environ | {"DEMUX_DEMO_NAME": "another"}) == 1


def test_the_health_check_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a Redis a worker is not healthy, and the check says what is wrong."""
    assert redis_clients.main({}) == 1
    assert "which is not the URL of a Redis server" in capsys.readouterr().out


def test_a_dead_redis_is_told() -> None:
    """Where nobody answers the message says where, what to do, and no password."""
    port = preflight.reserve_port("127.0.0.1", 0)
    with pytest.raises(DemoError, match=rf"no Redis server answers at redis://\*\*\*@.*:{port}/0"):
        redis_clients.client_names(f"redis://:secret@127.0.0.1:{port}/0")


def test_the_name_of_a_process_is_its_hosts_by_default() -> None:
    """A container's name is its worker's, unless another is given."""
    assert redis_clients.own_name({}) == socket.gethostname()
    assert redis_clients.own_name({"DEMUX_DEMO_NAME": "x"}) == "x"


def test_the_stand_in_announces_itself(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What the stand-in prints is where it is found; it ends with its parent."""
    server = redis_stand_in.make_server()
    monkeypatch.setattr(server, "serve_forever", server.server_close)
    monkeypatch.setattr(redis_stand_in, "make_server", lambda: server)
    watched: list[int] = []
    redis_stand_in.main(watched.append)
    assert watched == [child.STANDARD_INPUT]

    log = tmp_path / "log"
    log.write_text("starting\n")
    assert redis_stand_in.announced_address(log) is None
    log.write_text(capsys.readouterr().out)
    assert redis_stand_in.announced_address(log) == redis_stand_in.address(server)


# Lifeline


def test_the_lifeline_is_felt() -> None:
    """When the parent's end of the pipe closes, the child is told; what comes in is ignored."""
    reading, writing = os.pipe()
    ended = threading.Event()
    thread = child.watch(reading, ended.set)
    os.write(writing, b"x")
    assert not ended.is_set()
    os.close(writing)
    assert ended.wait(LIMIT)
    thread.join(LIMIT)
    os.close(reading)


def test_a_lifeline_that_is_none_counts_as_cut() -> None:
    """A process without a pipe to watch does not outlive its parent either."""
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    ended = threading.Event()
    child.watch(reading, ended.set).join(LIMIT)
    assert ended.is_set()


def test_the_end_is_a_polite_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its parent a process gets the signal that the supervisor would have sent."""
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    child.end_this_process()
    assert sent == [(os.getpid(), signal.SIGTERM)]


def test_only_supervised_processes_watch_a_lifeline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of the project that nobody supervises leaves its standard input alone."""
    watched: list[int] = []
    monkeypatch.setattr(child, "watch", watched.append)
    module = importlib.import_module("channels_demux_layer.demo.project")
    config = apps.DemoConfig("channels_demux_layer.demo.project", module)
    monkeypatch.delenv("DEMUX_DEMO_LIFELINE", raising=False)
    config.ready()
    assert watched == []
    monkeypatch.setenv("DEMUX_DEMO_LIFELINE", "1")
    config.ready()
    assert watched == [child.STANDARD_INPUT]


# Plans


def test_every_stream_has_a_worker() -> None:
    """Each stream has its workers under this package's command, each with its own name."""
    plans = list(Project(Options(layer="core"), URL, "run").workers())
    assert [plan.name for plan in plans] == [
        *("worker-echo-1", "worker-echo-2", "worker-chat-1", "worker-prices-1", "worker-upload-1")
    ]
    assert {plan.stream for plan in plans} == WORKERS.keys()
    assert plans[0].command == (sys.executable, "-m", "django", "runworker", "demux.echo")
    assert plans[0].environ["DEMUX_DEMO_NAME"] == "run-worker-echo-1"
    assert all(plan.environ["REDIS_URL"] == URL for plan in plans)
    assert all(plan.environ["DEMUX_DEMO_LAYER"] == "core" for plan in plans)


def test_every_stream_can_have_as_many_workers_as_asked_for() -> None:
    """A number of workers on the command line is that of each stream."""
    names = [plan.name for plan in Project(Options(workers=2), URL, "run").workers()]
    assert names[2:4] == ["worker-chat-1", "worker-chat-2"]
    assert len(set(names)) == 2 * len(WORKERS)


def test_only_the_server_can_reach_the_supervisor() -> None:
    """The server listens where it was asked to, and it alone has the way to the supervisor."""
    project = Project(Options(port=81), URL, "run", "1:token")
    edge = project.edge()
    assert (edge.name, edge.stream) == ("edge", "")
    assert edge.arguments[:2] == ("-m", "uvicorn")
    assert " --port 81 " in " ".join(edge.arguments)
    assert edge.environ["DEMUX_DEMO_CONTROL"] == "1:token"
    assert not any("DEMUX_DEMO_CONTROL" in plan.environ for plan in project.workers())


@pytest.mark.parametrize(("host", "hosts"), [("::1", "localhost,127.0.0.1,[::1]"), ("::", "*")])
def test_the_page_can_be_asked_for_where_it_is_served(host: str, hosts: str) -> None:
    """Off the loopback interface nobody can know the names that the page is asked for by."""
    edge = Project(Options(host=host), URL, "run").edge()
    assert edge.environ["DEMUX_DEMO_ALLOWED_HOSTS"] == hosts


@pytest.mark.parametrize(
    ("host", "control", "expected"),
    [
        ("127.0.0.1", None, True),
        ("0.0.0.0", None, False),
        ("0.0.0.0", True, True),
        ("127.0.0.1", False, False),
    ],
)
def test_only_this_machine_controls(host: str, control: bool | None, expected: bool) -> None:
    """Where others see the page, its buttons are there only if the user has asked for them."""
    assert Options(host=host, control=control).is_controlled is expected


# Commands from the page


@pytest.fixture
async def obeyed() -> AsyncIterator[tuple[str, list[object]]]:
    """A server of commands, which obeys all but one.

    Yields:
        Its address, and the commands that it was given.
    """
    commands: list[object] = []

    async def obey(command: object) -> None:
        commands.append(command)
        if command == Kill(2):
            raise DemoError("Not that one.")

    server = control.ControlServer(obey)
    server.close()  # nothing to close yet
    yield await server.start(), commands
    server.close()


async def test_commands_are_obeyed(obeyed: tuple[str, list[object]]) -> None:
    """Each of the three commands arrives as what it is, and is answered when it was obeyed."""
    address, commands = obeyed
    sent = [{"do": "add", "stream": "echo"}, {"do": "drain", "pid": 1}, {"do": "kill", "pid": 1}]
    for command in sent:
        assert await control.send_command(address, command) == Answer()
    assert commands == [Add("echo"), Drain(1), Kill(1)]


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ({"do": "kill", "pid": 2}, "Not that one."),
        ({"do": "dance"}, "Invalid value 'dance'"),
        ({"do": "kill", "pid": "all"}, "Expected `int`"),
        (["kill"], "Expected `object`"),
    ],
)
async def test_a_refusal_is_answered(
    obeyed: tuple[str, list[object]], command: object, error: str
) -> None:
    """What cannot be obeyed, or is no command, is answered with the reason."""
    assert error in (await control.send_command(obeyed[0], command)).error


async def test_a_stranger_is_not_answered(obeyed: tuple[str, list[object]]) -> None:
    """Who does not know the token commands nothing."""
    port = obeyed[0].partition(":")[0]
    answer = await control.send_command(f"{port}:guessed", {"do": "kill", "pid": 1})
    assert answer.error == "The demo's supervisor does not answer."
    assert obeyed[1] == []


async def test_a_supervisor_that_is_gone_is_told() -> None:
    """Where nobody listens any more the page is told so."""
    port = preflight.reserve_port("127.0.0.1", 0)
    answer = await control.send_command(f"{port}:token", {"do": "kill", "pid": 1})
    assert answer.error == "The demo's supervisor does not answer."


# Processes


async def test_a_child_ends_when_asked(tmp_path: Path) -> None:
    """A child that ends by itself is not killed, and stopping it again does nothing."""
    child = await Child.start(scripted("polite", "print('up'); input()"), tmp_path)
    await written(child, "up")
    await child.stop(LIMIT)
    await child.stop(LIMIT)
    assert child.describe_end() == "by signal 15 (Terminated)"


async def test_a_child_that_does_not_end_is_killed(tmp_path: Path) -> None:
    """A child that ignores the polite signal gets the other one."""
    code = "import signal; signal.signal(15, signal.SIG_IGN); print('up'); input()"
    child = await Child.start(scripted("stubborn", code), tmp_path)
    await written(child, "up")
    await child.stop(0.01)
    assert child.describe_end() == "by signal 9 (Killed)"


@pytest.mark.parametrize(("way", "number"), [("drain", 15), ("kill", 9)])
async def test_a_child_can_be_sent_away(way: str, number: int, tmp_path: Path) -> None:
    """A child can be asked to go, or made to; to one that has ended neither does anything."""
    child = await Child.start(scripted("worker"), tmp_path)
    getattr(child, way)()
    await asyncio.wait_for(child.ended, LIMIT)
    assert child.describe_end().startswith(f"by signal {number} ")
    child.drain()
    child.kill()


async def test_the_last_line_says_why_a_child_ended(tmp_path: Path) -> None:
    """How a child ended is told by its exit code and its last words."""
    failing = await Child.start(scripted("failing", "print(1); raise ValueError('No.')"), tmp_path)
    silent = await Child.start(scripted("silent", "raise SystemExit(3)"), tmp_path)
    await asyncio.wait_for(asyncio.gather(failing.ended, silent.ended), LIMIT)
    assert failing.describe_end() == "with exit code 1 (ValueError: No.)"
    assert silent.describe_end() == "with exit code 3 (no output)"


# Supervisor


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> "Demo":
    """A supervisor of small processes."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return Demo(monkeypatch, tmp_path)


class Demo:
    """A supervisor whose processes are lines of Python.

    Args:
        monkeypatch: Puts them in place.
        directory: Where the logs go.

    Attributes:
        said: The lines of progress.
        names: The names that Redis is told to know.
        directory: Where the logs go.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        self.said: list[str] = []
        self.names = {"worker-echo-1"}
        self.directory = directory
        self._patch = monkeypatch
        self.plan(worker("echo", 1), scripted("edge"))
        self.plan_stand_in(f"print('listening on {URL}'); {FOREVER}")
        self.controls: list[str] = []
        monkeypatch.setattr(supervisor, "Project", self._project)
        monkeypatch.setattr(supervisor, "client_names", lambda url: self.names)
        monkeypatch.setattr(supervisor, "is_serving", lambda host, port: True)

    def plan(self, *plans: Plan) -> None:
        """Replace what is started beside the stand-in."""
        self._workers, self._edge = plans[:-1], plans[-1]

    def _project(self, options: Options, redis_url: str, run: str, control: str) -> "Demo":
        self.controls.append(control)
        return self

    def workers(self) -> tuple[Plan, ...]:
        """The plans of the workers, as a project has them."""
        return self._workers

    def edge(self) -> Plan:
        """The plan of the server."""
        return self._edge

    def worker(self, stream: str, number: int) -> Plan:
        """The plan of one more worker."""
        return worker(stream, number)

    def plan_stand_in(self, code: str) -> None:
        """Replace the stand-in."""
        self._patch.setattr(supervisor, "plan_stand_in", lambda: scripted("redis", code))

    async def run(self, stop_at: str, limit: float = LIMIT, **environ: str) -> list[Child]:
        """Run until a line of progress begins with a text, then ask it to stop.

        Returns:
            The children.
        """

        def say(line: str) -> None:
            self.said.append(line)
            if line.startswith(stop_at):
                running.request_stop()

        running = supervisor.Supervisor(Options(port=0), environ, say, limit)
        try:
            await asyncio.wait_for(running.run(), LIMIT)
        finally:
            assert all(child.ended.done() for child in running.children)
        return running.children


async def test_all_is_started_and_ended(demo: Demo) -> None:
    """Redis, workers and server start in this order; asked to stop, all end and leave nothing."""
    children = await demo.run("Press Ctrl-C")
    assert [child.plan.name for child in children] == ["redis", "worker-echo-1", "edge"]
    assert [line.partition(":")[0] for line in demo.said[:4]] == [
        *("redis", "redis", "worker-echo-1", "edge")
    ]
    assert demo.said[4].startswith("Ready: open http://127.0.0.1:")
    assert demo.said[-2:] == ["Stopping.", "Stopped."]
    assert list(demo.directory.iterdir()) == []


async def test_a_redis_of_the_users_own_is_used(demo: Demo) -> None:
    """With REDIS_URL no stand-in starts, and its password is not shown."""
    children = await demo.run("Press Ctrl-C", REDIS_URL="redis://:secret@box/0")
    assert [child.plan.name for child in children] == ["worker-echo-1", "edge"]
    assert demo.said[0] == "redis: redis://***@box/0, from REDIS_URL"
    assert "secret" not in "".join(demo.said)


async def test_it_can_be_stopped_before_it_is_ready(demo: Demo) -> None:
    """A wish to stop during the start is granted at once."""
    demo.names = set()
    await demo.run("edge: process")
    assert demo.said[-1] == "Stopped."


async def test_it_can_be_stopped_before_anything_runs(
    demo: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wish to stop while Redis is looked for leaves nothing behind."""
    running = supervisor.Supervisor(Options(port=0), {"REDIS_URL": URL}, demo.said.append)
    monkeypatch.setattr(supervisor, "client_names", lambda url: running.request_stop())
    await asyncio.wait_for(running.run(), LIMIT)
    assert (running.children, demo.said) == ([], [])


async def test_a_child_that_ends_during_the_start_is_told(demo: Demo) -> None:
    """The message names the process, how it ended and its log, which stays."""
    demo.names = set()
    demo.plan(worker("echo", 1), scripted("edge", "raise SystemExit('Out of paper.')"))
    with pytest.raises(DemoError) as caught:
        await demo.run("never")
    (log,) = demo.directory.glob("*/edge.log")
    assert str(caught.value).endswith(
        f"ended with exit code 1 (Out of paper.): read {log}, "
        "fix the cause and start the demo again."
    )
    assert str(caught.value).startswith("edge (process ")
    assert log.read_text() == "Out of paper.\n"


class Running:
    """A demo that runs, for a test to do things to.

    Args:
        demo: What it is made of.

    Attributes:
        supervisor: The supervisor.
        said: Its lines of progress.
    """

    def __init__(self, demo: "Demo") -> None:
        self.said = demo.said
        self._changed = asyncio.Event()
        self.supervisor = supervisor.Supervisor(Options(port=0), {}, self._say)
        self.task = asyncio.create_task(self.supervisor.run())

    def _say(self, line: str) -> None:
        self.said.append(line)
        self._changed.set()

    async def until(self, start: str, count: int = 1) -> str:
        """Wait for so many lines that begin with a text."""
        while len(found := [line for line in self.said if line.startswith(start)]) < count:
            self._changed.clear()
            waiting = asyncio.create_task(self._changed.wait())
            await asyncio.wait(
                {waiting, self.task}, timeout=LIMIT, return_when=asyncio.FIRST_COMPLETED
            )
            assert waiting.done(), self.said
        return found[-1]

    def pid(self, name: str) -> int:
        """The number of a process by its name."""
        return next(each.pid for each in self.supervisor.children if each.plan.name == name)

    async def stop(self) -> None:
        """Stop it, and see to it that all has ended."""
        self.supervisor.request_stop()
        await asyncio.wait_for(self.task, LIMIT)
        assert all(child.ended.done() for child in self.supervisor.children)


async def test_a_worker_may_end_and_another_one_start(demo: Demo) -> None:
    """Workers are added with new names, drained and killed, and their ends are told, no more."""
    running = Running(demo)
    await running.until("Press Ctrl-C")
    assert demo.controls[0]
    await running.supervisor.obey(Add("echo"))
    await running.until("worker-echo-2: process")
    await running.supervisor.obey(Drain(running.pid("worker-echo-1")))
    assert "by signal 15 (Terminated)" in await running.until("worker-echo-1: ended")
    await running.supervisor.obey(Kill(running.pid("worker-echo-2")))
    assert "by signal 9 (Killed), its output is in" in await running.until("worker-echo-2: ended")
    assert [child.plan.name for child in running.supervisor.children] == ["redis", "edge"]
    await running.supervisor.obey(Add("echo"))
    await running.until("worker-echo-3: process")
    await running.stop()


async def test_what_cannot_be_done_is_refused(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only this demo's workers can be ended, only its streams get any, and not without end."""
    running = Running(demo)
    await running.until("Press Ctrl-C")
    with pytest.raises(DemoError, match=r"^There is no stream 'x'\.$"):
        await running.supervisor.obey(Add("x"))
    for pid in (running.pid("redis"), running.pid("edge"), os.getpid()):
        with pytest.raises(DemoError, match=rf"^Process {pid} is not a worker of this demo"):
            await running.supervisor.obey(Kill(pid))
    monkeypatch.setattr(supervisor, "MOST_WORKERS", 1)
    with pytest.raises(DemoError, match=r"^The demo runs at most 1 workers"):
        await running.supervisor.obey(Add("echo"))
    await running.stop()


async def test_a_server_that_ends_is_started_again(demo: Demo) -> None:
    """When the server goes while the demo runs, another one takes its place."""
    running = Running(demo)
    await running.until("Press Ctrl-C")
    first = running.pid("edge")
    os.kill(first, signal.SIGKILL)
    await running.until("edge: process", count=2)
    assert running.pid("edge") != first
    await running.stop()


async def test_a_server_that_cannot_start_again_is_told(
    demo: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that ends again before it serves ends the demo, and the message says why."""
    running = Running(demo)
    await running.until("Press Ctrl-C")
    monkeypatch.setattr(supervisor, "is_serving", lambda host, port: False)
    os.kill(running.pid("edge"), signal.SIGKILL)
    await running.until("edge: process", count=2)
    os.kill(running.pid("edge"), signal.SIGKILL)
    with pytest.raises(DemoError, match=r"^edge \(process \d+\) ended by signal 9 "):
        await asyncio.wait_for(running.task, LIMIT)


async def test_without_redis_it_cannot_go_on(demo: Demo) -> None:
    """When the stand-in goes while the demo runs, so do the others, and the message says which."""
    running = Running(demo)
    await running.until("Press Ctrl-C")
    os.kill(running.pid("redis"), signal.SIGKILL)
    with pytest.raises(DemoError, match=r"^redis \(process \d+\) ended by signal 9 "):
        await asyncio.wait_for(running.task, LIMIT)
    assert all(child.ended.done() for child in running.supervisor.children)


async def test_a_child_that_is_never_ready_is_told(demo: Demo) -> None:
    """A process that runs but does nothing is not waited for without end."""
    demo.plan_stand_in(FOREVER)
    with pytest.raises(
        DemoError, match=r"^redis \(process \d+\) was not ready within 0\.2 s: read"
    ):
        await demo.run("never", limit=0.2)


@pytest.mark.parametrize(("status", "expected"), [("200 OK", True), ("503 Sorry", False)])
async def test_a_server_is_asked_for_its_health(status: str, expected: bool) -> None:
    """Only a server whose health check says 200 is serving."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert (await reader.readline()).startswith(b"GET /healthz ")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert await asyncio.to_thread(supervisor.is_serving, "127.0.0.1", port) is expected
    server.close()
    await server.wait_closed()
    assert not await asyncio.to_thread(supervisor.is_serving, "127.0.0.1", port)


# Command line


@pytest.fixture
def signal_handlers() -> Iterator[None]:
    """Puts the handlers of signals back."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


class FakeSupervisor:
    """Stands for a supervisor: sends its own process a signal, or fails."""

    problem: DemoError | None = None
    signal_number: int = signal.SIGINT

    def __init__(self, *_: object) -> None:
        self.stopped = asyncio.Event()
        self.request_stop = self.stopped.set

    async def run(self) -> None:
        """Do what the test has set."""
        if self.problem:
            raise self.problem
        os.kill(os.getpid(), self.signal_number)
        await asyncio.wait_for(self.stopped.wait(), LIMIT)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_demo(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, signal_handlers: None
) -> None:
    """Ctrl-C and SIGTERM are wishes, not faults; one more, later, does nothing."""
    monkeypatch.setattr(FakeSupervisor, "signal_number", number)
    monkeypatch.setattr(__main__, "Supervisor", FakeSupervisor)
    assert __main__.main([]) == 0
    os.kill(os.getpid(), number)


def test_a_problem_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], signal_handlers: None
) -> None:
    """What keeps the demo from running is printed as one line, and is exit code 1."""
    monkeypatch.setattr(FakeSupervisor, "problem", DemoError("the moon is full: wait."))
    monkeypatch.setattr(__main__, "Supervisor", FakeSupervisor)
    assert __main__.main([]) == 1
    assert capsys.readouterr().err == "The demo cannot run: the moon is full: wait.\n"


def test_the_command_line_is_read() -> None:
    """Each option has its default, and its value when given."""
    assert __main__.parse([]) == Options("127.0.0.1", 8000, "pubsub", None, None)
    arguments = ["--host", "::1", "--port", "0", "--layer", "core", "--workers", "3"]
    assert __main__.parse(arguments) == Options("::1", 0, "core", 3, None)
    assert __main__.parse(["--control"]).control is True
    assert __main__.parse(["--no-control"]).control is False


@pytest.mark.parametrize("arguments", [["--port", "65536"], ["--workers", "0"], ["--layer", "x"]])
def test_an_impossible_option_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be is refused by name, before anything starts."""
    with pytest.raises(SystemExit):
        __main__.parse(arguments)
    assert f"argument {arguments[0]}: invalid" in capsys.readouterr().err


def test_the_options_are_documented(capsys: pytest.CaptureFixture[str]) -> None:
    """The demo's page in the documentation has each option of the command line, and no other."""
    with pytest.raises(SystemExit):
        __main__.parse(["--help"])
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    page = (Path(__file__).parents[2] / "docs" / "demo.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`--.+?) \|", page, re.MULTILINE)
    assert set(re.findall(r"--[a-z-]+", " ".join(rows))) == options


def test_progress_goes_nowhere_when_nobody_reads(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A closed terminal does not keep the demo from ending its processes."""
    __main__.say("hello")
    assert capsys.readouterr().out == "hello\n"

    def closed(*_: object, **__: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("builtins.print", closed)
    __main__.say("hello")
