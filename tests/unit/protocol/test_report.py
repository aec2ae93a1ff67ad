"""What nodes say about themselves, as it travels."""

from __future__ import annotations

import msgspec
import pytest

from channels_demux_layer.protocol.report import (
    REPORT,
    REPORT_VERSION,
    STATUS,
    Answer,
    LinkReport,
    NodeReport,
    Question,
    StreamReport,
    parse_answer,
    parse_question,
)

NODE = NodeReport(
    node="n!1",
    kind="worker",
    release="9.9",
    wire=1,
    host="h",
    pid=1,
    streams=[StreamReport(side="worker", stream="s", channel="demux.s", closed={1000: 2})],
    links=[LinkReport(peer="e!1", is_edge=False, round_trip=0.004)],
)


def test_a_question_and_its_answer_travel() -> None:
    """Both are plain messages of the layer, and read back as they were."""
    question = Question(version=REPORT_VERSION, ref="r", channel="asker!1")
    report = msgspec.msgpack.encode(NODE)
    answer = Answer(version=REPORT_VERSION, ref="r", report=report)
    assert (question.to_message()["type"], answer.to_message()["type"]) == (STATUS, REPORT)
    assert parse_question(question.to_message()) == question
    assert parse_answer(answer.to_message()).unpack() == NODE


@pytest.mark.parametrize("parse", [parse_question, parse_answer])
def test_what_is_malformed_is_said_to_be(parse: object) -> None:
    """A message without its fields is refused by its reader."""
    with pytest.raises(msgspec.ValidationError):
        parse({"type": "x", "version": "one"})  # type: ignore[operator]


def test_a_report_of_another_release_can_be_read() -> None:
    """New fields are passed over, and those that are missing have their defaults."""
    told = {"node": "n!1", "kind": "server", "release": "99", "wire": 7, "host": "h", "pid": 1}
    report = msgspec.msgpack.encode({**told, "colour": "blue"})
    read = Answer(version=REPORT_VERSION, ref="r", report=report).unpack()
    assert (read.wire, read.load, read.streams) == (7, 0, [])


@pytest.mark.parametrize("uptime", [float("inf"), float("nan"), -1.0, 1e300])
def test_a_time_is_a_number(uptime: float) -> None:
    """A report with a time that there cannot be is refused: readers reckon with it."""
    told = {"node": "n!1", "kind": "server", "release": "1", "wire": 1, "host": "h", "pid": 1}
    report = msgspec.msgpack.encode({**told, "uptime": uptime})
    with pytest.raises(msgspec.ValidationError):
        Answer(version=REPORT_VERSION, ref="r", report=report).unpack()
