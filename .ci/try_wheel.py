"""Installs the built wheel as a newcomer would, and runs the README's demo from it."""

import re
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

#: Seconds that the demo may take to start, answer and stop.
LIMIT = 120
#: What is run beside the demo: the page and all that it names, and an echo over the WebSocket.
VISIT = """
import asyncio, re, sys, urllib.request
from channels_demux_layer.client import connect

page = sys.argv[1]

def fetch(path):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return opener.open(page.rstrip("/") + path).read().decode()

paths = set(re.findall(r'/static/[^"]+', fetch("/")))
assert any(path.endswith("demultiplexer.js") for path in paths), paths
assert all(fetch(path) for path in paths)

async def echo():
    async with connect(page.replace("http", "ws") + "ws/") as demux:
        stream = demux.stream("echo")
        await stream.send({"number": 1})
        assert (await stream.receive())["echo"] == {"number": 1}

asyncio.run(echo())
print(len(paths), "files and an echo")
"""


def install(folder: Path, wheel: Path) -> Path:
    """Makes an environment that has the wheel and what its demo needs.

    Args:
        folder: Where to.
        wheel: The wheel.

    Returns:
        The interpreter.
    """
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "-q", "--python", sys.executable, str(folder)], check=True)
    python = folder / "bin" / "python"
    wanted = f"channels-demux-layer[client,demo] @ {wheel.resolve().as_uri()}"
    subprocess.run([*uv, "pip", "install", "-q", "--python", str(python), wanted], check=True)
    return python


def run_demo(python: Path, folder: Path) -> None:
    """Starts the demo, visits it, and stops it as Ctrl-C does.

    Args:
        python: The interpreter.
        folder: Where to run: nothing of the repository is there.
    """
    demo = subprocess.Popen(
        [python, "-u", "-m", "channels_demux_layer.demo", "--port", "0"],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    timer = threading.Timer(LIMIT, demo.kill)
    timer.start()
    try:
        assert demo.stdout
        page = None
        for line in demo.stdout:
            found = re.search(r"http://\S+?/(?=\W|$)", line)
            page = found[0] if found else page
            if line.startswith("Press Ctrl-C"):
                break
        assert page, "The demo did not start."
        subprocess.run([python, "-c", VISIT, page], cwd=folder, check=True, timeout=LIMIT)
        demo.send_signal(signal.SIGINT)
        demo.stdout.read()
        assert demo.wait() == 0, "The demo did not end well."
    finally:
        timer.cancel()
        demo.kill()
        demo.wait()


def main(dist: Path) -> None:
    """Tries the one wheel in a folder.

    Args:
        dist: The folder.
    """
    (wheel,) = dist.glob("*.whl")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run_demo(install(folder / "venv", wheel), folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
