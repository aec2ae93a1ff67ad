"""The tests of the browser's client, which run in Node, and its talk with a real server."""

import gzip
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import channels_demux_layer
from tests.acceptance.harness.processes import STARTED, Process
from tests.acceptance.harness.redis_server import free_port
from tests.installed import need

HERE = Path(__file__).parent
CLIENT = (
    Path(channels_demux_layer.__file__).parent
    / "static"
    / "channels_demux_layer"
    / "demultiplexer.js"
)
#: How many bytes of the client may go over the network: without its comments, which a site may
#: strip as it compresses, and as it is.
LARGEST, LARGEST_COMMENTED = 4096, 5120
#: A comment, with the blanks before it, or the line that is nothing else. None of
#: the client's strings has two slashes.
COMMENT = re.compile(r"^ *//.*\n| +//.*$", re.MULTILINE)


@pytest.fixture(scope="module")
def node() -> str:
    """Skips what needs Node where there is none; on CI that is a failure.

    Returns:
        The program.
    """
    return need(shutil.which("node"), "node", "nodejs")


@pytest.fixture(scope="module")
def websocket_option(node: str) -> list[str]:
    """Skips what needs a WebSocket in Node where there is none.

    Returns:
        What Node is to be told for there to be one.
    """
    for options in ([], ["--experimental-websocket"]):
        command = [node, *options, "-e", "WebSocket"]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return options
    pytest.skip("This release of Node has no WebSocket.")


@pytest.fixture
def processes() -> Iterator[None]:
    """Ends what a test has started."""
    before = len(STARTED)
    yield
    for process in STARTED[before:]:
        process.kill()


def serve(port: int) -> Process:
    """Start the site's server, and wait until it listens."""
    address = ["--host", "127.0.0.1", "--port", str(port)]
    server = Process(
        "server",
        ["python", "-m", "uvicorn", *address, "tests.js.site:application"],
        {"DJANGO_SETTINGS_MODULE": "tests.settings"},
    )
    server.wait_for_line("Uvicorn running")
    return server


def test_in_node(node: str) -> None:
    """All tests in JavaScript pass, none of them skipped."""
    files = sorted(map(str, HERE.glob("*.test.mjs")))
    done = subprocess.run(
        [node, "--test", *files],
        env={**os.environ, "DEMUX_CLIENT": str(CLIENT)},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(files) == 5
    assert "skipped 0" in done.stdout


@pytest.mark.acceptance
def test_with_a_server(node: str, websocket_option: list[str], processes: None) -> None:
    """The client talks with a real server, and goes on with one that was restarted."""
    port = free_port()
    server = serve(port)
    url = f"http://127.0.0.1:{port}/ws/"
    talk = Process(
        "talk",
        [node, *websocket_option, str(HERE / "talk.mjs"), url],
        {"DEMUX_CLIENT": str(CLIENT)},
    )
    talk.wait_for_line("^again$")
    server.stop()
    serve(port)
    talk.wait_for_line("^done$")


def test_size() -> None:
    """The client is under 4 KB compressed, its comments aside, and not much over with them."""
    text = CLIENT.read_text(encoding="utf-8")
    bare = COMMENT.sub("", text)
    assert bare.count("\n") > 250
    assert len(gzip.compress(bare.encode(), mtime=0)) < LARGEST
    assert len(gzip.compress(text.encode(), mtime=0)) < LARGEST_COMMENTED
