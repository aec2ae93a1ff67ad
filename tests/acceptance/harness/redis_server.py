"""A Redis server that nobody else uses."""

import contextlib
import re
import shutil
import socket
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import redis

from .processes import Process, ProcessEndedError
from .waiting import LIMIT

#: How often another port is tried when somebody else took the free one first.
ATTEMPTS = 5


def find_redis_server() -> str | None:
    """Looks for Debian's redis-server.

    Returns:
        The path of the program; None where there is none.
    """
    return shutil.which("redis-server")


class RedisServer:
    """A private Redis on a free port, without persistence, started at once.

    Args:
        directory: Its working directory.
        extra: More command line options of redis-server.

    Attributes:
        port: The TCP port on the loopback interface.
        url: Its address as a `redis://` URL.
        process: The process that it runs in.
    """

    def __init__(self, directory: Path, *extra: str) -> None:
        self._directory = directory
        self._extra = extra
        self.port, self.process = self._start()
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def _start(self) -> tuple[int, Process]:
        for attempt in range(1, ATTEMPTS + 1):
            port = free_port()
            process = Process(f"redis-server:{port}", self._command(port))
            try:
                process.wait_for_line("Ready to accept connections")
            except ProcessEndedError:
                process.stop()
                if attempt == ATTEMPTS:
                    raise
            else:
                return port, process
        raise AssertionError("unreachable")

    def _command(self, port: int) -> list[str]:
        options = {
            "--port": str(port),
            "--bind": "127.0.0.1",
            "--dir": str(self._directory),
            "--save": "",
            "--appendonly": "no",
        }
        return [
            find_redis_server() or "redis-server",
            *(word for option in options.items() for word in option),
            *self._extra,
        ]

    @contextlib.contextmanager
    def client(self) -> Iterator[redis.Redis]:
        """Opens a client of this server.

        Yields:
            A blocking redis-py client, closed at the end.
        """
        client = redis.Redis.from_url(self.url)
        try:
            yield client
        finally:
            client.close()

    def commandstats(self) -> dict[str, int]:
        """Counts the commands that the server has run.

        Returns:
            How often each command was run since the server started, by its lower-case name.
        """
        with self.client() as client:
            stats = client.info("commandstats")
        return {name.removeprefix("cmdstat_"): entry["calls"] for name, entry in stats.items()}

    @contextlib.contextmanager
    def monitor(self) -> Iterator["Monitor"]:
        """Follows every command that clients send.

        Yields:
            The monitor, complete once the block is left.
        """
        monitor = Monitor(self)
        try:
            yield monitor
        finally:
            monitor.finish()

    def go_away(self) -> None:
        """Ends the server with all that it knows; its port stays its own."""
        self.process.stop()

    def come_back(self) -> None:
        """Starts the server again on the same port, empty."""
        self.process = Process(f"redis-server:{self.port}", self._command(self.port))
        self.process.wait_for_line("Ready to accept connections")

    def cut_clients(self) -> None:
        """Closes the connections of all clients: ordinary ones and subscribers."""
        with self.client() as client:
            for kind in ("normal", "pubsub"):
                client.client_kill_filter(_type=kind, skipme=True)

    def stop(self) -> None:
        """Ends the server."""
        self.process.stop()


class Monitor:
    """The commands that a server ran while this was open, as `MONITOR` writes them.

    Args:
        server: The server to follow.
    """

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._lines: list[str] = []
        self._mark = uuid.uuid4().hex
        self._socket = socket.create_connection(("127.0.0.1", server.port), LIMIT)
        self._file = self._socket.makefile("r", encoding="utf-8", errors="backslashreplace")
        self._socket.sendall(b"MONITOR\r\n")
        assert self._file.readline().strip() == "+OK"
        self._thread = threading.Thread(target=self._read, name="monitor", daemon=True)
        self._thread.start()

    @property
    def lines(self) -> list[str]:
        """The commands so far: time, client and quoted words."""
        return list(self._lines)

    def matching(self, pattern: str) -> list[str]:
        """Selects commands.

        Args:
            pattern: A regular expression, searched for in each command.

        Returns:
            The commands that have it, in their order.
        """
        return [line for line in self._lines if re.search(pattern, line)]

    def finish(self) -> None:
        """Waits until all that the server ran before is here, and ends."""
        if self._thread.is_alive():
            with self._server.client() as client:
                client.echo(self._mark)
            self._thread.join(LIMIT)
        self._file.close()
        self._socket.close()

    def _read(self) -> None:
        for line in self._file:
            if self._mark in line:
                return
            self._lines.append(line.rstrip("\r\n"))


def free_port() -> int:
    """Looks for a port that nobody listens on.

    Returns:
        The port, which somebody else may take at any time.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
