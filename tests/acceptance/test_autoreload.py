"""Under DEBUG a worker of this package's own command restarts when its code changes."""

import asyncio
from pathlib import Path

from .conftest import MakeSite
from .harness.layers import Kind
from .harness.site import Site
from .harness.traffic import steady_traffic, wait_for
from .harness.waiting import wait_until

#: An application of its own, so that there is a module to change.
PACKAGE = """
from django.utils.autoreload import autoreload_started
from tests.acceptance.project.journal import note


def note_looks(sender, **kwargs):
    looks = sender.tick()

    def tick():
        for _ in looks:
            note("looked")
            yield

    sender.tick = tick


autoreload_started.connect(note_looks, weak=False)
"""

CONSUMERS = """
from channels.generic.websocket import AsyncJsonWebsocketConsumer

VERSION = 1


class NumberConsumer(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content, **kwargs):
        await self.send_json([content, self.scope["demux"]["attempt"], VERSION])
"""

APPLICATION = """
from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path

http = get_asgi_application()

from channels_demux_layer import WebsocketDemultiplexer
from channels_demux_layer.routing import stream_workers


class Demultiplexer(WebsocketDemultiplexer):
    consumer_classes = {"number": "live.consumers.NumberConsumer"}


application = ProtocolTypeRouter(
    {
        "http": http,
        "websocket": URLRouter([path("ws/", Demultiplexer.as_asgi())]),
        "channel": ChannelNameRouter(stream_workers(Demultiplexer)),
    }
)
"""


async def test_changed_code(make_site: MakeSite, layer_kind: Kind, tmp_path: Path) -> None:
    """A worker whose code changes restarts; its sessions go on with the new code, all of them."""
    package = tmp_path / "code" / "live"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(PACKAGE)
    (package / "asgi.py").write_text(APPLICATION)
    consumers = package / "consumers.py"
    consumers.write_text(CONSUMERS)
    site = make_site(
        layer_kind,
        application="live.asgi.application",
        path=package.parent,
        settings={
            "DEBUG": True,
            "INSTALLED_APPS": ["live", "channels_demux_layer", "channels"],
            "CHANNELS_DEMUX_LAYER": {"PEER_TIMEOUT": 2.0},
        },
        # Compiled files do not tell changes within a second from one another.
        environment={"PYTHONDONTWRITEBYTECODE": "1"},
    )
    server = site.server()
    worker = site.worker("demux.number")
    async with steady_traffic(server.url()) as traffic:
        await asyncio.to_thread(wait_for_look, site)
        assert set(traffic.account.pids) == {1}
        consumers.write_text(CONSUMERS.replace("VERSION = 1", "VERSION = 2"))
        await wait_for(lambda: all(2 in t.account.pids for t in traffic.talkers))
        account = await traffic.finish()
    assert worker.running
    # The process with the new code answers before its reloader has looked for the first time.
    await asyncio.to_thread(wait_until, lambda: len(lookers(site)) > 1, "a look of the second one")
    assert len(lookers(site)) == 2
    assert (account.lost, account.disordered, account.closed.total()) == (0, 0, 0)
    assert account.unexcused == 0
    assert account.events.keys() == {"reopened"}
    assert set(account.pids) == {1, 2}
    assert "Traceback" not in site.logs()


def lookers(site: Site) -> set[int]:
    """Tells which processes have looked for changes."""
    return {entry["pid"] for entry in site.journal("looked")}


def wait_for_look(site: Site) -> None:
    """Waits until the reloader has looked at all that is imported by now, and knows a change."""
    before = len(site.journal("looked"))
    # The next look that ends may have begun before something was imported.
    wait_until(lambda: len(site.journal("looked")) >= before + 2, "two looks of the reloader")
