"""A steadfast layer outlasts failures, and puts channels back into their groups."""

import asyncio
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from channels.exceptions import ChannelFull
from channels.layers import InMemoryChannelLayer, get_channel_layer

from channels_demux_layer.logs import layer_faults
from channels_demux_layer.transport import calls
from channels_demux_layer.transport import groups as groups_module
from channels_demux_layer.transport.steadfast import (
    SteadfastLayer,
    install,
    steadfast_layer,
    unsteady,
)


class Recorder:
    """A layer that records who joins and leaves what."""

    extensions = ["groups"]

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, str]] = []
        self.script: list[Any] = []
        self.joining = asyncio.Event()
        self.joining.set()

    async def receive(self, channel: str) -> Any:
        if not self.script:
            await asyncio.Event().wait()
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    async def new_channel(self, prefix: str = "specific") -> str:
        return f"{prefix}.{await self.receive('')}"

    async def send(self, channel: str, message: Any) -> None:
        self.calls.append(("send", channel, await self.receive("")))

    async def group_send(self, group: str, message: Any) -> None:
        self.calls.append(("group_send", group, await self.receive("")))

    async def group_add(self, group: str, channel: str) -> None:
        self.calls.append(("add", group, channel))
        await self.joining.wait()
        self._stumble()

    async def group_discard(self, group: str, channel: str) -> None:
        self.calls.append(("discard", group, channel))
        self._stumble()

    def _stumble(self) -> None:
        if self.script:
            raise self.script.pop(0)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    """A layer that nobody waits for.

    Yields:
        The layer.
    """
    monkeypatch.setattr(calls, "BACK_OFF", (0.0, 0.0))
    layer_faults._failing.clear()
    yield Recorder()
    layer_faults._failing.clear()


async def test_receive_outlasts_failures(recorder: Recorder) -> None:
    """A failing server is waited for."""
    recorder.script = [OSError(), TypeError(), {"type": "x"}]
    assert await SteadfastLayer(recorder).receive("a") == {"type": "x"}


@pytest.mark.parametrize("error", [AssertionError, RuntimeError, NotImplementedError])
async def test_a_wrong_call_raises(recorder: Recorder, error: type[Exception]) -> None:
    """What no waiting can mend is raised."""
    recorder.script = [error()]
    with pytest.raises(error):
        await SteadfastLayer(recorder).receive("a")


async def test_a_new_channel_is_waited_for(recorder: Recorder) -> None:
    """A consumer that begins while the server is away begins when it is back."""
    recorder.script = [OSError(), "a", "b"]
    layer = SteadfastLayer(recorder)
    assert await layer.new_channel() == "specific.a"
    assert await layer.new_channel("own") == "own.b"


async def test_everything_else_is_the_layers(recorder: Recorder) -> None:
    """What is not about receiving and groups is passed on as it is."""
    assert SteadfastLayer(recorder).extensions == ["groups"]


async def test_rejoining(recorder: Recorder) -> None:
    """All that was joined and not left is joined anew."""
    layer = SteadfastLayer(recorder)
    for group, channel in [("g", "a"), ("h", "a"), ("g", "b")]:
        await layer.group_add(group, channel)
    await layer.group_discard("h", "a")
    await layer.group_discard("g", "b")
    await layer.group_discard("g", "stranger")
    recorder.calls.clear()
    await layer.rejoin()
    assert recorder.calls == [("add", "g", "a")]


async def test_a_channel_that_nobody_listens_on_is_forgotten(recorder: Recorder) -> None:
    """A consumer that ends without leaving its groups is not put back into them."""
    layer = SteadfastLayer(recorder)
    await layer.group_add("g", "a")
    receiving = asyncio.ensure_future(layer.receive("a"))
    await asyncio.sleep(0)
    receiving.cancel()
    await asyncio.gather(receiving, return_exceptions=True)
    recorder.calls.clear()
    await layer.rejoin()
    assert not recorder.calls


async def test_a_leave_during_a_rejoin_counts(recorder: Recorder) -> None:
    """A group left while it is joined anew is left for good, and so is one not yet joined."""
    layer = SteadfastLayer(recorder)
    groups = [f"g{number}" for number in range(groups_module.JOINED_TOGETHER + 1)]
    for group in groups:
        await layer.group_add(group, "a")
    recorder.calls.clear()
    recorder.joining.clear()
    rejoining = asyncio.ensure_future(layer.rejoin())
    while len(recorder.calls) < groups_module.JOINED_TOGETHER:  # noqa: ASYNC110
        await asyncio.sleep(0)
    for group in groups:
        await layer.group_discard(group, "a")
    recorder.joining.set()
    await rejoining
    for group in groups:
        assert [call[0] for call in recorder.calls if call[1] == group][-1] == "discard"
    assert len([call for call in recorder.calls if call[0] == "add"]) == len(groups) - 1


async def test_a_steadfast_layer_replaces_nothing(recorder: Recorder, settings: Any) -> None:
    """Others still get the project's own object."""
    settings.CHANNEL_LAYERS = {"x": {"BACKEND": f"{__name__}.Recorder"}}
    project = get_channel_layer("x")
    layer = steadfast_layer("x", project)
    assert isinstance(layer, SteadfastLayer)
    assert get_channel_layer("x") is project
    assert steadfast_layer("x", layer) is layer


async def test_layers_that_stay_as_they_are(recorder: Recorder, settings: Any) -> None:
    """The in-memory layer neither fails nor forgets, and the setting switches all of it off."""
    layer = InMemoryChannelLayer()
    assert steadfast_layer("x", layer) is layer
    assert steadfast_layer("x", None) is None
    settings.CHANNELS_DEMUX_LAYER = {"STEADFAST_LAYERS": False}
    settings.CHANNEL_LAYERS = {"x": {"BACKEND": f"{__name__}.Recorder"}}
    project = get_channel_layer("x")
    assert steadfast_layer("x", project) is project
    assert install("x") is None
    assert get_channel_layer("x") is project
    assert "group_add" not in vars(project)


async def test_a_leave_counts_though_the_rejoin_fails(recorder: Recorder) -> None:
    """A join that raises may have been done all the same, and after the leave."""
    layer = SteadfastLayer(recorder)
    await layer.group_add("g", "a")

    async def join(group: str, channel: str) -> None:
        await layer.group_discard(group, channel)
        recorder.calls.clear()
        raise ConnectionError

    recorder.group_add = join  # type: ignore[method-assign]
    with pytest.raises(ConnectionError):
        await layer.rejoin()
    recorder.script = [ConnectionError()]
    with pytest.raises(ConnectionError):
        await layer.rejoin()
    await layer.rejoin()
    assert [call[0] for call in recorder.calls] == ["discard"] * 2
    await layer.rejoin()
    assert len(recorder.calls) == 2


async def test_sends_outlast_a_lost_connection(recorder: Recorder) -> None:
    """A consumer that sends while there is no server waits for it."""
    layer = SteadfastLayer(recorder)
    recorder.script = [ConnectionError(), TimeoutError(), "one", ConnectionResetError(), "all"]
    await layer.send("channel", {"type": "x"})
    await layer.group_send("group", {"type": "x"})
    assert recorder.calls == [("send", "channel", "one"), ("group_send", "group", "all")]


async def test_sends_outlast_a_database_that_restarts(recorder: Recorder) -> None:
    """What psycopg raises then is as good a reason to wait as a lost connection."""
    recorder.script = [psycopg.OperationalError(), "one"]
    await SteadfastLayer(recorder).send("channel", {"type": "x"})
    assert recorder.calls == [("send", "channel", "one")]


async def test_a_message_that_no_layer_takes_is_not_sent_again(recorder: Recorder) -> None:
    """What the serializer or a full channel refuses is raised at once."""
    layer = SteadfastLayer(recorder)
    for refusal in (TypeError("cannot serialize"), ChannelFull()):
        recorder.script = [refusal]
        with pytest.raises(type(refusal)):
            await layer.send("channel", {"type": "x"})


async def test_groups_outlast_a_lost_connection(recorder: Recorder) -> None:
    """A consumer that joins or leaves a group while there is no server waits for it."""
    layer = SteadfastLayer(recorder)
    recorder.script = [ConnectionError(), TimeoutError()]
    await layer.group_add("g", "a")
    assert recorder.calls == [("add", "g", "a")] * 3
    recorder.script = [ConnectionError()]
    await layer.group_discard("g", "a")
    assert recorder.calls[3:] == [("discard", "g", "a")] * 2


async def test_a_name_that_no_group_can_have_raises(recorder: Recorder) -> None:
    """What the layer refuses to join is its caller's matter, and is not joined anew."""
    layer = SteadfastLayer(recorder)
    recorder.script = [TypeError("Group name must be a valid unicode string")]
    with pytest.raises(TypeError, match="Group name"):
        await layer.group_add("?", "a")
    recorder.calls.clear()
    await layer.rejoin()
    assert not recorder.calls


async def test_who_would_rather_hear_of_a_failure(recorder: Recorder) -> None:
    """The layer behind remembers as well, and raises."""
    layer = unsteady(SteadfastLayer(recorder))
    recorder.script = [ConnectionError()]
    with pytest.raises(ConnectionError):
        await layer.group_add("g", "a")
    await layer.group_add("g", "a")
    recorder.calls.clear()
    await layer.rejoin()
    assert recorder.calls == [("add", "g", "a")]
    assert unsteady(recorder) is recorder


async def test_a_rejoin_that_is_cut_off_leaves_nothing_behind(recorder: Recorder) -> None:
    """What was left while it was joined anew is left for good when the process ends."""
    layer = SteadfastLayer(recorder)
    await layer.group_add("g", "a")
    await layer.group_add("h", "a")
    recorder.joining.clear()
    rejoining = asyncio.ensure_future(layer.rejoin())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await layer.group_discard("g", "a")
    rejoining.cancel()
    await asyncio.gather(rejoining, return_exceptions=True)
    recorder.calls.clear()
    await layer.leave_unsettled()
    await layer.leave_unsettled()
    assert recorder.calls == [("discard", "g", "a")]


@pytest.mark.parametrize("rejoins", [False, True])
async def test_a_layer_without_a_node_rejoins_by_itself(recorder: Recorder, rejoins: bool) -> None:
    """After receive() has failed, until it works, and once for all who receive."""
    layer = SteadfastLayer(recorder, "other", rejoins=rejoins)
    await layer.group_add("group", "channel")
    recorder.script = [ConnectionError(), ConnectionError(), ConnectionError(), {"type": "m"}]
    receiving = [asyncio.ensure_future(layer.receive(name)) for name in ("a", "b")]
    await asyncio.wait(receiving, return_when=asyncio.FIRST_COMPLETED, timeout=20.0)
    if layer._rejoining is not None:
        await asyncio.wait_for(layer._rejoining, 20.0)
    assert (recorder.calls.count(("add", "group", "channel")) > 1) == rejoins
    for task in receiving:
        task.cancel()
    await asyncio.gather(*receiving, return_exceptions=True)


async def test_a_layer_is_installed_if_there_is_one(settings: Any) -> None:
    """A layer that is missing, or cannot be made, raises where it is used."""
    settings.CHANNEL_LAYERS = {
        "good": {"BACKEND": f"{__name__}.Recorder"},
        "bad": {"BACKEND": "no.such.Layer"},
    }
    memories = [install(alias, rejoins=True) for alias in ("good", "bad", "none")]
    layer = get_channel_layer("good")
    assert isinstance(layer, SteadfastLayer)
    assert layer._rejoins
    assert memories == [layer.unsteady, None, None]
    assert install("good") is layer.unsteady
    assert get_channel_layer("good") is layer


async def test_a_layer_that_a_module_has_taken_is_remembered_for(settings: Any) -> None:
    """In a worker: whoever has the project's own object joins, and leaves, with it as before."""
    settings.CHANNEL_LAYERS = {"good": {"BACKEND": f"{__name__}.Recorder"}}
    taken = get_channel_layer("good")
    install("good")
    install("good")
    await taken.group_add("kept", "channel")
    await taken.group_add("left", "channel")
    await taken.group_discard("left", "channel")
    calls = [("add", "kept"), ("add", "left"), ("discard", "left")]
    assert taken.calls == [(call, group, "channel") for call, group in calls]
    await unsteady(get_channel_layer("good")).rejoin()
    assert taken.calls[3:] == [("add", "kept", "channel")]
