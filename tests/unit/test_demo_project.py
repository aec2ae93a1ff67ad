"""The demo's Django project: its layers, its page, its consumers, its picture of the system."""

import asyncio
import hashlib
import html.parser
import importlib
import itertools
import os
import re
import socket
from pathlib import Path
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from django.contrib.staticfiles import finders
from django.test import RequestFactory, override_settings

from channels_demux_layer.demo import control
from channels_demux_layer.demo.plan import STREAMS, Options, Project, plan_stand_in
from channels_demux_layer.demo.project import consumers, system, views
from channels_demux_layer.demo.project.settings import channel_layers
from channels_demux_layer.exceptions import ConfigurationError, LayerFailed
from channels_demux_layer.monitoring.fleet import FleetReport
from channels_demux_layer.protocol.report import NodeReport, StreamReport

LIMIT = 30.0
URL = "redis://127.0.0.1:6379/0"
STATIC = Path(views.__file__).parent / "static" / "demux_demo"


def test_without_redis_the_layer_is_in_memory() -> None:
    """A server alone hosts all streams itself."""
    (layer,) = channel_layers({}).values()
    assert layer == {"BACKEND": "channels.layers.InMemoryChannelLayer"}


@pytest.mark.parametrize(
    ("name", "module"), [("core", "core"), ("pubsub", "pubsub"), ("", "pubsub")]
)
def test_redis_layers_wait_without_limit(name: str, module: str) -> None:
    """Both layers keep idle connections, each under the name of its process."""
    environ = {"REDIS_URL": URL, "DEMUX_DEMO_LAYER": name, "DEMUX_DEMO_NAME": "me"}
    (layer,) = channel_layers(environ).values()
    assert layer["BACKEND"].startswith(f"channels_redis.{module}.")
    assert layer["CONFIG"]["hosts"] == [
        {"address": URL, "socket_timeout": None, "client_name": "me"}
    ]


def test_an_unknown_layer_is_told() -> None:
    """A layer that does not exist is refused by name."""
    with pytest.raises(ConfigurationError, match="DEMUX_DEMO_LAYER is 'x': set it to core or"):
        channel_layers({"REDIS_URL": URL, "DEMUX_DEMO_LAYER": "x"})


def test_the_project_has_no_secret_and_no_database() -> None:
    """Every process makes a key of its own, and none needs a migration."""
    settings = importlib.import_module("channels_demux_layer.demo.project.settings")
    key = settings.SECRET_KEY
    assert key != importlib.reload(settings).SECRET_KEY
    assert not hasattr(settings, "DATABASES")


def test_every_stream_is_routed(project_settings: None) -> None:
    """The project serves HTTP, the WebSocket, and a worker channel for each planned stream."""
    asgi = importlib.import_module("channels_demux_layer.demo.project.asgi")
    routes = asgi.application.application_mapping
    assert set(routes) == {"http", "websocket", "channel"}
    planned = {plan.arguments[-1] for plan in Project(Options(), URL, "run").workers()}
    assert planned <= set(routes["channel"].application_mapping)
    assert plan_stand_in().name == "redis"


@pytest.fixture
def project_settings(settings: Any) -> None:
    """What the page needs of the demo's own settings."""
    own = importlib.import_module("channels_demux_layer.demo.project.settings")
    for name in ("INSTALLED_APPS", "TEMPLATES", "STATIC_URL", "ROOT_URLCONF"):
        setattr(settings, name, getattr(own, name))


def the_page() -> Any:
    """The answer to who asks for the page."""
    return views.page(RequestFactory().get("/"))


def test_the_views_answer(project_settings: None) -> None:
    """The page and the health check are there for GET."""
    urls = importlib.import_module("channels_demux_layer.demo.project.urls")
    assert [pattern.callback for pattern in urls.urlpatterns] == [views.page, views.healthz]
    assert views.healthz(RequestFactory().get("/")).content == b"ok"
    assert the_page().status_code == 200
    assert the_page()["Content-Type"].startswith("text/html")
    assert views.page(RequestFactory().post("/")).status_code == 405


class Page(html.parser.HTMLParser):
    """What the page consists of.

    Attributes:
        labelled: The ids that labels are for.
        fields: The ids of the inputs.
        links: Everything that a browser would ask for.
        nonces: The nonces of its elements.
        inline: Attributes that hold style or script.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.labelled: set[str | None] = set()
        self.fields: set[str | None] = set()
        self.links: set[str] = set()
        self.nonces: set[str | None] = set()
        self.inline: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Sort a tag in."""
        attributes = dict(attrs)
        if tag == "label":
            self.labelled.add(attributes.get("for"))
        if tag in {"input", "select", "progress"}:
            self.fields.add(attributes.get("id"))
        self.links |= {str(attributes[name]) for name in ("src", "href") if name in attributes}
        self.nonces |= {attributes[name] for name in ("nonce",) if name in attributes}
        self.inline |= {name for name in attributes if name == "style" or name.startswith("on")}


def test_the_page_asks_this_server_alone(project_settings: None) -> None:
    """Scripts, styles and pictures are static files of this server, and the policy says so."""
    answer = the_page()
    page = Page(answer.content.decode())
    assert page.links
    assert all(link.startswith("/static/") for link in page.links)
    assert page.inline == set()
    (nonce,) = page.nonces
    assert answer["Content-Security-Policy"].startswith(
        f"default-src 'self'; script-src 'self' 'nonce-{nonce}'; "
    )
    assert the_page()["Content-Security-Policy"] != answer["Content-Security-Policy"]


def test_every_field_of_the_page_has_a_label(project_settings: None) -> None:
    """What is filled in or shown can be found by those who cannot see the page."""
    page = Page(the_page().content.decode())
    assert page.fields
    assert page.fields == page.labelled


def test_every_stream_has_its_place(project_settings: None) -> None:
    """The page shows the workers of each stream, and how long it takes to miss one."""
    text = the_page().content.decode()
    assert re.findall(r'data-stream="(\w+)"', text) == list(STREAMS)
    assert re.search(r"sessions move\s+after \d+ s of silence", text)


def test_what_the_page_asks_for_is_there(project_settings: None) -> None:
    """Every static file that the page names is one that Django finds."""
    for link in Page(the_page().content.decode()).links:
        assert finders.find(link.removeprefix("/static/")), link


@pytest.mark.parametrize("path", sorted(STATIC.glob("*.js")), ids=lambda path: path.name)
def test_modules_are_small_and_whole(path: Path) -> None:
    """Each module of the page imports what is there, and is short enough to be read at once."""
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 160
    for name in re.findall(r'from "\./(.+)";', text):
        assert (STATIC / name).is_file()


def test_what_is_not_ours_has_its_licence() -> None:
    """The chart library comes with its licence, which is that of the version that is here."""
    (licence,) = (STATIC / "vendor").glob("*.LICENSE")
    assert "The MIT License" in licence.read_text(encoding="utf-8")
    assert "MIT Licensed" in (STATIC / "vendor" / "uPlot.esm.js").read_text(encoding="utf-8")


# Its consumers


def here() -> str:
    """The name that consumers in this process give."""
    return f"{socket.gethostname()}:{os.getpid()}"


@pytest.fixture
def memory_layer(settings: Any) -> None:
    """A channel layer in memory."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}


async def connected(consumer: Any) -> WebsocketCommunicator:
    """A socket to a consumer, open."""
    communicator = WebsocketCommunicator(consumer.as_asgi(), "/")
    assert (await communicator.connect(timeout=LIMIT))[0]
    return communicator


async def test_echo_answers(memory_layer: None) -> None:
    """What is sent comes back, with the process that answered."""
    client = await connected(consumers.EchoConsumer)
    await client.send_json_to([1, {"a": None}])
    assert await client.receive_json_from(LIMIT) == {"echo": [1, {"a": None}], "worker": here()}
    await client.disconnect(timeout=LIMIT)


async def test_chat_reaches_everybody(memory_layer: None) -> None:
    """A line reaches all in the room, its sender too, trimmed and cut to its limits."""
    clients = [await connected(consumers.ChatConsumer) for _ in range(2)]
    await clients[0].send_json_to({"name": " Ada ", "text": "x" * 501})
    for client in clients:
        line = await client.receive_json_from(LIMIT)
        assert line == {"name": "Ada", "text": "x" * 500, "worker": here()}
    for client in clients:
        await client.disconnect(timeout=LIMIT)


@pytest.mark.parametrize("line", [None, "text", {"name": "Ada"}, {"name": "Ada", "text": " "}])
async def test_chat_refuses_what_is_no_line(memory_layer: None, line: Any) -> None:
    """What is no line is answered to its sender alone, and the stream goes on."""
    client = await connected(consumers.ChatConsumer)
    await client.send_json_to(line)
    assert "needs a name and a text" in (await client.receive_json_from(LIMIT))["error"]
    await client.disconnect(timeout=LIMIT)


async def test_prices_are_pushed_until_the_end(
    memory_layer: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prices come without being asked for, first the past, then each tick once, until the end."""
    monkeypatch.setattr(consumers.PricesConsumer, "interval", 0.01)
    monkeypatch.setattr(consumers.PricesConsumer, "past", 0.05)
    client = await connected(consumers.PricesConsumer)
    past, *present = [(await client.receive_json_from(LIMIT))["ticks"] for _ in range(20)]
    assert len(past) == 5
    assert all(len(ticks) == 1 for ticks in present)
    times = [tick["at"] for tick in itertools.chain(past, *present)]
    numbers = [round(at / 0.01) for at in times]
    assert numbers == list(range(numbers[0], numbers[0] + 24))
    assert past[0]["prices"].keys() == consumers.OPENING_PRICES.keys()
    await client.disconnect(timeout=LIMIT)
    assert not [task for task in asyncio.all_tasks() if "push_prices" in repr(task)]


@pytest.mark.parametrize("consumer", [consumers.PricesConsumer, system.SystemConsumer])
async def test_what_never_began_can_end(consumer: Any) -> None:
    """A stream that ends before it was open leaves nothing to stop."""
    await consumer().disconnect(1006)


def test_the_market_is_the_same_everywhere() -> None:
    """Prices follow from the time alone, move without jumps, and never vanish."""
    times = [1_700_000_000 + step / 4 for step in range(4000)]
    prices = [consumers.prices_at(at)["Cocoa"] for at in times]
    assert prices == [consumers.prices_at(at)["Cocoa"] for at in times]
    assert len(set(prices)) > 1000
    assert min(prices) > consumers.OPENING_PRICES["Cocoa"] / 2
    steps = [abs(after / before - 1) for before, after in itertools.pairwise(prices)]
    assert max(steps) < 0.02


@pytest.mark.parametrize("content", [b"", b"a", b"0123456789" * 1000])
async def test_an_upload_is_digested(memory_layer: None, content: bytes) -> None:
    """Each chunk is answered with what was taken, the last one with the digest of all."""
    client = await connected(consumers.UploadConsumer)
    await client.send_json_to({"upload": 7, "size": len(content)})
    answer = await client.receive_json_from(LIMIT)
    chunks = [content[at : at + 4096] for at in range(0, len(content), 4096)]
    for number, chunk in enumerate(chunks):
        assert "digest" not in answer
        await client.send_to(bytes_data=chunk)
        answer = await client.receive_json_from(LIMIT)
        assert answer["received"] == number * 4096 + len(chunk)
    digest = hashlib.sha256(content).hexdigest()
    assert answer == {
        "upload": 7,
        "received": len(content),
        "worker": here(),
        "digest": digest,
    }
    await client.disconnect(timeout=LIMIT)


async def test_an_upload_has_a_beginning(memory_layer: None) -> None:
    """Chunks before it are passed over, and what is none is answered with an error."""
    client = await connected(consumers.UploadConsumer)
    await client.send_to(bytes_data=b"the end of another one")
    await client.send_json_to({"upload": 1, "size": -1})
    assert "starts with its id" in (await client.receive_json_from(LIMIT))["error"]
    await client.send_json_to({"upload": 2, "size": 1})
    assert (await client.receive_json_from(LIMIT))["received"] == 0
    await client.disconnect(timeout=LIMIT)


# The system


def report(kind: Any, pid: int, *streams: StreamReport, **fields: Any) -> NodeReport:
    """What one node says."""
    names = {"node": f"node-{pid}", "release": "1", "wire": 1, "host": "box"}
    return NodeReport(kind=kind, pid=pid, streams=list(streams), **names, **fields)


def seen(side: Any, stream: str, **counts: int) -> StreamReport:
    """What one side says of a stream."""
    return StreamReport(side=side, stream=stream, channel=f"demux.{stream}", **counts)


def test_the_picture_is_what_the_nodes_say() -> None:
    """Servers and workers are there with what they have, and each stream, even without a worker."""
    fleet = FleetReport(
        nodes=[
            report(
                "server",
                1,
                seen("edge", "echo", sessions=2, frames_in=5, frames_out=4, reopened=1),
                seen("inline", "system", sessions=2, frames_out=9),
                uptime=1.6,
            ),
            report(
                "worker",
                2,
                seen("worker", "echo", sessions=2, frames_in=3, frames_out=2, in_flight=1),
                channels=["demux.echo", "others.echo"],
                is_draining=True,
            ),
        ]
    )
    drawn = system.draw(fleet)
    assert drawn["nodes"] == [
        {"node": "node-1", "kind": "server", "host": "box", "pid": 1, "uptime": 2}
        | {"draining": False, "hosts": [], "sessions": 2, "frames": 9},
        {"node": "node-2", "kind": "worker", "host": "box", "pid": 2, "uptime": 0}
        | {"draining": True, "hosts": ["echo"], "sessions": 2, "frames": 5},
    ]
    assert drawn["streams"].keys() == set(STREAMS)
    assert drawn["streams"]["echo"] == {"workers": 0, "sessions": 2, "pending": 0} | {
        "in_flight": 1,
        "reopened": 1,
        "frames": 9,
    }
    assert set(drawn["streams"]["chat"].values()) == {0}


async def test_one_question_for_all_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages that look at the same time share one question, a later one asks anew."""
    asked: list[float] = []
    go = asyncio.Event()

    async def ask(limit: float) -> FleetReport:
        asked.append(limit)
        await go.wait()
        return FleetReport(nodes=[])

    monkeypatch.setattr(system, "ask_nodes", ask)
    pictures = system.Pictures()
    looking = [asyncio.create_task(pictures.take()) for _ in range(3)]
    await asyncio.sleep(0)
    looking.pop().cancel()
    go.set()
    one, other = await asyncio.gather(*looking)
    assert one == other
    assert one["nodes"] == []
    assert len(asked) == 1
    await pictures.take()
    assert len(asked) == 2


async def test_a_layer_that_fails_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody can be asked the page is told why."""

    async def ask(limit: float) -> FleetReport:
        raise LayerFailed("It is gone.")

    monkeypatch.setattr(system, "ask_nodes", ask)
    assert await system.take_picture() == {"error": "It is gone."}


def of_page(host: str, origin: str) -> dict[str, Any]:
    """The scope of a socket."""
    headers = [(b"host", host.encode()), (b"origin", origin.encode())]
    return {"headers": [header for header in headers if header[1]]}


@pytest.mark.parametrize(
    ("host", "origin", "expected"),
    [
        ("localhost:8000", "http://localhost:8000", True),
        ("[::1]:8000", "https://[::1]:8000", True),
        ("localhost:8000", "http://localhost:3000", False),
        ("localhost:8000", "http://evil.example", False),
        ("evil.example:8000", "http://evil.example:8000", False),  # it leads here: DNS rebinding
        ("localhost:8000", "", False),
        ("localhost:8000", "null", False),
        ("localhost:8000", "file://localhost:8000", False),
        ("", "", False),
    ],
)
def test_only_its_own_page_controls(host: str, origin: str, expected: bool) -> None:
    """A socket commands nothing unless a page of this very server has opened it."""
    with override_settings(ALLOWED_HOSTS=["localhost", "[::1]"]):
        assert system.is_own_page(of_page(host, origin)) is expected


async def watching(origin: bytes) -> WebsocketCommunicator:
    """A socket to the stream that shows the system."""
    headers = [(b"host", b"localhost"), (b"origin", origin)]
    client = WebsocketCommunicator(system.SystemConsumer.as_asgi(), "/", headers=headers)
    assert (await client.connect(timeout=LIMIT))[0]
    return client


@pytest.fixture
def no_nodes(memory_layer: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without nodes, which can be asked often."""

    async def ask(limit: float) -> FleetReport:
        return FleetReport(nodes=[])

    monkeypatch.setattr(system, "ask_nodes", ask)
    monkeypatch.setattr(system.SystemConsumer, "interval", 0.001)


async def test_the_system_is_shown_again_and_again(no_nodes: None) -> None:
    """Pictures come until the stream ends; without a supervisor there is nothing to control."""
    client = await watching(b"http://localhost")
    assert await client.receive_json_from(LIMIT) == {"control": False}
    for _ in range(3):
        assert (await client.receive_json_from(LIMIT))["nodes"] == []
    await client.disconnect(timeout=LIMIT)
    assert not [task for task in asyncio.all_tasks() if "push_pictures" in repr(task)]


@pytest.mark.parametrize(("origin", "error"), [(b"http://localhost", "Done."), (b"http://x", "")])
async def test_commands_are_passed_on(
    no_nodes: None, monkeypatch: pytest.MonkeyPatch, origin: bytes, error: str
) -> None:
    """A command of the own page goes to the supervisor and its answer back, any other nowhere."""
    passed: list[object] = []

    async def send_command(address: str, command: object) -> control.Answer:
        passed.append((address, command))
        return control.Answer(error)

    monkeypatch.setenv(system.CONTROL, "1:token")
    monkeypatch.setattr(system, "send_command", send_command)
    client = await watching(origin)
    assert await client.receive_json_from(LIMIT) == {"control": bool(error)}
    command = {"do": "kill", "pid": 1}
    await client.send_json_to(command)
    while "done" not in (answer := await client.receive_json_from(LIMIT)):
        pass
    assert answer["done"] == command
    if error:
        assert passed == [("1:token", command)]
        assert answer["error"] == error
    else:
        assert passed == []
        assert answer["error"] == "This page may not control workers."
    await client.disconnect(timeout=LIMIT)
