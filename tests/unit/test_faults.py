"""Logs of faults that repeat."""

import logging

import pytest

from channels_demux_layer.faults import MOST_LINES, FaultLog, RepeatedLog
from channels_demux_layer.logs import about

LOGGER = logging.getLogger("channels_demux_layer.tests")


def test_a_fault_is_told_of_when_it_begins_and_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """However often it repeats, it has two lines; and each fault its own."""
    caplog.set_level(logging.INFO, LOGGER.name)
    faults = FaultLog(LOGGER)
    for _ in range(3):
        faults.failed("publish", ConnectionError("refused"))
    faults.worked("receive")
    faults.failed("receive", ConnectionError())
    for _ in range(3):
        faults.worked("publish")
    faults.failed("publish", "again")
    assert caplog.messages == [
        "Cannot publish: refused. Trying on.",
        "Cannot receive: ConnectionError. Trying on.",
        "Can publish again.",
        "Cannot publish: again. Trying on.",
    ]


def test_what_others_send_is_warned_of_a_few_times(caplog: pytest.LogCaptureFixture) -> None:
    """Each kind has its lines in a minute; how many more there were is told after it."""
    now = [0.0]
    repeated = RepeatedLog(LOGGER, lambda: now[0])
    for number in range(MOST_LINES + 3):
        repeated.warning("garbage", "No. %d", number, extra=about(node="n"))
    repeated.warning("other", "Else", extra=about())
    assert caplog.messages == [*(f"No. {number}" for number in range(MOST_LINES)), "Else"]
    assert {vars(record)["demux_node"] for record in caplog.records} == {"n", None}
    caplog.clear()
    now[0] = 61.0
    repeated.warning("garbage", "Again", extra=about())
    assert caplog.messages == ["There were 3 more warnings like the last about garbage.", "Again"]


def test_a_warning_may_show_where_it_comes_from(caplog: pytest.LogCaptureFixture) -> None:
    """The traceback of an exception goes with it."""
    error = ValueError("broken")
    RepeatedLog(LOGGER).warning("x", "It broke", extra=about(), exc=error)
    assert caplog.records[0].exc_info
    assert caplog.records[0].exc_info[1] is error
