"""Calls of a channel layer are bounded, made again, and told of once."""

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from channels.exceptions import ChannelFull

from channels_demux_layer.logs import layer_faults
from channels_demux_layer.transport import calls
from channels_demux_layer.transport.calls import Publisher, messages, persist, receive
from channels_demux_layer.transport.typed import TypedLayer


class ScriptedLayer:
    """A layer whose calls give what a test says, one after the other; then they wait."""

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.calls: list[tuple[Any, ...]] = []
        self.cancelled = 0

    async def _next(self, *call: Any) -> Any:
        self.calls.append(call)
        if not self.script:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    async def receive(self, channel: str) -> Any:
        return await self._next("receive", channel)

    async def send(self, channel: str, message: Any) -> None:
        await self._next("send", channel)

    async def group_send(self, group: str, message: Any) -> None:
        await self._next("group_send", group)

    async def group_discard(self, group: str, channel: str) -> None:
        await self._next("group_discard", group, channel)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No test waits for a back-off, and each begins without faults."""
    caplog.set_level(logging.INFO, "channels_demux_layer")
    monkeypatch.setattr(calls, "BACK_OFF", (0.0, 0.0))
    layer_faults._failing.clear()
    yield
    layer_faults._failing.clear()


async def test_messages_outlast_failures(caplog: pytest.LogCaptureFixture) -> None:
    """A layer that raises is asked again; the log has one line for it, and one for its end."""
    layer = ScriptedLayer({"n": 1}, OSError("gone."), OSError("still gone"), {"n": 2}, {"n": 3})
    failures: list[None] = []
    received = [await receive(layer, "here", lambda: failures.append(None)) for _ in range(3)]
    assert [message["n"] for message in received] == [1, 2, 3]
    assert len(failures) == 2
    assert caplog.messages == [
        "Cannot receive on the channel layer: gone. Retrying.",
        "Can receive on the channel layer again.",
    ]


async def test_a_quiet_layer_is_well(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where nothing comes after a failure, waiting without another one tells that it is over."""
    monkeypatch.setattr(calls, "CALM", 0.0)
    layer = ScriptedLayer(OSError())
    task = asyncio.ensure_future(anext(messages(layer, "here")))
    while len(caplog.messages) < 2:  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert caplog.messages[0] == "Cannot receive on the channel layer: OSError. Retrying."
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert layer.cancelled == 1


async def test_cancelling_ends_the_call() -> None:
    """Who waits for a layer that failed before can be cancelled, and the layer's call with it."""
    layer = ScriptedLayer(OSError())
    task = asyncio.ensure_future(anext(messages(layer, "here")))
    while len(layer.calls) < 2:  # noqa: ASYNC110
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert layer.cancelled == 1


@pytest.mark.parametrize("waiting", [0, 1])
async def test_a_failed_subscription_is_made_again(waiting: int) -> None:
    """A channel that the pub/sub layer noted without subscribing is forgotten, unless it works."""
    layer = ScriptedLayer(OSError(), {})
    queue: asyncio.Queue[Any] = asyncio.Queue()
    for _ in range(waiting):
        queue.put_nowait({})
    layer.channels = {"here": queue}  # type: ignore[attr-defined]
    await anext(messages(layer, "here"))
    assert ("here" in layer.channels) == bool(waiting)  # type: ignore[attr-defined]


async def test_publishing() -> None:
    """A message goes to the group, or to the channel where there is none."""
    layer = ScriptedLayer(None, None)
    publisher = Publisher(TypedLayer(layer), lambda: None)
    assert await publisher.publish("group", "channel", {})
    assert await publisher.publish(None, "channel", {})
    assert layer.calls == [("group_send", "group"), ("send", "channel")]


async def test_a_full_channel_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    """A channel that is full has not taken the message, and the layer works all the same."""
    publisher = Publisher(TypedLayer(ScriptedLayer(ChannelFull())), lambda: None)
    assert not await publisher.publish(None, "channel", {})
    assert not publisher.is_cut_off
    assert not caplog.messages


async def test_reconnecting() -> None:
    """The first publish that works after a failure tells that the layer is back; once."""
    times: list[None] = []
    layer = ScriptedLayer(OSError(), None, None)
    publisher = Publisher(TypedLayer(layer), lambda: times.append(None))
    assert not await publisher.publish(None, "channel", {})
    assert publisher.is_cut_off
    assert await publisher.publish(None, "channel", {})
    assert await publisher.publish(None, "channel", {})
    assert not publisher.is_cut_off
    assert len(times) == 1


async def test_a_failed_receive_cuts_off() -> None:
    """A node whose receive() fails knows that it is cut off."""
    layer = ScriptedLayer(OSError(), {"n": 1})
    publisher = Publisher(TypedLayer(layer), lambda: None)
    assert await receive(TypedLayer(layer), "here", publisher.cut_off) == {"n": 1}
    assert publisher.is_cut_off


async def test_persisting(caplog: pytest.LogCaptureFixture) -> None:
    """A call that must be made is made until it works, with one line in the log."""
    layer = ScriptedLayer(OSError("away"), OSError("away"), None)
    await persist("leave a group", lambda: layer.group_discard("group", "channel"))
    assert layer.calls == [("group_discard", "group", "channel")] * 3
    assert caplog.messages == [
        "Cannot leave a group: away. Retrying.",
        "Can leave a group again.",
    ]


async def test_a_full_channel_shows_that_the_layer_works() -> None:
    """Otherwise a peer that died while the layer failed, and takes nothing more, would live on."""
    times: list[int] = []
    publisher = Publisher(
        TypedLayer(ScriptedLayer(OSError(), ChannelFull())), lambda: times.append(1)
    )
    assert not await publisher.publish(None, "channel", {})
    assert publisher.is_cut_off
    assert not await publisher.publish(None, "channel", {})
    assert not publisher.is_cut_off
    assert len(times) == 1


async def test_one_server_that_fails_makes_two_lines(caplog: pytest.LogCaptureFixture) -> None:
    """A layer of several servers, one of which fails, has a line at the beginning and the end."""
    caplog.set_level("INFO")
    outcomes: list[Any] = [OSError("gone"), None] * 5
    publisher = Publisher(TypedLayer(ScriptedLayer(*outcomes, None), "opens"), lambda: None)
    for _ in range(5):
        await publisher.publish("lost", "channel", {})
        await publisher.publish("well", "channel", {})
    await publisher.publish("lost", "channel", {})
    assert caplog.messages == [
        "Cannot publish on the channel layer 'opens': gone. Retrying.",
        "Can publish on the channel layer 'opens' again.",
    ]


async def test_messages_that_cannot_be_read(caplog: pytest.LogCaptureFixture) -> None:
    """They are passed over at once, with a few lines in the log; the layer is not cut off."""
    bad = calls.MOST_UNREADABLE - 1
    layer = ScriptedLayer(*[ValueError("no MessagePack")] * bad, {"n": 1})
    failures: list[None] = []
    typed = TypedLayer(layer)
    assert await receive(typed, "here", lambda: failures.append(None)) == {"n": 1}
    assert not failures
    assert set(caplog.messages) == {
        "A message on channel here cannot be read, and was ignored: ValueError('no MessagePack')."
    }


async def test_a_layer_that_returns_no_dict(caplog: pytest.LogCaptureFixture) -> None:
    """Such a message is ignored like one that cannot be read; the log says what it was."""
    layer = ScriptedLayer(None, ["x"], {"n": 1})
    assert await receive(layer, "here") == {"n": 1}
    assert caplog.messages == [
        f"A message on channel here cannot be read, and was ignored: the layer returned {what} "
        "instead of a dict."
        for what in ("None", "['x']")
    ]


async def test_a_layer_that_raises_what_it_should_not(caplog: pytest.LogCaptureFixture) -> None:
    """What looks like unreadable messages without an end is an outage, and is asked less often."""
    odd = [KeyError("what?")] * calls.MOST_UNREADABLE
    failures: list[None] = []
    layer = TypedLayer(ScriptedLayer(*odd, {"n": 1}))
    assert await receive(layer, "here", lambda: failures.append(None)) == {"n": 1}
    assert len(failures) == 1
    assert (
        "Cannot receive on the channel layer: 100 messages in a row cannot be read, the last: "
        "KeyError('what?'). Retrying." in caplog.messages
    )


async def test_the_log_says_where(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A layer that fails is named, with the addresses of its servers and without passwords."""
    hosts = ["redis://:secret@10.0.0.1:6380/0", ("10.0.0.2", 6379)]
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "x", "CONFIG": {"hosts": hosts}}}
    publisher = Publisher(TypedLayer(ScriptedLayer(OSError("refused")), "default"), lambda: None)
    await publisher.publish(None, "channel", {})
    assert caplog.messages == [
        "Cannot publish on the channel layer 'default' at 10.0.0.1:6380, 10.0.0.2:6379: refused. "
        "Retrying."
    ]


class FrozenGroups:
    """A layer of several servers, that of the groups frozen until the gate is opened."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.sent: list[str] = []

    async def send(self, channel: str, message: Any) -> None:
        self.sent.append(channel)

    async def group_send(self, group: str, message: Any) -> None:
        await self.gate.wait()
        self.sent.append(f"{group} {message['type']}")


async def test_a_group_that_hangs_is_avoided(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages go to channels until it takes a probe: a link waits once, not for each batch."""
    monkeypatch.setattr(calls, "DETOUR_PAUSE", 0.0)
    layer = FrozenGroups()
    publisher = Publisher(TypedLayer(layer, limit=0.02), lambda: None)
    outcomes = await asyncio.gather(*(publisher.publish("g", "peer", {}) for _ in range(2)))
    assert outcomes == [False, False]
    assert publisher.detour == "g"
    assert await publisher.publish("g", "peer", {})
    assert layer.sent == ["peer"]
    layer.gate.set()
    while publisher.detour is not None:  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert await publisher.publish("g", "peer", {"type": "batch"})
    assert layer.sent == ["peer", "g demux.probe", "g batch"]


async def test_a_group_without_a_channel_is_not_avoided() -> None:
    """A probe is for a group alone."""
    publisher = Publisher(TypedLayer(FrozenGroups(), limit=0.02), lambda: None)
    assert not await publisher.publish("g", "", {"type": "x"})
    assert publisher.detour is None
