"""Streams that not everybody may open."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from channels_demux_layer import Stream
from channels_demux_layer.testing import DemuxCommunicator

from . import consumers
from .harness import LIMIT, Place, demultiplexer, within


def no(scope: Any) -> bool:
    """Let nobody in."""
    return False


async def yes(scope: Any) -> bool:
    """Let everybody in, later."""
    await asyncio.sleep(0)
    return True


async def test_a_stream_that_the_client_may_not_use_is_closed(quick_place: Place) -> None:
    """With 4403, without any consumer; the others go on."""
    begun: list[Any] = []

    class Begun(consumers.Json):
        async def connect(self) -> None:
            begun.append(self)

    streams = {"no": Stream(Begun, permission=no), "yes": Stream(consumers.Json, permission=yes)}
    async with quick_place.client(streams) as client:
        closed = await client.receive_event("no")
        assert closed == {
            "stream": "no",
            "event": "closed",
            "code": 4403,
            "reason": "not permitted",
        }
        await client.send_to("no", 1)
        assert (await client.receive_event("no"))["code"] == "stream_closed"
        for number in range(3):
            await client.send_to("yes", number)
            assert await client.receive_from("yes") == number
    assert not begun


async def test_the_payload_that_asks_gets_an_error(quick_place: Place) -> None:
    """Before the `closed` event; and each open by the client asks anew."""
    asked: list[str] = []

    def count(scope: Any) -> bool:
        asked.append(scope["demux"]["stream"])
        return len(asked) > 2

    lazy = Stream(consumers.Json, lazy=True, permission=count)
    async with quick_place.client({"s": lazy, "other": consumers.Json}) as client:
        await client.send_to("s", 1)
        error = await client.receive_event("s")
        assert (error["event"], error["code"]) == ("error", "not_permitted")
        assert (await client.receive_event("s"))["code"] == 4403
        await client.open("s")
        assert (await client.receive_event("s"))["code"] == 4403
        await client.open("s")
        await client.send_to("s", 2)
        assert await client.receive_from("s") == 2
        await client.send_to("s", 3)
        assert await client.receive_from("s") == 3
    assert asked == ["s"] * 3


async def test_a_socket_of_which_nothing_is_permitted_closes(inline: Place) -> None:
    """With the code of the last stream, after the events."""
    async with inline.client({"s": Stream(consumers.Json, permission=no)}) as client:
        assert (await client.receive_event("s"))["code"] == 4403
        assert (await client.receive_close()).code == 4403


async def test_a_client_may_leave_before_the_answer(quick_place: Place) -> None:
    """Or close the stream; nobody waits for the permission then."""
    asked = asyncio.Event()

    async def hang(scope: Any) -> bool:
        asked.set()
        await asyncio.Event().wait()
        return True

    streams = {"s": Stream(consumers.Json, permission=hang), "t": consumers.Json}
    async with quick_place.client(streams) as client:
        await within(asked.wait())
        await client.close("s")
        assert (await client.receive_event("s"))["code"] == 1000
        asked.clear()
        await client.open("s")
        await within(asked.wait())


@pytest.mark.django_db(transaction=True)
async def test_the_name_of_a_permission_is_asked_of_the_user(inline: Place) -> None:
    """Who has it may; who has not, and who is nobody, may not."""
    from asgiref.sync import sync_to_async
    from django.contrib.auth.models import AnonymousUser, Permission, User

    may = await User.objects.acreate(username="may")
    may_not = await User.objects.acreate(username="may-not")
    permission = await Permission.objects.aget(codename="view_user")
    await sync_to_async(may.user_permissions.add)(permission)
    cls = demultiplexer({"s": Stream(consumers.Json, lazy=True, permission="auth.view_user")})
    for user, answer in ((may, 1), (may_not, None), (AnonymousUser(), None)):
        client = DemuxCommunicator(cls.as_asgi(), timeout=LIMIT)
        client.scope["user"] = user
        async with client:
            await client.send_to("s", 1)
            if answer:
                assert await client.receive_from("s") == answer
            else:
                assert (await client.receive_event("s"))["code"] == "not_permitted"
