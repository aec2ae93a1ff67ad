"""One deployment of the acceptance project: Redis, servers and workers."""

import itertools
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .layers import Kind, Layer
from .processes import Process
from .redis_server import RedisServer
from .waiting import wait_until

ServerKind = Literal["uvicorn", "daphne"]

SERVERS: tuple[ServerKind, ...] = ("uvicorn", "daphne")

PROJECT = "tests.acceptance.project"

#: What each server writes once its port accepts; the group is the port.
LISTENING = {
    "uvicorn": r"Uvicorn running on http://127\.0\.0\.1:(\d+)",
    "daphne": r"Listening on TCP address 127\.0\.0\.1:(\d+)",
}


@dataclass(frozen=True)
class Database:
    """A migrated database to copy.

    Attributes:
        path: The SQLite file.
        session_key: The session that the user `ada` is logged in with.
    """

    path: Path
    session_key: str

    def copy_to(self, path: Path) -> "Database":
        """Copies the file.

        Args:
            path: Where to.

        Returns:
            The copy.
        """
        shutil.copy(self.path, path)
        return Database(path, self.session_key)


@dataclass(frozen=True)
class Server:
    """A running ASGI server.

    Attributes:
        process: Its process.
        port: Its port on the loopback interface.
    """

    process: Process
    port: int

    def url(self, path: str = "ws/") -> str:
        """Writes the address of a WebSocket.

        Args:
            path: The path, without its first slash.

        Returns:
            The `ws://` URL.
        """
        return f"ws://127.0.0.1:{self.port}/{path}"


class Site:
    """Everything that one deployment consists of; all of it ends with `stop()`.

    Args:
        directory: Where its database and journal are.
        database: The database to begin with; None: an empty one in memory.
        layer: The kind of channel layer; None: no channel layer, and no Redis.
        layer_config: More entries of the layer's CONFIG, such as `capacity`.
        settings: Django settings to override, by name.
        application: The dotted path of another ASGI application of the project.
        path: A directory to import from before anything else.
        environment: More of the environment of its processes.

    Attributes:
        redis: The private Redis server; None without a layer.
        processes: Every process of the project that was started, in order.
    """

    def __init__(
        self,
        directory: Path,
        database: Database | None,
        layer: Kind | None = "core",
        *,
        layer_config: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        application: str | None = None,
        path: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._journal = directory / "journal"
        self._journal.touch()
        self._database = database and database.copy_to(directory / "db.sqlite3")
        self._numbers = itertools.count(1)
        self._environment = {} if path is None else {"PYTHONPATH": str(path)}
        self._environment.update(environment or {})
        self.processes: list[Process] = []
        self.redis = None if layer is None else RedisServer(directory)
        self.layer = Layer(layer, self.redis) if layer and self.redis else None
        self._description = {
            "database": str(self._database.path) if self._database else ":memory:",
            "journal": str(self._journal),
            "channel_layers": self.layer.configured(**(layer_config or {})) if self.layer else {},
            "settings": dict(settings or {}),
        }
        if application is not None:
            self._description["application"] = application

    @property
    def session_key(self) -> str:
        """The key of the session that `ada` is logged in with, in the site's own database."""
        assert self._database is not None, "A site without a database has no session."
        return self._database.session_key

    def server(self, kind: ServerKind = "uvicorn", *options: str) -> Server:
        """Starts an ASGI server and waits until it accepts.

        Args:
            kind: Which of the two servers.
            *options: More words of its command line.

        Returns:
            The running server.
        """
        process = self.start(kind, [*self._server_command(kind), *options])
        return Server(process, int(process.wait_for_line(LISTENING[kind]).group(1)))

    def worker(self, *channels: str) -> Process:
        """Starts a worker under Channels' own command and waits until it listens.

        Args:
            *channels: The names on its command line.

        Returns:
            The running worker.
        """
        return self.workers([channels])[0]

    def workers(self, commands: list[tuple[str, ...]]) -> list[Process]:
        """Starts several workers at once and waits until all of them listen.

        Args:
            commands: For each worker the channels on its command line.

        Returns:
            The running workers, in the same order.
        """
        layer = self.layer
        assert layer is not None, "A site without a layer has no workers."
        every = {channel for channels in commands for channel in channels}
        before = {channel: layer.listeners(channel, "") for channel in every}
        started = [
            (self.start("worker", ["-m", "django", "runworker", *channels]), channels)
            for channels in commands
        ]

        def listening() -> bool:
            for process, _ in started:
                assert process.running, f"{process.name} has ended:\n{process.log()}"
            if layer.kind == "core":
                return all(
                    layer.listeners("", process.name) >= len(channels)
                    for process, channels in started
                )
            return all(
                layer.listeners(channel, "") - before[channel]
                >= sum(channel in channels for _, channels in started)
                for channel in every
            )

        wait_until(listening, f"workers that listen on {', '.join(sorted(every))}")
        return [process for process, _ in started]

    def start(self, role: str, arguments: list[str]) -> Process:
        """Starts any Python process of the project.

        Args:
            role: What to call it; a number follows.
            arguments: The interpreter's command line.

        Returns:
            The process, which has only just begun.
        """
        name = f"{role}-{next(self._numbers)}"
        process = Process(name, ["python", *arguments], self.environment(name))
        self.processes.append(process)
        return process

    def environment(self, name: str) -> dict[str, str]:
        """Writes the environment of a process of this site.

        Args:
            name: The name by which Redis will know its connections.

        Returns:
            What to add to the environment of the tests.
        """
        return {
            "DJANGO_SETTINGS_MODULE": f"{PROJECT}.settings",
            "DEMUX_SITE": json.dumps(self._description),
            "DEMUX_PROCESS": name,
            **self._environment,
        }

    def journal(self, event: str | None = None, **fields: Any) -> list[dict[str, Any]]:
        """Reads what the consumers wrote down.

        Args:
            event: Takes only the entries of this event.
            **fields: Takes only the entries with these values.

        Returns:
            The entries in the order in which they were written.
        """
        wanted = fields if event is None else {"event": event, **fields}
        # A process may be in the middle of its line, which other processes can see half of.
        whole, _, _ = self._journal.read_bytes().rpartition(b"\n")
        entries = map(json.loads, whole.splitlines())
        return [entry for entry in entries if wanted.items() <= entry.items()]

    def wait_for_journal(self, event: str, **fields: Any) -> dict[str, Any]:
        """Waits for an entry of the journal.

        Args:
            event: The event.
            **fields: What else the entry must say.

        Returns:
            The first such entry.
        """
        return wait_until(lambda: self.journal(event, **fields), f"{event} {fields}")[0]

    def logs(self) -> str:
        """What all processes of the project wrote.

        Returns:
            The logs, one after the other.
        """
        return "".join(process.log() for process in self.processes)

    def stop(self) -> None:
        """Ends every process of the site, at once: none is waited for while it takes its leave."""
        for process in self.processes:
            process.stop(grace=0)
        if self.redis is not None:
            self.redis.stop()

    def _server_command(self, kind: ServerKind) -> list[str]:
        application = self._description.get("application", f"{PROJECT}.asgi.application")
        target = ":".join(str(application).rsplit(".", 1))
        if kind == "daphne":
            return ["-m", "daphne", "-b", "127.0.0.1", "-p", "0", target]
        return ["-m", "uvicorn", "--host", "127.0.0.1", "--port", "0", target]
