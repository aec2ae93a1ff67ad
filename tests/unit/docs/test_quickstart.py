"""The README's quickstart works in one process; tests/acceptance has it with all of them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.quickstart import ENVIRONMENT, make_project

TALK = """
import asyncio
from mysite.asgi import application
from channels_demux_layer.testing import DemuxCommunicator

async def main():
    origin = [(b"origin", b"http://localhost")]
    async with DemuxCommunicator(application, "/ws/", headers=origin) as client:
        await client.send_to("echo", {"text": "hello"})
        print(await client.receive_from("echo"), await client.receive_from("clock"))

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project of the README's quickstart, each file as it stands there.

    Returns:
        The folder that holds the project's package.
    """
    return make_project(tmp_path_factory.mktemp("quickstart"))


def run(project: Path, *arguments: str) -> str:
    """Run Python in the project's folder, and return what it printed."""
    environment = {**os.environ, **ENVIRONMENT}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_it_has_no_wiring_faults(project: Path) -> None:
    """The system checks have nothing to say about it."""
    assert "no issues" in run(project, "manage.py", "check", "--tag", "channels_demux_layer")


def test_it_runs_in_one_process(project: Path) -> None:
    """It answers without a worker where there is no channel layer, as the README says."""
    settings = project / "mysite" / "settings.py"
    whole = settings.read_text(encoding="utf-8")
    try:
        settings.write_text(f"{whole}\nCHANNEL_LAYERS = {{}}\n", encoding="utf-8")
        assert "{'text': 'hello'} {'now': " in run(project, "-c", TALK)
    finally:
        settings.write_text(whole, encoding="utf-8")
