"""The command: Channels' own arguments and more, plain sentences for what is wrong."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from channels.consumer import AsyncConsumer
from channels.layers import get_channel_layer
from channels.routing import ChannelNameRouter, ProtocolTypeRouter
from django.core.management import CommandError, call_command
from django.utils import autoreload

from channels_demux_layer import WebsocketDemultiplexer
from channels_demux_layer.management.commands import runworker
from channels_demux_layer.routing import stream_workers
from channels_demux_layer.workers.runner import ListenerDied

ROOT = Path(__file__).parents[2]


async def nothing(*args: Any) -> None:
    """A consumer that ends at once."""


class Demultiplexer(WebsocketDemultiplexer):
    """Two streams."""

    consumer_classes = {"echo": nothing, "other": nothing}


class Broken(WebsocketDemultiplexer):
    """A stream without a consumer."""

    consumer_classes = {"broken": "no.such.consumer"}


class FakeWorker:
    """Notes how it was made, and ends as the test says."""

    made: list[Any] = []
    failure: Exception | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        self.made.append((*args, options))

    def run(self) -> None:
        """Ends."""
        if self.failure is not None:
            raise self.failure


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch, settings: Any) -> type[FakeWorker]:
    """What stands for the process: the project has two streams and an ordinary channel."""
    router = ChannelNameRouter({**stream_workers(Demultiplexer), "plain": AsyncConsumer.as_asgi()})
    application = ProtocolTypeRouter({"channel": router})
    monkeypatch.setattr(runworker, "get_default_application", lambda: application)
    monkeypatch.setattr(runworker, "DrainingWorker", FakeWorker)
    monkeypatch.setattr(FakeWorker, "made", [])
    monkeypatch.setattr(FakeWorker, "failure", None)
    settings.CHANNEL_LAYERS = {
        name: {"BACKEND": "channels.layers.InMemoryChannelLayer"} for name in ("default", "other")
    }
    settings.CHANNELS_DEMUX_LAYER = {"DRAIN_TIMEOUT": 12.0}
    return FakeWorker


def run(*arguments: str) -> None:
    """Run the command as its command line would."""
    call_command(runworker.Command(), *arguments)


def test_the_stock_command_line(worker: type[FakeWorker]) -> None:
    """Channels are listened on, on the default layer, in the order given."""
    run("demux.echo", "plain")
    ((_, channels, layer, options),) = worker.made
    assert channels == ["demux.echo", "plain"]
    assert layer is get_channel_layer()
    assert (options["drain_timeout"], options["max_sessions"]) == (12.0, None)
    assert (list(options["streams"]), options["pages"]) == (["demux.echo"], {})


def test_another_layer(worker: type[FakeWorker]) -> None:
    """--layer names the layer to listen on."""
    run("demux.echo", "--layer", "other")
    assert worker.made[0][2] is get_channel_layer("other")


def test_all_streams(worker: type[FakeWorker]) -> None:
    """--all-streams adds the channels of all streams, each once, and of nothing else."""
    run("--all-streams")
    run("plain", "demux.other", "--all-streams")
    assert [made[1] for made in worker.made] == [
        ["demux.echo", "demux.other"],
        ["plain", "demux.other", "demux.echo"],
    ]


def test_limits(worker: type[FakeWorker]) -> None:
    """--max-sessions and --drain-timeout win over the settings, zero included."""
    run("demux.echo", "--max-sessions", "7", "--drain-timeout", "0")
    options = worker.made[0][3]
    assert (options["drain_timeout"], options["max_sessions"]) == (0.0, 7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Name the channels to listen on, or use --all-streams."),
        (
            ["demux.eco"],
            "There is no route for channel 'demux.eco'. "
            "Routed channels: demux.echo, demux.other, plain.",
        ),
        (
            ["demux.echo", "--layer", "none"],
            "CHANNEL_LAYERS has no 'none', and a worker needs a channel layer.",
        ),
    ],
)
def test_wrong_arguments(worker: type[FakeWorker], arguments: list[str], message: str) -> None:
    """What cannot work is said in a plain sentence, and nothing is started."""
    with pytest.raises(CommandError) as caught:
        run(*arguments)
    assert str(caught.value) == message
    assert not worker.made


def test_a_consumer_that_cannot_be_imported(
    worker: type[FakeWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker whose consumers cannot be imported does not start, and says why."""
    application = ProtocolTypeRouter({"channel": ChannelNameRouter(stream_workers(Broken))})
    monkeypatch.setattr(runworker, "get_default_application", lambda: application)
    with pytest.raises(CommandError, match=r"no\.such\.consumer"):
        run("demux.broken")


def test_routes_that_cannot_be_seen(
    worker: type[FakeWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a project routes channels by itself, any name is taken."""
    application = ProtocolTypeRouter({"channel": nothing})
    monkeypatch.setattr(runworker, "get_default_application", lambda: application)
    run("anything")
    assert worker.made[0][1] == ["anything"]


def test_a_fault_is_an_error(worker: type[FakeWorker], monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that cannot go on ends the command with an error: exit code 1."""
    monkeypatch.setattr(worker, "failure", ListenerDied("OSError()"))
    with pytest.raises(CommandError, match=r"The worker has to stop: OSError\(\)") as caught:
        run("demux.echo")
    assert caught.value.returncode == 1


@pytest.mark.parametrize(
    ("is_debug", "arguments"), [(True, []), (True, ["--noreload"]), (False, [])]
)
def test_reloading(
    worker: type[FakeWorker],
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
    is_debug: bool,
    arguments: list[str],
) -> None:
    """With DEBUG on, and only then, the worker restarts when the code changes, as runserver."""
    reloaders: list[Any] = []

    def run_with_reloader(main: Any, **options: Any) -> None:
        reloaders.append(main)
        main(**options)

    settings.DEBUG = is_debug
    monkeypatch.setattr(autoreload, "run_with_reloader", run_with_reloader)
    run("demux.echo", *arguments)
    assert bool(reloaders) == (is_debug and not arguments)
    assert len(worker.made) == 1


@pytest.mark.parametrize(
    ("apps", "winner"),
    [
        (["channels_demux_layer", "channels"], "channels_demux_layer"),
        (["channels", "channels_demux_layer"], "channels"),
    ],
)
def test_which_command_wins(apps: list[str], winner: str) -> None:
    """The app that stands first in INSTALLED_APPS gives the command."""
    code = (
        f"from django.conf import settings; settings.configure(INSTALLED_APPS={apps!r});"
        "import django; django.setup(); from django.core.management import get_commands;"
        "print(get_commands()['runworker'])"
    )
    path = os.pathsep.join(filter(None, sys.path))
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == winner


def test_help_names_every_option() -> None:
    """The command's help has the stock options and those of this package."""
    text = runworker.Command().create_parser("manage.py", "runworker").format_help()
    options = ("--layer", "--all-streams", "--max-sessions", "--drain-timeout", "--noreload")
    options += ("--health-port", "--metrics-port", "--http-host")
    assert all(option in text for option in options)


def pages_of(worker: type[FakeWorker], *arguments: str) -> dict[int, list[str]]:
    """The paths that a worker with these arguments serves, by port."""
    run("demux.echo", *arguments)
    return {port: list(pages) for port, pages in worker.made[-1][3]["pages"].items()}


def test_pages(worker: type[FakeWorker]) -> None:
    """Health and metrics have a port each, or share one; the address is the machine's own."""
    health, metrics = ["/live", "/ready"], ["/metrics"]
    assert pages_of(worker, "--health-port", "1") == {1: health}
    assert worker.made[-1][3]["host"] == "127.0.0.1"
    assert pages_of(worker, "--metrics-port", "2", "--http-host", "::") == {2: metrics}
    assert worker.made[-1][3]["host"] == "::"
    both = pages_of(worker, "--health-port", "1", "--metrics-port", "2")
    assert both == {1: health, 2: metrics}
    shared = pages_of(worker, "--health-port", "0", "--metrics-port", "0")
    assert shared == {0: health + metrics}


def test_metrics_without_their_extra(
    worker: type[FakeWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says what to install, and nothing is started."""

    def missing(name: str) -> Any:
        raise ModuleNotFoundError("No module named 'prometheus_client'")

    monkeypatch.setattr(runworker, "import_module", missing)
    with pytest.raises(CommandError, match=r"'channels-demux-layer\[prometheus\]'"):
        run("demux.echo", "--metrics-port", "0")
    assert not worker.made


def test_a_port_that_is_taken(worker: type[FakeWorker], monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that cannot serve its pages does not start, and says why."""
    monkeypatch.setattr(worker, "failure", OSError("address already in use"))
    with pytest.raises(CommandError, match="The worker cannot start: address already in use"):
        run("demux.echo", "--health-port", "1")


ROUTER = ProtocolTypeRouter({"channel": ChannelNameRouter(stream_workers(Demultiplexer))})


async def plain_function(scope: Any, receive: Any, send: Any) -> None:
    """An application as ASGI's documents write it."""
    await ROUTER(scope, receive, send)


def find_router() -> Any:
    """Return a router that no walk finds."""
    return ROUTER


async def late_function(scope: Any, receive: Any, send: Any) -> None:
    """An application that finds its router when it runs."""
    await find_router()(scope, receive, send)


class Around:
    """Middleware that was not written for channels, with its application where it is known."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Read what only a connection has."""
        dict(scope["headers"])
        await self.app(scope, receive, send)


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the command has warned of."""
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize("application", [plain_function, Around(ROUTER)])
def test_an_application_around_the_router(
    worker: type[FakeWorker],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    application: Any,
) -> None:
    """Streams are found behind it, and served without it."""
    monkeypatch.setattr(runworker, "get_default_application", lambda: application)
    run("demux.echo")
    run("--all-streams")
    (_, named, _, options), (_, every, _, _) = worker.made
    assert (named, every) == (["demux.echo"], ["demux.echo", "demux.other"])
    assert options["streams"]["demux.echo"] is not application
    assert warnings_in(caplog) == []


def test_an_application_that_nobody_can_look_through(
    worker: type[FakeWorker], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It gets the channels that were named, as from Channels' own command, and a warning."""
    monkeypatch.setattr(runworker, "get_default_application", lambda: late_function)
    run("demux.echo")
    assert worker.made[0][1] == ["demux.echo"]
    (warning,) = warnings_in(caplog)
    assert "Cannot find out whether channel 'demux.echo' has a route" in warning
    assert "late_function" in warning
    with pytest.raises(CommandError, match=r"No stream was found: .*late_function"):
        run("--all-streams")


def test_a_function_may_route_more_than_is_seen(
    worker: type[FakeWorker], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A channel that its router lacks is listened on, too."""
    monkeypatch.setattr(runworker, "get_default_application", lambda: plain_function)
    run("demux.echo", "of.its.own")
    assert worker.made[0][1] == ["demux.echo", "of.its.own"]
    (warning,) = warnings_in(caplog)
    assert "Cannot find out whether channel 'of.its.own' has a route" in warning
    assert "ASGI_APPLICATION is tests.unit.test_runworker.plain_function," in warning
