"""What a consumer in a worker knows of the socket."""

import uuid
from typing import Any

import pytest

from .conftest import SharedSite
from .harness.client import connect
from .harness.site import ServerKind


async def ask_scope(url: str, stream: str, content: Any, **options: Any) -> dict[str, Any]:
    """Opens a socket and asks one of the scope-reporting streams.

    Args:
        url: The address.
        stream: `scope` or `scope-inline`.
        content: `report`, or a dict to store in the session first.
        **options: Options of the connection.

    Returns:
        The stream's report.
    """
    async with connect(url, **options) as client:
        report: dict[str, Any] = await client.ask(stream, content)
        return report


@pytest.fixture
def cookie(shared: SharedSite) -> dict[str, str]:
    """The header of a client that is logged in.

    Returns:
        The Cookie header.
    """
    return {"Cookie": f"sessionid={shared.site.session_key}; theme=dark"}


async def test_user_session_and_route(
    shared: SharedSite, server_kind: ServerKind, cookie: dict[str, str]
) -> None:
    """A consumer sees its user, its session and its UUID route argument in the worker."""
    room = uuid.uuid4()
    url = shared.server(server_kind).url(f"ws/{room}/")
    report = await ask_scope(url, "scope", "report", headers=cookie)
    assert report["pid"] == shared.other_worker.pid
    assert report["user"]["name"] == "ada"
    assert report["user"]["email"] == "ada@example.org"
    assert report["user"]["authenticated"] is True
    assert report["session"]["key"] == shared.site.session_key
    assert report["session"]["data"]["colour"] == "green"
    assert report["room"] == ["UUID", str(room)]


async def test_anonymous(shared: SharedSite) -> None:
    """A client without a session is an anonymous user in the worker, without a room."""
    report = await ask_scope(shared.server().url(), "scope", "report")
    assert report["user"]["class"] == "AnonymousUser"
    assert report["user"]["authenticated"] is False
    assert report["session"] == {"key": None, "data": {"colour": None, "visits": None}}
    assert report["room"] == ["NoneType", "None"]


async def test_the_worker_saves_the_session(shared: SharedSite, cookie: dict[str, str]) -> None:
    """What a consumer saves in its session is seen by the next connection in the server."""
    url = shared.server().url()
    visits = uuid.uuid4().hex
    saved = await ask_scope(url, "scope", {"visits": visits}, headers=cookie)
    assert saved["pid"] == shared.other_worker.pid
    seen = await ask_scope(url, "scope-inline", "report", headers=cookie)
    assert seen["pid"] == shared.server().process.pid
    assert seen["session"]["data"] == {"colour": "green", "visits": visits}


async def test_the_scope_is_the_same_in_both_places(
    shared: SharedSite, server_kind: ServerKind, cookie: dict[str, str]
) -> None:
    """Path, query, headers, cookies, client and subprotocols are the same inline and remote."""
    url = shared.server(server_kind).url(f"ws/{uuid.uuid4()}/?page=2&name=%C3%BC")
    headers = {**cookie, "X-Binary": "caf\xe9"}
    async with connect(url, headers=headers, subprotocols=["demux.v1", "demux.v2"]) as client:
        remote = await client.ask("scope", "report")
        inline = await client.ask("scope-inline", "report")
    assert remote.pop("pid") != inline.pop("pid")
    assert remote["demux"].pop("stream") == "scope"
    assert inline["demux"].pop("stream") == "scope-inline"
    assert remote == inline
    assert remote["type"] == "websocket"
    assert remote["query_string"] == "page=2&name=%C3%BC"
    assert remote["cookies"]["theme"] == "dark"
    assert remote["subprotocols"] == ["demux.v1", "demux.v2"]
    assert remote["client"][0] == "127.0.0.1"
