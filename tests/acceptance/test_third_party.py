"""Consumers of other packages, unmodified, in workers of their own."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from pycrdt import (
    Doc,
    Text,
    TransactionEvent,
    YMessageType,
    create_sync_message,
    create_update_message,
    handle_sync_message,
)
from websockets.exceptions import ConnectionClosed

from .harness.client import Client, connect, within_limit
from .harness.layers import KINDS
from .harness.processes import Process
from .harness.site import PROJECT, Database, Server, Site

GRAPHQL = ("demux.graphql", "demux.graphql-of-the-socket")
SETTINGS = {
    # The package's own `runworker` is above Channels', so that workers that go say so.
    "INSTALLED_APPS": [
        "channels_demux_layer",
        "channels",
        "rest_framework",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
    ]
}


class Fleet:
    """A server, and workers that share its streams.

    Args:
        site: The site, with nothing running yet.

    Attributes:
        site: The site.
        server: The server.
        graphql: Two workers for the streams of GraphQL.
        users: The worker in which users are changed.
        others: The worker of all others.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.server: Server = site.server()
        commands = [GRAPHQL, GRAPHQL, ("demux.users",), ("demux.activity", "demux.document")]
        *self.graphql, self.users, self.others = site.workers(commands)

    def replace(self, worker: Process) -> None:
        """Starts another worker for the place of one of GraphQL that is to go."""
        # Before it goes: its end would be seen in the count of who listens, however late.
        self.graphql.append(self.site.worker(*GRAPHQL))
        self.graphql.remove(worker)


@pytest.fixture(scope="module", params=KINDS)
def fleet(
    request: pytest.FixtureRequest,
    redis_installed: None,
    database: Database,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Fleet]:
    """One fleet on each layer, shared by all tests.

    Yields:
        The running fleet.
    """
    directory = tmp_path_factory.mktemp(f"third-party-{request.param}")
    application = f"{PROJECT}.third_party.application"
    site = Site(directory, database, request.param, application=application, settings=SETTINGS)
    try:
        yield Fleet(site)
    finally:
        site.stop()


def socket(fleet: Fleet, room: str = "lobby", **options: Any) -> Any:
    """Opens a socket for the length of a block."""
    return connect(fleet.server.url(f"ws/{room}/"), **options)


def as_ada(fleet: Fleet) -> dict[str, str]:
    """Gives the headers of a client who is logged in."""
    return {"Cookie": f"sessionid={fleet.site.session_key}"}


# -- strawberry-graphql ----------------------------------------------------------------------------


class GraphQL:
    """What a library for graphql-transport-ws does, over one stream.

    Args:
        client: The socket.
        stream: The stream's name.
    """

    def __init__(self, client: Client, stream: str = "graphql") -> None:
        self._client = client
        self._stream = stream

    async def begin(self) -> None:
        """Says the protocol's first word, and waits for its answer."""
        answer = await self._client.ask(self._stream, {"type": "connection_init"})
        assert answer == {"type": "connection_ack"}

    async def subscribe(self, number: str, query: str, **variables: Any) -> None:
        """Begins an operation."""
        payload = {"query": query, "variables": variables}
        await self.send({"type": "subscribe", "id": number, "payload": payload})

    async def execute(self, number: str, query: str, **variables: Any) -> Any:
        """Runs a query or a mutation.

        Returns:
            Its data.
        """
        await self.subscribe(number, query, **variables)
        data = await self.next(number)
        assert await self.receive() == {"type": "complete", "id": number}
        return data

    async def next(self, number: str) -> Any:
        """Receives the next result of an operation.

        Returns:
            Its data.
        """
        message = await self.receive()
        assert (message["type"], message["id"]) == ("next", number), message
        return message["payload"]["data"]

    async def send(self, message: dict[str, Any]) -> None:
        """Sends a message of the protocol."""
        await self._client.send(self._stream, message)

    async def receive(self) -> Any:
        """Receives one.

        Returns:
            The message.
        """
        return await self._client.receive_from(self._stream)


async def test_graphql_answers_queries_mutations_and_subscriptions(fleet: Fleet) -> None:
    """Strawberry's consumer speaks graphql-transport-ws, in a worker, with the user at hand."""
    async with socket(fleet, headers=as_ada(fleet)) as client:
        graphql = GraphQL(client)
        await graphql.begin()
        answer = await graphql.execute("1", "{ pid me }")
        assert answer["me"] == "ada"
        assert answer["pid"] in {worker.pid for worker in fleet.graphql}
        assert await graphql.execute(
            "2", 'mutation($t: String!) { say(room: "empty", text: $t) }', t="hé"
        ) == {"say": True}
        await graphql.subscribe("3", "subscription { count(target: 3) }")
        for number in range(3):
            assert await graphql.next("3") == {"count": number}
        assert await graphql.receive() == {"type": "complete", "id": "3"}
        await graphql.subscribe("4", "{ nothing }")
        error = await graphql.receive()
        assert (error["type"], error["id"]) == ("error", "4")
        assert "nothing" in error["payload"][0]["message"]
        await graphql.send({"type": "ping"})
        assert await graphql.receive() == {"type": "pong"}


async def test_graphql_runs_operations_side_by_side_and_stops_them(fleet: Fleet) -> None:
    """A subscription that goes on holds up no query, and ends when the client says so."""
    async with socket(fleet) as client:
        graphql = GraphQL(client)
        await graphql.begin()
        await graphql.subscribe("ticks", "subscription { ticks }")
        assert await graphql.next("ticks") == {"ticks": 0}
        await graphql.subscribe("me", "{ me }")
        answers = []
        while len(answers) < 2:
            message = await graphql.receive()
            if message["id"] == "me":
                answers.append(message["type"])
        assert answers == ["next", "complete"]
        await graphql.send({"type": "complete", "id": "ticks"})
        await graphql.send({"type": "ping"})
        while (message := await graphql.receive())["type"] == "next":
            assert message["id"] == "ticks"
        assert message == {"type": "pong"}


async def test_graphql_subscriptions_hear_other_connections(fleet: Fleet) -> None:
    """A subscription joins groups on the layer, and hears mutations of other sockets."""
    async with socket(fleet) as hearing, socket(fleet) as saying:
        listener, speaker = GraphQL(hearing), GraphQL(saying)
        await listener.begin()
        await speaker.begin()
        await listener.subscribe("1", 'subscription { room(name: "tea") }')
        assert await listener.next("1") == {"room": "you are in"}
        await speaker.execute("1", 'mutation { say(room: "tea", text: "hello") }')
        assert await listener.next("1") == {"room": "hello"}


async def test_graphql_ends_its_own_stream_with_its_own_code(fleet: Fleet) -> None:
    """What the protocol forbids closes the stream with the protocol's code; it opens again."""
    async with socket(fleet) as client:
        graphql = GraphQL(client)
        await graphql.subscribe("1", "{ pid }")
        closed = await client.receive_event("closed", stream="graphql")
        assert (closed["code"], closed["reason"]) == (4401, "Unauthorized")
        await client.send_event("graphql", "open")
        await graphql.begin()
        assert "pid" in await graphql.execute("1", "{ pid }")


async def test_graphql_needs_a_subprotocol(fleet: Fleet) -> None:
    """A stream without one of its own is offered what the client offered for the socket."""
    name = "graphql-of-the-socket"
    async with socket(fleet) as client:
        await client.send_event(name, "open")
        assert (await client.receive_event("closed", stream=name))["code"] == 4406
    async with socket(fleet, subprotocols=["graphql-transport-ws"]) as client:
        graphql = GraphQL(client, name)
        await graphql.begin()
        assert "pid" in await graphql.execute("1", "{ pid }")


async def test_graphql_begins_anew_when_its_worker_goes(fleet: Fleet) -> None:
    """A stateful stream ends with 1012 in a drain, and its client finds another worker."""
    async with socket(fleet) as client:
        graphql = GraphQL(client)
        await graphql.begin()
        pid = (await graphql.execute("1", "{ pid }"))["pid"]
        (worker,) = [worker for worker in fleet.graphql if worker.pid == pid]
        await graphql.subscribe("2", "subscription { ticks }")
        assert await graphql.next("2") == {"ticks": 0}
        await asyncio.to_thread(fleet.replace, worker)
        worker.signal(signal.SIGTERM)
        closed = await client.receive_event("closed", stream="graphql")
        assert closed["code"] == 1012
        await client.send_event("graphql", "open")
        await graphql.send({"type": "connection_init"})
        while (message := await graphql.receive())["type"] == "next":
            assert message["id"] == "2"  # What the old consumer has sent before its end.
        assert message == {"type": "connection_ack"}
        assert (await graphql.execute("1", "{ pid }"))["pid"] != pid
    assert await asyncio.to_thread(worker.wait) == 0


# -- djangochannelsrestframework -------------------------------------------------------------------


def reply(action: str, request_id: int, data: Any, status: int = 200) -> dict[str, Any]:
    """Writes what a consumer of djangochannelsrestframework answers."""
    return {
        "action": action,
        "request_id": request_id,
        "data": data,
        "errors": [],
        "response_status": status,
    }


async def test_rest_actions_are_answered_by_their_stream(fleet: Fleet) -> None:
    """The mixins' actions create, read, change and delete; faults are answers, not ends."""
    async with socket(fleet, headers=as_ada(fleet)) as client:

        async def act(action: str, number: int, **fields: Any) -> Any:
            return await client.ask("users", {"action": action, "request_id": number, **fields})

        created = await act("create", 1, data={"username": "grace"})
        user = {"id": created["data"]["id"], "username": "grace", "email": ""}
        assert created == reply("create", 1, user, 201)
        assert await act("retrieve", 2, pk=user["id"]) == reply("retrieve", 2, user)
        user["email"] = "grace@example.org"
        changed = await act("patch", 3, pk=user["id"], data={"email": user["email"]})
        assert changed == reply("patch", 3, user)
        assert user in (await act("list", 4))["data"]
        refused = await act("create", 5, data={"username": "grace"})
        assert refused["response_status"] == 400
        assert "username" in refused["errors"][0]
        assert await act("delete", 6, pk=user["id"]) == reply("delete", 6, None, 204)
        assert (await act("retrieve", 7, pk=user["id"]))["response_status"] == 404
        assert (await act("dance", 8))["response_status"] == 405


async def test_rest_observers_hear_of_what_another_worker_saves(fleet: Fleet) -> None:
    """A subscription to a model is told of changes that are made in another process."""
    async with socket(fleet) as watching, socket(fleet, headers=as_ada(fleet)) as saving:
        subscribe = {"action": "subscribe_to_user_activity", "request_id": 7}
        subscribed = await watching.ask("activity", subscribe)
        assert subscribed["data"] == {"pid": fleet.others.pid}
        create = {"action": "create", "request_id": 1, "data": {"username": "edsger"}}
        user = (await saving.ask("users", create))["data"]
        assert await watching.receive_from("activity") == reply("create", 7, user)
        await saving.send("users", {"action": "delete", "request_id": 2, "pk": user["id"]})
        assert await watching.receive_from("activity") == reply("delete", 7, user)


async def test_rest_permissions_see_the_real_user(fleet: Fleet) -> None:
    """Actions are refused to a client who is not logged in, and to nobody else."""
    names = {"action": "list", "request_id": 1}
    async with socket(fleet) as client:
        assert (await client.ask("users", names))["response_status"] == 403
    async with socket(fleet, headers=as_ada(fleet)) as client:
        answer = await client.ask("users", names)
    assert answer["response_status"] == 200
    assert "ada" in {user["username"] for user in answer["data"]}


# -- pycrdt-websocket ------------------------------------------------------------------------------


class Peer:
    """A Yjs document, kept in step with others as a provider of Yjs does.

    Args:
        client: The socket.
    """

    def __init__(self, client: Client) -> None:
        self.document = Doc({"text": Text()})
        self.text = self.document["text"]
        self._client = client
        self._changed = asyncio.Event()
        self._updates: asyncio.Queue[bytes] = asyncio.Queue()
        self._is_applying = False
        self.document.observe(self._observe)

    async def run(self) -> None:
        """Asks for what the others have, then takes and answers what they say, to the end."""
        await self._client.send_bytes("document", create_sync_message(self.document))
        while True:
            message = await self._client.receive_bytes_from("document")
            if message[0] != YMessageType.SYNC:
                continue
            self._is_applying = True
            answer = handle_sync_message(message[1:], self.document)
            self._is_applying = False
            if answer is not None:
                await self._client.send_bytes("document", answer)
            self._changed.set()

    async def write(self, text: str) -> None:
        """Adds to the document, and tells the others."""
        self.text += text
        await self._client.send_bytes("document", await self._updates.get())

    async def until(self, seen: Callable[[str], bool]) -> None:
        """Waits until the document's text is as wanted."""
        while not seen(str(self.text)):
            self._changed.clear()
            await self._changed.wait()

    def _observe(self, event: TransactionEvent) -> None:
        if not self._is_applying:
            self._updates.put_nowait(create_update_message(event.update))


@contextlib.asynccontextmanager
async def editing(fleet: Fleet, room: str) -> AsyncIterator[Peer]:
    """Opens a document for the length of a block.

    Yields:
        The peer.
    """
    async with socket(fleet, room) as client:
        peer = Peer(client)
        running = asyncio.create_task(peer.run())
        try:
            yield peer
        finally:
            # Not by a cancellation: up to Python 3.11, wait_for() may swallow it.
            await client.close()
            with contextlib.suppress(ConnectionClosed):
                await running


async def test_yjs_documents_grow_together(fleet: Fleet) -> None:
    """Binary sync messages keep documents of one room in step, a late one too, and no other's."""
    async with editing(fleet, "paper") as ada, editing(fleet, "other") as stranger:
        async with editing(fleet, "paper") as bob:
            await ada.write("hello ")
            await within_limit(bob.until(lambda text: text == "hello "))
            await bob.write("world")
            await within_limit(ada.until(lambda text: text == "hello world"))
        async with editing(fleet, "paper") as late:
            await within_limit(late.until(lambda text: text == "hello world"))
        assert str(stranger.text) == ""
