"""The codes and words that clients see."""

import json

import msgspec
import pytest

from channels_demux_layer.codes import ClientEvent, CloseCode, ErrorCode, ServerEvent

WORDS = [*ErrorCode, *ServerEvent, *ClientEvent]


def test_close_codes_are_those_of_the_registry() -> None:
    """Every close code keeps its registered number, and our own is in the private range."""
    assert {code.name: int(code) for code in CloseCode} == {
        "NORMAL": 1000,
        "GOING_AWAY": 1001,
        "ABNORMAL": 1006,
        "TOO_BIG": 1009,
        "INTERNAL_ERROR": 1011,
        "SERVICE_RESTART": 1012,
        "TRY_AGAIN_LATER": 1013,
        "NOT_PERMITTED": 4403,
        "STALLED": 4408,
        "UNPROCESSABLE": 4422,
        "TOO_MANY_REQUESTS": 4429,
    }


def test_error_codes_are_stable() -> None:
    """The error codes are the released ones: clients compare them."""
    assert {str(code) for code in ErrorCode} == {
        "invalid_json",
        "too_deep",
        "not_an_object",
        "duplicate_key",
        "missing_key",
        "wrong_type",
        "unknown_event",
        "invalid_binary",
        "not_a_string",
        "unknown_stream",
        "too_large",
        "stream_closed",
        "not_permitted",
        "too_many_streams",
        "too_many_opens",
    }


def test_events_are_stable() -> None:
    """The events are the released ones, and no word is both a client's and the server's."""
    assert {str(event) for event in ServerEvent} == {"closed", "reopened", "unavailable", "error"}
    assert {str(event) for event in ClientEvent} == {"open", "close"}


@pytest.mark.parametrize("word", WORDS, ids=str)
def test_words_are_their_own_text(word: str) -> None:
    """A word formats, compares, hashes and encodes as its text on every Python."""
    text = word.value  # type: ignore[attr-defined]
    assert word == text
    assert hash(word) == hash(text)
    assert f"{word}" == str(word) == "%s" % word == text  # noqa: UP031 - the old way as well
    assert json.dumps(word) == msgspec.json.encode(word).decode() == f'"{text}"'
