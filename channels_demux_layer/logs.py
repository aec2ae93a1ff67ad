"""What log records have in common: whom they are about, and how they show strings."""

from __future__ import annotations

import asyncio
from typing import Any
from weakref import WeakKeyDictionary

__all__ = ["KEYS", "LONGEST", "about", "facts_of", "note_task", "printable"]

#: The attributes of each record. None where one does not apply: so a format may name all of them.
KEYS = (
    "demux_connection",
    "demux_stream",
    "demux_node",
    "demux_peer",
    "demux_link",
    "demux_ref",
)
#: The longest string of another process that a log line, a table or a label shows, in characters.
LONGEST = 200


def about(
    *,
    connection: str | None = None,
    stream: str | None = None,
    node: str | None = None,
    peer: str | None = None,
    link: str | None = None,
    ref: str | None = None,
) -> dict[str, str | None]:
    """Return the ``extra`` of a log record.

    Args:
        connection: The connection's id.
        stream: The stream's name.
        node: The channel of this process's node.
        peer: The channel of the peer's node.
        link: The link's id.
        ref: The ref of an open.

    Returns:
        A value for each of KEYS, printable.
    """
    values = (connection, stream, node, peer, link, ref)
    shown = (value if value is None else printable(value) for value in values)
    return dict(zip(KEYS, shown, strict=True))


def printable(text: str) -> str:
    r"""Return a string so that it can be shown on a terminal, in a log or as a label.

    Strings of other processes may hold escape sequences, which terminals obey, or line breaks,
    which make one log line look like two.

    Args:
        text: Any string.

    Returns:
        The string, with ``\x1b`` and the like for what is not printable, and cut after LONGEST
        characters.
    """
    if len(text) <= LONGEST and text.isprintable():
        return text
    shown = (char if char.isprintable() else _escape(char) for char in text[:LONGEST])
    return "".join(shown) + ("…" if len(text) > LONGEST else "")


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


#: What log records say that are about a task.
_tasks: WeakKeyDictionary[asyncio.Task[Any], dict[str, str | None]] = WeakKeyDictionary()


def note_task(task: asyncio.Task[Any], facts: dict[str, str | None]) -> None:
    """Note whom a task works for.

    Args:
        task: The task.
        facts: What about() returned.
    """
    _tasks[task] = facts


def facts_of(task: asyncio.Task[Any] | None) -> dict[str, str | None] | None:
    """Return what note_task() was called with for a task, or None; any thread may ask.

    Args:
        task: The task; None, for which nothing is known.
    """
    return None if task is None else _tasks.get(task)
