"""Logs of faults that repeat."""

import logging

import pytest

from channels_demux_layer.faults import FaultLog

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
