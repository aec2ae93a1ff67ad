"""The demo's parts: what it starts, how it watches and ends that, its consumers and its page."""

import asyncio
import html.parser
import importlib
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from django.test import RequestFactory

from channels_demux_layer.demo import (
    __main__,
    addresses,
    lifeline,
    preflight,
    redis_clients,
    redis_stand_in,
    supervisor,
)
from channels_demux_layer.demo.child import Child
from channels_demux_layer.demo.plan import Options, Plan, plan_processes, plan_stand_in
from channels_demux_layer.demo.problems import DemoError
from channels_demux_layer.demo.project import apps, consumers, layers, views
from channels_demux_layer.exceptions import ConfigurationError

LIMIT = 30.0
FOREVER = "import sys; sys.stdin.read()"
URL = "redis://127.0.0.1:6379/0"


def scripted(name: str, code: str = FOREVER, **environ: str) -> Plan:
    """A plan that runs a line of Python."""
    return Plan(name, ("-c", code), {"DEMUX_DEMO_NAME": name, **environ})


async def written(child: Child, text: str) -> None:
    """Wait until a child has written a text."""
    while text not in child.log.read_text():
        assert not child.ended.done()
        await asyncio.sleep(0.01)


# Addresses


def test_a_free_port_is_found() -> None:
    """Port 0 stands for any port that is free."""
    port = addresses.reserve_port("127.0.0.1", 0)
    assert addresses.reserve_port("127.0.0.1", port) == port


def test_a_free_port_is_found_where_sockets_are_not_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system whose SO_REUSEADDR shares a port is not asked for it."""
    monkeypatch.setattr(addresses, "REUSE_IS_HARMLESS", False)
    assert addresses.reserve_port("127.0.0.1", 0) > 0


def test_a_port_in_use_is_told() -> None:
    """A port that somebody listens on is refused, with what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(DemoError, match=rf"port {port} of 127\.0\.0\.1 is in use: stop what"):
            addresses.reserve_port("127.0.0.1", port)


def test_a_host_of_another_machine_is_told() -> None:
    """An address that is not this machine's is refused, with what to do."""
    with pytest.raises(DemoError, match=r"nothing can listen on 192\.0\.2\.1 port 80.*--host"):
        addresses.reserve_port("192.0.2.1", 80)


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
    assert addresses.web_address("ws", host, 80, "/ws/") == expected


def test_a_password_is_not_shown() -> None:
    """A URL loses user and password, and nothing else, before it is shown."""
    assert addresses.without_password("redis://me:secret@box:1/2") == "redis://***@box:1/2"
    assert addresses.without_password(URL) == URL


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
    assert "which is no address of a Redis server" in capsys.readouterr().out


def test_a_dead_redis_is_told() -> None:
    """Where nobody answers the message says where, what to do, and no password."""
    port = addresses.reserve_port("127.0.0.1", 0)
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
    assert watched == [lifeline.STANDARD_INPUT]

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
    thread = lifeline.watch(reading, ended.set)
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
    lifeline.watch(reading, ended.set).join(LIMIT)
    assert ended.is_set()


def test_the_end_is_a_polite_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its parent a process gets the signal that the supervisor would have sent."""
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    lifeline.end_this_process()
    assert sent == [(os.getpid(), signal.SIGTERM)]


def test_only_supervised_processes_watch_a_lifeline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of the project that nobody supervises leaves its standard input alone."""
    watched: list[int] = []
    monkeypatch.setattr(lifeline, "watch", watched.append)
    module = importlib.import_module("channels_demux_layer.demo.project")
    config = apps.DemoConfig("channels_demux_layer.demo.project", module)
    monkeypatch.delenv("DEMUX_DEMO_LIFELINE", raising=False)
    config.ready()
    assert watched == []
    monkeypatch.setenv("DEMUX_DEMO_LIFELINE", "1")
    config.ready()
    assert watched == [lifeline.STANDARD_INPUT]


# Plans


def test_every_stream_has_a_worker() -> None:
    """One worker per stream under Channels' command, then the server, each with its own name."""
    plans = list(plan_processes(Options(port=81, layer="core"), URL, "run"))
    assert [plan.name for plan in plans] == ["worker-echo", "worker-chat", "worker-prices", "edge"]
    assert plans[0].command == (sys.executable, "-m", "django", "runworker", "demux.echo")
    assert plans[0].environ["DEMUX_DEMO_NAME"] == "run-worker-echo"
    assert plans[3].arguments[:2] == ("-m", "uvicorn")
    assert " --port 81 " in " ".join(plans[3].arguments)
    assert all(plan.environ["REDIS_URL"] == URL for plan in plans)
    assert all(plan.environ["DEMUX_DEMO_LAYER"] == "core" for plan in plans)


def test_a_stream_can_have_many_workers() -> None:
    """Several workers of one stream are told apart."""
    names = [plan.name for plan in plan_processes(Options(workers=2), URL, "run")]
    assert names[:3] == ["worker-echo-1", "worker-echo-2", "worker-chat-1"]
    assert len(set(names)) == 7


@pytest.mark.parametrize(("host", "hosts"), [("::1", "localhost,127.0.0.1,[::1]"), ("::", "*")])
def test_the_page_can_be_asked_for_where_it_is_served(host: str, hosts: str) -> None:
    """Off the loopback interface nobody can know the names that the page is asked for by."""
    edge = list(plan_processes(Options(host=host), URL, "run"))[-1]
    assert edge.environ["DEMUX_DEMO_ALLOWED_HOSTS"] == hosts


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
        self.names = {"worker-echo"}
        self.directory = directory
        self._patch = monkeypatch
        self.plan(scripted("worker-echo"), scripted("edge"))
        self.plan_stand_in(f"print('listening on {URL}'); {FOREVER}")
        monkeypatch.setattr(supervisor, "client_names", lambda url: self.names)
        monkeypatch.setattr(supervisor, "is_serving", lambda host, port: True)

    def plan(self, *plans: Plan) -> None:
        """Replace what is started beside the stand-in."""
        self._patch.setattr(supervisor, "plan_processes", lambda *_: iter(plans))

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
    assert [child.plan.name for child in children] == ["redis", "worker-echo", "edge"]
    assert [line.partition(":")[0] for line in demo.said[:4]] == [
        *("redis", "redis", "worker-echo", "edge")
    ]
    assert demo.said[4].startswith("Ready: open http://127.0.0.1:")
    assert demo.said[-2:] == ["Stopping.", "Stopped."]
    assert list(demo.directory.iterdir()) == []


async def test_a_redis_of_the_users_own_is_used(demo: Demo) -> None:
    """With REDIS_URL no stand-in starts, and its password is not shown."""
    children = await demo.run("Press Ctrl-C", REDIS_URL="redis://:secret@box/0")
    assert [child.plan.name for child in children] == ["worker-echo", "edge"]
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
    demo.plan(scripted("worker-echo"), scripted("edge", "raise SystemExit('Out of paper.')"))
    with pytest.raises(DemoError) as caught:
        await demo.run("never")
    (log,) = demo.directory.glob("*/edge.log")
    assert str(caught.value).endswith(
        f"ended with exit code 1 (Out of paper.): read {log}, "
        "mend the cause and start the demo again."
    )
    assert str(caught.value).startswith("edge (process ")
    assert log.read_text() == "Out of paper.\n"


async def test_a_child_that_is_killed_later_is_told(demo: Demo) -> None:
    """When a process goes while the demo runs, so do the others, and the message says which."""
    killed = demo.directory / "go"
    code = (
        f"import os, time\nwhile not os.path.exists({str(killed)!r}): time.sleep(.01)\nos.abort()"
    )
    demo.plan(scripted("worker-echo", code), scripted("edge"))

    def say(line: str) -> None:
        if line.startswith("Ready"):
            killed.touch()

    running = supervisor.Supervisor(Options(port=0), {}, say)
    with pytest.raises(DemoError, match=r"^worker-echo \(process \d+\) ended by signal 6 "):
        await asyncio.wait_for(running.run(), LIMIT)
    assert all(child.ended.done() for child in running.children)


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
    assert __main__.parse([]) == Options("127.0.0.1", 8000, "pubsub", 1)
    arguments = ["--host", "::1", "--port", "0", "--layer", "core", "--workers", "3"]
    assert __main__.parse(arguments) == Options("::1", 0, "core", 3)


@pytest.mark.parametrize("arguments", [["--port", "65536"], ["--workers", "0"], ["--layer", "x"]])
def test_an_impossible_option_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be is refused by name, before anything starts."""
    with pytest.raises(SystemExit):
        __main__.parse(arguments)
    assert f"argument {arguments[0]}: invalid" in capsys.readouterr().err


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


# The project


def test_without_redis_the_layer_is_in_memory() -> None:
    """A server alone hosts all streams itself."""
    (layer,) = layers.channel_layers({}).values()
    assert layer == {"BACKEND": "channels.layers.InMemoryChannelLayer"}


@pytest.mark.parametrize(
    ("name", "module"), [("core", "core"), ("pubsub", "pubsub"), ("", "pubsub")]
)
def test_redis_layers_wait_without_limit(name: str, module: str) -> None:
    """Both layers keep idle connections, each under the name of its process."""
    environ = {"REDIS_URL": URL, "DEMUX_DEMO_LAYER": name, "DEMUX_DEMO_NAME": "me"}
    (layer,) = layers.channel_layers(environ).values()
    assert layer["BACKEND"].startswith(f"channels_redis.{module}.")
    assert layer["CONFIG"]["hosts"] == [
        {"address": URL, "socket_timeout": None, "client_name": "me"}
    ]


def test_an_unknown_layer_is_told() -> None:
    """A layer that does not exist is refused by name."""
    with pytest.raises(ConfigurationError, match="DEMUX_DEMO_LAYER is 'x': set it to core or"):
        layers.channel_layers({"REDIS_URL": URL, "DEMUX_DEMO_LAYER": "x"})


def test_the_project_has_no_secret_and_no_database() -> None:
    """Every process makes a key of its own, and none needs a migration."""
    settings = importlib.import_module("channels_demux_layer.demo.project.settings")
    key = settings.SECRET_KEY
    assert key != importlib.reload(settings).SECRET_KEY
    assert not hasattr(settings, "DATABASES")


def test_every_stream_is_routed() -> None:
    """The project serves HTTP, the WebSocket, and a worker channel for each planned stream."""
    asgi = importlib.import_module("channels_demux_layer.demo.project.asgi")
    routes = asgi.application.application_mapping
    assert set(routes) == {"http", "websocket", "channel"}
    planned = {
        plan.arguments[-1]
        for plan in plan_processes(Options(), URL, "run")
        if "runworker" in plan.arguments
    }
    assert set(routes["channel"].application_mapping) == planned
    assert plan_stand_in().name == "redis"


def test_the_views_answer() -> None:
    """The page and the health check are there for GET."""
    urls = importlib.import_module("channels_demux_layer.demo.project.urls")
    assert [pattern.callback for pattern in urls.urlpatterns] == [views.page, views.healthz]
    request = RequestFactory().get("/")
    assert views.healthz(request).content == b"ok"
    page = views.page(request)
    assert page.status_code == 200
    assert page["Content-Type"].startswith("text/html")
    assert views.page(RequestFactory().post("/")).status_code == 405


class Page(html.parser.HTMLParser):
    """What the page consists of.

    Attributes:
        labelled: The ids that labels are for.
        fields: The ids of the inputs.
        links: Everything that a browser would ask for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.labelled: set[str | None] = set()
        self.fields: set[str | None] = set()
        self.links: set[str | None] = set()
        self.feed(views.PAGE.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Sort a tag in."""
        attributes = dict(attrs)
        if tag == "label":
            self.labelled.add(attributes.get("for"))
        if tag == "input":
            self.fields.add(attributes.get("id"))
        self.links |= {attributes[name] for name in ("src", "href") if name in attributes}


def test_the_page_asks_for_nothing_else() -> None:
    """The page is whole: no script, style, font or picture comes from anywhere."""
    assert Page().links == {"data:,"}
    assert "http" not in views.PAGE.decode().replace('"https:"', "")
    assert "url(" not in views.PAGE.decode()


def test_every_input_of_the_page_has_a_label() -> None:
    """What is typed in can be found by those who cannot see the page."""
    page = Page()
    assert page.fields
    assert page.fields == page.labelled


# Its consumers


def here() -> str:
    """The name that consumers in this process give."""
    return f"{socket.gethostname()}:{os.getpid()}"


@pytest.fixture
def memory_layer(settings: Any) -> None:
    """A channel layer in memory."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}


async def connected(consumer: Any) -> WebsocketCommunicator:
    """A socket to a consumer, open."""
    communicator = WebsocketCommunicator(consumer.as_asgi(), "/")
    assert (await communicator.connect(timeout=LIMIT))[0]
    return communicator


async def test_echo_answers(memory_layer: None) -> None:
    """What is sent comes back, with the process that answered."""
    client = await connected(consumers.EchoConsumer)
    await client.send_json_to([1, {"a": None}])
    assert await client.receive_json_from(LIMIT) == {"echo": [1, {"a": None}], "worker": here()}
    await client.disconnect(timeout=LIMIT)


async def test_chat_reaches_everybody(memory_layer: None) -> None:
    """A line reaches all in the room, its sender too, trimmed and cut to its limits."""
    clients = [await connected(consumers.ChatConsumer) for _ in range(2)]
    await clients[0].send_json_to({"name": " Ada ", "text": "x" * 501})
    for client in clients:
        line = await client.receive_json_from(LIMIT)
        assert line == {"name": "Ada", "text": "x" * 500, "worker": here()}
    for client in clients:
        await client.disconnect(timeout=LIMIT)


@pytest.mark.parametrize("line", [None, "text", {"name": "Ada"}, {"name": "Ada", "text": " "}])
async def test_chat_refuses_what_is_no_line(memory_layer: None, line: Any) -> None:
    """What is no line is answered to its sender alone, and the stream goes on."""
    client = await connected(consumers.ChatConsumer)
    await client.send_json_to(line)
    assert "needs a name and a text" in (await client.receive_json_from(LIMIT))["error"]
    await client.disconnect(timeout=LIMIT)


async def test_prices_are_pushed_until_the_end(
    memory_layer: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prices come without being asked for, move, and stop with the stream."""
    monkeypatch.setattr(consumers.PricesConsumer, "interval", 0.001)
    client = await connected(consumers.PricesConsumer)
    ticks = [await client.receive_json_from(LIMIT) for _ in range(20)]
    assert ticks[0]["prices"] == consumers.PricesConsumer.opening_prices
    assert any(tick["prices"] != ticks[0]["prices"] for tick in ticks)
    await client.disconnect(timeout=LIMIT)
    assert not [task for task in asyncio.all_tasks() if "push_prices" in repr(task)]


async def test_prices_that_never_began_can_end() -> None:
    """A stream that ends before it was open leaves nothing to stop."""
    await consumers.PricesConsumer().disconnect(1006)


def test_a_price_never_vanishes() -> None:
    """The random walk stays a price, in whole cents."""
    price = 0.01
    for _ in range(100):
        price = consumers.next_price(price)
        assert price >= 0.01
        assert price == round(price, 2)
