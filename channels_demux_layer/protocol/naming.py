"""Maps stream names to channel and group names that a channel layer allows.

A channel layer allows 1 to 99 characters of ``a-zA-Z0-9-_.``. A stream name may contain any
character, so each name is mapped to a *label* by the first rule that applies (L1.4):

1. A name of allowed characters that does not start with ``-`` and is short enough is its own label.
   In groups, the name ``edge`` is reserved and follows rule 2.
2. Otherwise the label is ``-`` and the name's UTF-8. Letters, digits and periods stay, and every
   other byte becomes ``_`` and two hexadecimal digits: ``my stream`` becomes ``-my_20stream``.
3. If that is too long, the label is its beginning, then ``-`` and a digest of the whole name.

Two names never share a label. Labels of rule 1 do not start with ``-``, those of rule 2 have no
second ``-`` and can be decoded, and those of rule 3 contain 128 bits of BLAKE2.
"""

import re
from functools import lru_cache
from hashlib import blake2b

from channels_demux_layer.exceptions import ConfigurationError

__all__ = [
    "MAX_PREFIX",
    "edge_group",
    "is_layer_name",
    "stream_channel",
    "stream_group",
    "valid_prefix",
]

#: The maximum length of a name on a channel layer (``BaseChannelLayer.MAX_NAME_LENGTH`` - 1).
_MAX_NAME = 99
#: Length of a connection's id: 128 bits in hexadecimal digits.
_CONNECTION = 32
_DIGEST = 32
#: The maximum length of a prefix. A group name also has two periods, a connection's id, and at
#: least the shortest label of rule 3.
MAX_PREFIX = _MAX_NAME - len("..") - _CONNECTION - len("--") - _DIGEST

_MARK = "-"
_EDGE = "edge"
_PREFIX = re.compile(r"[a-zA-Z0-9_.-]+")
_OWN_LABEL = re.compile(r"[a-zA-Z0-9_.][a-zA-Z0-9_.-]*")
_LAYER_NAME = re.compile(rf"(?=.{{1,{_MAX_NAME}}}\Z)[a-zA-Z0-9_.-]+(![a-zA-Z0-9_.-]*)?")
_UNSAFE_BYTE = re.compile(rb"[^a-zA-Z0-9.]")


def stream_channel(prefix: str, stream: str) -> str:
    """Return the channel on which workers receive the opens of a stream (L1.1).

    Args:
        prefix: The demultiplexer's ``channel_prefix``.
        stream: The stream's name.

    Returns:
        A valid channel name such as ``demux.echo``, different for each stream name.

    Raises:
        ConfigurationError: The prefix cannot be part of a channel name.
    """
    room = _MAX_NAME - len(valid_prefix(prefix)) - len(".")
    return f"{prefix}.{_label(stream, room)}"


def edge_group(prefix: str, connection: str) -> str:
    """Return the group on which a connection's edge receives from its sessions (L1.3).

    Args:
        prefix: The demultiplexer's ``channel_prefix``.
        connection: The connection's id, 32 hexadecimal digits.

    Returns:
        A valid group name, such as ``demux.<connection>.edge``.

    Raises:
        ConfigurationError: The prefix cannot be part of a group name.
    """
    return f"{valid_prefix(prefix)}.{connection}.{_EDGE}"


def stream_group(prefix: str, connection: str, stream: str) -> str:
    """Return the group on which a session receives from its connection's edge (L1.3).

    Args:
        prefix: The demultiplexer's ``channel_prefix``.
        connection: The connection's id, 32 hexadecimal digits.
        stream: The stream's name.

    Returns:
        A valid group name such as ``demux.<connection>.echo``, different for each stream name and
        from `edge_group`.

    Raises:
        ConfigurationError: The prefix cannot be part of a group name.
    """
    room = _MAX_NAME - len(valid_prefix(prefix)) - len("..") - _CONNECTION
    return f"{prefix}.{connection}.{_label(stream, room, taken=_EDGE)}"


def is_layer_name(name: str) -> bool:
    """Return whether a string is a valid channel or group name for channel layers.

    Args:
        name: Any string, such as a peer's name for itself.
    """
    return _LAYER_NAME.fullmatch(name) is not None


def valid_prefix(prefix: str) -> str:
    """Validate a ``channel_prefix`` and return it.

    Args:
        prefix: The prefix as configured.

    Returns:
        The prefix, unchanged.

    Raises:
        ConfigurationError: The prefix is empty, too long, or has characters that are not allowed.
    """
    if isinstance(prefix, str) and len(prefix) <= MAX_PREFIX and _PREFIX.fullmatch(prefix):
        return prefix
    raise ConfigurationError(
        f"channel_prefix {prefix!r} is invalid: use 1 to {MAX_PREFIX} ASCII "
        "letters, digits, hyphens, underscores or periods."
    )


@lru_cache(maxsize=1024)
def _label(stream: str, room: int, *, taken: str | None = None) -> str:
    if len(stream) <= room and stream != taken and _OWN_LABEL.fullmatch(stream):
        return stream
    # Lone surrogates have no UTF-8. With surrogatepass, such names get distinct labels, too.
    name = stream.encode("utf-8", "surrogatepass")
    readable = _MARK + _UNSAFE_BYTE.sub(_escape, name).decode("ascii")
    if len(readable) <= room:
        return readable
    digest = blake2b(name, digest_size=_DIGEST // 2).hexdigest()
    return readable[: room - len(_MARK) - _DIGEST] + _MARK + digest


def _escape(match: re.Match[bytes]) -> bytes:
    return b"_%02x" % match.group()[0]
