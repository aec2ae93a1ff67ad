"""No frame of any shape ends a connection or shows a traceback."""

from typing import NamedTuple

import pytest

from .conftest import SharedSite
from .harness.client import connect
from .harness.site import ServerKind


class Bad(NamedTuple):
    """A frame that deserves an `error` event.

    Attributes:
        frame: What the client sends.
        code: The code of the event.
    """

    frame: str | bytes
    code: str


BAD_FRAMES = {
    "empty": Bad("", "invalid_json"),
    "blank": Bad(" \n", "invalid_json"),
    "not JSON": Bad("hello", "invalid_json"),
    "cut off": Bad('{"stream": "echo", "payload": ', "invalid_json"),
    "two documents": Bad(
        '{"stream":"echo","payload":1}{"stream":"echo","payload":2}', "invalid_json"
    ),
    "single quotes": Bad("{'stream': 'echo', 'payload': 1}", "invalid_json"),
    "NaN": Bad('{"stream": "echo", "payload": NaN}', "invalid_json"),
    "Infinity": Bad('{"stream": "echo", "payload": -Infinity}', "invalid_json"),
    "control character": Bad('{"stream": "echo", "payload": "\x00"}', "invalid_json"),
    "byte order mark": Bad('\ufeff{"stream": "echo", "payload": 1}', "invalid_json"),
    "array": Bad("[]", "not_an_object"),
    "string": Bad('"echo"', "not_an_object"),
    "number": Bad("1", "not_an_object"),
    "null": Bad("null", "not_an_object"),
    "no members": Bad("{}", "missing_key"),
    "no stream": Bad('{"payload": 1}', "missing_key"),
    "no payload": Bad('{"stream": "echo"}', "missing_key"),
    "stream twice": Bad('{"stream": "echo", "stream": "echo", "payload": 1}', "duplicate_key"),
    "payload twice": Bad('{"stream": "echo", "payload": 1, "payload": 2}', "duplicate_key"),
    "escaped twin": Bad('{"stream": "echo", "\\u0073tream": "a", "payload": 1}', "duplicate_key"),
    "stream a number": Bad('{"stream": 5, "payload": 1}', "wrong_type"),
    "stream null": Bad('{"stream": null, "payload": 1}', "wrong_type"),
    "stream a list": Bad('{"stream": ["echo"], "payload": 1}', "wrong_type"),
    "event a number": Bad('{"stream": "echo", "event": 1}', "wrong_type"),
    "unknown stream": Bad('{"stream": "nowhere", "payload": 1}', "unknown_stream"),
    "empty stream": Bad('{"stream": "", "payload": 1}', "unknown_stream"),
    "unknown event": Bad('{"stream": "echo", "event": "dance"}', "unknown_event"),
    "nesting": Bad(
        '{"stream": "echo", "payload": ' + "[" * 10_000 + "]" * 10_000 + "}", "too_deep"
    ),
    "open nesting": Bad("[" * 10_000, "too_deep"),
    "too large": Bad('{"stream": "echo", "payload": "' + "x" * 800_000 + '"}', "too_large"),
    "surrogate in payload": Bad('{"stream": "echo", "payload": "\\ud800"}', "invalid_json"),
    "surrogate in stream": Bad('{"stream": "\\udfff", "payload": 1}', "invalid_json"),
    "not a string": Bad('{"stream": "text", "payload": {"a": 1}}', "not_a_string"),
    "empty bytes": Bad(b"", "invalid_binary"),
    "header alone": Bad(b"\x04", "invalid_binary"),
    "name cut off": Bad(b"\x04ech", "invalid_binary"),
    "name not UTF-8": Bad(b"\x02\xff\xfepayload", "invalid_binary"),
    "empty name": Bad(b"\x00payload", "invalid_binary"),
    "unknown binary stream": Bad(b"\x07nowherepayload", "unknown_stream"),
    "too many bytes": Bad(b"\x05bytes" + bytes(800_000), "too_large"),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
async def test_a_bad_frame_gets_an_error(shared: SharedSite, name: str) -> None:
    """A malformed frame gets one `error` event that says what is wrong, and nothing else."""
    bad = BAD_FRAMES[name]
    server = shared.server()
    written = server.process.lines
    async with connect(server.url()) as client:
        before = await client.ask("echo", "before")
        await client.send_raw(bad.frame)
        error = await client.receive()
        assert (error["event"], error["code"]) == ("error", bad.code)
        assert isinstance(error["message"], str)
        assert error["message"]
        assert await client.ask("echo", "after") == {**before, "echo": "after"}
    assert "Traceback" not in server.process.log(since=written)


async def test_every_bad_frame_on_one_socket(shared: SharedSite, server_kind: ServerKind) -> None:
    """All malformed frames in a row get their events in that order; the streams live on."""
    server = shared.server(server_kind)
    written = server.process.lines
    workers = (shared.echo_worker, shared.other_worker)
    worker_lines = [worker.lines for worker in workers]
    async with connect(server.url()) as client:
        for bad in BAD_FRAMES.values():
            await client.send_raw(bad.frame)
            await client.send("echo", bad.code)
        codes = [(await client.receive_event("error"))["code"] for _ in BAD_FRAMES]
        echoes = [(await client.receive_from("echo"))["echo"] for _ in BAD_FRAMES]
        assert codes == echoes == [bad.code for bad in BAD_FRAMES.values()]
        connection = (await client.ask("scope", "report"))["demux"]["connection"]
    assert not shared.site.journal("disconnect", connection=connection, code=1011)
    assert "Traceback" not in server.process.log(since=written)
    for worker, since in zip(workers, worker_lines, strict=True):
        assert "Traceback" not in worker.log(since=since)


async def test_events_can_be_silenced(shared: SharedSite) -> None:
    """With `send_events = False` a malformed frame gets no answer at all."""
    async with connect(shared.server().url("silent/")) as client:
        await client.send_raw("hello")
        await client.send("nowhere", 1)
        await client.send("echo", 1)
        assert (await client.receive())["payload"]["echo"] == 1


async def test_unknown_members_are_ignored(shared: SharedSite) -> None:
    """An envelope may have members that the demultiplexer doesn't know."""
    async with connect(shared.server().url()) as client:
        await client.send_raw('{"id": 7, "payload": {"a": 1}, "stream": "echo", "more": [1]}')
        assert (await client.receive_from("echo"))["echo"] == {"a": 1}
