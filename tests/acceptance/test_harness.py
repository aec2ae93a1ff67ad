"""The harness itself: shown with consumers that know nothing of the package."""

from pathlib import Path

import pytest

from .conftest import MakeSite
from .harness.client import connect
from .harness.layers import Kind
from .harness.processes import LAST_WILL, Process, ProcessEndedError
from .harness.site import ServerKind
from .harness.waiting import wait_until

PLAIN = "tests.acceptance.project.plain_asgi.application"


async def test_servers_echo(make_site: MakeSite, server_kind: ServerKind) -> None:
    """A server that says it listens accepts sockets and runs the project's consumers."""
    site = make_site(None, application=PLAIN)
    server = site.server(server_kind)
    async with connect(server.url()) as client:
        await client.send_raw('{"a": 1}')
        assert await client.receive() == {"echo": {"a": 1}, "pid": server.process.pid}
    site.wait_for_journal("disconnect", pid=server.process.pid)


async def test_the_database_knows_the_user(make_site: MakeSite) -> None:
    """The prepared session logs the prepared user in."""
    site = make_site(None, application=PLAIN)
    cookie = {"Cookie": f"sessionid={site.session_key}"}
    async with connect(site.server().url("scope/"), cookie) as client:
        await client.send_raw('{"visits": 1}')
        report = await client.receive()
    assert report["user"]["name"] == "ada"
    assert report["session"]["data"] == {"colour": "green", "visits": 1}


async def test_workers_listen_once_started(make_site: MakeSite, layer_kind: Kind) -> None:
    """A message sent as soon as a worker is ready arrives, on the pub/sub layer too."""
    site = make_site(layer_kind, application=PLAIN)
    worker = site.worker("plain.note")
    send = (
        "import asyncio, django; django.setup(); from channels.layers import get_channel_layer;"
        "asyncio.run(get_channel_layer().send('plain.note', {'type': 'note.down', 'text': 'x'}))"
    )
    site.start("sender", ["-c", send])
    assert site.wait_for_journal("noted")["pid"] == worker.pid


def test_a_process_that_ends_is_noticed() -> None:
    """Waiting for a line of a process that has ended fails at once and shows its log."""
    process = Process("brief", ["python", "-c", "print('good-bye')"])
    try:
        with pytest.raises(ProcessEndedError, match="good-bye"):
            process.wait_for_line("never")
    finally:
        process.stop()


def test_a_stubborn_process_is_ended() -> None:
    """A process that ignores SIGTERM is ended all the same."""
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf')"
    process = Process("stubborn", ["python", "-c", f"{code}; signal.pause()"])
    process.wait_for_line("deaf")
    process.stop(grace=0.1)
    assert not process.running


@pytest.mark.skipif(not LAST_WILL, reason="There is no setpriv here, which needs Linux.")
def test_nothing_outlives_killed_tests() -> None:
    """When the tests are killed outright, what they started ends too."""
    code = (
        "from tests.acceptance.harness.processes import Process;"
        "child = Process('child', ['python', '-c', 'print(1); import signal; signal.pause()']);"
        "child.wait_for_line('1'); print('child', child.pid); import signal; signal.pause()"
    )
    parent = Process("parent", ["python", "-c", code])
    pid = int(parent.wait_for_line(r"child (\d+)").group(1))
    parent.kill()
    parent.stop()

    def ended() -> bool:
        status = Path(f"/proc/{pid}/stat")
        # Nobody may be there to collect it.
        return not status.exists() or " Z " in status.read_text()

    wait_until(ended, "the end of the child")
