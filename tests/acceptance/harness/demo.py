"""The demo as a process, and all that it starts."""

import contextlib
import re
import shutil
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

from .processes import Process
from .redis_server import free_port

#: The last line of its start.
READY = r"^Press Ctrl-C to stop\.$"


class Demo:
    """One run of the demo; whatever it starts can be told from all other processes.

    Args:
        *arguments: Its command line.
        redis_url: Where Redis is; by default nowhere, so that the stand-in is used.
        **environ: More of its environment.

    Attributes:
        port: The port that its server is told to listen on.
        process: The process that the user started.
    """

    def __init__(self, *arguments: str, redis_url: str = "", **environ: str) -> None:
        self.port = free_port()
        self._mark = uuid.uuid4().hex
        self.process = Process(
            "demo",
            ["python", "-m", "channels_demux_layer.demo", "--port", str(self.port), *arguments],
            {"REDIS_URL": redis_url, "DEMUX_TEST_RUN": self._mark, **environ},
        )

    def pids(self) -> dict[str, int]:
        """Reads from the progress which processes were started.

        Returns:
            The number of each process by its name.
        """
        found = re.findall(r"^(\S+): process (\d+)", self.process.log(), re.MULTILINE)
        return {name: int(pid) for name, pid in found}

    def page(self) -> str:
        """Asks for the page, as a browser would.

        Returns:
            What came.
        """
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.port}/") as answer:
            text: str = answer.read().decode()
        return text

    def left_over(self) -> list[str]:
        """Looks for processes of this run.

        Returns:
            The command lines of those that run.
        """
        return [
            directory.joinpath("cmdline").read_text().replace("\0", " ")
            for directory in Path("/proc").glob("[0-9]*")
            if self._mark.encode() in _environment(directory)
        ]

    def assert_ended(self, code: int) -> str:
        """Waits for the end, which has to be a clean one.

        Args:
            code: The expected exit code.

        Returns:
            All that the demo printed.
        """
        assert self.process.wait() == code
        assert self.left_over() == []
        log = self.process.log()
        assert "Traceback" not in log
        return log

    def assert_refused(self, pattern: str) -> None:
        """Waits for the end by a problem that is told in one plain sentence, the last line.

        Args:
            pattern: A regular expression that the whole sentence matches.
        """
        last = self.assert_ended(1).splitlines()[-1]
        assert re.fullmatch(f"The demo cannot run: {pattern}", last), last

    def stop(self) -> None:
        """Ends all of it, whatever state it is in, and removes its logs."""
        self.process.stop()
        for logs in re.findall(r"/\S*channels-demux-demo-\w+", self.process.log()):
            shutil.rmtree(logs, ignore_errors=True)


def _environment(directory: Path) -> bytes:
    try:
        return directory.joinpath("environ").read_bytes()
    except OSError:  # it has ended, or is somebody else's
        return b""


@contextlib.contextmanager
def running(*arguments: str, redis_url: str = "", **environ: str) -> Iterator[Demo]:
    """Runs a demo for the length of a block.

    Yields:
        The demo, which has only just begun.
    """
    demo = Demo(*arguments, redis_url=redis_url, **environ)
    try:
        yield demo
    finally:
        demo.stop()
