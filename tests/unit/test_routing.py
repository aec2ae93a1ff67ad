"""What a project's routing needs."""

import pytest
from channels.auth import AuthMiddlewareStack

from channels_demux_layer import Stream, WebsocketDemultiplexer
from channels_demux_layer.exceptions import ConfigurationError
from channels_demux_layer.hosting.fetching import InWorker
from channels_demux_layer.routing import stream_workers
from channels_demux_layer.workers.worker import StreamWorker


async def echo(scope: object, receive: object, send: object) -> None:
    """An application."""


async def other(scope: object, receive: object, send: object) -> None:
    """Another one."""


class First(WebsocketDemultiplexer):
    """A demultiplexer."""

    consumer_classes = {"echo": echo, "lost.path": "nowhere.App", "my stream": echo}


def test_every_stream_has_a_channel() -> None:
    """The names are those that runworker takes, and dotted paths are not imported."""
    workers = stream_workers(First)
    assert list(workers) == ["demux.echo", "demux.lost.path", "demux.-my_20stream"]
    assert all(isinstance(worker, StreamWorker) for worker in workers.values())


def test_demultiplexers_may_share_a_stream() -> None:
    """The same consumer under the same name has one channel, whatever the edges do with it."""

    class Second(WebsocketDemultiplexer):
        consumer_classes = {"echo": Stream(echo, lazy=True), "more": other}

    assert len(stream_workers(First, Second)) == 4


def test_demultiplexers_may_not_share_a_channel() -> None:
    """Two consumers on one channel would get each other's sessions."""

    class Second(WebsocketDemultiplexer):
        consumer_classes = {"echo": other}

    with pytest.raises(ConfigurationError, match=r"'demux\.echo' for different consumers"):
        stream_workers(First, Second)


def test_demultiplexers_may_not_share_a_channel_with_other_middleware() -> None:
    """The sessions of one would have the middleware of the other."""

    class Second(WebsocketDemultiplexer):
        consumer_classes = {"echo": echo}
        worker_middleware = AuthMiddlewareStack

    class Third(Second):
        """The same."""

    with pytest.raises(ConfigurationError, match=r"'demux\.echo' for different worker_middleware"):
        stream_workers(First, Second)
    assert len(stream_workers(Second, Third)) == 1


def test_middleware_is_prepared_with_its_stream() -> None:
    """A worker says before its first open that its middleware leads nowhere."""

    class Second(WebsocketDemultiplexer):
        consumer_classes = {"echo": echo}
        worker_middleware = "nowhere.at.all"

    (worker,) = stream_workers(Second).values()
    with pytest.raises(ConfigurationError, match="Correct the path in worker_middleware"):
        worker.prepare()
    Second.worker_middleware = AuthMiddlewareStack  # type: ignore[assignment]
    (worker,) = stream_workers(Second).values()
    assert isinstance(worker.prepare(), InWorker)
    assert worker.prepare().inner is echo


def test_a_prefix_keeps_demultiplexers_apart() -> None:
    """With a prefix of its own each has channels of its own."""

    class Second(WebsocketDemultiplexer):
        consumer_classes = {"echo": other}
        channel_prefix = "second"

    assert "second.echo" in stream_workers(First, Second)
