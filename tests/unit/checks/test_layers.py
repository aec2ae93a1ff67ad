"""Faults of channel layers, found before they are met."""

from importlib import metadata
from typing import Any

import pytest
from channels_redis.core import RedisChannelLayer

from channels_demux_layer.checks import layers as layer_checks
from channels_demux_layer.checks.layers import (
    CORE_LAYER,
    MEMORY_LAYER,
    PLAIN_POSTGRES_LAYER,
    POSTGRES_LAYER,
    PUBSUB_LAYER,
    RABBITMQ_LAYER,
    layer_faults,
)
from channels_demux_layer.conf import build_settings
from channels_demux_layer.hosting.discovery import Edge
from channels_demux_layer.streams import Stream, new_stream_table

URL = "redis://example.org:6379/0"
SAFE = {"hosts": [{"address": URL, "socket_timeout": None}]}
PREFIX = "channels_demux_layer."


class OwnLayer(RedisChannelLayer):
    """A project's own layer, made of the core layer."""


class OddLayer:
    """A layer of no known kind."""


@pytest.fixture(autouse=True)
def _redis_8(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check as if redis-py 8 were installed, whatever is."""
    monkeypatch.setattr(metadata, "version", {"redis": "8.1.0"}.__getitem__)


def edge(remote: bool = False, **streams: Any) -> Edge:
    """Make a demultiplexer with streams."""
    table = new_stream_table(streams)
    cls = type("Demultiplexer", (), {"channel_prefix": "demux", "__module__": "project"})
    return Edge(cls, table, list(streams) if remote else [])


def ids(layers: Any, edges: list[Edge] | None = None, /, **settings: Any) -> list[str]:
    """Return the identifiers of what is reported."""
    found = layer_faults(build_settings(settings), layers, edges or [])
    assert all(message.hint for message in found)
    return [str(message.id).removeprefix(PREFIX) for message in found]


def core(**config: Any) -> dict[str, Any]:
    """Configure a core layer as the default."""
    return {"default": {"BACKEND": CORE_LAYER, "CONFIG": SAFE | config}}


PUBSUB = {"default": {"BACKEND": PUBSUB_LAYER, "CONFIG": {"hosts": [URL]}}}
MEMORY = {"default": {"BACKEND": MEMORY_LAYER}}


@pytest.mark.parametrize("layers", [{}, MEMORY, PUBSUB, core()])
def test_sound_layers_are_silent(layers: dict[str, Any]) -> None:
    """No layer, one in memory and Redis layers as documented are no faults."""
    assert ids(layers) == []


def backend(name: str) -> dict[str, Any]:
    """Configure a layer by its name alone as the default."""
    return {"default": {"BACKEND": name}}


def test_layers_that_opens_cannot_take() -> None:
    """A layer of opens without normal channels is a fault, one with a lone listener a warning."""
    plain, rabbitmq = backend(PLAIN_POSTGRES_LAYER), backend(RABBITMQ_LAYER)
    assert ids(backend(POSTGRES_LAYER)) == []
    assert ids(plain) == ["W004"]
    assert ids(rabbitmq) == ["E019"]
    assert ids(rabbitmq | {"opens": PUBSUB["default"]}, DISPATCH_LAYER="opens") == ["E019"]
    assert ids(PUBSUB | {"opens": plain["default"]}, DISPATCH_LAYER="opens") == ["W004"]
    assert ids(rabbitmq, HOSTING="inline") == []


def test_unknown_aliases() -> None:
    """An alias that CHANNEL_LAYERS lacks is reported, each setting for itself, with the choice."""
    assert ids(core(), CHANNEL_LAYER="x") == ["E002"]
    assert ids(core(), CHANNEL_LAYER="x", DISPATCH_LAYER="y") == ["E002", "E002"]
    for layers, choice in [(core(), "Layers: 'default'."), ({}, "There are no layers.")]:
        (message,) = layer_faults(build_settings({"DISPATCH_LAYER": "y"}), layers, [])
        assert "CHANNEL_LAYERS" in message.msg
        assert choice in str(message.hint)


def test_workers_without_a_layer() -> None:
    """Asking for workers where there is no layer is reported, with who asked."""
    assert ids({}, HOSTING="workers") == ["E003"]
    asking = edge(a=Stream("a.b", hosting="workers"), b="a.b")
    (message,) = layer_faults(build_settings({}), {}, [asking])
    assert message.id == f"{PREFIX}E003"
    assert "stream 'a' of project.Demultiplexer" in message.msg
    assert "'b'" not in message.msg


def test_workers_with_a_layer_in_memory() -> None:
    """Asking for workers over a layer that reaches no other process is reported."""
    assert ids(MEMORY, HOSTING="workers") == ["E004"]
    assert ids(MEMORY, [edge(a=Stream("a.b", hosting="workers"))]) == ["E004"]
    assert ids(MEMORY, [edge(a=Stream("a.b", hosting="inline"))]) == []
    assert ids(
        core() | {"opens": MEMORY["default"]}, HOSTING="workers", DISPATCH_LAYER="opens"
    ) == ["E004"]


def test_both_aliases_are_looked_at_once() -> None:
    """A layer that both aliases name is reported once."""
    assert ids(MEMORY, HOSTING="workers", DISPATCH_LAYER="default") == ["E004"]


@pytest.mark.parametrize(
    "hosts",
    [
        [{"address": URL, "socket_timeout": None}],
        [{"host": "a", "port": 1, "socket_timeout": None}],
        [{"address": URL, "socket_timeout": 30}],
        [f"{URL}?socket_timeout=30"],
        [f"{URL}?db=1&socket_timeout=inf"],
        [{"address": f"{URL}?socket_timeout=30", "socket_timeout": 1}],
        [{"sentinels": [("a", 1)], "master_name": "m", "socket_timeout": None}],
    ],
)
def test_hosts_that_wait_long_enough(hosts: Any) -> None:
    """Where redis-py waits longer than Redis, nothing is reported, however it is written."""
    assert ids(core(hosts=hosts)) == []


@pytest.mark.parametrize(
    "hosts",
    [
        None,
        [],
        URL,
        [URL],
        (URL,),
        [("a", 1)],
        [["a", 1]],
        [{"address": URL}],
        [{"host": "a", "port": 1}],
        [{"path": "/run/redis.sock"}],
        [{"address": URL, "socket_timeout": 5}],
        [{"address": URL, "socket_timeout": 0}],
        [{"address": URL, "socket_timeout": "soon"}],
        [{"address": URL, "socket_timeout": []}],
        [f"{URL}?socket_timeout=3"],
        [f"{URL}?socket_timeout=None"],
        [{"address": f"{URL}?socket_timeout=5", "socket_timeout": None}],
        [{"sentinels": [("a", 1)], "master_name": "m", "sentinel_kwargs": {}}],
        7,
    ],
)
def test_hosts_that_give_up(hosts: Any) -> None:
    """Where redis-py gives up before Redis does, that is reported, however it is written."""
    assert ids(core(hosts=hosts)) == ["E005"]


def test_the_hosts_are_told_apart_without_their_secrets() -> None:
    """Of several hosts those at fault are named, by number: a URL may hold a password."""
    hosts = [{"address": URL, "socket_timeout": None}, "redis://:secret@example.org"]
    found = layer_faults(build_settings({"HOSTING": "inline"}), core(hosts=hosts), [])
    (message,) = found
    assert "CHANNEL_LAYERS['default']['CONFIG']: hosts[1]:" in message.msg
    assert "secret" not in message.msg + str(message.hint)


@pytest.mark.parametrize("version", ["5.0.1", "7.9.9"])
def test_older_redis_waits_unless_told_otherwise(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before redis-py 8 there is no timeout by default, but one that is set gives up too."""
    monkeypatch.setattr(metadata, "version", lambda name: version)
    assert ids(core(hosts=[URL])) == []
    assert ids(core(hosts=[{"address": URL, "socket_timeout": 5}])) == ["E005"]


def test_redis_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without redis-py there is nothing that could give up."""

    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    assert ids(core(hosts=[URL])) == []


def test_timeouts_matter_to_inline_hosting_too() -> None:
    """Consumers wait on the layer for their own channels wherever they run."""
    assert ids(core(hosts=[URL]), HOSTING="inline") == ["E005"]


def test_only_layers_in_use_are_looked_at() -> None:
    """A layer that no setting names is somebody else's."""
    other = {"other": {"BACKEND": CORE_LAYER, "CONFIG": {"hosts": [URL]}}}
    assert ids(core() | other) == []
    assert ids(core() | other, DISPATCH_LAYER="other") == ["E005"]


def test_layers_made_of_the_core_layer_are_core_layers() -> None:
    """A subclass of the core layer has its faults."""
    backend = f"{OwnLayer.__module__}.{OwnLayer.__qualname__}"
    assert ids({"default": {"BACKEND": backend, "CONFIG": {"hosts": [URL]}}}) == ["E005"]
    odd = f"{OddLayer.__module__}.{OddLayer.__qualname__}"
    assert ids({"default": {"BACKEND": odd, "CONFIG": {"hosts": [URL]}}}) == []


@pytest.mark.parametrize(
    "layers",
    [
        None,
        [],
        {"default": None},
        {"default": {}},
        {"default": {"BACKEND": "no.such.Layer"}},
        {"default": {"BACKEND": CORE_LAYER + "x", "CONFIG": []}},
    ],
)
def test_what_is_no_layer_is_left_to_channels(layers: Any) -> None:
    """A CHANNEL_LAYERS that Channels itself cannot read raises nothing here."""
    assert ids(layers) == []


def test_the_json_serializer() -> None:
    """JSON as the serializer is reported on both Redis layers where streams may be remote."""
    assert ids(core(serializer_format="json")) == ["E006"]
    pubsub = {"default": {"BACKEND": PUBSUB_LAYER, "CONFIG": {"serializer_format": "json"}}}
    assert ids(pubsub) == ["E006"]
    assert ids(core(serializer_format="msgpack")) == []


def test_inline_hosting_does_not_care_for_the_layer() -> None:
    """What only workers meet is reported where a stream runs in workers, and not elsewhere."""
    layers = core(serializer_format="json", group_expiry=1)
    inline = edge(a=Stream("a.b"))
    remote = edge(remote=True, a=Stream("a.b", hosting="workers"))
    assert ids(layers, [inline], HOSTING="inline") == []
    assert ids(layers, [inline, remote], HOSTING="inline") == ["E006", "W001"]


@pytest.mark.parametrize(("expiry", "expected"), [(3599, ["W001"]), (3600, []), ("x", [])])
def test_short_group_memberships(expiry: object, expected: list[str]) -> None:
    """Group memberships shorter than an hour get a warning."""
    assert ids(core(group_expiry=expiry)) == expected


def test_several_hosts_for_opens() -> None:
    """A sharded core layer gets a warning where opens go through it, and only there."""
    sharded = core(hosts=SAFE["hosts"] * 2)
    assert ids(sharded) == ["W002"]
    assert ids(sharded | {"opens": PUBSUB["default"]}, DISPATCH_LAYER="opens") == []
    pubsub = {"default": {"BACKEND": PUBSUB_LAYER, "CONFIG": {"hosts": [URL, URL]}}}
    assert ids(pubsub) == []


def test_no_layer_is_made() -> None:
    """Checking makes no layer: its configuration may be wrong in any way."""
    assert ids({"default": {"BACKEND": CORE_LAYER, "CONFIG": {"nonsense": 1}}}) == ["E005"]
    assert layer_checks.read_layers(core())["default"].kinds == {CORE_LAYER}
