"""The Python client without a socket: the first connect, and what comes back after a lost one."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from channels_demux_layer.client import ConnectFailed, Event, StreamClosed
from channels_demux_layer.codes import ServerEvent

from .peer import PeerServer, dial, everything, opening, soon, until


def payload(stream: str, value: Any) -> dict[str, Any]:
    """The envelope of a payload."""
    return {"stream": stream, "payload": value}


# The first connect


@pytest.mark.parametrize("status", [401, 403, 404, 503])
async def test_a_refused_handshake_raises(server: PeerServer, status: int) -> None:
    """The first connect raises at once, with the status that the server has answered with."""
    server.statuses = [status]
    with pytest.raises(ConnectFailed, match=f"HTTP status {status}") as raised:
        async with dial(server):
            pytest.fail("It was entered.")
    assert raised.value.status == status
    assert len(server.requests) == 1


async def test_keeping_to_try(server: PeerServer) -> None:
    """With keep_trying the first connect waits for a server that comes up late."""
    await server.stop()
    client = dial(server, keep_trying=True)
    entering = asyncio.ensure_future(client.__aenter__())
    await asyncio.sleep(0)
    server.statuses = [503, 500]
    await server.start()
    demux = await soon(entering)
    assert len(server.requests) == 3
    peer = await server.accepted()
    await demux.stream("chat").send(1)
    await peer.expect(*opening("chat"), payload("chat", 1))
    await client.__aexit__(None, None, None)


async def test_keep_trying_has_an_end(server: PeerServer) -> None:
    """With keep_trying a refusal that is final raises all the same."""
    server.statuses = [503, 403]
    with pytest.raises(ConnectFailed) as raised:
        await dial(server, keep_trying=True).__aenter__()
    assert raised.value.status == 403
    with pytest.raises(ConnectFailed, match="InvalidURI"):
        await dial(server, url="http://secret@/", keep_trying=True).__aenter__()


async def test_addresses_and_headers_are_renewed(server: PeerServer) -> None:
    """Functions and coroutine functions are asked for address and headers at each connect."""
    tokens = iter(["one", "two"])

    async def headers() -> dict[str, str]:
        return {"Authorization": f"Bearer {next(tokens)}"}

    async with dial(server, url=lambda: f"{server.url}?n={len(server.requests)}", headers=headers):
        (await server.accepted()).drop()
        await server.accepted()
    assert [request.path for request in server.requests] == ["/?n=0", "/?n=1"]
    given = [request.headers["Authorization"] for request in server.requests]
    assert given == ["Bearer one", "Bearer two"]


async def test_headers_may_be_a_list(server: PeerServer) -> None:
    """Headers may be pairs, and one may stand twice."""
    async with dial(server, headers=[("X-A", "1"), ("X-A", "2")]):
        await server.accepted()
    assert server.requests[0].headers.get_all("X-A") == ["1", "2"]


# A lost socket


async def test_streams_come_back(server: PeerServer) -> None:
    """After a drop each stream is opened again, hears `reopened`, and goes on."""
    heard: list[Event] = []
    async with dial(server) as demux:
        peer = await server.accepted()
        chat = demux.stream("chat", on_event=heard.append)
        other = demux.stream("other")
        await peer.send("chat", "before")
        await peer.expect(*opening("chat", "other"))
        peer.drop()
        peer = await server.accepted()
        await peer.expect(*opening("chat", "other"))
        await peer.send("chat", "after")
        await chat.send("here again")
        await peer.expect(payload("chat", "here again"))
        assert [await chat.receive() for _ in range(2)] == ["before", "after"]
        assert heard == [Event("chat", ServerEvent.REOPENED)]
        assert await soon(anext(other.events())) == Event("other", ServerEvent.REOPENED)
        assert demux.is_connected


async def test_what_is_sent_while_away_is_sent_later(server: PeerServer) -> None:
    """What was given to send() while there is no socket goes out in order, after the opens."""
    async with dial(server) as demux:
        peer = await server.accepted()
        chat = demux.stream("chat")
        await peer.expect(*opening("chat"))
        await server.stop()
        await until(lambda: not demux.is_connected)
        for number in range(10):
            await chat.send(number)
        late = demux.stream("late")
        await late.send("new")
        await server.start()
        peer = await server.accepted()
        await peer.expect(*opening("chat"), *(payload("chat", number) for number in range(10)))
        await peer.expect(*opening("late"), payload("late", "new"))
        await peer.say(stream="late", event="closed", code=1000)
        assert [event async for event in late.events()] == []


async def test_send_waits_while_away(server: PeerServer) -> None:
    """Away, send() waits once as much waits as may, and goes on when the socket is back."""
    async with dial(server, window_frames=2) as demux:
        peer = await server.accepted()
        chat = demux.stream("chat")
        await peer.expect(*opening("chat"))
        await server.stop()
        await until(lambda: not demux.is_connected)
        await chat.send(1)
        await chat.send(2)
        waiting = asyncio.ensure_future(chat.send(3))
        await asyncio.sleep(0)
        assert not waiting.done()
        await server.start()
        peer = await server.accepted()
        await soon(waiting)
        await peer.expect(*opening("chat"), *(payload("chat", number) for number in (1, 2, 3)))


async def test_send_that_waits_hears_of_the_end(server: PeerServer) -> None:
    """A send() that waits for room raises when nobody will connect again."""
    async with dial(server, window_frames=1) as demux:
        await server.accepted()
        chat = demux.stream("chat")
        await server.stop()
        await until(lambda: not demux.is_connected)
        await chat.send(1)
        waiting = asyncio.ensure_future(chat.send(2))
        server.statuses = [403]
        await server.start()
        with pytest.raises(StreamClosed, match="HTTP status 403"):
            await soon(waiting)


async def test_nothing_is_given_to_a_dead_socket(server: PeerServer) -> None:
    """What is sent after the socket has died, and before that was read, waits for the next one."""
    async with dial(server, window_frames=1) as demux:
        peer = await server.accepted()
        chat = demux.stream("chat")
        await peer.send("chat", *range(3))
        await peer.expect(*opening("chat"))
        assert await chat.receive() == 0
        peer.drop()
        await until(lambda: not demux.is_connected)
        await chat.send("kept")
        assert [await chat.receive() for _ in range(2)] == [1, 2]
        peer = await server.accepted()
        await peer.expect(*opening("chat"), payload("chat", "kept"))


async def test_closed_streams_do_not_come_back(server: PeerServer) -> None:
    """A stream that has ended is not opened again; a server that opens it itself is told so."""
    async with dial(server) as demux:
        peer = await server.accepted()
        chat, gone, live = (demux.stream(name) for name in ("chat", "gone", "live"))
        closing = asyncio.ensure_future(chat.close())
        await peer.expect(*opening("chat", "gone", "live"), {"stream": "chat", "event": "close"})
        await peer.say(stream="chat", event="closed", code=1000)
        await soon(closing)
        await peer.say(stream="gone", event="closed", code=4001)
        with pytest.raises(StreamClosed):
            await gone.receive()
        peer.drop()
        peer = await server.accepted()
        await peer.expect(*opening("live"))
        told = [await peer.receive(), await peer.receive()]
        assert {event["stream"] for event in told} == {"chat", "gone"}
        assert {event["event"] for event in told} == {"close"}
        await peer.send("chat", "of no interest")
        await peer.say(stream="chat", event="closed", code=1000)
        await peer.send("live", "on")
        assert await live.receive() == "on"


async def test_a_stream_asked_for_after_that_is_opened(server: PeerServer) -> None:
    """Asked for again before the server has ended what it had opened, a stream is still opened."""
    async with dial(server) as demux:
        peer = await server.accepted()
        chat, live = demux.stream("chat"), demux.stream("live")
        await peer.expect(*opening("chat", "live"))
        await peer.say(stream="chat", event="closed", code=4001)
        with pytest.raises(StreamClosed):
            await chat.receive()
        peer.drop()
        peer = await server.accepted()
        await peer.expect(*opening("live"), {"stream": "chat", "event": "close"})
        again = demux.stream("chat")
        await peer.expect(*opening("chat"))
        await peer.say(stream="chat", event="closed", code=1000)  # of the one before
        await peer.expect(*opening("chat"))
        await peer.send("chat", "new")
        assert await again.receive() == "new"
        await peer.say(stream="chat", event="closed", code=1000)
        assert await soon(everything(again)) == []
        assert not live.has_ended


async def test_a_close_that_the_socket_took_along(server: PeerServer) -> None:
    """A stream whose close was sent on a socket that is then lost has ended."""
    async with dial(server) as demux:
        peer = await server.accepted()
        chat = demux.stream("chat")
        closing = asyncio.ensure_future(chat.close())
        await peer.expect(*opening("chat"), {"stream": "chat", "event": "close"})
        peer.drop()
        await soon(closing)
        assert chat.close_code == 1000
        peer = await server.accepted()
        await peer.expect({"stream": "chat", "event": "close"})


async def test_a_close_while_away(server: PeerServer) -> None:
    """A stream closed while there is no socket is opened, given what waits for it, and closed."""
    heard: list[Event] = []
    async with dial(server) as demux:
        peer = await server.accepted()
        chat = demux.stream("chat", on_event=heard.append)
        await peer.expect(*opening("chat"))
        await server.stop()
        await until(lambda: not demux.is_connected)
        await chat.send("last")
        closing = asyncio.ensure_future(chat.close())
        await server.start()
        peer = await server.accepted()
        close = {"stream": "chat", "event": "close"}
        await peer.expect(*opening("chat"), payload("chat", "last"), close)
        await peer.say(stream="chat", event="closed", code=1000)
        await soon(closing)
        assert heard == []


async def test_a_close_that_a_dead_socket_did_not_take(server: PeerServer) -> None:
    """A close that waits when the socket is found dead goes out on the next one."""
    async with dial(server, window_frames=1) as demux:
        peer = await server.accepted()
        slow, chat = demux.stream("slow"), demux.stream("chat")
        await peer.send("slow", *range(3))
        await peer.expect(*opening("slow", "chat"))
        assert await slow.receive() == 0
        peer.drop()
        await until(lambda: not demux.is_connected)
        closing = asyncio.ensure_future(chat.close())
        await asyncio.sleep(0)
        assert [await slow.receive() for _ in range(2)] == [1, 2]
        peer = await server.accepted()
        await peer.expect(*opening("slow", "chat"), {"stream": "chat", "event": "close"})
        await peer.say(stream="chat", event="closed", code=1000)
        await soon(closing)
        assert not slow.has_ended


@pytest.mark.parametrize("code", [1001, 1011, 1012, 1013])
async def test_passing_closes(server: PeerServer, code: int) -> None:
    """After a close that is none for good the client connects again."""
    async with dial(server) as demux:
        chat = demux.stream("chat")
        await (await server.accepted()).close(code)
        await (await server.accepted()).send("chat", 1)
        assert await soon(chat.receive()) == 1


@pytest.mark.parametrize("code", [1002, 1003, 1007, 1008, 1009, 1010, 3000, 4408, 4999])
async def test_final_closes(server: PeerServer, code: int) -> None:
    """After a close for good all streams end with its code, and nobody connects again."""
    async with dial(server) as demux:
        peer = await server.accepted()
        streams = [demux.stream(name) for name in ("chat", "other")]
        await peer.expect(*opening("chat", "other"))
        await peer.close(code, "why")
        for stream in streams:
            with pytest.raises(StreamClosed) as raised:
                await soon(stream.receive())
            assert (raised.value.code, raised.value.reason) == (code, "why")
        with pytest.raises(StreamClosed):
            demux.stream("late")
    assert server.is_unvisited


async def test_a_normal_close_is_quiet(server: PeerServer) -> None:
    """A socket closed with 1000 ends all iterations quietly, and nobody connects again."""
    async with dial(server) as demux:
        peer = await server.accepted()
        chat = demux.stream("chat")
        await peer.send("chat", 1)
        await peer.close(1000)
        assert await soon(everything(chat)) == [1]
    assert server.is_unvisited


async def test_a_frame_that_is_too_large_is_final(server: PeerServer) -> None:
    """A frame larger than max_size ends everything with 1009: another try would bring it again."""
    async with dial(server, max_size=1000) as demux:
        chat = demux.stream("chat")
        await (await server.accepted()).send("chat", "x" * 1000)
        with pytest.raises(StreamClosed) as raised:
            await soon(chat.receive())
        assert raised.value.code == 1009
    assert server.is_unvisited


async def test_all_streams_closed_is_final(server: PeerServer) -> None:
    """A socket closed with the last stream's code after its end is over (C1.3)."""
    async with dial(server) as demux:
        peer = await server.accepted()
        chat = demux.stream("chat")
        await peer.say(stream="chat", event="closed", code=1011, reason="broken")
        await peer.close(1011, "broken")
        with pytest.raises(StreamClosed):
            await soon(chat.receive())
        await until(lambda: not demux.is_connected)
        with pytest.raises(StreamClosed, match="1011: broken"):
            demux.stream("chat")
    assert server.is_unvisited


@pytest.mark.parametrize("code", [1000, 4001])
async def test_a_stream_asked_for_in_time_for_the_end(server: PeerServer, code: int) -> None:
    """The close after the last stream's end is not about a stream that was asked for since."""
    async with dial(server) as demux:
        peer = await server.accepted()
        chat = demux.stream("chat")
        await peer.say(stream="chat", event="closed", code=code, reason="")
        await until(lambda: chat.has_ended)
        late = demux.stream("late")
        await peer.close(code)
        peer = await server.accepted()
        await peer.send("late", "in time")
        assert await soon(late.receive()) == "in time"


async def test_a_socket_lost_without_streams_comes_back(server: PeerServer) -> None:
    """A client whose streams have ended has a socket for the next ones, if the last one drops."""
    async with dial(server) as demux:
        peer = await server.accepted()
        chat = demux.stream("chat")
        await peer.say(stream="chat", event="closed", code=4001)
        with pytest.raises(StreamClosed):
            await soon(chat.receive())
        peer.drop()
        peer = await server.accepted()
        await demux.stream("other").send(1)
        close = {"stream": "chat", "event": "close"}
        await peer.expect(close, *opening("other"), payload("other", 1))


async def test_without_reconnect(server: PeerServer) -> None:
    """With reconnect off a lost socket ends all streams, with how it was lost."""
    async with dial(server, reconnect=False) as demux:
        chat = demux.stream("chat")
        (await server.accepted()).drop()
        with pytest.raises(StreamClosed) as raised:
            await soon(chat.receive())
        assert raised.value.code == 1006
    assert server.is_unvisited


async def test_trying_on(server: PeerServer, caplog: pytest.LogCaptureFixture) -> None:
    """A server that answers 5xx is tried again; one that refuses ends all streams with why."""
    caplog.set_level(logging.INFO, "channels_demux_layer.client")
    async with dial(server) as demux:
        chat = demux.stream("chat")
        peer = await server.accepted()
        server.statuses = [502, 503]
        peer.drop()
        peer = await server.accepted()
        server.statuses = [500, 401]
        peer.drop()
        with pytest.raises(StreamClosed, match="HTTP status 401") as raised:
            await soon(chat.receive())
        assert raised.value.code == 1006
        assert isinstance(raised.value.__cause__, ConnectFailed)
        assert raised.value.__cause__.status == 401
        with pytest.raises(StreamClosed, match="HTTP status 401"):
            demux.stream("late")
    assert len(server.requests) == 6
    assert "HTTP status 503. Retrying." in caplog.text


async def test_a_fault_of_the_users_own(
    server: PeerServer, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception of the user's function at a reconnect ends all streams, and is their cause."""
    addresses = iter([server.url])

    def url() -> str:
        if not (address := next(addresses, "")):
            raise LookupError("no more addresses")
        return address

    async with dial(server, url=url) as demux:
        chat = demux.stream("chat")
        (await server.accepted()).drop()
        with pytest.raises(StreamClosed) as raised:
            await soon(chat.receive())
        assert isinstance(raised.value.__cause__, LookupError)
    assert "Unexpected error in the client. The connection and its streams end." in caplog.text
