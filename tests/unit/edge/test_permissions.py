"""Who may open a stream."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from channels_demux_layer.edge.permissions import GuardedSession, is_permitted
from tests.integration.harness import within

DEMUX = {"connection": "c" * 32, "stream": "s", "attempt": 1}


class User:
    """A user with one permission."""

    def has_perm(self, name: str) -> bool:
        """Tell whether it is that one."""
        return name == "market.view_price"


async def yes(scope: Any) -> bool:
    """Say yes, later."""
    await asyncio.sleep(0)
    return True


def fail(scope: Any) -> bool:
    """Fail."""
    raise ZeroDivisionError("it broke")


async def hang(scope: Any) -> bool:
    """Say nothing."""
    await asyncio.Event().wait()
    return True


@pytest.mark.parametrize(
    ("permission", "answer"),
    [
        (lambda scope: True, True),
        (lambda scope: 0, False),
        (lambda scope: None, False),
        (lambda scope: scope["demux"]["stream"] == "s", True),
        (yes, True),
        ("market.view_price", True),
        ("market.add_price", False),
    ],
)
async def test_a_permission_is_asked_with_the_scope(permission: Any, answer: bool) -> None:
    """At once, to be awaited, or of the scope's user by name."""
    assert await is_permitted(permission, {"user": User(), "demux": DEMUX}) is answer


@pytest.mark.parametrize("permission", [fail, "market.view_price"])
async def test_a_permission_that_fails_refuses(
    permission: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where there is no user to ask; the log says why, with a traceback."""
    assert await is_permitted(permission, {"demux": DEMUX}) is False
    (record,) = caplog.records
    assert "The permission of stream 's' failed, which refuses it" in record.getMessage()
    assert record.exc_info
    assert vars(record)["demux_connection"] == "c" * 32


async def test_a_permission_that_hangs_refuses(settings: Any) -> None:
    """OPEN_TIMEOUT is enough to answer."""
    settings.CHANNELS_DEMUX_LAYER = {"OPEN_TIMEOUT": 0.01}
    assert await within(is_permitted(hang, {"demux": DEMUX})) is False


class Door:
    """The connection.

    Attributes:
        told: What it was told, in order.
    """

    def __init__(self) -> None:
        self.told: list[Any] = []

    def session_permitted(self, name: str) -> Door:
        """Begin a session, which notes payloads."""
        self.told.append("permitted")
        return self

    def deliver(self, data: str | bytes) -> Any:
        """Note a payload; every second has no room yet."""
        self.told.append(data)
        return asyncio.sleep(0) if data == "2" else None

    def session_refused(self, name: str, payloads: int) -> None:
        """Note it."""
        self.told.append(payloads)

    def session_closed(self, name: str, code: int, reason: str) -> None:
        """Note it."""
        self.told.append((name, code, reason))


def a_session(permission: Any, door: Door) -> GuardedSession:
    """Start to ask."""
    return GuardedSession("s", permission, {"demux": DEMUX}, door)


async def test_payloads_wait_for_the_answer() -> None:
    """And go to the session that follows, in order."""
    door = Door()
    session = a_session(yes, door)
    await within(asyncio.gather(*(session.deliver(text) for text in ("1", "2", "3"))))
    assert door.told == ["permitted", "1", "2", "3"]
    session.end(1000, "")
    assert len(door.told) == 4


async def test_payloads_of_a_refused_stream_are_counted() -> None:
    """Each of them is to have its error."""
    door = Door()
    session = a_session(lambda scope: False, door)
    await within(asyncio.gather(session.deliver("1"), session.deliver("2")))
    assert door.told == [2]
    assert session.ended.is_set()


async def test_a_stream_may_end_before_the_answer() -> None:
    """What has waited is let go, and nobody is asked any more."""
    door = Door()
    session = a_session(hang, door)
    waiting = asyncio.ensure_future(session.deliver("1"))
    await asyncio.sleep(0)
    session.abandon()
    session.end(1000, "")
    await within(waiting)
    assert door.told == [("s", 1001, "")]
    assert session.ended.is_set()
