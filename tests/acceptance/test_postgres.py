"""A server and workers over PostgreSQL, where each of them breaks."""

import asyncio

from .conftest import MakeSite
from .harness.postgres_server import PostgresServer
from .harness.traffic import steady_traffic

#: Silence counts as death soon here, so that the test need not wait for it.
OPTIONS = {"PEER_TIMEOUT": 2.0, "OPEN_RETRY": 0.5, "OPEN_TIMEOUT": 1.0}


async def test_no_frame_is_lost(make_site: MakeSite, postgres_server: PostgresServer) -> None:
    """Every frame is answered though a worker is killed, another drained, and PostgreSQL restarted.

    Repeats come with `reopened` alone.
    """
    settings = {
        "CHANNEL_LAYERS": postgres_server.channel_layers(),
        "INSTALLED_APPS": ["channels_demux_layer", "channels", "channels_postgres"],
        "CHANNELS_DEMUX_LAYER": OPTIONS,
    }
    application = "tests.acceptance.project.faults.application"
    site = make_site(None, application=application, settings=settings)
    command = ["-m", "django", "runworker", "demux.number"]
    first = site.start("worker", command)
    async with steady_traffic(site.server().url()) as traffic:
        await traffic.flows()
        second, third = (site.start("worker", command) for _ in range(2))
        await asyncio.to_thread(first.kill)
        await traffic.flows()
        await asyncio.to_thread(second.stop)
        await traffic.flows()
        await asyncio.to_thread(postgres_server.go_away)
        postgres_server.come_back()
        await traffic.flows()
        account = await traffic.finish()
    assert second.wait() == 0
    assert (account.lost, account.disordered, account.closed.total()) == (0, 0, 0)
    assert account.unexcused == 0
    # The others may still be starting when the first worker is killed.
    assert account.events.keys() <= {"reopened", "unavailable"}
    assert {first.pid, third.pid} <= set(account.pids)
