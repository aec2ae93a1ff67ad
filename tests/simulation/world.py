"""The system of one run: processes, clients, the layer, and what goes wrong."""

from __future__ import annotations

import asyncio
import contextvars
import random
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import channels.consumer
import channels.generic.websocket
from django.conf import settings as django_settings
from django.test.utils import override_settings

from channels_demux_layer import Stream, WebsocketDemultiplexer
from channels_demux_layer import demultiplexer as edge_module
from channels_demux_layer.edge import opening, survival
from channels_demux_layer.protocol.liveness import LinkConfig
from channels_demux_layer.protocol.session import Session
from channels_demux_layer.routing import stream_workers
from channels_demux_layer.transport import nodes as nodes_module
from channels_demux_layer.transport import own as own_module
from channels_demux_layer.transport import steadfast as steadfast_module
from channels_demux_layer.transport.nodes import find_node, stop_nodes
from channels_demux_layer.transport.watchdog import Watchdog
from channels_demux_layer.transport.wire import link_config
from channels_demux_layer.workers import session, worker
from channels_demux_layer.workers.drain import drain_workers
from channels_demux_layer.workers.worker import join_layer

from .client import Client
from .layer import LossyLayer, SharedLayer
from .ledger import Ledger, Silence
from .process import LayersByProcess, NodesByProcess, Process, current
from .scenario import HEALS_AT, STREAMS, Scenario, Trouble
from .story import teller

#: How long a draining worker has, in seconds.
DRAIN_TIMEOUT = 30.0
#: The ways in which a connection is half-open.
CUTS = {
    "deaf": {"hears": False, "speaks": True, "keeps": False},
    "late": {"hears": False, "speaks": True, "keeps": True},
    "mute": {"hears": True, "speaks": False, "keeps": False},
    "cut": {"hears": False, "speaks": False, "keeps": False},
}


class World:
    """Everything in a run.

    Args:
        scenario: What is to happen.
        rng: Where the rest of chance comes from.
    """

    def __init__(self, scenario: Scenario, rng: random.Random, *, is_told: bool) -> None:
        self.scenario = scenario
        self.is_told = is_told
        self.counts: Counter[str] = Counter()
        self.ledger = Ledger(scenario.connect_time)
        self.ledger.kill = self._kill_by_payload
        self.shared = SharedLayer(
            rng, scenario.capacity, scenario.latency, is_pubsub=scenario.is_pubsub
        )
        self.layer = LossyLayer(self.shared, seed=rng.getrandbits(32), **scenario.weather)
        #: Workers whose drain was not over in time.
        self.late: set[str] = set()
        #: Peers taken for dead.
        self.silences: list[Silence] = []
        self.processes: list[Process] = []
        self.demultiplexer = make_demultiplexer(self.ledger)
        self.edges = [self._start_process(f"edge{number}") for number in range(scenario.edges)]
        self.workers = [self._start_worker() for _ in range(scenario.workers)]
        if scenario.is_shared:
            self._host_streams(self.edges[0])
        application = self.demultiplexer.as_asgi()
        self.clients = [
            Client(number, plan, self.edges[plan.edge], application, rng)
            for number, plan in enumerate(scenario.clients)
        ]

    # -- processes ----------------------------------------------------------------------------

    def _start_process(self, name: str) -> Process:
        process = Process(name, self.layer)
        timeouts = self.scenario.peer_timeouts
        process.peer_timeout = timeouts[len(self.processes) % len(timeouts)]
        if self.is_told:
            process.tell = teller(name, asyncio.get_running_loop().time)
        self.processes.append(process)
        return process

    def _start_worker(self) -> Process:
        process = self._start_process(f"worker{len(self.processes)}")
        self._host_streams(process)
        return process

    def _host_streams(self, process: Process) -> None:
        streams = stream_workers(self.demultiplexer).items()
        process.listeners = [
            process.start(join_layer()),
            *(process.start(listen(*stream)) for stream in streams),
        ]

    # -- what goes wrong ----------------------------------------------------------------------

    async def make_trouble(self) -> None:
        """Let everything go wrong that is to, and then nothing any more."""
        now = asyncio.get_running_loop().time
        under_way = []
        for trouble in self.scenario.troubles:
            await asyncio.sleep(trouble.at - now())
            under_way.append(asyncio.ensure_future(self._make(trouble)))
        await asyncio.sleep(max(HEALS_AT - now(), 0))
        if under_way:
            await asyncio.wait(under_way)
            for task in under_way:
                task.result()
        self.layer.heal()

    async def _make(self, trouble: Trouble) -> None:
        if self.is_told:
            teller("trouble", asyncio.get_running_loop().time)("", str(trouble))
        if trouble.kind == "kill edge":
            self._kill_edge(self.edges[trouble.target % len(self.edges)])
        elif trouble.kind == "restart":
            await self._restart(trouble.lasts)
        elif trouble.kind == "forget":
            await self.layer.forget()
        elif trouble.kind == "deaf node":
            self._deafen_node(trouble.target)
        elif trouble.kind in CUTS or trouble.kind == "block":
            await self._trouble_process(trouble)
        else:
            await self._lose_worker(trouble)

    def _kill_edge(self, edge: Process) -> None:
        if not edge.is_over:
            self.counts["edges killed"] += 1
            self._kill(edge)

    def _kill(self, process: Process) -> None:
        process.kill()
        self.shared.unsubscribe(process.name)

    def _kill_by_payload(self, process: Process) -> None:
        self.counts["workers killed by payloads"] += 1
        self._kill(process)
        if process in self.workers:
            self.workers.remove(process)
        asyncio.get_running_loop().call_later(
            self.scenario.replaced_after,
            lambda: self.workers.append(self._start_worker()),
            context=contextvars.Context(),
        )

    async def _trouble_process(self, trouble: Trouble) -> None:
        processes = [process for process in self.processes if not process.is_troubled]
        if not processes:
            return
        process = processes[trouble.target % len(processes)]
        if trouble.kind == "block":
            self.counts["loops blocked"] += 1
            await process.be_blocked(trouble.lasts)
        else:
            self.counts["half-open"] += 1
            await process.be_cut_off(trouble.lasts, **CUTS[trouble.kind])

    def _deafen_node(self, target: int) -> None:
        processes = [process for process in self.processes if process.may_go_deaf]
        if processes:
            self.counts["deaf nodes"] += 1
            layer = processes[target % len(processes)].own_layers[-1]
            layer.deaf_since = asyncio.get_running_loop().time()

    async def _restart(self, downtime: float) -> None:
        if not self.layer.is_down:
            began_at = asyncio.get_running_loop().time()
            await self.layer.go_down()
            await asyncio.sleep(downtime)
            self.layer.come_back()
            self.layer.outages.append((began_at, began_at + downtime))

    async def _lose_worker(self, trouble: Trouble) -> None:
        workers = [worker for worker in self.workers if not worker.is_over]
        if not workers:
            return
        process = workers[trouble.target % len(workers)]
        self.workers.remove(process)
        if trouble.kind == "kill worker":
            self.counts["workers killed"] += 1
            self._kill(process)
        else:
            self.counts["workers drained"] += 1
            process.start(self._drain(process))
        await asyncio.sleep(trouble.lasts)
        self.workers.append(self._start_worker())

    async def _drain(self, process: Process) -> None:
        for listener in process.listeners:
            listener.cancel()
        self.shared.unsubscribe(process.name)
        if not await drain_workers(DRAIN_TIMEOUT):
            self.late.add(process.name)
        await stop_nodes()
        await process.end()


async def listen(channel: str, application: Any) -> None:
    """Host a stream as runworker does."""
    incoming = find_node("default").messages(channel)
    await application({"type": "channel", "channel": channel}, incoming.__anext__, None)


def make_demultiplexer(ledger: Ledger) -> type[WebsocketDemultiplexer]:
    """Return a demultiplexer whose consumers keep a ledger."""

    class Demultiplexer(WebsocketDemultiplexer):
        consumer_classes = {
            name: Stream(ledger.consumer, lazy=name == "prices") for name in STREAMS
        }

    return Demultiplexer


def _link_config() -> LinkConfig:
    """Return the numbers of the current process's links."""
    timeout = current().peer_timeout
    if timeout is None:
        return link_config()
    with override_settings(
        CHANNELS_DEMUX_LAYER={**django_settings.CHANNELS_DEMUX_LAYER, "PEER_TIMEOUT": timeout}
    ):
        return link_config()


async def _nothing() -> None:
    """Stands for what would close old database connections, in a thread."""


def _hash_of_worker_session(session: Any) -> int:
    return int(session._opening.ref, 16)


@contextmanager
def environment(scenario: Scenario, rng: random.Random, now: Any) -> Iterator[None]:
    """Give the package virtual time, chance from the seed, and processes that are none."""

    def make_uuid() -> uuid.UUID:
        return uuid.UUID(int=rng.getrandbits(128))

    def watch(node: Any, alias: str) -> None:
        # Its thread is simulated as well: see stand_in().
        if node.watchdog is None:
            node.watchdog = Watchdog(node, alias)
            node.watchdog.rng = rng

    clock = SimpleNamespace(time=now)
    with ExitStack() as stack:
        for target, name, value in [
            (nodes_module, "_nodes", NodesByProcess()),
            (nodes_module, "get_channel_layer", LayersByProcess.get_channel_layer),
            (edge_module, "get_channel_layer", LayersByProcess.get_channel_layer),
            (steadfast_module, "channel_layers", LayersByProcess()),
            (steadfast_module, "get_channel_layer", LayersByProcess.get_channel_layer),
            (own_module, "channel_layers", LayersByProcess()),
            (nodes_module, "link_config", _link_config),
            (nodes_module, "watch", watch),
            (opening, "random", rng),
            (survival, "random", rng),
            (opening, "time", clock),
            (worker, "time", clock),
            (uuid, "uuid4", make_uuid),
            (channels.consumer, "aclose_old_connections", _nothing),
            (channels.generic.websocket, "aclose_old_connections", _nothing),
            # What sets keep by identity would come in another order in every run.
            (Session, "__hash__", lambda session: session.id),
            (session.WorkerSession, "__hash__", _hash_of_worker_session),
        ]:
            stack.enter_context(mock.patch.object(target, name, value))
        stack.enter_context(override_settings(CHANNELS_DEMUX_LAYER=scenario.settings))
        yield
