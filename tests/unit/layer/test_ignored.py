"""Messages of the channel layer that make no sense."""

import pytest

from channels_demux_layer.layer.ignored import REASONS, IgnoredMessages
from channels_demux_layer.link.frames import VERSION


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
