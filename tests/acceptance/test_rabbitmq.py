"""A server and workers over RabbitMQ, with Redis for the opens, where each of them breaks."""

import asyncio
import json

from .conftest import MakeSite
from .harness.layers import Layer
from .harness.rabbitmq_server import RabbitmqServer
from .harness.redis_server import RedisServer
from .harness.traffic import steady_traffic, wait_for

#: Silence counts as death soon here, so that the test need not wait for it.
OPTIONS = {"PEER_TIMEOUT": 2.0, "OPEN_RETRY": 0.5, "OPEN_TIMEOUT": 1.0}


async def test_no_frame_is_lost(
    make_site: MakeSite, rabbitmq_server: RabbitmqServer, redis_server: RedisServer
) -> None:
    """Every frame is answered though a worker is killed, another drained, and RabbitMQ restarted.

    Repeats come with `reopened` alone. `demuxstatus` finds all who are there.
    """
    opens = Layer("pubsub", redis_server)
    settings = {
        "CHANNEL_LAYERS": {
            **rabbitmq_server.channel_layers(),
            "opens": opens.channel_layers["default"],
        },
        "INSTALLED_APPS": ["channels_demux_layer", "channels"],
        "CHANNELS_DEMUX_LAYER": {**OPTIONS, "DISPATCH_LAYER": "opens"},
    }
    application = "tests.acceptance.project.faults.application"
    site = make_site(None, application=application, settings=settings)
    command = ["-m", "django", "runworker", "--layer", "opens", "demux.number"]
    first = site.start("worker", command)
    async with steady_traffic(site.server().url()) as traffic:
        await traffic.flows()
        second, third = (site.start("worker", command) for _ in range(2))
        await wait_for(lambda: opens.listeners("demux.number", "") == 3)
        await asyncio.to_thread(first.kill)
        await traffic.flows()
        await asyncio.to_thread(second.stop)
        await traffic.flows()
        await asyncio.to_thread(rabbitmq_server.go_away)
        await asyncio.to_thread(rabbitmq_server.come_back)
        await traffic.flows()
        status = site.start("status", ["-m", "django", "demuxstatus", "--json"])
        assert await asyncio.to_thread(status.wait) == 0
        account = await traffic.finish()
    assert second.wait() == 0
    assert (account.lost, account.disordered, account.closed.total()) == (0, 0, 0)
    assert account.unexcused == 0
    # On a slow machine an open may take longer than OPEN_TIMEOUT.
    assert account.events.keys() <= {"reopened", "unavailable"}
    assert {first.pid, third.pid} <= set(account.pids)
    kinds = [node["kind"] for node in json.loads(status.log())["nodes"]]
    assert sorted(kinds) == ["server", "worker"]
