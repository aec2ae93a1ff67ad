"""A RabbitMQ server that nobody else uses."""

import contextlib
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any

from .processes import Process, ProcessEndedError
from .redis_server import ATTEMPTS, free_port
from .waiting import wait_until

#: Debian puts a script before this one that root alone can run, and as another user.
DEBIAN = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
BACKEND = "channels_rabbitmq.core.RabbitmqChannelLayer"
READY = "Server startup complete"


def find_rabbitmq() -> str | None:
    """Looks for RabbitMQ's start script, and for Erlang's `epmd`, which it needs.

    Returns:
        The path of the script; None where one of them is missing.
    """
    if shutil.which("epmd") is None:
        return None
    return str(DEBIAN) if DEBIAN.exists() else shutil.which("rabbitmq-server")


class RabbitmqServer:
    """A private RabbitMQ on free ports, without plugins, started at once.

    It has an `epmd` of its own, under which Erlang finds its nodes: one that is started for want
    of another would outlast the tests.

    Attributes:
        process: The process that it runs in.
    """

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="demux-rabbitmq-"))
        (self._directory / "enabled_plugins").write_text("[].\n")
        for attempt in range(1, ATTEMPTS + 1):
            self._port, self._node_port, self._epmd_port = (free_port() for _ in range(3))
            self._epmd = self._start_epmd()
            try:
                self.come_back()
            except ProcessEndedError:
                self._stop_processes()
                if attempt == ATTEMPTS:
                    raise
            else:
                return

    def channel_layers(self, **config: Any) -> dict[str, Any]:
        """Writes the setting CHANNEL_LAYERS but for the layer of opens.

        Args:
            **config: More entries of its CONFIG.

        Returns:
            The setting, with `default` as its one alias.
        """
        host = f"amqp://guest:guest@127.0.0.1:{self._port}"
        advised = {"local_expiry": 10}
        return {"default": {"BACKEND": BACKEND, "CONFIG": {"host": host, **advised, **config}}}

    def _start_epmd(self) -> Process:
        command = ["epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1"]
        process = Process("epmd", command)
        wait_until(lambda: not process.running or self._has_epmd(), "epmd")
        return process

    def _has_epmd(self) -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self._epmd_port)).close()
            return True
        return False

    def _environment(self) -> dict[str, str]:
        directory = str(self._directory)
        return {
            "HOME": directory,  # where Erlang keeps its cookie
            "ERL_EPMD_PORT": str(self._epmd_port),
            "RABBITMQ_ALLOW_INPUT": "1",  # no shell stays between, which would wait for the end
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": str(self._directory / "rabbitmq"),
            "RABBITMQ_DIST_PORT": str(self._node_port),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._directory / "enabled_plugins"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_LOG_BASE": directory,
            "RABBITMQ_MNESIA_BASE": directory,
            "RABBITMQ_NODENAME": "demux@localhost",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-noinput -kernel inet_dist_use_interface {127,0,0,1}"
            ),
        }

    def go_away(self) -> None:
        """Ends the server, and with it all connections; its ports stay its own."""
        self.process.stop()

    def come_back(self) -> None:
        """Starts the server on the same ports."""
        listener = f"listeners.tcp.local = 127.0.0.1:{self._port}\n"
        (self._directory / "rabbitmq.conf").write_text(listener)
        script = find_rabbitmq()
        assert script is not None
        self.process = Process("rabbitmq", [script], self._environment(), self._directory)
        self.process.wait_for_line(READY)

    def stop(self) -> None:
        """Ends the server and what belongs to it, and deletes its files."""
        self._stop_processes()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _stop_processes(self) -> None:
        self.process.stop()
        self._epmd.stop()
