"""One stream's end never ends the others, and the last one ends the socket."""

from pathlib import Path
from typing import Any

from .conftest import SharedSite
from .harness.client import connect
from .harness.site import ServerKind


async def test_a_consumer_that_raises_ends_alone(
    shared: SharedSite, server_kind: ServerKind
) -> None:
    """A consumer that raises closes its stream with 1011; its worker and the others go on."""
    async with (
        connect(shared.server(server_kind).url()) as client,
        connect(shared.server(server_kind).url()) as bystander,
    ):
        assert await client.ask("failing", "ready") == "ready"
        assert await bystander.ask("failing", "ready") == "ready"
        await client.send("failing", "raise")
        closed = await client.receive_event("closed", stream="failing")
        assert closed["code"] == 1011
        assert (await client.ask("other", 1))["pid"] == shared.other_worker.pid
        assert (await client.ask("echo", 2))["pid"] == shared.echo_worker.pid
        assert await bystander.ask("failing", "still here") == "still here"
    shared.other_worker.wait_for_line("RuntimeError: the consumer was told to fail")


async def test_a_closed_stream_says_so(shared: SharedSite) -> None:
    """A frame to a stream that has closed gets an `error` event; the socket lives on."""
    async with connect(shared.server().url()) as client:
        assert await client.ask("closing", 4100) == "closing"
        assert (await client.receive_event("closed", stream="closing"))["code"] == 4100
        await client.send("closing", 1)
        error = await client.receive_event("error", stream="closing")
        assert error["code"] == "stream_closed"
        assert (await client.ask("echo", 1))["echo"] == 1


async def test_refusing_in_connect(shared: SharedSite, server_kind: ServerKind) -> None:
    """A consumer that closes in connect() rejects its own stream with its code."""
    async with connect(shared.server(server_kind).url()) as client:
        await client.send("refusing", 1)
        assert (await client.receive_event("closed", stream="refusing"))["code"] == 4001
        assert (await client.ask("echo", 1))["echo"] == 1


async def test_denying_in_connect(shared: SharedSite) -> None:
    """A consumer that denies rejects its own stream, and nothing else."""
    async with connect(shared.server().url()) as client:
        await client.send_event("denying", "open")
        await client.receive_event("closed", stream="denying")
        assert (await client.ask("other", 1))["echo"] == 1


async def test_the_last_streams_code_closes_the_socket(
    shared: SharedSite, server_kind: ServerKind
) -> None:
    """The socket closes when its last stream has, with that code, after its `closed` event."""
    async with connect(shared.server(server_kind).url("closing/")) as client:
        await client.send("first", 4001)
        assert (await client.receive_event("closed", stream="first"))["code"] == 4001
        await client.send("last", 4002)
        assert await client.wait_closed() == 4002
        assert await client.receive_from("last") == "closing"
        assert (await client.receive_event("closed", stream="last"))["code"] == 4002


async def test_a_refusal_of_the_only_stream_closes_the_socket(shared: SharedSite) -> None:
    """Where the only stream refuses, the accepted socket closes with its code."""
    async with connect(shared.server().url("refusing/")) as client:
        assert await client.wait_closed() == 4001
        assert (await client.receive_event("closed", stream="only"))["code"] == 4001


async def test_a_slow_consumer_holds_nobody_up(shared: SharedSite, tmp_path: Path) -> None:
    """While one consumer works, its socket's and its worker's other streams go on."""
    release = tmp_path / "release"
    frame = {"until": str(release), "payload": "slow"}
    async with (
        connect(shared.server().url()) as client,
        connect(shared.server().url()) as bystander,
    ):
        await client.send("slow", frame)
        connection = (await client.ask("scope", "report"))["demux"]["connection"]
        shared.site.wait_for_journal("holding", connection=connection)
        for number in range(200):
            assert (await client.ask("echo", number))["echo"] == number
            assert (await client.ask("other", number))["echo"] == number
            assert (await bystander.ask("other", number))["echo"] == number
        release.touch()
        assert await client.receive_from("slow") == "slow"


async def test_a_stream_without_a_worker(shared: SharedSite) -> None:
    """A stream that no worker serves is `unavailable`; the others are unaffected."""
    async with connect(shared.server().url()) as client:
        await client.send("nobody", "waits")
        assert (await client.ask("echo", 1))["echo"] == 1
        event: dict[str, Any] = await client.receive_event("unavailable", stream="nobody")
        assert "payload" not in event
        assert (await client.ask("echo", 2))["echo"] == 2


async def test_two_streams_die_at_once(shared: SharedSite) -> None:
    """Two consumers of one socket that fail together give one `closed` event each."""
    async with connect(shared.server().url()) as client:
        await client.ask("failing", "ready")
        await client.send("failing", "raise")
        await client.send("closing", 4200)
        assert (await client.receive_event("closed", stream="closing"))["code"] == 4200
        assert (await client.receive_event("closed", stream="failing"))["code"] == 1011
        assert (await client.ask("inline", 1))["echo"] == 1
