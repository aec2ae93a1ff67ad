"""Starts the demo's processes in order, watches them, ends them all."""

import asyncio
import contextlib
import http.client
import shutil
import tempfile
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeVar

from channels_demux_layer.demo.addresses import (
    reachable_host,
    reserve_port,
    web_address,
    without_password,
)
from channels_demux_layer.demo.child import Child
from channels_demux_layer.demo.plan import (
    EDGE,
    STOP_ORDER,
    Options,
    Plan,
    plan_processes,
    plan_stand_in,
)
from channels_demux_layer.demo.preflight import check_extras
from channels_demux_layer.demo.problems import DemoError
from channels_demux_layer.demo.redis_clients import client_names
from channels_demux_layer.demo.redis_stand_in import announced_address

START_LIMIT = 30.0
"""Seconds that a process may take until it is ready: a slow machine takes five."""
STOP_LIMIT = 5.0
"""Seconds that a process has to end by itself."""
LOOK_AGAIN = 0.05
"""Seconds between two looks at whether a process is ready."""

Result = TypeVar("Result")


class StopRequested(Exception):  # noqa: N818 - not an error: the user wants to stop
    """The user asked the demo to end."""


class Supervisor:
    """All processes of one demo.

    Args:
        options: What the user asked for.
        environ: The environment, which may have ``REDIS_URL``.
        say: Called with each line of progress.
        start_limit: Seconds that a process may take until it is ready.

    Attributes:
        children: The processes, in the order in which they were started.
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

    def request_stop(self) -> None:
        """Ask the demo to end."""
        self._stop.set()

    async def run(self) -> None:
        """Run the demo until it is asked to end.

        Raises:
            DemoError: It cannot start, or one of its processes ended by itself. Then the files
                with the processes' output stay.
        """
        with contextlib.suppress(StopRequested):
            await self._check()
            await self._run_processes(Path(tempfile.mkdtemp(prefix="channels-demux-demo-")))

    async def _run_processes(self, logs: Path) -> None:
        try:
            await self._start_all(logs)
            await self._unless_ended(asyncio.Event().wait())
        except StopRequested:
            self._say("Stopping.")
        finally:
            await self._stop_all()
        shutil.rmtree(logs, ignore_errors=True)
        self._say("Stopped.")

    async def _check(self) -> None:
        check_extras(stand_in=not self._redis_url)
        port = reserve_port(self._options.host, self._options.port)
        self._options = replace(self._options, port=port)
        if self._redis_url:
            await self._unless_ended(asyncio.to_thread(client_names, self._redis_url))
            self._say(f"redis: {without_password(self._redis_url)}, from REDIS_URL")

    async def _start_all(self, logs: Path) -> None:
        redis_url = self._redis_url or await self._start_stand_in(logs)
        run = f"demo-{uuid.uuid4().hex[:8]}"
        plans = list(plan_processes(self._options, redis_url, run))
        for plan in plans:
            await self._start(plan, logs)
        for plan in plans:
            await self._until_ready(plan.name, partial(self._is_ready, plan, redis_url))
        self._say(f"Ready: open {self._address('http', '/')} in a browser.")
        self._say(f"The WebSocket is {self._address('ws', '/ws/')}, the output is in {logs}.")
        self._say("Press Ctrl-C to stop.")

    def _address(self, scheme: str, path: str) -> str:
        return web_address(scheme, self._options.host, self._options.port, path)

    async def _start_stand_in(self, logs: Path) -> str:
        child = await self._start(plan_stand_in(), logs)
        url = await self._until_ready(child.plan.name, partial(announced_address, child.log))
        self._say(f"redis: {url}, fakeredis as a stand-in (set REDIS_URL to use a real server)")
        return url

    async def _start(self, plan: Plan, logs: Path) -> Child:
        child = await Child.start(plan, logs)
        self.children.append(child)
        self._say(f"{plan.name}: process {child.pid}, python {' '.join(plan.arguments)}")
        return child

    def _is_ready(self, plan: Plan, redis_url: str) -> bool:
        if plan.name == EDGE:
            return is_serving(self._options.host, self._options.port)
        return plan.environ["DEMUX_DEMO_NAME"] in client_names(redis_url)

    async def _until_ready(self, name: str, probe: Callable[[], Result | None]) -> Result:
        async def look() -> Result:
            # Another process is looked at: it can set no event here.
            while not (found := await asyncio.to_thread(probe)):  # noqa: ASYNC110
                await asyncio.sleep(LOOK_AGAIN)
            return found

        try:
            return await self._unless_ended(asyncio.wait_for(look(), self._start_limit))
        except asyncio.TimeoutError:
            child = next(child for child in self.children if child.plan.name == name)
            raise DemoError(
                f"{name} (process {child.pid}) was not ready within {self._start_limit:g} s: "
                f"read {child.log}, mend the cause and start the demo again."
            ) from None

    async def _unless_ended(self, goal: Awaitable[Result]) -> Result:
        """Wait for a goal, a wish to stop or the end of any process, whichever comes first."""
        reached = asyncio.ensure_future(goal)
        stop = asyncio.ensure_future(self._stop.wait())
        ends = {child.ended for child in self.children}
        await asyncio.wait({reached, stop, *ends}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if self._stop.is_set() or not reached.done():
            reached.cancel()
            self._tell_why()
        return reached.result()

    def _tell_why(self) -> NoReturn:
        if self._stop.is_set():
            raise StopRequested
        child = next(child for child in self.children if child.ended.done())
        raise DemoError(
            f"{child.plan.name} (process {child.pid}) ended {child.describe_end()}: "
            f"read {child.log}, mend the cause and start the demo again."
        )

    async def _stop_all(self) -> None:
        for turn in range(3):
            await asyncio.gather(
                *(
                    child.stop(STOP_LIMIT)
                    for child in self.children
                    if STOP_ORDER.get(child.plan.name, 1) == turn
                )
            )


def is_serving(host: str, port: int) -> bool:
    """Look whether the demo's server answers.

    Args:
        host: The address that it listens on.
        port: Its port.

    Returns:
        Whether its health check is answered with 200.
    """
    connection = http.client.HTTPConnection(reachable_host(host), port, timeout=2.0)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
