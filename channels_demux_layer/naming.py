"""From stream names to the names that a channel layer allows.

A channel layer takes 1 to 99 of ``a-zA-Z0-9-_.``; a stream may have any name. What is mapped is
one *label* per stream name, by the first of these rules that fits (L1.4):

1. A name of allowed characters that does not start with ``-`` and fits the room is its own label.
   (In a group ``edge`` is taken, and follows rule 2.)
2. Otherwise the label is ``-`` and the name's UTF-8, letters, digits and periods as they are and
   every other byte as ``_`` and two hexadecimal digits: ``my stream`` becomes ``-my_20stream``.
3. Where that does not fit, the label is ``-``, as much of the above as there is room for, ``-``
   and a digest of the whole name.

So two names never share a label: rule 1 never starts with ``-``, rule 2 has no second ``-``, rule
2 can be read back, and rule 3 has 128 bits of BLAKE2.
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

#: Length of the longest name that a channel layer takes (``BaseChannelLayer.MAX_NAME_LENGTH`` - 1).
_MAX_NAME = 99
#: Length of a connection's id: 128 bits in hexadecimal digits.
_CONNECTION = 32
_DIGEST = 32
#: Length of the longest prefix: what a group leaves beside two periods, a connection and the
#: shortest label of rule 3.
MAX_PREFIX = _MAX_NAME - len("..") - _CONNECTION - len("--") - _DIGEST

_MARK = "-"
_EDGE = "edge"
_PREFIX = re.compile(r"[a-zA-Z0-9_.-]+")
_OWN_LABEL = re.compile(r"[a-zA-Z0-9_.][a-zA-Z0-9_.-]*")
_LAYER_NAME = re.compile(rf"(?=.{{1,{_MAX_NAME}}}\Z)[a-zA-Z0-9_.-]+(![a-zA-Z0-9_.-]*)?")
_UNSAFE_BYTE = re.compile(rb"[^a-zA-Z0-9.]")


def stream_channel(prefix: str, stream: str) -> str:
    """Name the channel on which workers of a stream wait for its opens (L1.1).

    Args:
        prefix: The demultiplexer's ``channel_prefix``.
        stream: The stream's name.

    Returns:
        A valid channel name, such as ``demux.echo``; another one for every stream name.

    Raises:
        ConfigurationError: The prefix cannot be part of a channel name.
    """
    room = _MAX_NAME - len(valid_prefix(prefix)) - len(".")
    return f"{prefix}.{_label(stream, room)}"


def edge_group(prefix: str, connection: str) -> str:
    """Name the group on which a connection's edge hears from its sessions (L1.3).

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
    """Name the group on which a session hears from its connection's edge (L1.3).

    Args:
        prefix: The demultiplexer's ``channel_prefix``.
        connection: The connection's id, 32 hexadecimal digits.
        stream: The stream's name.

    Returns:
        A valid group name, such as ``demux.<connection>.echo``; another one for every stream
        name, and never that of `edge_group`.

    Raises:
        ConfigurationError: The prefix cannot be part of a group name.
    """
    room = _MAX_NAME - len(valid_prefix(prefix)) - len("..") - _CONNECTION
    return f"{prefix}.{connection}.{_label(stream, room, taken=_EDGE)}"


def is_layer_name(name: str) -> bool:
    """Tell whether channel layers take a name, of a channel or a group.

    Args:
        name: Any string, such as one that a peer calls itself.
    """
    return _LAYER_NAME.fullmatch(name) is not None


def valid_prefix(prefix: str) -> str:
    """Return a ``channel_prefix`` that names can be built on.

    Args:
        prefix: The prefix as configured.

    Returns:
        The prefix, unchanged.

    Raises:
        ConfigurationError: It is empty, too long, or has characters that channel layers refuse.
    """
    if isinstance(prefix, str) and len(prefix) <= MAX_PREFIX and _PREFIX.fullmatch(prefix):
        return prefix
    raise ConfigurationError(
        f"channel_prefix {prefix!r} cannot start channel names: use 1 to {MAX_PREFIX} ASCII "
        "letters, digits, hyphens, underscores or periods."
    )


@lru_cache(maxsize=1024)
def _label(stream: str, room: int, *, taken: str | None = None) -> str:
    if len(stream) <= room and stream != taken and _OWN_LABEL.fullmatch(stream):
        return stream
    # Lone surrogates have no UTF-8; surrogatepass still keeps every two names apart.
    name = stream.encode("utf-8", "surrogatepass")
    readable = _MARK + _UNSAFE_BYTE.sub(_escape, name).decode("ascii")
    if len(readable) <= room:
        return readable
    digest = blake2b(name, digest_size=_DIGEST // 2).hexdigest()
    return readable[: room - len(_MARK) - _DIGEST] + _MARK + digest


def _escape(match: re.Match[bytes]) -> bytes:
    return b"_%02x" % match.group()[0]
