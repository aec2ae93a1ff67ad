"""Every kind of consumer, unmodified, wherever it is hosted."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from channels.layers import get_channel_layer
from channels.routing import URLRouter
from django.urls import re_path

from channels_demux_layer import Stream
from channels_demux_layer.testing import DemuxCommunicator

from . import consumers
from .harness import LIMIT, Place, demultiplexer

JSON = [{"a": [1, 2.5, None, True]}, "text", 0, [], None, {"ü": "\u2028🎈"}]

KINDS = {
    "json": consumers.Json,
    "sync-json": consumers.SyncJson,
    "plain": consumers.Plain,
    "sync-plain": consumers.SyncPlain,
    "raw": consumers.raw,
    "path": "tests.integration.consumers.Json",
    "raw-path": "tests.integration.consumers.raw",
}
TEXT_AND_BYTES = ("plain", "sync-plain", "raw", "raw-path")


async def test_every_kind_of_consumer_answers_over_one_socket(place: Place) -> None:
    """Sync and async, JSON and plain, ASGI applications and dotted paths share one socket."""
    async with place.client(KINDS) as client:
        for payload in JSON:
            for stream in KINDS:
                await client.send_to(stream, payload)
        for stream in reversed(KINDS):
            assert [await client.receive_from(stream) for _ in JSON] == JSON


async def test_bytes_reach_a_consumer_bare_and_come_back(place: Place) -> None:
    """A binary frame is plain bytes_data, and bytes that a consumer sends are a binary frame."""
    payloads = [b"", b"\x00\xff", "ü".encode() * 1000]
    async with place.client({stream: KINDS[stream] for stream in TEXT_AND_BYTES}) as client:
        for stream in TEXT_AND_BYTES:
            for payload in payloads:
                await client.send_to(stream, payload)
        for stream in TEXT_AND_BYTES:
            assert [await client.receive_from(stream) for _ in payloads] == payloads


async def test_plain_text_travels_bare_on_a_stream_that_says_so(place: Place) -> None:
    """With text=True a consumer gets and sends bare strings, even those that are JSON."""
    streams = {"bare": Stream(consumers.Plain, text=True), "json": consumers.Plain}
    async with place.client(streams) as client:
        for text in ("plain", '{"a": 1}', "1", ""):
            await client.send_to("bare", text)
            assert await client.receive_from("bare") == text
            await client.send_to("json", text)
            assert await client.receive_from("json") == text
        await client.send_to("bare", {"not": "a string"})
        assert (await client.receive_event("bare"))["code"] == "not_a_string"


async def test_routers_and_middleware_are_applications(place: Place) -> None:
    """A URLRouter and an application in middleware serve streams like any other."""
    cls = demultiplexer({"marked": consumers.marked, "rooms": consumers.router})
    room = uuid.uuid4()
    mounted = URLRouter([re_path(r"^ws/(?P<tenant>\d+)/", cls.as_asgi())])
    url = f"/ws/7/rooms/{room}/"
    async with place.run(cls), DemuxCommunicator(mounted, url, timeout=LIMIT) as client:
        await client.send_to("marked", 1)
        assert await client.receive_from("marked") == [1, True]
        await client.send_to("rooms", 1)
        assert await client.receive_from("rooms") == [str(room), "UUID"]


async def test_a_consumers_own_groups_and_handlers_work(place: Place) -> None:
    """What one client's consumer says to its group reaches the consumers of all clients."""
    cls = demultiplexer({"chat": consumers.Chat})
    async with place.run(cls):
        first = DemuxCommunicator(cls.as_asgi(), timeout=LIMIT)
        second = DemuxCommunicator(cls.as_asgi(), timeout=LIMIT)
        async with first, second:
            for client in (first, second):  # each hears itself once it has joined
                await client.send_to("chat", "here")
                await client.receive_from("chat")
            await first.send_to("chat", "hello")
            for client in (first, second):
                heard: Any = None
                while heard != "hello":
                    heard = await client.receive_from("chat")


async def test_a_consumers_own_channel_reaches_it(place: Place) -> None:
    """A consumer has a channel_name of its own, and hears what is sent there."""
    async with place.client({"own": consumers.SyncChat}) as client:
        channel = await client.receive_from("own")
        await get_channel_layer().send(channel, {"type": "poke", "said": "boo"})
        assert await client.receive_from("own") == "boo"


async def test_streams_may_have_any_name(place: Place) -> None:
    """A name that no channel layer takes is as good as any other."""
    names = ["edge", "my stream", "ü/🎈", "x" * 255, "-", "a.b"]
    async with place.client(dict.fromkeys(names, consumers.Json)) as client:
        for name in names:
            await client.send_to(name, name)
        for name in names:
            assert await client.receive_from(name) == name


async def test_inline_and_remote_streams_share_a_socket(quick_layer: Place) -> None:
    """A stream that says where it is hosted stays there, beside others."""
    streams = {
        "here": Stream(consumers.Json, hosting="inline"),
        "there": Stream(consumers.Json, hosting="workers"),
    }
    async with quick_layer.client(streams) as client:
        for stream in streams:
            await client.send_to(stream, stream)
        for stream in streams:
            assert await client.receive_from(stream) == stream


@pytest.mark.parametrize("own_thread", [True, False, None])
async def test_synchronous_code_runs_with_and_without_a_thread_of_its_own(
    quick_place: Place, own_thread: bool | None
) -> None:
    """Whatever own_thread says, a synchronous consumer serves its stream."""
    stream = Stream(consumers.SyncJson, own_thread=own_thread)
    async with quick_place.client({"sync": stream}) as client:
        await client.send_to("sync", 1)
        assert await client.receive_from("sync") == 1


async def test_a_thousand_payloads_come_back_in_order(quick_place: Place) -> None:
    """Far more than a window of payloads comes back complete and in order."""
    async with quick_place.client({"json": consumers.Json}) as client:
        for number in range(1000):
            await client.send_to("json", number)
        assert [await client.receive_from("json") for _ in range(1000)] == list(range(1000))
