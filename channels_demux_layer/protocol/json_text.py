"""JSON as text: whether it is valid, how deep it is, how to make it valid. Nothing is decoded."""

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
    "has_repeated_key",
    "is_deeper",
    "is_json",
    "mend",
    "mend_escapes",
    "quote",
    "sendable",
    "validate",
]

#: The maximum size of a character in UTF-8, in bytes.
UTF8_BYTES = 4
#: The exceptions of msgspec's decoders for text: invalid, a lone surrogate, too many levels.
REFUSALS = (msgspec.MsgspecError, UnicodeError, RecursionError)

#: Raises one of REFUSALS for text that is not JSON by RFC 8259.
validate = msgspec.json.Decoder(Raw).decode
#: Returns the members of an object. For a repeated key, it has the last value.
decode_members = msgspec.json.Decoder(dict[str, Raw]).decode
#: Decodes a JSON string.
decode_string = msgspec.json.Decoder(str).decode

_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
#: Any escape in a JSON string. A surrogate pair counts as one.
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)"
)
_NOT_FINITE = re.compile(r"-?(?:NaN|Infinity)")
#: A JSON string, or a number that JSON lacks. The closing quote is optional, so that a match which
#: has started never fails and the search takes linear time.
_STRING_OR_NOT_FINITE = re.compile(rf'"[^"\\]*(?:\\.[^"\\]*)*"?|({_NOT_FINITE.pattern})', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
#: Few large payloads are deeper.
_USUAL_DEPTH = 16
_DEPTH_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


def is_json(text: str) -> bool:
    """Return whether a text is JSON by RFC 8259 (C2.5).

    NaN, lone surrogates, and JSON that is too deep for msgspec are not.

    Args:
        text: Any string.
    """
    try:
        validate(text)
    except REFUSALS:
        return False
    return True


def explain(text: str, error: Exception) -> str:
    """Return what is wrong with a text, in one or two sentences for its author.

    Args:
        text: A text that msgspec refused.
        error: The exception that msgspec raised.
    """
    if not text.strip():
        return "The frame is empty."
    if isinstance(error, UnicodeError) or is_json(_SURROGATE_ESCAPE.sub(r"\\u0020", text)):
        return "The frame has half a surrogate pair, which is no character."
    if is_json(_NOT_FINITE.sub("null", text)):
        return "The frame has NaN or Infinity, which are not JSON: write null."
    return f"The frame is not JSON: {error}."


def quote(text: str) -> str:
    """Encode a string as JSON.

    Args:
        text: A string without lone surrogates.

    Returns:
        The JSON string.
    """
    return msgspec.json.encode(text).decode()


def sendable(text: str) -> str:
    """Replace lone surrogates by U+FFFD, because UTF-8 cannot encode them.

    Args:
        text: Any string.

    Returns:
        The text that can be sent.
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


#: The notices of `as_json`, worded to follow "The text".
NOT_FINITE = "has NaN or Infinity, which JSON lacks. They became null"
TOO_DEEP = "is nested too deeply to be validated. It became a JSON string"


def as_json(text: str, notice: Callable[[str], None] | None = None) -> str:
    """Return a text as JSON (C2.7).

    Args:
        text: Any string.
        notice: Called with NOT_FINITE or TOO_DEEP if the client receives something other than what
            the consumer probably meant.

    Returns:
        The result of `mend`. If that is None, a JSON string of the text, with U+FFFD for lone
        surrogates.
    """
    mended = mend(text, notice)
    return quote(sendable(text)) if mended is None else mended


def mend(text: str, notice: Callable[[str], None] | None = None) -> str | None:
    """Return a text as JSON if it is valid or nearly valid JSON.

    Args:
        text: Any string.
        notice: Called with NOT_FINITE or TOO_DEEP.

    Returns:
        The unchanged text if it is JSON. Escaped lone surrogates are allowed: json.dumps writes
        them, and all browsers read them. In an object or an array, NaN and Infinity become null.
        None for any other text, and for JSON that is too deep to be validated.
    """
    if is_json(text):
        return text
    text = sendable(text)
    if _is_nearly_json(text):
        return text
    if text.lstrip()[:1] not in ("[", "{"):
        return None  # A user may have typed the word NaN.
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
    """Encode any string as JSON, with U+FFFD for lone surrogates.

    Args:
        text: Any string.

    Returns:
        The JSON string.
    """
    return quote(sendable(text))


def mend_escapes(text: str) -> str:
    """Replace escaped lone surrogates, which json.dumps writes and msgspec refuses.

    Args:
        text: JSON.

    Returns:
        The JSON with an escaped U+FFFD for each of them.
    """
    return _ESCAPE.sub(
        lambda found: "\\ufffd" if _SURROGATE_ESCAPE.fullmatch(found[0]) else found[0], text
    )


def has_repeated_key(text: str, members: Mapping[str, Raw]) -> bool:
    """Return whether an object has a key twice, even if the two are escaped differently.

    Args:
        text: The object's JSON.
        members: The result of `decode_members`.
    """
    # A dropped duplicate makes the text have more commas than the members.
    kept = sum(_commas(str(value, "utf-8")) for value in members.values())
    return _commas(text) > kept + max(len(members) - 1, 0)


def is_deeper(text: str, levels: int) -> bool:
    """Return whether arrays and objects are nested more deeply than a number of levels.

    Args:
        text: Valid JSON.
        levels: The maximum number of arrays and objects around a value.
    """
    # Most texts have too few brackets to be that deep, even if those in strings count.
    if not any(_has_more(text, bracket, levels // 2) for bracket in "[{"):
        return False
    all_brackets = brackets = _outside_strings(text).encode().translate(None, _NOT_BRACKETS)
    for removed in range(0, _USUAL_DEPTH, 2):
        if removed + len(brackets) // 2 <= levels:
            return False
        # Remove the innermost pairs. A pass removes two levels at most, as of "[{}]".
        brackets = brackets.replace(b"{}", b"").replace(b"[]", b"")
    return max(accumulate(map(_DEPTH_STEP.__getitem__, all_brackets))) > levels


def _has_more(text: str, char: str, count: int) -> bool:
    """Return whether a text contains a character more than a number of times.

    This stops early and runs at the speed of memchr. In a large text, str.count() takes as long as
    a validation of its JSON.
    """
    at = -1
    for _ in range(count + 1):
        at = text.find(char, at + 1)
        if at < 0:
            return False
    return True


def _commas(text: str) -> int:
    return _outside_strings(text).count(",")


def _outside_strings(text: str) -> str:
    if "\\" in text:
        text = text.replace("\\\\", "").replace('\\"', "")
    return "".join(text.split('"')[::2])
