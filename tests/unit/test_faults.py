"""Logs of faults that repeat."""

import logging

import pytest

from channels_demux_layer.faults import (
    MOST_KINDS,
    MOST_LINES,
    MOST_TARGETS,
    QUIET,
    FaultLog,
    RepeatedLog,
)
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


def test_layers_are_told_apart(caplog: pytest.LogCaptureFixture) -> None:
    """A layer that works says nothing about another one that fails."""
    caplog.set_level(logging.INFO, LOGGER.name)
    faults = FaultLog(LOGGER)
    for _ in range(10):
        faults.failed("publish on the channel layer", OSError("refused"), alias="opens")
        faults.worked("publish on the channel layer", alias="default")
    faults.failed("publish on the channel layer", OSError("gone"), alias="default")
    faults.worked("publish on the channel layer", alias="opens")
    assert caplog.messages == [
        "Cannot publish on the channel layer 'opens': refused. Trying on.",
        "Cannot publish on the channel layer: gone. Trying on.",
        "Can publish on the channel layer 'opens' again.",
    ]


def test_one_server_of_several_that_fails_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """What works on the others is no end of the fault: the targets that failed have to work."""
    caplog.set_level(logging.INFO, LOGGER.name)
    faults = FaultLog(LOGGER)
    for number in range(100):
        faults.failed("publish", OSError("refused"), target=f"lost {number}")
        faults.worked("publish", target=f"well {number}")
    assert caplog.messages == ["Cannot publish: refused. Trying on."]
    faults.worked("publish", target="lost 0")  # Forgotten: the latest are enough.
    for number in range(100 - MOST_TARGETS, 100):
        assert len(caplog.messages) == 1
        faults.worked("publish", target=f"lost {number}")
    assert caplog.messages[1:] == ["Can publish again."]


def test_a_target_that_fails_while_others_work_again_makes_no_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """When a server comes back, one call of several may fail once more after another has worked."""
    caplog.set_level(logging.INFO, LOGGER.name)
    faults = FaultLog(LOGGER)
    for target in ("a", "b", "c"):
        faults.failed("receive", OSError("refused"), target=target)
    faults.worked("receive", target="a")
    faults.failed("receive", OSError("reset"), target="b")
    faults.failed("receive", OSError("reset"), target="a")
    for target in ("b", "a", "c"):
        faults.worked("receive", target=target)
    assert caplog.messages == ["Cannot receive: refused. Trying on.", "Can receive again."]


def test_a_fault_ends_when_its_targets_are_gone(caplog: pytest.LogCaptureFixture) -> None:
    """After a while without a failure whatever works tells that the fault is over."""
    caplog.set_level(logging.INFO, LOGGER.name)
    now = [0.0]
    faults = FaultLog(LOGGER, lambda: now[0])
    faults.failed("publish", OSError("refused"), target="gone")
    now[0] = QUIET - 1
    faults.worked("publish", target="other")
    assert len(caplog.messages) == 1
    now[0] = QUIET
    faults.worked("publish", target="other")
    assert caplog.messages[1:] == ["Can publish again."]


def test_kinds_that_others_choose_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """Beyond so many kinds all are one, for what is written and for what is remembered."""
    repeated = RepeatedLog(LOGGER)
    for number in range(10_000):
        repeated.warning(f"kind {number}", "No. %d", number, extra=about())
    assert len(caplog.messages) == MOST_KINDS + MOST_LINES
    assert len(repeated._lines) == MOST_KINDS + 1


def test_what_others_have_written_is_made_printable(caplog: pytest.LogCaptureFixture) -> None:
    """No escape sequence and no line break of another process reaches a log, and no long text."""
    repeated, faults = RepeatedLog(LOGGER), FaultLog(LOGGER)
    evil = "\x1b[2J\nERROR forged" + "x" * 1_000
    repeated.warning("x", "Node %s sent %d.", evil, 1, extra=about(peer=evil))
    faults.failed("publish", evil)
    assert all(text.isprintable() and len(text) < 300 for text in caplog.messages)
    assert vars(caplog.records[0])["demux_peer"].startswith("\\x1b[2J\\nERROR")
