"""JSON looked at as text."""

import json
from collections.abc import Callable

import pytest

from channels_demux_layer.protocol import json_text


@pytest.mark.parametrize("text", ["1", " [] ", '{"a":"\\u00e9"}', '"\\ud83d\\ude00"'])
def test_json_is_json(text: str) -> None:
    """Text that RFC 8259 allows is JSON."""
    assert json_text.is_json(text)


@pytest.mark.parametrize("text", ["", "NaN", "[1,]", '"\\ud800"', '"\ud800"', "[" * 200_000])
def test_other_text_is_not(text: str) -> None:
    """Text that RFC 8259 forbids, or that cannot be looked at, is not JSON; nothing is raised."""
    assert not json_text.is_json(text)


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ("1", 0),
        ('"[["', 0),
        ("[]", 1),
        ('[{"a]":[[1],[]]},[]]', 4),
        ('["\\\\",[["\\"]"]]]', 3),
        ("[" * 20 + "{},[" + "[],{}," * 20 + "[]]" + "]" * 20, 22),
        ("[" + "[[]]," * 20 + "[]]", 3),
    ],
)
def test_depth(text: str, levels: int) -> None:
    """Levels are counted outside strings only."""
    assert not json_text.is_deeper(text, levels)
    assert levels == 0 or json_text.is_deeper(text, levels - 1)


@pytest.mark.parametrize(
    ("text", "repeated"),
    [
        ("{}", False),
        ('{"a":1}', False),
        ('{"a":1,"b":[1,2,","],",":1}', False),
        ('{"a":1,"a":1}', True),
        ('{"a":[1,2,3],"\\u0061":1}', True),
        ('{"b":{"a":1,"a":2}}', False),
        ('{"a":"\\\\","b":"\\\\\\"","a":1}', True),
        ('{"a":"\\\\","b":",\\",","c":1}', False),
        ('{"\\"":1,"\\\\":1,"\\\\\\"":1}', False),
    ],
)
def test_repeated_keys_are_seen(text: str, repeated: bool) -> None:
    """A key that stands twice on the first level is seen, however it is written."""
    assert json_text.has_repeated_key(text, json_text.decode_members(text)) is repeated


def test_two_faults_are_explained_by_their_place() -> None:
    """Where several things are wrong, the explanation is the first place that is wrong."""
    text = '{"a":NaN,"b":"\\ud800"}'
    with pytest.raises(json_text.REFUSALS) as caught:
        json_text.validate(text)
    assert json_text.explain(text, caught.value).startswith("The frame is not JSON: JSON is mal")


def test_sendable_text_is_the_same_object() -> None:
    """Text that can be sent is not copied."""
    text = "é😀" * 3
    assert json_text.sendable(text) is text


def test_escaped_backslashes_before_a_surrogate_are_kept() -> None:
    """A backslash that is itself escaped does not make an escape of what follows."""
    text = '"\\\\ud800"'
    assert json_text.as_json(text) == text
    assert json_text.as_json('"\\\\\\ud800"') == '"\\\\\\ud800"'
    assert json_text.as_json("x") == '"x"'


@pytest.mark.parametrize(
    "text",
    ["1", ' {"b": 1, "a":\n[1.50]} ', '"é\\u00e9"', '{"x":1,"x":2}', '"\\ud800"', "1" * 5000],
)
def test_what_is_json_is_kept(text: str) -> None:
    """A consumer's JSON becomes the payload character for character."""
    assert json_text.as_json(text) == text


@pytest.mark.parametrize(
    "text", ["", " ", "hello", "NaN", '{"x": NaNs}', "[1,]", '{"a":1}{', "é", '"\\u12"', "'a'"]
)
def test_other_text_becomes_a_string(text: str) -> None:
    """A consumer's text that is not JSON reaches the client as a JSON string."""
    assert json.loads(json_text.as_json(text), parse_constant=pytest.fail) == text


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ('{"x": NaN}', '{"x": null}'),
        (" [-Infinity,NaN, Infinity]", " [null,null, null]"),
        ('{"NaN":"a \\" NaN","b":NaN}', '{"NaN":"a \\" NaN","b":null}'),
        ('["\\ud800",NaN]', '["\\ud800",null]'),
        ('["\ud800",NaN]', '["\ufffd",null]'),
    ],
)
def test_numbers_that_json_does_not_have_become_null(text: str, written: str) -> None:
    """Objects and arrays keep their type, the words in their strings stay, and it is noticed."""
    noticed: list[str] = []
    assert json_text.as_json(text, noticed.append) == written == json_text.as_json(text)
    assert noticed == [json_text.NOT_FINITE]


def test_text_too_deep_to_validate_becomes_a_string() -> None:
    """A consumer's text that cannot be validated still reaches the client, and it is noticed."""
    text = "[" * 200_000 + "]" * 200_000
    noticed: list[str] = []
    assert json.loads(json_text.as_json(text, noticed.append)) == text
    assert noticed == [json_text.TOO_DEEP]


def test_strings_without_an_end_are_read_once() -> None:
    """A text made to be slow is none: a match of a string never fails, however it goes on."""
    text = '[NaN"' + '\\"' * 200_000
    assert json.loads(json_text.as_json(text)) == text


@pytest.mark.parametrize("write", [json_text.as_json, json_text.as_string, json_text.sendable])
def test_text_that_cannot_be_sent_is_repaired(write: Callable[[str], str]) -> None:
    """Halves of surrogate pairs, which end a WebSocket, are replaced; whole pairs are joined."""
    written = write('"x\ud800y\ud83d\ude00\udc00"')
    written.encode()
    assert "x\ufffdy\U0001f600\ufffd" in written


def test_repaired_json_stays_json() -> None:
    """JSON with half a surrogate pair in a string is no string of it once it is repaired."""
    assert json_text.as_json('["\ud800"]') == '["\ufffd"]'


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        (r'"\ud83d"', r'"\ufffd"'),
        (r'"\uDE00\uD83D x\uDE00"', r'"\ufffd\ufffd x\ufffd"'),
        (r'"\ud83d\ude00\n\\\""', r'"\ud83d\ude00\n\\\""'),
        (r'"\\ud83d"', r'"\\ud83d"'),
        (r'"\\\ud83d"', r'"\\\ufffd"'),
        (r'"\ud83d\ud83d\ude00"', r'"\ufffd\ud83d\ude00"'),
    ],
)
def test_escaped_halves_are_mended(text: str, mended: str) -> None:
    """Escaped halves of surrogate pairs become U+FFFD; pairs and all other escapes stay."""
    assert json_text.mend_escapes(text) == mended
    assert json_text.is_json(mended)
