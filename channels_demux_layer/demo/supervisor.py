"""Starts the demo's processes in order, watches them, and stops them."""

import asyncio
import contextlib
import http.client
import shutil
import tempfile
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from channels_demux_layer.exceptions import DemuxError

from .child import Child
from .control import Add, Command, ControlServer, Drain
from .plan import EDGE, STAND_IN, STOP_ORDER, STREAMS, Options, Plan, Project, plan_stand_in
from .preflight import (
    DemoError,
    check_extras,
    reachable_host,
    reserve_port,
    web_address,
    without_password,
)
from .redis_clients import client_names
from .redis_stand_in import announced_address

START_LIMIT = 30.0
"""Seconds that a process may take to be ready. A slow machine needs five."""
STOP_LIMIT = 5.0
"""Seconds between SIGTERM and SIGKILL."""
LOOK_AGAIN = 0.05
"""Seconds between two checks whether a process is ready."""
MOST_WORKERS = 16
"""Maximum number of workers. Each takes about 50 MB, and a second of CPU to start."""

Result = TypeVar("Result")


class StopRequested(DemuxError):  # noqa: N818 - not an error: the user wants to stop
    """The user asked the demo to stop."""


class Supervisor:
    """All processes of one demo.

    If a process ends while the demo starts, the demo ends. Once it runs, workers may end, and a
    server that ends is restarted. The page shows the consequences.

    Args:
        options: The user's options.
        environ: The environment, which may contain ``REDIS_URL``.
        say: Called with each line of progress.
        start_limit: Seconds that a process may take to be ready.

    Attributes:
        children: The processes in the order of their start. Workers and servers that ended while
            the demo ran are removed.
    """

    def __init__(
        self,
        options: Options,
        environ: Mapping[str, str],
        say: Callable[[str], object],
        start_limit: float = START_LIMIT,
    ) -> None:
        self.children: list[Child] = []
        self._options = options
        self._redis_url = environ.get("REDIS_URL", "")
        self._say = say
        self._start_limit = start_limit
        self._stop = asyncio.Event()
        self._ends: asyncio.Queue[Child] = asyncio.Queue()
        self._control = ControlServer(self.obey)
        self._numbers: Counter[str] = Counter()

    def request_stop(self) -> None:
        """Ask the demo to stop."""
        self._stop.set()

    async def run(self) -> None:
        """Run the demo until it is asked to stop.

        Raises:
            DemoError: The demo could not start, or an essential process ended. The files with the
                processes' output are kept.
        """
        with contextlib.suppress(StopRequested):
            await self._check()
            await self._run_processes(Path(tempfile.mkdtemp(prefix="channels-demux-demo-")))

    async def obey(self, command: Command) -> None:
        """Execute a command from the page.

        Args:
            command: The command.

        Raises:
            DemoError: The command cannot be executed.
        """
        workers = {child.pid: child for child in self.children if child.plan.stream}
        if isinstance(command, Add):
            if command.stream not in STREAMS:
                raise DemoError(f"There is no stream {command.stream!r}.")
            if len(workers) >= MOST_WORKERS:
                raise DemoError(f"The demo runs at most {MOST_WORKERS} workers. Stop one first.")
            await self._start(self._plan_worker(command.stream))
            return
        if command.pid not in workers:
            raise DemoError(f"Process {command.pid} is not a worker of this demo, or has ended.")
        worker = workers[command.pid]
        worker.drain() if isinstance(command, Drain) else worker.kill()

    async def _run_processes(self, logs: Path) -> None:
        self._logs = logs
        try:
            await self._start_all()
            while True:
                await self._take_leave(await self._unless_ended(self._ends.get(), ()))
        except StopRequested:
            self._say("Stopping.")
        finally:
            self._control.close()
            await self._stop_all()
        shutil.rmtree(logs, ignore_errors=True)
        self._say("Stopped.")

    async def _check(self) -> None:
        check_extras(stand_in=not self._redis_url)
        port = reserve_port(self._options.host, self._options.port)
        self._options = replace(self._options, port=port)
        if self._redis_url:
            await self._unless_ended(asyncio.to_thread(client_names, self._redis_url), ())
            self._say(f"redis: {without_password(self._redis_url)}, from REDIS_URL")

    async def _start_all(self) -> None:
        self._redis_url = self._redis_url or await self._start_stand_in()
        control = await self._control.start() if self._options.is_controlled else ""
        run = f"demo-{uuid.uuid4().hex[:8]}"
        self._project = Project(self._options, self._redis_url, run, control)
        plans = [*self._project.workers(), self._project.edge()]
        self._numbers.update(plan.stream for plan in plans)
        for child in [await self._start(plan) for plan in plans]:
            await self._until_ready(child, partial(self._is_ready, child.plan), self.children)
        self._say(f"Ready: open {self._address('http', '/')} in a browser.")
        self._say(f"The WebSocket is {self._address('ws', '/ws/')}, the output is in {self._logs}.")
        self._say("Press Ctrl-C to stop.")

    def _address(self, scheme: str, path: str) -> str:
        return web_address(scheme, self._options.host, self._options.port, path)

    def _plan_worker(self, stream: str) -> Plan:
        self._numbers[stream] += 1
        return self._project.worker(stream, self._numbers[stream])

    async def _start_stand_in(self) -> str:
        child = await self._start(plan_stand_in())
        url = await self._until_ready(child, partial(announced_address, child.log), [child])
        self._say(f"redis: {url}, fakeredis as a stand-in (set REDIS_URL to use a real server)")
        return url

    async def _start(self, plan: Plan) -> Child:
        child = await Child.start(plan, self._logs)
        child.ended.add_done_callback(lambda _: self._ends.put_nowait(child))
        self.children.append(child)
        self._say(f"{plan.name}: process {child.pid}, python {' '.join(plan.arguments)}")
        return child

    async def _take_leave(self, child: Child) -> None:
        """Remove a child that has ended. Restart the server; raise DemoError for the stand-in."""
        if child.plan.name == STAND_IN:
            raise _why(child)
        self.children.remove(child)
        self._say(f"{child.plan.name}: ended {child.describe_end()}, its output is in {child.log}")
        if child.plan.name == EDGE:
            edge = await self._start(child.plan)
            essential = [other for other in self.children if other.plan.name in STOP_ORDER]
            await self._until_ready(edge, partial(self._is_ready, edge.plan), essential)

    def _is_ready(self, plan: Plan) -> bool:
        if plan.name == EDGE:
            return is_serving(self._options.host, self._options.port)
        return plan.environ["DEMUX_DEMO_NAME"] in client_names(self._redis_url)

    async def _until_ready(
        self, child: Child, probe: Callable[[], Result | None], essential: Collection[Child]
    ) -> Result:
        async def look() -> Result:
            # Only polling works: another process cannot set an event of this one.
            while not (found := await asyncio.to_thread(probe)):  # noqa: ASYNC110
                await asyncio.sleep(LOOK_AGAIN)
            return found

        try:
            return await self._unless_ended(asyncio.wait_for(look(), self._start_limit), essential)
        except asyncio.TimeoutError:
            raise DemoError(
                f"{child.plan.name} (process {child.pid}) was not ready within "
                f"{self._start_limit:g} s: "
                f"read {child.log}, fix the cause and start the demo again."
            ) from None

    async def _unless_ended(self, goal: Awaitable[Result], essential: Collection[Child]) -> Result:
        """Return the goal's result, unless the user stops or an essential process ends first."""
        reached = asyncio.ensure_future(goal)
        stop = asyncio.ensure_future(self._stop.wait())
        ends = {child.ended for child in essential}
        await asyncio.wait({reached, stop, *ends}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if self._stop.is_set() or not reached.done():
            reached.cancel()
            if self._stop.is_set():
                raise StopRequested
            raise _why(next(child for child in essential if child.ended.done()))
        return reached.result()

    async def _stop_all(self) -> None:
        for turn in range(3):
            await asyncio.gather(
                *(
                    child.stop(STOP_LIMIT)
                    for child in self.children
                    if STOP_ORDER.get(child.plan.name, 1) == turn
                )
            )


def _why(child: Child) -> DemoError:
    """Return an error that says how an essential process ended."""
    return DemoError(
        f"{child.plan.name} (process {child.pid}) ended {child.describe_end()}: "
        f"read {child.log}, fix the cause and start the demo again."
    )


def is_serving(host: str, port: int) -> bool:
    """Return whether the health check of the demo's server answers with 200.

    Args:
        host: The address that the server listens on.
        port: The port that the server listens on.
    """
    connection = http.client.HTTPConnection(reachable_host(host), port, timeout=2.0)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
