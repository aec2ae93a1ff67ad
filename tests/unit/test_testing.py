"""The tools that are offered for tests."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.layers import get_channel_layer

from channels_demux_layer import Stream, WebsocketDemultiplexer
from channels_demux_layer.conf import get_settings
from channels_demux_layer.exceptions import ConfigurationError
from channels_demux_layer.testing import DemuxCommunicator, run_workers, workers
from channels_demux_layer.testing.socket import connections_kept
from channels_demux_layer.transport import nodes as nodes_module
from tests.integration.harness import until

MEMORY = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}


class Echo(AsyncJsonWebsocketConsumer):
    """Says what it hears, and does what it is told."""

    async def receive_json(self, content: Any) -> None:
        if content == "close":
            await self.close(4001, "told to")
        elif content == "raise":
            raise ValueError("told to")
        else:
            await self.send_json(content)


class Pair(WebsocketDemultiplexer):
    """Two streams."""

    consumer_classes = {"one": Echo, "two": Echo}


class Single(WebsocketDemultiplexer):
    """One stream."""

    consumer_classes = {"one": Echo}


@pytest.fixture(autouse=True)
def _memory(settings: Any) -> None:
    settings.CHANNEL_LAYERS = MEMORY


def communicator(cls: type[WebsocketDemultiplexer] = Pair, **options: Any) -> DemuxCommunicator:
    """Make a client."""
    return DemuxCommunicator(cls.as_asgi(), **options)


# The communicator


async def test_payloads_are_kept_for_their_own_stream() -> None:
    """What comes first is received when it is asked for, whatever the order."""
    async with communicator() as client:
        for number in range(2):
            for stream in ("one", "two"):
                await client.send_to(stream, [stream, number])
        for stream in ("two", "one"):
            assert [await client.receive_from(stream) for _ in range(2)] == [
                [stream, 0],
                [stream, 1],
            ]


async def test_events_are_kept_beside_payloads() -> None:
    """Events of a stream, and those of none, wait apart from payloads."""
    async with communicator() as client:
        await client.send_frame("nonsense")
        await client.send_to("none", 1)
        await client.send_to("one", 1)
        assert await client.receive_from("one") == 1
        assert (await client.receive_event("none"))["code"] == "unknown_stream"
        assert (await client.receive_event())["code"] == "invalid_json"


async def test_frames_come_as_they_are() -> None:
    """The oldest unread frame, raw or decoded, as Channels' own communicator gives it."""
    async with communicator() as client:
        await client.send_json_to({"stream": "one", "payload": 1})
        await client.send_json_to({"stream": "two", "payload": 2})
        assert await client.receive_from("two") == 2
        await client.send_json_to({"stream": "one", "payload": 3})
        assert await client.receive_json_from() == {"stream": "one", "payload": 1}
        assert await client.receive_frame() == '{"stream":"one","payload":3}'


async def test_a_stream_can_be_closed_and_opened() -> None:
    """The client's events, and what follows from them."""
    async with communicator() as client:
        await client.close("one")
        assert (await client.receive_event("one"))["event"] == "closed"
        await client.open("one")
        await client.send_to("one", 1)
        assert await client.receive_from("one") == 1


async def test_the_close_of_the_socket_is_received() -> None:
    """Its code and reason are told, as often as asked for, and what came before is kept."""
    async with communicator(Single) as client:
        await client.send_to("one", 1)
        await client.send_to("one", "close")
        for _ in range(2):
            assert await client.receive_close() == (4001, "told to")
        assert await client.receive_from("one") == 1


async def test_nothing_is_nothing_unread() -> None:
    """Whatever is kept or comes is something, on request of one stream alone."""
    async with communicator() as client:
        assert await client.receive_nothing(0.01)
        await client.send_to("one", 1)
        assert not await client.receive_nothing(10.0)
        assert await client.receive_nothing(0.01, stream="two")
        assert not await client.receive_nothing(stream="one")
        assert await client.receive_from("one") == 1
        assert await client.receive_nothing(0.01)


async def test_the_close_of_the_socket_is_something() -> None:
    """A socket that closes has not been silent."""
    async with communicator(Single, timeout=10.0) as client:
        await client.send_to("one", "close")
        assert not await client.receive_nothing(10.0)
        assert await client.receive_nothing(0.01, stream="two")


async def test_a_failure_shows_what_came_instead() -> None:
    """What was awaited in vain is named, beside all that is unread; the test may go on."""
    async with communicator() as client:
        await client.send_to("two", {"a": 1})
        await client.send_frame("nonsense")
        await until(lambda: client.output_queue.qsize() == 2)
        with pytest.raises(
            AssertionError, match="Timed out waiting for a payload of stream 'one'"
        ) as e:
            await client.receive_from("one", timeout=0.3)
        assert "payload of 'two': {'a': 1}" in str(e.value)
        assert "event: {'code': 'invalid_json', 'event': 'error', " in str(e.value)
        with pytest.raises(AssertionError, match="Timed out waiting for an event about 'one'"):
            await client.receive_event("one", timeout=0.01)
        await client.receive_event()
        await client.receive_from("two")
        with pytest.raises(AssertionError, match=r"an event about no stream\. There are no unread"):
            await client.receive_event(timeout=0.01)
        with pytest.raises(AssertionError, match="the close of the socket"):
            await client.receive_close(timeout=0.01)
        await client.send_to("one", 1)
        assert await client.receive_from("one") == 1


async def test_a_closed_stream_is_not_waited_for() -> None:
    """Who waits for a payload of a stream that ended is told at once."""
    async with communicator() as client:
        await client.send_to("one", "close")
        with pytest.raises(AssertionError, match="Stream 'one' closed before a payload") as e:
            await client.receive_from("one")
        assert "'code': 4001" in str(e.value)
        await client.open("one")
        await client.send_to("one", 1)
        assert await client.receive_from("one") == 1


async def test_a_closed_socket_is_not_waited_for() -> None:
    """Nothing more comes from it, and whoever waits is told at once."""
    async with communicator(Single) as client:
        await client.send_to("one", "close")
        await client.receive_close()
        with pytest.raises(AssertionError, match=r"Closure\(code=4001, reason='told to'\)"):
            await client.receive_event("none")


async def test_a_refused_connection_fails_the_block() -> None:
    """As a context manager it connects; connect() itself leaves the judgement to the test."""

    class Refusing(Single):
        async def connect(self) -> None:
            await self.close(4003)

    with pytest.raises(AssertionError, match="refused the connection with code 4003"):
        async with communicator(Refusing):
            pass
    client = communicator(Refusing)
    assert await client.connect() == (False, 4003)
    assert await client.receive_close() == (4003, "")
    await client.disconnect()
    await client.disconnect()


async def test_what_the_application_raises_is_raised() -> None:
    """Whoever waits for it gets the exception, with its traceback."""

    class Raising(Single):
        async def receive(self, text_data: Any = None, bytes_data: Any = None, **_: Any) -> None:
            raise ZeroDivisionError

    async def use() -> None:
        async with communicator(Raising) as client:
            await client.send_frame("anything")
            await client.receive_frame()

    with pytest.raises(ZeroDivisionError):
        await use()
    client = communicator(Raising)
    await client.connect()
    await client.send_frame("anything")
    with pytest.raises(ZeroDivisionError):
        await client.disconnect()


async def test_an_application_that_has_ended_is_not_waited_for() -> None:
    """An end without a close or an exception is told at once as well."""

    async def brief(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})

    async with DemuxCommunicator(brief) as client:
        with pytest.raises(AssertionError, match="The application has ended"):
            await client.receive_frame()


async def test_applications_that_do_not_answer_fail_the_test() -> None:
    """Neither a connect nor a disconnect is waited for without end."""

    async def silent(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    client = DemuxCommunicator(silent, timeout=0.01)
    with pytest.raises(
        AssertionError, match=r"neither accepted nor closed the socket within 0.01 s."
    ):
        await client.connect()
    with pytest.raises(AssertionError, match=r"The application did not end within 0.01 s."):
        await client.disconnect()


async def test_an_application_that_was_stopped_has_been_left() -> None:
    """Disconnecting after stop() raises nothing."""
    client = communicator()
    await client.connect()
    client.stop()
    await client.disconnect()


async def test_foreign_messages_are_no_frames() -> None:
    """An application that sends what no WebSocket server takes fails the test."""

    async def strange(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "http.response.start"})
        await asyncio.Event().wait()

    client = DemuxCommunicator(strange)
    await client.connect()
    with pytest.raises(AssertionError, match=r"Unexpected message .*http.response.start"):
        await client.receive_frame()
    client.stop()
    await asyncio.wait([client.future])


@pytest.mark.parametrize(
    "frame",
    [
        "not json",
        "[1]",
        '{"payload": 1}',
        '{"stream": "one"}',
        b"",
        b"\x00x",
        b"\x05one",
        b"\x01\xff",
    ],
)
async def test_what_is_no_envelope_is_still_a_frame(frame: str | bytes) -> None:
    """It is received as it is, and shown where something else was awaited."""

    async def sending(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        key = "text" if isinstance(frame, str) else "bytes"
        await send({"type": "websocket.send", key: frame})
        await receive()
        await receive()

    async with DemuxCommunicator(sending) as client:
        await until(client.output_queue.qsize)
        with pytest.raises(AssertionError, match="frame that is no envelope: "):
            await client.receive_from("one", timeout=0.3)
        assert await client.receive_frame() == frame


async def test_a_failing_test_fails_of_its_own_reason() -> None:
    """What the block raises is not hidden by what its end raises."""

    async def stubborn(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await asyncio.Event().wait()

    async def use(failure: Exception | None) -> None:
        async with DemuxCommunicator(stubborn) as client:
            client.timeout = 0.01
            if failure is not None:
                raise failure

    with pytest.raises(KeyError):
        await use(KeyError())
    with pytest.raises(AssertionError, match="did not end"):
        await use(None)


async def test_database_connections_are_kept_while_anybody_needs_them() -> None:
    """Any number of users side by side leave Channels as it was."""
    from channels import db

    real = db.close_old_connections
    one, two = connections_kept(), connections_kept()
    with one:
        two.__enter__()
        assert db.close_old_connections is not real
    assert db.close_old_connections is not real
    assert db.close_old_connections() is None
    two.__exit__(None, None, None)
    assert db.close_old_connections is real


# The workers


async def test_workers_host_the_streams_while_they_run(settings: Any) -> None:
    """HOSTING is "workers" in the block, beside the project's own settings, and only there."""
    settings.CHANNELS_DEMUX_LAYER = {"MAX_PAYLOAD": 1000}
    async with run_workers(Pair):
        assert get_settings().HOSTING == "workers"
        assert get_settings().MAX_PAYLOAD == 1000
        assert Pair.hosting_of("one") == "workers"
        await get_channel_layer().send("demux.one", {"type": workers.PROBE})  # one too many
        async with communicator() as client:
            await client.send_to("one", 1)
            assert await client.receive_from("one") == 1
        assert nodes_module.find_node("default").channel
    assert get_settings().HOSTING == "auto"
    assert Pair.hosting_of("one") == "inline"


async def test_workers_leave_nothing_running() -> None:
    """Every task has ended with the block, even those of clients that never left."""
    before = asyncio.all_tasks()
    async with run_workers(Pair):
        client = communicator()
        await client.connect()
        await client.send_to("one", 1)
        await client.receive_from("one")
        client.stop()
    await asyncio.wait([client.future])
    assert asyncio.all_tasks() == before


async def test_workers_of_several_demultiplexers_run_together() -> None:
    """Streams that they share are served once."""

    class Other(WebsocketDemultiplexer):
        consumer_classes = {"one": Echo}
        channel_prefix = "other"

    async with run_workers(Pair, Single, Other):
        for cls in (Pair, Single, Other):
            async with communicator(cls) as client:
                await client.send_to("one", 1)
                assert await client.receive_from("one") == 1


async def test_workers_need_a_layer(settings: Any) -> None:
    """Without one, or with wrong settings, the block does not begin."""
    settings.CHANNEL_LAYERS = {}
    with pytest.raises(ConfigurationError, match="InMemoryChannelLayer"):
        async with run_workers(Pair):
            pass
    settings.CHANNELS_DEMUX_LAYER = {"MAX_PAYLOADS": 1}
    with pytest.raises(ConfigurationError, match="MAX_PAYLOADS"):
        async with run_workers(Pair):
            pass


async def test_workers_import_their_consumers_at_once() -> None:
    """A path that leads nowhere fails the block, and not the first client."""

    class Broken(WebsocketDemultiplexer):
        consumer_classes = {"one": Stream("channels_demux_layer.nowhere.App")}

    with pytest.raises(ConfigurationError, match=r"channels_demux_layer\.nowhere\.App"):
        async with run_workers(Broken):
            pass


def break_layer(monkeypatch: pytest.MonkeyPatch, channel: str, after: int = 0) -> None:
    """Have receive() raise for one channel, after so many messages."""
    layer = get_channel_layer()
    receive, count = layer.receive, [after]

    async def fail(name: str) -> Any:
        if name == channel:
            count[0] -= 1
            if count[0] < 0:
                raise ConnectionError("the layer is down")
        return await receive(name)

    monkeypatch.setattr(layer, "receive", fail)


async def test_a_worker_that_cannot_listen_fails_the_block(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What its listener raises is raised at once."""
    break_layer(monkeypatch, "demux.two")
    with pytest.raises(ConnectionError, match="the layer is down"):
        async with run_workers(Pair):
            raise AssertionError("not reached")
    assert (
        "The worker of channel demux.two failed. run_workers() will raise its error."
        in caplog.messages
    )


async def test_a_worker_that_ends_is_not_lost_in_silence(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A listener that fails later is logged at once, and raised at the end of the block."""
    break_layer(monkeypatch, "demux.two", after=2)

    async def use() -> None:
        async with run_workers(Pair):
            await get_channel_layer().send("demux.two", {"type": "foreign"})
            await until(
                lambda: (
                    "The worker of channel demux.two failed. run_workers() will raise its error."
                    in caplog.messages
                )
            )
            async with communicator() as client:
                await client.send_to("one", 1)
                assert await client.receive_from("one") == 1

    with pytest.raises(ConnectionError, match="the layer is down"):
        await use()


async def test_an_application_that_raises_ends_its_worker(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What the stock worker would only log fails the block."""

    async def fail(*args: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("channels_demux_layer.workers.worker.StreamWorker.__call__", fail)

    async def use() -> None:
        async with run_workers(Single):
            await get_channel_layer().send("demux.one", {"type": "anything"})
            await until(lambda: "The worker of channel demux.one has failed." in caplog.messages)

    with pytest.raises(ZeroDivisionError):
        await use()


async def test_workers_that_never_listen_fail_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait for them has a limit, even where the channel is full."""

    async def receive(channel: str) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(get_channel_layer(), "receive", receive)
    monkeypatch.setattr(get_channel_layer(), "capacity", 2)
    monkeypatch.setattr(workers, "START_LIMIT", 0.05)
    monkeypatch.setattr(workers, "PROBE_INTERVAL", 0.001)
    with pytest.raises(TimeoutError, match=re.escape("No worker listens on demux.one")):
        async with run_workers(Single):
            raise AssertionError("not reached")
