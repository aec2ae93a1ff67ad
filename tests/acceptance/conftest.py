"""Sites for the acceptance tests, and the logs of their processes when a test fails."""

import json
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from .harness.layers import KINDS, Kind
from .harness.processes import STARTED, Process
from .harness.site import PROJECT, SERVERS, Database, Server, ServerKind, Site

MakeSite = Callable[..., Site]

#: How many lines each process had written when the running test began.
_lines_before: dict[Process, int] = {}


class SharedSite:
    """A site that many tests use, one after the other.

    Args:
        site: The site, with nothing running yet.

    Attributes:
        site: The site.
        echo_worker: The worker of the stream `echo`.
        other_worker: The worker of every other stream that isn't hosted inline.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self._servers: dict[ServerKind, Server] = {}
        self._servers["uvicorn"] = site.server("uvicorn")
        self.echo_worker, self.other_worker = site.workers([("demux.echo",), OTHER_CHANNELS])

    def server(self, kind: ServerKind = "uvicorn") -> Server:
        """Gives a server, started at its first use.

        Args:
            kind: Which of the two.

        Returns:
            The running server.
        """
        if kind not in self._servers:
            self._servers[kind] = self.site.server(kind)
        return self._servers[kind]


#: All channels but that of `echo`, and of `nobody`, which has no worker.
OTHER_CHANNELS = (
    *(
        f"demux.{stream}"
        for stream in (
            "other",
            "sync",
            "text",
            "plain",
            "bytes",
            "raw",
            "chat",
            "failing",
            "refusing",
            "denying",
            "closing",
            "slow",
            "scope",
            "lazy",
        )
    ),
    "closing.first",
    "closing.last",
    "refusing.only",
    "routed.router",
)


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    """A migrated database with a user who is logged in.

    Returns:
        The database that sites begin with.
    """
    directory = tmp_path_factory.mktemp("database")
    path = directory / "db.sqlite3"
    description = {"database": str(path), "journal": "", "channel_layers": {}}
    process = Process(
        "prepare",
        ["python", "-m", f"{PROJECT}.prepare"],
        {
            "DJANGO_SETTINGS_MODULE": f"{PROJECT}.settings",
            "DEMUX_SITE": json.dumps(description),
        },
    )
    written = process.wait_for_line(r"^\{.*\}$").group(0)
    assert process.wait() == 0
    process.stop()
    return Database(path, json.loads(written)["session"])


@pytest.fixture(scope="session", params=KINDS)
def shared(
    request: pytest.FixtureRequest,
    redis_installed: None,
    database: Database,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[SharedSite]:
    """One site for each layer with a server and two workers, shared by many tests.

    Yields:
        The running site.
    """
    # Nobody likes to wait ten seconds for a worker that never comes.
    settings = {"CHANNELS_DEMUX_LAYER": {"OPEN_TIMEOUT": 3.0}}
    directory = tmp_path_factory.mktemp(request.param)
    site = Site(directory, database, request.param, settings=settings)
    try:
        yield SharedSite(site)
    finally:
        site.stop()


@pytest.fixture(params=SERVERS)
def server_kind(request: pytest.FixtureRequest) -> ServerKind:
    """Each of the two ASGI servers in turn.

    Returns:
        Its name.
    """
    kind: ServerKind = request.param
    return kind


@pytest.fixture(params=KINDS)
def layer_kind(request: pytest.FixtureRequest, redis_installed: None) -> Kind:
    """Each of the two Redis channel layers in turn.

    Returns:
        Its name.
    """
    kind: Kind = request.param
    return kind


@pytest.fixture
def make_site(database: Database, tmp_path: Path) -> Iterator[MakeSite]:
    """Makes sites of the test's own, which end with it.

    Yields:
        A function that takes the arguments of `Site` from `layer` on.
    """
    sites: list[Site] = []

    def make(*args: Any, **options: Any) -> Site:
        directory = tmp_path / f"site-{len(sites)}"
        sites.append(Site(directory, database, *args, **options))
        return sites[-1]

    try:
        yield make
    finally:
        for site in sites:
            site.stop()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what starts real processes."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("acceptance")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Remembers where the logs are when a test begins."""
    _lines_before.clear()
    _lines_before.update({process: process.lines for process in STARTED})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Shows what the processes wrote during a test that failed.

    Returns:
        The report, with a section for each process that wrote anything.
    """
    report = yield
    if report.failed:
        for process in STARTED:
            if written := process.log(since=_lines_before.get(process, 0)):
                report.sections.append((f"log of {process.name}", written))
    return report
