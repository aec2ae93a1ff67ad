"""Messages of the channel layer that make no sense."""

import pytest

from channels_demux_layer.logs import MOST_LINES
from channels_demux_layer.protocol.frames import VERSION
from channels_demux_layer.transport.records import MOST_VERSIONS, REASONS, IgnoredMessages


def test_each_reason_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    """The count goes on where the warnings stop, and the records say whose it is."""
    ignored = IgnoredMessages()
    ignored.node = "here"
    for _ in range(100):
        ignored.foreign("x" * 1000)
        ignored.malformed("demux.open", ValueError("no ref"))
        ignored.unreadable("here", ValueError("no message"))
        ignored.note("misplaced", "Node %s sent nonsense.", "there", peer="there")
        assert not ignored.speaks(VERSION + 1, "opens")
    assert ignored.speaks(VERSION, "opens")
    ignored["unknown_link"] += 100
    assert ignored == dict.fromkeys(REASONS, 100)
    assert len(caplog.records) == 4 * 5 + 1
    assert all(len(text) < 200 for text in caplog.messages)
    assert {vars(record)["demux_node"] for record in caplog.records} == {"here"}


def test_versions_that_others_choose_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """The first few versions have a line each; the rest is counted and has its few lines."""
    ignored = IgnoredMessages()
    for version in range(VERSION + 1, VERSION + 10_001):
        for _ in range(2):
            assert not ignored.speaks(version, "batches")
    assert ignored["version"] == 20_000
    assert len(caplog.messages) == MOST_VERSIONS + MOST_LINES
    assert len(ignored._versions) == MOST_VERSIONS


def test_a_fault_in_handling_is_told_of_a_few_times(caplog: pytest.LogCaptureFixture) -> None:
    """A message that we cannot handle may come as often as its sender likes."""
    ignored = IgnoredMessages()
    for _ in range(100):
        ignored.unhandled(ZeroDivisionError())
    assert len(caplog.records) == MOST_LINES
    assert all(record.levelname == "ERROR" and record.exc_info for record in caplog.records)
