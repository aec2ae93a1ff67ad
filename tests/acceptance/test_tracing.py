"""What docs/tracing.md promises, between real processes: their spans make one trace."""

import asyncio
import json
import re
from typing import Any

from .conftest import MakeSite
from .harness.client import connect
from .harness.layers import Kind
from .harness.processes import Process
from .harness.site import PROJECT
from .harness.waiting import wait_until

#: Silence counts as death soon here, so that the test need not wait for it.
OPTIONS = {"PEER_TIMEOUT": 2.0, "OPEN_RETRY": 0.5}
CHANNELS = ("demux.work",)


def spans(process: Process) -> list[dict[str, Any]]:
    """Reads the spans that a process has printed, in the order in which they ended."""
    return [json.loads(line) for line in re.findall(r"^\{.*\}$", process.log(), re.MULTILINE)]


def wait_for_spans(process: Process, name: str, count: int) -> list[dict[str, Any]]:
    """Waits until a process has printed so many spans of a name."""

    def found() -> list[dict[str, Any]]:
        named = [span for span in spans(process) if span["name"] == name]
        return named if len(named) >= count else []

    named = wait_until(found, f"{count} spans {name!r} of {process.name}")
    assert len(named) == count
    return named


async def test_one_trace_of_all_processes(make_site: MakeSite, layer_kind: Kind) -> None:
    """A worker's spans lie below the server's, also those of the worker that replaces it."""
    settings = {
        "INSTALLED_APPS": ["channels_demux_layer", "channels"],
        "CHANNELS_DEMUX_LAYER": OPTIONS,
    }
    application = f"{PROJECT}.traced.application"
    site = make_site(layer_kind, application=application, settings=settings)
    server = site.server()
    (first,) = site.workers([CHANNELS])
    async with connect(server.url()) as client:
        for _ in range(2):
            assert await client.ask("work", "please") == first.pid
        frames = await asyncio.to_thread(wait_for_spans, first, "process work", 2)
        (second,) = await asyncio.to_thread(site.workers, [CHANNELS])
        await asyncio.to_thread(first.kill)
        await client.send("work", "please")
        assert await client.receive_from("work") == second.pid
        frames += await asyncio.to_thread(wait_for_spans, second, "process work", 1)
    (connection,) = await asyncio.to_thread(wait_for_spans, server.process, "websocket", 1)
    queries = [*wait_for_spans(first, "query", 2), *wait_for_spans(second, "query", 1)]

    root = connection["context"]
    assert connection["parent_id"] is None
    assert {span["context"]["trace_id"] for span in [*frames, *queries]} == {root["trace_id"]}
    assert [frame["parent_id"] for frame in frames] == [root["span_id"]] * 3
    assert [query["parent_id"] for query in queries] == [
        frame["context"]["span_id"] for frame in frames
    ]
    assert [frame["kind"] for frame in frames] == ["SpanKind.CONSUMER"] * 3
    assert [frame["attributes"]["demux.attempt"] for frame in frames] == [1, 1, 2]
    assert len({frame["attributes"]["demux.connection"] for frame in frames}) == 1
    # The server hands on what comes, and makes no span for it.
    assert [span["name"] for span in spans(server.process)] == ["websocket"]
