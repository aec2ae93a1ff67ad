"""JSON looked at as text: is it JSON, how deep is it, what can be sent. Nothing is decoded."""

import re
from collections.abc import Callable, Mapping
from itertools import accumulate

import msgspec
from msgspec import Raw

__all__ = [
    "NOT_FINITE",
    "REFUSALS",
    "TOO_DEEP",
    "UTF8_BYTES",
    "as_json",
    "as_string",
    "decode_members",
    "decode_string",
    "explain",
    "has_more",
    "has_repeated_key",
    "is_deeper",
    "is_json",
    "mend",
    "mend_escapes",
    "quote",
    "sendable",
    "validate",
]

#: The most bytes that a character takes in UTF-8.
UTF8_BYTES = 4
#: What msgspec's decoders raise for text: a fault in it, a lone surrogate, too many levels.
REFUSALS = (msgspec.MsgspecError, UnicodeError, RecursionError)

#: Raise one of REFUSALS for text that is not JSON as RFC 8259 has it.
validate = msgspec.json.Decoder(Raw).decode
#: Take the members of an object apart; of a repeated key, the last value stays.
decode_members = msgspec.json.Decoder(dict[str, Raw]).decode
#: Decode a JSON string.
decode_string = msgspec.json.Decoder(str).decode

_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
#: Every escape of a JSON string, a surrogate pair being one.
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)"
)
_NOT_FINITE = re.compile(r"-?(?:NaN|Infinity)")
#: A JSON string, which is left alone, or one of the numbers that JSON does not have. The closing
#: quote may be missing: a match that starts never fails, so the search takes linear time.
_STRING_OR_NOT_FINITE = re.compile(rf'"[^"\\]*(?:\\.[^"\\]*)*"?|({_NOT_FINITE.pattern})', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
#: Few large payloads have more levels.
_USUAL_DEPTH = 16
_DEPTH_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


def is_json(text: str) -> bool:
    """Return whether a text is JSON as RFC 8259 has it (C2.5).

    Args:
        text: Any string.

    Returns:
        False also for NaN, for halves of surrogate pairs, and for more levels than msgspec takes.
    """
    try:
        validate(text)
    except REFUSALS:
        return False
    return True


def explain(text: str, error: Exception) -> str:
    """Say what is wrong with text that msgspec refused.

    Args:
        text: The refused text.
        error: What msgspec raised.

    Returns:
        One or two sentences for the developer who wrote the text.
    """
    if not text.strip():
        return "The frame is empty."
    if isinstance(error, UnicodeError) or is_json(_SURROGATE_ESCAPE.sub(r"\\u0020", text)):
        return "The frame has half a surrogate pair, which is no character."
    if is_json(_NOT_FINITE.sub("null", text)):
        return "The frame has NaN or Infinity, which are not JSON: write null."
    return f"The frame is not JSON: {error}."


def quote(text: str) -> str:
    """Write a JSON string.

    Args:
        text: Any `sendable` string.

    Returns:
        The JSON string that stands for it.
    """
    return msgspec.json.encode(text).decode()


def sendable(text: str) -> str:
    """Make a text one that UTF-8, and so a WebSocket, can carry.

    Args:
        text: Any string.

    Returns:
        The same, each half of a surrogate pair replaced by U+FFFD.
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


#: What `as_json` notices about a text, as it reads after "The text".
NOT_FINITE = "has NaN or Infinity, which JSON does not have: they became null"
TOO_DEEP = "is nested too deeply to be checked: it became a JSON string"


def as_json(text: str, notice: Callable[[str], None] | None = None) -> str:
    """Find the JSON that stands for a text (C2.7).

    Args:
        text: Any string.
        notice: Called with NOT_FINITE or TOO_DEEP where the client gets something else than the
            consumer had in mind.

    Returns:
        What `mend` makes of it. Where that is nothing, a JSON string of the text; a lone surrogate
        becomes U+FFFD.
    """
    mended = mend(text, notice)
    return quote(sendable(text)) if mended is None else mended


def mend(text: str, notice: Callable[[str], None] | None = None) -> str | None:
    """Find the JSON that a text is, or nearly is.

    Args:
        text: Any string.
        notice: Called with NOT_FINITE or TOO_DEEP.

    Returns:
        The text itself where it is JSON, character for character; also where only escaped halves
        of surrogate pairs are wrong with it, which json.dumps writes and every browser reads. An
        object or an array that has NaN or Infinity gets null in their place. None where it is
        anything else, JSON too deep to be validated included.
    """
    if is_json(text):
        return text
    text = sendable(text)
    if _is_nearly_json(text):
        return text
    if text.lstrip()[:1] not in ("[", "{"):
        return None  # A lone word NaN may be what somebody has typed.
    finite = _STRING_OR_NOT_FINITE.sub(lambda found: "null" if found[1] else found[0], text)
    problem = NOT_FINITE if _is_nearly_json(finite) else _depth_problem(text)
    if problem and notice is not None:
        notice(problem)
    return finite if problem == NOT_FINITE else None


def _is_nearly_json(text: str) -> bool:
    return is_json(_SURROGATE_ESCAPE.sub(r"\\u0020", text))


def _depth_problem(text: str) -> str | None:
    try:
        validate(text)
    except RecursionError:
        return TOO_DEEP
    except REFUSALS:
        pass
    return None


def as_string(text: str) -> str:
    """Write a JSON string, whatever the text holds.

    Args:
        text: Any string. A lone surrogate becomes U+FFFD.

    Returns:
        The JSON string that stands for it.
    """
    return quote(sendable(text))


def mend_escapes(text: str) -> str:
    """Replace what msgspec refuses in JSON that json.dumps and browsers write.

    Args:
        text: JSON.

    Returns:
        The same, each escaped half of a surrogate pair replaced by an escaped U+FFFD.
    """
    return _ESCAPE.sub(
        lambda found: "\\ufffd" if _SURROGATE_ESCAPE.fullmatch(found[0]) else found[0], text
    )


def has_repeated_key(text: str, members: Mapping[str, Raw]) -> bool:
    """Return whether a key of an object stands twice in it.

    Args:
        text: The object's JSON.
        members: What `decode_members` makes of it.

    Returns:
        True also where the two are written differently, as with an escape.
    """
    # A value that was dropped took one comma with it, and those that it had inside.
    kept = sum(_commas(str(value, "utf-8")) for value in members.values())
    return _commas(text) > kept + max(len(members) - 1, 0)


def has_more(text: str, bracket: str, count: int) -> bool:
    """Return whether a bracket stands in a text more often than so many times.

    Looks no further than it must, and at memchr's speed: str.count() takes as long for a large
    text as all of its JSON does to be validated.

    Args:
        text: Any string.
        bracket: One character.
        count: As often as it may.
    """
    at = -1
    for _ in range(count + 1):
        at = text.find(bracket, at + 1)
        if at < 0:
            return False
    return True


def is_deeper(text: str, levels: int) -> bool:
    """Return whether arrays and objects are nested more deeply than so many levels.

    Args:
        text: Valid JSON.
        levels: The most arrays and objects that may be around a value.
    """
    all_brackets = brackets = _outside_strings(text).encode().translate(None, _NOT_BRACKETS)
    for taken_off in range(0, _USUAL_DEPTH, 2):
        if taken_off + len(brackets) // 2 <= levels:
            return False
        # Without those that hold no other, which are one level or two, and quickly found.
        brackets = brackets.replace(b"{}", b"").replace(b"[]", b"")
    return max(accumulate(map(_DEPTH_STEP.__getitem__, all_brackets))) > levels


def _commas(text: str) -> int:
    return _outside_strings(text).count(",")


def _outside_strings(text: str) -> str:
    if "\\" in text:
        text = text.replace("\\\\", "").replace('\\"', "")
    return "".join(text.split('"')[::2])
