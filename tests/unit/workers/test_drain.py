"""A drain moves every session, waits for the consumers, and gives up who takes too long."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from channels_demux_layer.transport.node import Node
from channels_demux_layer.transport.nodes import find_node, stop_nodes
from channels_demux_layer.workers import drain
from channels_demux_layer.workers.drain import drain_workers


class FakeSession:
    """A session that ends when it is told to, or never.

    Args:
        node: The node that hosts it.
        is_willing: Whether it moves when asked to.
    """

    def __init__(self, node: Node, is_willing: bool = True) -> None:
        self.over = asyncio.Event()
        self.heard: list[str] = []
        self._is_willing = is_willing
        self._node = node
        node.hosted.add(self)

    def move(self) -> None:
        """Ends, if it is willing."""
        self.heard.append("move")
        if self._is_willing:
            self._node.hosted.discard(self)
            self.over.set()

    def disown(self) -> None:
        """Notes it."""
        self.heard.append("disown")


@pytest.fixture
async def node(settings: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Node]:
    """This loop's node on an in-memory layer.

    Yields:
        The node.
    """
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    monkeypatch.setattr(drain, "GLANCE", 0.0)
    yield find_node("default")
    await stop_nodes()


async def test_nothing_to_drain(node: Node) -> None:
    """A worker without sessions is empty at once, and claims nothing any more."""
    node.grantable["ref"] = lambda port: None
    assert await drain_workers(0.0)
    assert node.is_draining
    assert not node.grantable


async def test_sessions_move(node: Node) -> None:
    """Every session is asked to move, and none is disowned that does."""
    sessions = [FakeSession(node) for _ in range(3)]
    assert await drain_workers(60.0)
    assert [session.heard for session in sessions] == [["move"]] * 3


async def test_who_takes_too_long_is_given_up(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    """A consumer that does not end in time is disowned; the log counts it."""
    quick, slow = FakeSession(node), FakeSession(node, is_willing=False)
    assert not await drain_workers(0.0)
    assert quick.heard == ["move"]
    assert slow.heard == ["move", "disown"]
    assert (
        "1 consumers did not end in time. Their sessions reopen on other workers."
        in caplog.messages
    )


async def test_last_words_arrive(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The drain is over when all that was said has arrived."""
    answers = iter([False, False, True])
    monkeypatch.setattr(Node, "is_quiet", property(lambda self: next(answers)))
    assert await drain_workers(0.0)
    assert next(answers, None) is None


async def test_last_words_have_a_limit(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that does not answer holds up the end for a moment only."""
    monkeypatch.setattr(drain, "LAST_WORDS", 0.0)
    monkeypatch.setattr(Node, "is_quiet", property(lambda self: False))
    assert await drain_workers(0.0)


async def test_last_words_wait_for_the_layer(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nobody can be heard, the time that peers have for their answer does not run."""
    answers = iter([False, False, True])
    monkeypatch.setattr(Node, "is_quiet", property(lambda self: next(answers)))
    monkeypatch.setattr(Node, "is_cut_off", property(lambda self: True))
    assert await drain_workers(60.0)
    assert next(answers, None) is None
