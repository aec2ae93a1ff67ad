"""What manage.py check says of a project."""

import sys
import types
from pathlib import Path
from typing import Any

import pytest
from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.middleware import BaseMiddleware
from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter
from django.core.checks import CheckMessage, run_checks
from django.core.management import call_command
from django.test import override_settings
from django.urls import path

from channels_demux_layer.checks import limits as limit_checks
from channels_demux_layer.checks import wiring as checks
from channels_demux_layer.checks.layers import CORE_LAYER
from channels_demux_layer.conf import build_settings, find_problems
from channels_demux_layer.demultiplexer import WebsocketDemultiplexer
from channels_demux_layer.exceptions import ConfigurationError
from channels_demux_layer.routing import stream_workers
from channels_demux_layer.streams import Stream

PREFIX = "channels_demux_layer."
LAYERS = {
    "default": {
        "BACKEND": CORE_LAYER,
        "CONFIG": {"hosts": [{"address": "redis://localhost", "socket_timeout": None}]},
    }
}


class Echo(AsyncJsonWebsocketConsumer):
    """A consumer."""


class Other(AsyncJsonWebsocketConsumer):
    """Another consumer."""


def demultiplexer(name: str = "Demultiplexer", /, **attributes: Any) -> type[Any]:
    """Make a demultiplexer class of a project."""
    return type(name, (WebsocketDemultiplexer,), {"__module__": "project", **attributes})


def remote(name: str = "Demultiplexer", /, **streams: Any) -> type[Any]:
    """Make a demultiplexer class whose streams run in workers."""
    entries = {
        key: value if isinstance(value, Stream) else Stream(value, hosting="workers")
        for key, value in streams.items()
    }
    return demultiplexer(name, consumer_classes=entries)


def edges(*classes: Any) -> list[Any]:
    """Read demultiplexers that have no fault."""
    found, faults = checks.read_edges(classes)
    assert faults == []
    return found


def ids(messages: list[CheckMessage]) -> list[str]:
    """Return the identifiers of messages, all of which must have a hint."""
    assert all(message.hint for message in messages)
    return [str(message.id).removeprefix(PREFIX) for message in messages]


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Give a module that is the project's asgi.py."""
    module = types.ModuleType("project_asgi")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def mount(project: Any, *classes: Any, **protocols: Any) -> None:
    """Let the project mount demultiplexers."""
    routes = [path(f"{number}", cls.as_asgi()) for number, cls in enumerate(classes)]
    project.application = ProtocolTypeRouter({"websocket": URLRouter(routes), **protocols})


def check_project(deploy: bool = False) -> list[str]:
    """Run the registered checks on the project."""
    with override_settings(ASGI_APPLICATION="project_asgi.application"):
        return ids(run_checks(tags=[checks.TAG], include_deployment_checks=deploy))


# Settings


def test_settings_are_reported_as_at_run_time() -> None:
    """The check says of the settings dict, word for word, what a starting process says."""
    configured = {"HOSTNG": 1, "MAX_PAYLOAD": 0}
    with override_settings(CHANNELS_DEMUX_LAYER=configured):
        found = checks.check_settings()
    assert ids(found) == ["E001", "E001"]
    with pytest.raises(ConfigurationError) as caught:
        build_settings(configured)
    for message, problem in zip(found, find_problems(configured), strict=True):
        assert (message.msg, message.hint) == (problem.message, problem.hint)
        assert message.msg in str(caught.value)


def test_wrong_settings_are_reported_once(project: Any) -> None:
    """Checks that need the settings leave it to the one that reports them."""
    mount(project, remote(a="no.such.Consumer"))
    with override_settings(CHANNELS_DEMUX_LAYER={"HOSTING": "x"}):
        assert check_project(deploy=True) == ["E001"]


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({}, []),
        ({"MAX_PAYLOAD": 983_616, "BATCH_BYTES": 983_616}, []),
        ({"MAX_PAYLOAD": 983_617}, ["E007"]),
        ({"BATCH_BYTES": 983_617}, ["E007"]),
        ({"MAX_PAYLOAD": 983_617, "BATCH_BYTES": 983_617}, ["E007", "E007"]),
    ],
)
def test_layer_messages_stay_under_one_megabyte(sizes: dict[str, int], expected: list[str]) -> None:
    """Sizes of batches that pass what a layer takes are reported, to the byte."""
    with override_settings(CHANNELS_DEMUX_LAYER=sizes):
        assert ids(checks.check_settings()) == expected


# The application


def test_a_project_without_an_application_is_left_to_channels() -> None:
    """Without ASGI_APPLICATION there is nothing to report here."""
    assert ids(run_checks(tags=[checks.TAG], include_deployment_checks=True)) == []
    with override_settings(ASGI_APPLICATION=None):
        assert ids(checks.check_wiring()) == []


@pytest.mark.parametrize(
    ("path_", "reason"),
    [
        ("no_such_project.asgi.application", "ModuleNotFoundError: No module named"),
        ("project_asgi.nothing", "ImportError: the module 'project_asgi' has no 'nothing'"),
        ("application", "ImportError: 'application' is not a dotted path"),
    ],
)
def test_an_application_that_cannot_be_imported(project: Any, path_: str, reason: str) -> None:
    """An application that cannot be imported is reported with the reason, once."""
    with override_settings(ASGI_APPLICATION=path_):
        found = run_checks(tags=[checks.TAG], include_deployment_checks=True)
    assert ids(found) == ["E008"]
    assert reason in found[0].msg


def test_an_application_that_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the application's module raises is reported, and raised no further."""
    (tmp_path / "raising_asgi.py").write_text("raise KeyError('SECRET_KEY')")
    monkeypatch.syspath_prepend(tmp_path)
    with override_settings(ASGI_APPLICATION="raising_asgi.application"):
        (found,) = checks.check_wiring()
    assert "KeyError: 'SECRET_KEY'" in found.msg


# Demultiplexers


def test_wrong_demultiplexers_are_reported() -> None:
    """A wrong table, a wrong prefix and an impossible layer are each reported by the class."""
    table = demultiplexer("Table", consumer_classes={"": Echo})
    long = demultiplexer("Long", channel_prefix="x" * 60)
    odd = demultiplexer("Odd", channel_prefix="a b")
    found, faults = checks.read_edges([table, long, odd, remote(a=Echo)])
    assert [edge.cls.__name__ for edge in found] == ["Demultiplexer"]
    assert ids(faults) == ["E009", "E010", "E010"]
    names = ["Table", "Long", "Odd"]
    assert all(f"project.{name}: " in fault.msg for name, fault in zip(names, faults, strict=True))


@override_settings(CHANNEL_LAYERS={"default": {"BACKEND": "no.such.Layer"}})
def test_a_layer_that_cannot_be_made() -> None:
    """A layer that Channels cannot make is reported and not raised."""
    _, faults = checks.read_edges([demultiplexer(consumer_classes={"a": Echo})])
    assert ids(faults) == ["E016"]
    assert "no.such.Layer" in faults[0].msg


def test_streams_that_run_in_workers_are_known() -> None:
    """The edge knows which of its streams need workers."""
    cls = demultiplexer(consumer_classes={"a": Stream(Echo, hosting="workers"), "b": Echo})
    (edge,) = edges(cls)
    assert edge.remote == ["a"]


# Dotted paths


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a package of consumers that nobody has imported."""
    folder = tmp_path / "market"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "consumers.py").write_text(
        "from channels.generic.websocket import AsyncJsonWebsocketConsumer as Prices\n"
    )
    (folder / "broken.py").write_text("import no_such_library\n")
    (folder / "angry").mkdir()
    (folder / "angry" / "__init__.py").write_text("raise RuntimeError('no')\n")
    monkeypatch.syspath_prepend(tmp_path)
    known = set(sys.modules)
    yield folder
    for name in set(sys.modules) - known:
        if name.partition(".")[0] == "market":
            del sys.modules[name]


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("market.consumer.Prices", "there is no module 'market.consumer'"),
        ("no_such_app.consumers.Prices", "ModuleNotFoundError: No module named 'no_such_app'"),
        ("market.angry.consumers.Prices", "RuntimeError: no"),
        ("json.Consumer", "the module 'json' has no 'Consumer'"),
    ],
)
def test_paths_that_lead_nowhere(package: Path, target: str, reason: str) -> None:
    """A dotted path that leads nowhere is reported with the stream, the path and the reason."""
    (found,) = checks.path_faults(edges(remote(prices=target)))
    assert found.id == f"{PREFIX}E011"
    assert f"Stream 'prices' of project.Demultiplexer: {target!r} leads nowhere" in found.msg
    assert reason in found.msg


def test_paths_are_not_followed_to_the_end(package: Path) -> None:
    """The ordinary check does not import what a path leads to."""
    found = edges(remote(a="market.consumers.Prices", b="market.broken.Consumer", c=Echo))
    assert checks.path_faults(found) == []
    assert not {"market.consumers", "market.broken"} & set(sys.modules)


def test_paths_are_followed_for_a_deployment(package: Path) -> None:
    """The check of a deployment imports, and reports what fails then; the rest only once."""
    cls = remote(
        good="market.consumers.Prices",
        bad="market.broken.Consumer",
        odd="market.consumers.__name__",
        gone="market.gone.Consumer",
        plain=Echo,
    )
    found = checks.import_faults(edges(cls))
    assert ids(found) == ["E012", "E012"]
    assert "Stream 'bad' of project.Demultiplexer" in found[0].msg
    assert "no_such_library" in found[0].msg
    assert "Stream 'odd'" in found[1].msg


# Channels and routes


def test_two_demultiplexers_on_one_channel() -> None:
    """Different consumers on one channel are reported, with both classes and the channel."""
    one, two = remote("One", echo=Echo, same=Echo), remote("Two", echo=Other, same=Echo)
    (found,) = checks.conflict_faults(edges(one, two))
    assert found.id == f"{PREFIX}E013"
    assert "project.One and project.Two use the channel 'demux.echo'" in found.msg
    assert "test_wiring.Echo and tests.unit.checks.test_wiring.Other" in found.msg


def test_one_consumer_on_one_channel_is_no_conflict() -> None:
    """The same consumer, by its class or by its path, may share a channel."""
    one, two = remote("One", echo=Echo), remote("Two", echo=f"{__name__}.Echo")
    assert checks.conflict_faults(edges(one, two)) == []


def test_one_consumer_with_other_middleware_is_another_one() -> None:
    """What stands around a consumer in workers belongs to it."""
    one, two = remote("One", echo=Echo), remote("Two", echo=Echo)
    one.worker_middleware = two.worker_middleware = AuthMiddlewareStack
    assert checks.conflict_faults(edges(one, two)) == []
    two.worker_middleware = None
    (found,) = checks.conflict_faults(edges(one, two))
    assert found.id == f"{PREFIX}E013"
    assert found.msg.endswith("use the channel 'demux.echo' with different worker_middleware.")


# Middleware in workers


def takes_two(inner: Any, more: Any) -> Any:
    """Cannot be called with an application alone."""


class Written:
    """A callable that says nothing of its arguments, as some that are written in C."""

    @property
    def __signature__(self) -> Any:
        """Is unknown."""
        raise ValueError

    def __call__(self, inner: Any) -> Any:
        """Take an application."""


@pytest.mark.parametrize(
    ("middleware", "problem"),
    [
        (7, "is 7, which cannot be called"),
        (takes_two, "cannot be called with one application: missing a required argument: 'more'"),
        ("middleware", "'middleware' leads nowhere: this is not a dotted path"),
        ("market.gone.middleware", "leads nowhere: there is no module 'market.gone'"),
    ],
)
def test_worker_middleware_that_is_none(package: Path, middleware: Any, problem: str) -> None:
    """What nothing can be put into is reported with the class and the reason."""
    cls = remote(echo=Echo)
    cls.worker_middleware = middleware
    (found,) = checks.middleware_faults(edges(cls))
    assert found.id == f"{PREFIX}E020"
    assert found.msg.startswith("project.Demultiplexer: its worker_middleware ")
    assert problem in found.msg


@pytest.mark.parametrize(
    "middleware",
    [None, AuthMiddlewareStack, BaseMiddleware, Written(), "market.consumers.Prices"],
)
def test_worker_middleware_that_is_right(package: Path, middleware: Any) -> None:
    """Functions, classes and dotted paths, which only workers follow."""
    cls = remote(echo=Echo)
    cls.worker_middleware = middleware
    assert checks.middleware_faults(edges(cls)) == []
    assert "market.consumers" not in sys.modules


def test_worker_middleware_is_imported_for_a_deployment(package: Path) -> None:
    """The check of a deployment reports a path that fails then; the rest only once."""
    classes = [remote(echo=Echo) for _ in range(4)]
    paths = ["market.consumers.Prices", "market.broken.Consumer", "market.gone.Consumer", None]
    for cls, middleware in zip(classes, paths, strict=True):
        cls.worker_middleware = middleware
    (found,) = checks.import_faults(edges(*classes))
    assert found.id == f"{PREFIX}E012"
    assert "Correct the path in worker_middleware" in found.msg


def test_inline_streams_have_no_channel() -> None:
    """Streams in the server's process use no channel that could be another's."""
    one = remote("One", echo=Echo)
    two = remote("Two", echo=Stream(Other, hosting="inline"))
    assert checks.conflict_faults(edges(one, two)) == []


def test_routes_of_workers(project: Any) -> None:
    """A project without a channel route, or without a stream's channel in it, is told so."""
    cls = remote(echo=Echo, prices=Echo)
    with override_settings(CHANNEL_LAYERS=LAYERS):
        mount(project, cls)
        assert check_project() == ["E014"]
        workers = stream_workers(cls)
        mount(project, cls, channel=ChannelNameRouter(workers))
        assert check_project() == []
        del workers["demux.prices"]
        assert check_project() == ["E015"]
        mount(project, cls, channel=lambda scope, receive, send: None)
        assert check_project() == []


def test_what_is_said_of_routes() -> None:
    """The message names the missing channels and the hint the line to write."""
    found = edges(remote(echo=Echo, prices=Echo))
    (lacking,) = checks.route_faults(found, checks.Routes(True, frozenset({"demux.echo"})))
    assert lacking.msg.endswith("lacks channels of project.Demultiplexer: demux.prices.")
    assert '"channel": ChannelNameRouter(stream_workers(Demultiplexer))' in str(lacking.hint)
    (none,) = checks.route_faults(found, checks.Routes(False, frozenset()))
    assert 'no "channel" route' in none.msg


def test_inline_projects_need_no_route(project: Any) -> None:
    """Where everything runs in the server's process, no route is asked for."""
    mount(project, demultiplexer(consumer_classes={"echo": Echo}))
    assert check_project(deploy=True) == []


# All of it


def test_everything_that_is_wrong_is_said_at_once(project: Any, package: Path) -> None:
    """One run reports faults of layers, demultiplexers, paths and routes together."""
    mount(
        project,
        demultiplexer("Bad", channel_prefix=""),
        remote("One", echo=Echo, prices="market.gone.Prices", bad="market.broken.Prices"),
        remote("Two", echo=Other),
    )
    with override_settings(CHANNELS_DEMUX_LAYER={"BATCH_BYTES": 10**6, "DISPATCH_LAYER": "x"}):
        found = set(check_project(deploy=True))
    assert found == {"E002", "E007", "E010", "E011", "E012", "E013", "E014"}


def test_manage_py_check_runs_them(project: Any) -> None:
    """A sound project passes manage.py check, with deployment checks too."""
    cls = remote(echo=Echo)
    mount(project, cls, channel=ChannelNameRouter(stream_workers(cls)))
    with override_settings(ASGI_APPLICATION="project_asgi.application", CHANNEL_LAYERS=LAYERS):
        call_command("check", deploy=True, tags=[checks.TAG], fail_level="WARNING")


@pytest.mark.parametrize(
    ("permission", "problem"),
    [
        ("view_price", "this is no permission name"),
        ("auth.", "this is no permission name"),
        ("auth.view user", "this is no permission name"),
        ("market.view_price", "no app 'market' is installed"),
    ],
)
def test_permissions_that_nobody_can_have(permission: str, problem: str) -> None:
    """A name is looked at as far as that goes without a database."""
    cls = demultiplexer(consumer_classes={"s": Stream(Echo, permission=permission)})
    (message,) = limit_checks.protection_faults(edges(cls), build_settings({}))
    assert message.id == PREFIX + "E017"
    assert (
        message.msg == f"Stream 's' of project.Demultiplexer: permission {permission!r}: {problem}."
    )


def test_permissions_that_are_right() -> None:
    """A name of an installed app, and a callable of whatever kind, are."""
    streams = {
        "name": Stream(Echo, permission="auth.view_user"),
        "call": Stream(Echo, permission=bool),
        "none": Stream(Echo),
    }
    cls = demultiplexer(consumer_classes=streams)
    assert limit_checks.protection_faults(edges(cls), build_settings({})) == []


def test_limits_of_a_demultiplexer_are_checked_as_settings_are() -> None:
    """Each has a message that names the attribute."""
    wrong = {"frames_per_second": -1, "scope_headers": "host", "max_buffered": 1.5}
    cls = demultiplexer(consumer_classes={}, **wrong)
    found = limit_checks.protection_faults(edges(cls), build_settings({}))
    assert ids(found) == ["E018"] * 3
    names = [message.msg.partition(" must be")[0] for message in found]
    assert sorted(names) == sorted(f"project.Demultiplexer.{key}" for key in wrong)


def test_limits_that_hold_up_who_does_no_wrong() -> None:
    """Fewer streams than open by themselves, and payloads that take for ever."""
    streams = {"one": Echo, "two": Echo, "three": Stream(Echo, lazy=True)}
    tight = demultiplexer(consumer_classes=streams, max_open_streams=1, bytes_per_second=10)
    found = limit_checks.protection_faults(edges(tight), build_settings({}))
    assert ids(found) == ["W003"] * 2
    assert "2 streams open with the connection" in found[0].msg
    assert "too small for a payload of MAX_PAYLOAD" in found[1].msg
    wide = demultiplexer(consumer_classes=streams, max_open_streams=2, bytes_per_second=10**6)
    assert limit_checks.protection_faults(edges(wide), build_settings({})) == []


def test_an_application_that_nobody_can_look_through(project: Any) -> None:
    """It is warned of where demultiplexers, or workers, are not found behind it."""
    cls = remote(echo=Echo)
    sockets, channels = cls.as_asgi(), ChannelNameRouter(stream_workers(cls))

    async def whole(scope: Any, receive: Any, send: Any) -> None:
        await {"websocket": sockets, "channel": channels}[scope["type"]](scope, receive, send)

    async def lacking(scope: Any, receive: Any, send: Any) -> None:
        await sockets(scope, receive, send)

    async def unknown(scope: Any, receive: Any, send: Any) -> None:
        raise NotImplementedError

    with override_settings(CHANNEL_LAYERS=LAYERS):
        for application, found in ((whole, []), (lacking, ["W005"]), (unknown, ["W005"])):
            project.application = application
            assert check_project() == found


def test_what_is_said_of_an_application_that_nobody_can_look_through() -> None:
    """What was not found, and what to do."""
    routes = checks.Routes(None, None)
    (nothing,) = checks.opaque_faults([], routes, [])
    assert nothing.msg.endswith("its demultiplexers were not found, and are not checked.")
    assert "'app'" in str(nothing.hint)
    found = edges(remote(echo=Echo, prices=Echo))
    (lacking,) = checks.opaque_faults(found, routes, ["demux.echo"])
    assert lacking.msg.endswith("no workers of project.Demultiplexer were found for demux.prices.")
    assert checks.opaque_faults([], checks.Routes(False, frozenset()), []) == []
