"""What applications send, made into what a WebSocket carries."""

from __future__ import annotations

import array
import ctypes
import enum
import logging
from collections import UserString
from typing import Any

import pytest
from django.utils.functional import SimpleLazyObject
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy

from channels_demux_layer import Stream
from channels_demux_layer.codes import CloseCode
from channels_demux_layer.hosting import outgoing
from channels_demux_layer.hosting.outgoing import (
    exact_bytes,
    exact_close,
    exact_disconnect,
    exact_message,
    exact_text,
    text_writer,
)


class Word(str, enum.Enum):
    """A word of the project's."""

    HELLO = "hello"


class Code(enum.IntEnum):
    """A code of the project's."""

    GONE = 4001


class Formatted(str):
    """A text that shows itself in another way."""

    def __str__(self) -> str:
        return "shown"


class Octets(bytes):
    """Bytes of the project's."""


class Index:
    """An integer that is none of Python's, as numpy has them."""

    def __index__(self) -> int:
        return 4002


class Convertible:
    """What bytes() takes, and servers do not."""

    def __bytes__(self) -> bytes:
        return b"x"


def released() -> memoryview:
    """A view whose buffer is given back."""
    view = memoryview(b"x")
    view.release()
    return view


@pytest.fixture(autouse=True)
def _said_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgoing, "_noticed", set())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        (mark_safe("<b>1</b>"), "<b>1</b>"),
        (Word.HELLO, "hello"),
        (Formatted("itself"), "itself"),
        (gettext_lazy("Welcome"), "Welcome"),
        (SimpleLazyObject(lambda: "lazy"), "lazy"),
        (UserString("user"), "user"),
        (mark_safe("\ud800"), "\ud800"),
        (UserString("\ud800"), "\ud800"),
        (b'{"a": "\xc3\xbc"}', '{"a": "ü"}'),
        (bytearray(b"[1]"), "[1]"),
        (b'{"a": NaN}', '{"a": NaN}'),
    ],
)
def test_what_stands_for_text_becomes_text(value: Any, text: str) -> None:
    """Whatever servers take as text, and the bytes of an encoder of JSON, are an exact str."""
    exact = exact_text(value)
    assert type(exact) is str
    assert exact == text


@pytest.mark.parametrize(
    "value",
    [
        5,
        1.5,
        True,
        False,
        {"a": 1},
        ["a"],
        None,
        object(),
        SimpleLazyObject(lambda: 5),
        Convertible(),
    ],
)
def test_what_is_no_text_is_refused(value: Any) -> None:
    """The error names the type, and what to pass instead."""
    with pytest.raises(TypeError, match=r"of type .* cannot be sent as text\. Pass a str"):
        exact_text(value)


@pytest.mark.parametrize("value", [b"plain", b"\xff", b"", bytearray(b"{")])
def test_bytes_that_are_no_json_are_no_text(value: Any) -> None:
    """Nobody can tell whether they were meant for text or for a binary frame."""
    with pytest.raises(ValueError, match="do not hold JSON in UTF-8"):
        exact_text(value)


def test_what_a_lazy_text_raises_is_raised() -> None:
    """The application sees its own exception, at its own call."""

    def fail() -> str:
        raise LookupError("no such text")

    with pytest.raises(LookupError, match="no such text"):
        exact_text(SimpleLazyObject(fail))


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (b"xy", b"xy"),
        (Octets(b"xy"), b"xy"),
        (bytearray(b"xy"), b"xy"),
        (memoryview(b"abcdef")[::2], b"ace"),
        (memoryview(b"abc")[::-1], b"cba"),
        (array.array("H", [1, 2]), array.array("H", [1, 2]).tobytes()),
        (memoryview(array.array("d", [1.5])), array.array("d", [1.5]).tobytes()),
        ((ctypes.c_uint8 * 2)(1, 2), b"\x01\x02"),
        (memoryview(bytes(6)).cast("B", (2, 3)), bytes(6)),
        (b"", b""),
    ],
)
def test_whatever_has_a_buffer_becomes_bytes(value: Any, data: bytes) -> None:
    """Strided or not, of whatever items: the bytes that servers send."""
    exact = exact_bytes(value)
    assert type(exact) is bytes
    assert exact == data


def test_arrays_of_numpy_become_bytes() -> None:
    """A slice of a picture is copied in its own order."""
    numpy = pytest.importorskip("numpy")
    picture = numpy.arange(12, dtype="uint8").reshape(3, 4)
    assert exact_bytes(picture[:, ::2]) == bytes([0, 2, 4, 6, 8, 10])


def test_a_buffer_may_be_used_again() -> None:
    """What is written to it after the call does not change what is sent."""
    buffer = bytearray(b"first")
    exact = exact_bytes(buffer)
    buffer[:] = b"other"
    assert exact == b"first"


@pytest.mark.parametrize("value", ["text", mark_safe("x"), 3, [1, 2], None, Convertible(), True])
def test_what_has_no_buffer_is_refused(value: Any) -> None:
    """The error names the type, and what to pass instead."""
    with pytest.raises(TypeError, match=r"of type .* cannot be sent as bytes\. Pass bytes"):
        exact_bytes(value)


def test_addresses_of_objects_are_not_sent() -> None:
    """A buffer of Python objects holds nothing but where they are in memory."""
    with pytest.raises(TypeError, match="holds Python objects"):
        exact_bytes((ctypes.py_object * 1)("secret"))


@pytest.mark.parametrize("convert", [exact_bytes, exact_text])
def test_a_buffer_that_is_gone_is_refused(convert: Any) -> None:
    """Python's own error says what is wrong with it."""
    with pytest.raises(ValueError, match="released"):
        convert(released())


@pytest.mark.parametrize(
    ("code", "carried"),
    [
        *[
            (None, 1000),
            (4000, 4000),
            (Code.GONE, 4001),
            (Index(), 4002),
            (CloseCode.STALLED, 4408),
        ],
        *[(code, code) for code in (1000, 1003, 1007, 1012, 1014, 3000, 4999)],
    ],
)
def test_a_code_that_a_websocket_carries_stays(
    code: Any, carried: int, caplog: pytest.LogCaptureFixture
) -> None:
    """It is an exact int, as Daphne wants it."""
    number, _ = exact_close(code, "")
    assert type(number) is int
    assert number == carried
    assert not caplog.records


@pytest.mark.parametrize(
    "code",
    [
        0,
        -1,
        999,
        1004,
        1005,
        1006,
        1015,
        1016,
        2999,
        5000,
        65536,
        2**70,
        -(2**70),
        True,
        False,
        "4001",
        b"4001",
        4000.0,
        float("nan"),
        [],
        object(),
    ],
)
def test_any_other_code_becomes_1011(code: Any, caplog: pytest.LogCaptureFixture) -> None:
    """And a warning names the stream and the code."""
    with caplog.at_level(logging.WARNING):
        assert exact_close(code, "bye", str(code)) == (1011, "bye")
    (record,) = caplog.records
    assert "became 1011" in record.getMessage()
    assert record.__dict__["demux_stream"] == str(code)


def test_a_code_of_the_connection_names_no_stream(caplog: pytest.LogCaptureFixture) -> None:
    """A demultiplexer closes its whole socket."""
    assert exact_close(1, None) == (1011, "")
    assert "of the connection became 1011" in caplog.text


@pytest.mark.parametrize(
    ("reason", "carried"),
    [
        *[(nothing, "") for nothing in (None, "", 0, b"", [], False)],
        ("r" * 123, "r" * 123),
        ("r" * 124, "r" * 123),
        ("é" * 80, "é" * 61),
        ("😀" * 80, "😀" * 30),
        ("half \ud800", "half \ufffd"),
        (gettext_lazy("bye"), "bye"),
        (mark_safe("bye"), "bye"),
        (Word.HELLO, "hello"),
    ],
)
def test_a_reason_is_cut_to_what_a_websocket_carries(reason: Any, carried: str) -> None:
    """At a whole character, within 123 bytes."""
    _, text = exact_close(4000, reason)
    assert type(text) is str
    assert text == carried


@pytest.mark.parametrize("reason", [b"bye", [1], {"a": 1}, 5, ValueError("no"), bytearray(b"1")])
def test_a_reason_that_is_no_text_is_refused(reason: Any) -> None:
    """No server takes it either."""
    with pytest.raises(TypeError, match=r"A value of type .* cannot be the reason of a close"):
        exact_close(4000, reason)


@pytest.mark.parametrize(
    ("said", "code", "reason"),
    [
        ({"code": 4000, "reason": "bye"}, 4000, "bye"),
        ({"code": Code.GONE, "reason": None}, 4001, ""),
        ({}, 1005, ""),
        ({"code": None, "reason": b"bye"}, 1005, ""),
        ({"code": "4000"}, 1006, ""),
        ({"code": 2**70, "reason": mark_safe("x" * 200)}, 1006, "x" * 123),
        ({"code": -5}, 1006, ""),
    ],
)
def test_what_a_server_says_of_a_client_that_has_left(said: Any, code: int, reason: str) -> None:
    """A code and a reason that every frame can carry, whatever the server gives."""
    exact = exact_disconnect({"type": "websocket.disconnect", **said})
    assert exact == {"type": "websocket.disconnect", "code": code, "reason": reason}
    assert type(exact["code"]) is int


@pytest.mark.parametrize(
    ("message", "exact"),
    [
        ({"text": mark_safe("é\ud800")}, {"text": "é\ufffd"}),
        ({"text": b"[1]", "bytes": None}, {"text": "[1]"}),
        ({"bytes": bytearray(b"x"), "text": None}, {"bytes": b"x"}),
    ],
)
def test_a_message_of_a_hook_is_made_exact(message: Any, exact: Any) -> None:
    """What a project's own wrap_payload() gives is converted as a consumer's payloads are."""
    kind = {"type": "websocket.send"}
    assert exact_message(kind | message) == kind | exact


@pytest.mark.parametrize(
    "message",
    [
        None,
        "text",
        {"type": "websocket.close"},
        {"type": "websocket.send"},
        {"type": "websocket.send", "text": 5},
        {"type": "websocket.send", "bytes": "x"},
    ],
)
def test_what_is_no_message_is_refused(message: Any) -> None:
    """It is found before the server meets it, which would take the client for gone."""
    with pytest.raises((TypeError, ValueError)):
        exact_message(message)


def test_nan_is_told_of_once_for_each_stream(caplog: pytest.LogCaptureFixture) -> None:
    """A stream of figures with gaps does not fill the log."""
    stream = Stream("a.b")
    for name in ("prices", "prices", "volumes"):
        write = text_writer(stream, manage_envelope=True, name=name)
        assert write('{"n": NaN}') == '{"n": null}'
        assert write('{"n": 1}') == '{"n": 1}'
    assert [record.__dict__["demux_stream"] for record in caplog.records] == ["prices", "volumes"]
    assert "NaN or Infinity" in caplog.text


def test_streams_of_text_and_whole_envelopes_keep_their_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Where the text is not made JSON, nothing in it is replaced."""
    text = '{"n": NaN}'
    assert text_writer(Stream("a.b"), manage_envelope=False)(text) == text
    assert text_writer(Stream("a.b", text=True), manage_envelope=True)(text) == '"{\\"n\\": NaN}"'
    assert not caplog.records
