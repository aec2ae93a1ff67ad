"""Each limit, hit by a real client over a real socket, on both layers."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from channels_demux_layer.edge.limits import BURST, MOST_REFUSALS

from .conftest import Database
from .harness.client import connect
from .harness.layers import KINDS
from .harness.site import Server, Site

LIMITED = "tests.acceptance.project.limited.application"
CHANNELS = tuple(f"limited.{name}" for name in ("echo", "slow", "members", "staff"))


@pytest.fixture(scope="module", params=KINDS)
def site(
    request: pytest.FixtureRequest,
    redis_installed: None,
    database: Database,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Site, Server]]:
    """A site with limits, on each layer.

    Yields:
        The site, and its server.
    """
    directory = tmp_path_factory.mktemp(f"limited-{request.param}")
    site = Site(directory, database, request.param, application=LIMITED)
    try:
        server = site.server()
        site.worker(*CHANNELS)
        yield site, server
    finally:
        site.stop()


async def test_open_streams(site: tuple[Site, Server]) -> None:
    """A stream beyond MAX_OPEN_STREAMS gets an error that says what to do."""
    async with connect(site[1].url("streams/")) as client:
        await client.ask("echo", 1)
        await client.send_event("slow", "open")
        await client.send("members", 1)
        error = await client.receive_event("error", stream="members")
        assert error["code"] == "too_many_streams"
        assert error["message"] == "2 streams may be open at a time. Close another one first."
        await client.ask("echo", 2)


async def test_opens_per_minute(site: tuple[Site, Server]) -> None:
    """Opens beyond OPENS_PER_MINUTE get errors; going on closes the socket with 4429."""
    async with connect(site[1].url("opens/")) as client:
        for _ in range(3):
            await client.send_event("slow", "open")
            await client.send_event("slow", "close")
            await client.receive_event("closed", stream="slow")
        for _ in range(MOST_REFUSALS + 1):
            await client.send_event("slow", "open")
        assert await client.wait_closed() == 4429
        for _ in range(MOST_REFUSALS):
            error = await client.receive_event("error", stream="slow")
            assert error["code"] == "too_many_opens"


async def test_frames_per_second(site: tuple[Site, Server]) -> None:
    """What is beyond FRAMES_PER_SECOND comes later, and nothing is lost."""
    count = 100
    async with connect(site[1].url("frames/")) as client:
        begun = time.monotonic()
        for number in range(count):
            await client.send("echo", number)
        answers = [(await client.receive_from("echo"))["echo"] for _ in range(count)]
    assert answers == list(range(count))
    # The last one is paid for after its answer.
    assert time.monotonic() - begun >= (count - 1) / 20 - BURST - 0.1


async def test_bytes_per_second(site: tuple[Site, Server]) -> None:
    """What is beyond BYTES_PER_SECOND comes later, and nothing is lost."""
    large = "x" * 50_000
    async with connect(site[1].url("bytes/")) as client:
        begun = time.monotonic()
        for _ in range(10):
            await client.send("echo", large)
        for _ in range(10):
            assert (await client.receive_from("echo"))["echo"] == large
    assert time.monotonic() - begun >= 9 * len(large) / 100_000 - BURST - 0.1


async def test_buffered_bytes(site: tuple[Site, Server], tmp_path: Path) -> None:
    """While MAX_BUFFERED bytes wait for consumers the socket is not read; nothing is lost."""
    release = tmp_path / "release"
    payload = {"until": str(release), "payload": "x" * 9_000}
    async with connect(site[1].url("buffered/")) as client:
        for _ in range(6):
            await client.send("slow", payload)
        await client.send_raw("no envelope, whose error would come at once")
        site[0].wait_for_journal("holding", stream="slow")
        release.touch()
        arrived = [await client.receive() for _ in range(7)]
    answers = [message.get("payload") for message in arrived]
    assert answers.count(payload["payload"]) == 6
    assert answers[0] == payload["payload"]


async def test_permissions(site: tuple[Site, Server]) -> None:
    """Who is nobody may use neither stream, and who is logged in the one that is for all such."""
    url = site[1].url("limited/")
    async with connect(url) as client:
        for stream in ("members", "staff"):
            await client.send(stream, 1)
            error = await client.receive_event("error", stream=stream)
            assert error["code"] == "not_permitted"
            assert (await client.receive_event("closed", stream=stream))["code"] == 4403
        await client.ask("echo", 1)
    async with connect(url, {"Cookie": f"sessionid={site[0].session_key}"}) as client:
        assert (await client.ask("members", 1))["echo"] == 1
        await client.send("staff", 1)
        assert (await client.receive_event("closed", stream="staff"))["code"] == 4403
