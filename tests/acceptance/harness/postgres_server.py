"""A PostgreSQL server that nobody else uses."""

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from .processes import Process

#: Debian keeps the programs of each version to itself.
DEBIAN = Path("/usr/lib/postgresql")
USER = "demux"
BACKEND = "channels_demux_layer.contrib.postgres.PostgresChannelLayer"
#: The layer as it comes, without what this package changes.
PLAIN_BACKEND = "channels_postgres.core.PostgresChannelLayer"

#: Nothing here must outlast a crash of the machine.
OPTIONS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "listen_addresses=")


def find_postgres() -> Path | None:
    """Looks for PostgreSQL's programs.

    Returns:
        The directory of the newest that are here; None where there are none.
    """
    found = [path.parent for path in DEBIAN.glob("*/bin/initdb")]
    if found:
        return max(found, key=lambda path: int(path.parent.name))
    program = shutil.which("initdb")
    return Path(program).resolve().parent if program else None


class PostgresServer:
    """A private PostgreSQL on a socket of its own, started at once, with the layer's tables.

    It refuses to run as root, so its files are where its own user can reach them.

    Attributes:
        process: The process that it runs in.
    """

    def __init__(self) -> None:
        programs = find_postgres()
        assert programs is not None
        self._directory = Path(tempfile.mkdtemp(prefix="demux-postgres-"))
        become: list[str] = []
        if os.getuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(self._directory, owner.pw_uid, owner.pw_gid)
            become = [
                *("setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}"),
                # Who becomes somebody else is no longer killed with the tests, unless asked anew.
                *("--clear-groups", "--pdeathsig=KILL"),
            ]
        data = self._directory / "data"
        options = ["--no-sync", "-A", "trust", "-U", USER, "-E", "UTF8", "-D", str(data)]
        subprocess.run(
            [*become, str(programs / "initdb"), *options],
            cwd=self._directory,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        self._command = [
            *(*become, str(programs / "postgres"), "-D", str(data)),
            *("-k", str(self._directory)),
            *(word for option in OPTIONS for word in ("-c", option)),
        ]
        self.come_back()
        self._prepare()

    @property
    def database(self) -> dict[str, Any]:
        """Where it is, as an entry of the setting DATABASES says it."""
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "postgres",
            "USER": USER,
            "HOST": str(self._directory),
        }

    def channel_layers(self, backend: str = BACKEND, **config: Any) -> dict[str, Any]:
        """Writes the setting CHANNEL_LAYERS.

        Args:
            backend: The dotted name of the layer.
            **config: More entries of its CONFIG.

        Returns:
            The setting, with `default` as its one alias.
        """
        return {"default": {"BACKEND": backend, "CONFIG": {**self.database, **config}}}

    def _prepare(self) -> None:
        """Makes the layer's tables, as `manage.py migrate channels_postgres` does."""
        code = (
            "import json, os, django\n"
            "from django.conf import settings\n"
            "from django.core.management import call_command\n"
            "database = json.loads(os.environ['DEMUX_DATABASE'])\n"
            "settings.configure(DATABASES={'default': database},"
            " INSTALLED_APPS=['channels_postgres'])\n"
            "django.setup()\n"
            "call_command('migrate', 'channels_postgres', verbosity=0)\n"
        )
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "DEMUX_DATABASE": json.dumps(self.database)},
            check=True,
        )

    def go_away(self) -> None:
        """Ends the server, and with it all connections; its files stay."""
        # When it is asked by SIGTERM, it waits until all clients have gone.
        self.process.signal(signal.SIGINT)
        self.process.wait()
        self.process.stop()

    def come_back(self) -> None:
        """Starts the server on the same files."""
        self.process = Process("postgres", self._command, cwd=self._directory)
        self.process.wait_for_line("database system is ready to accept connections")

    def stop(self) -> None:
        """Ends the server and deletes its files."""
        self.go_away()
        shutil.rmtree(self._directory, ignore_errors=True)
