"""What the package's log records have in common, and logs of faults that repeat.

Each record has the attributes of `about`, and shows strings of other processes through `printable`.
`FaultLog` writes one line when a fault begins and one when it is over. `RepeatedLog` writes a few
lines a minute for each kind of warning. Both use bounded memory, because other processes can cause
any number of faults and choose what they look like.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from channels import DEFAULT_CHANNEL_LAYER

__all__ = [
    "KEYS",
    "LONGEST",
    "FaultLog",
    "RepeatedLog",
    "about",
    "addresses_of",
    "facts_of",
    "layer_faults",
    "note_task",
    "printable",
]

#: The attributes of each record. One that does not apply is None, so a format can name them all.
KEYS = (
    "demux_connection",
    "demux_stream",
    "demux_node",
    "demux_peer",
    "demux_link",
    "demux_ref",
)
#: Strings of other processes are cut to this many characters in logs, tables and labels.
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
    r"""Return a string that is safe to show on a terminal, in a log or as a label.

    A string of another process may contain escape sequences, which terminals obey, or line breaks,
    which make one log line look like two.

    Args:
        text: Any string.

    Returns:
        The string, cut after LONGEST characters. Characters that are not printable become escapes
        such as ``\x1b``.
    """
    if len(text) <= LONGEST and text.isprintable():
        return text
    shown = (char if char.isprintable() else _escape(char) for char in text[:LONGEST])
    return "".join(shown) + ("…" if len(text) > LONGEST else "")


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


#: The facts for log records about a task.
_tasks: WeakKeyDictionary[asyncio.Task[Any], dict[str, str | None]] = WeakKeyDictionary()


def note_task(task: asyncio.Task[Any], facts: dict[str, str | None]) -> None:
    """Remember the connection, stream and so on that a task works for.

    Args:
        task: The task.
        facts: The result of about().
    """
    _tasks[task] = facts


def facts_of(task: asyncio.Task[Any] | None) -> dict[str, str | None] | None:
    """Return the facts that note_task() remembers for a task. Any thread may call this.

    Args:
        task: The task, or None.

    Returns:
        The facts; None if there are none.
    """
    return None if task is None else _tasks.get(task)


REDIS_PORT = 6379
POSTGRES_PORT = 5432
UNKNOWN = "an unknown address"


def addresses_of(alias: str) -> str:
    """Return the addresses of a channel layer's servers, without user names and passwords.

    Args:
        alias: The layer's alias in CHANNEL_LAYERS.

    Returns:
        For example ``10.0.0.1:6379, 10.0.0.2:6379``; empty if the configuration has no address.
    """
    # Imported late: django.setup() imports this module, and works without a channel layer.
    from channels.layers import channel_layers

    entry = channel_layers.configs.get(alias)
    config = entry.get("CONFIG") if isinstance(entry, Mapping) else None
    return ", ".join(_addresses(config)) if isinstance(config, Mapping) else ""


def _addresses(config: Mapping[str, Any]) -> Iterator[str]:
    hosts = config.get("hosts")
    if isinstance(hosts, (list, tuple)):
        yield from map(_address, hosts)
    elif isinstance(config.get("HOST"), str):  # PostgreSQL, in the format of DATABASES
        yield f"{config['HOST'] or 'localhost'}:{config.get('PORT') or POSTGRES_PORT}"


def _address(host: Any) -> str:
    if isinstance(host, Mapping):
        if "master_name" in host:
            return f"Sentinel's {host['master_name']}"
        place = (host.get("host", "localhost"), host.get("port", REDIS_PORT))
        host = host.get("address", place)
    if isinstance(host, (list, tuple)) and len(host) == 2:
        return f"{host[0]}:{host[1]}"
    try:
        url = urlsplit(host)
        return f"{url.hostname}:{url.port or REDIS_PORT}" if url.hostname else url.path or UNKNOWN
    except (AttributeError, TypeError, ValueError):
        return UNKNOWN


#: At most this many lines of one kind are written per PERIOD, in seconds. The others are counted.
MOST_LINES = 5
PERIOD = 60.0
#: At most this many kinds are counted separately per period. Further ones share OTHER_KINDS.
MOST_KINDS = 32
OTHER_KINDS = "other subjects"
#: A fault is over after this many seconds without a failed call, even if targets are left.
QUIET = 10.0
#: At most this many failed channels and groups are remembered for each fault.
MOST_TARGETS = 16


class FaultLog:
    """Logs a fault once when it begins and once when it is over.

    A fault is one action that fails on one channel layer. If a layer has several servers, some
    calls may fail while others work. So a fault is over when calls have worked for all failed
    targets, or when one works and none has failed for `QUIET` seconds.

    Args:
        logger: The logger to write to.
        clock: Returns the current time in seconds.
    """

    def __init__(self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._clock = clock
        self._failing: dict[tuple[str, str], _Fault] = {}

    def failed(
        self,
        action: str,
        reason: object,
        extra: Mapping[str, str | None] | None = None,
        *,
        alias: str = "",
        target: str = "",
    ) -> None:
        """Note that an action failed.

        Args:
            action: The action, worded to follow "Cannot".
            reason: The cause.
            extra: The result of about().
            alias: The channel layer's alias in CHANNEL_LAYERS, if known.
            target: The channel or group of the action, if it has several.
        """
        fault = self._failing.get((action, alias))
        if fault is None:
            detail = printable(str(reason).rstrip(".")) or type(reason).__name__
            text, facts = "Cannot %s: %s. Retrying.", extra or about()
            self._logger.warning(text, _where(action, alias), detail, extra=facts)
            fault = self._failing[action, alias] = _Fault()
        fault.failed_at = self._clock()
        fault.targets.pop(target, None)
        fault.targets[target] = None
        if len(fault.targets) > MOST_TARGETS:
            del fault.targets[next(iter(fault.targets))]

    def worked(self, action: str, *, alias: str = "", target: str = "") -> None:
        """Note that an action worked.

        Args:
            action: The action, as for failed().
            alias: The alias, as for failed().
            target: The channel or group, as for failed().
        """
        if not self._failing:
            return
        fault = self._failing.get((action, alias))
        if fault is not None and fault.is_over_with(target, self._clock()):
            del self._failing[action, alias]
            self._logger.info("Can %s again.", _where(action, alias), extra=about())


class _Fault:
    """An action that fails on one channel layer.

    Attributes:
        targets: The latest failed targets, oldest first, without those that have worked since.
        failed_at: The time of the latest failure.
    """

    __slots__ = ("failed_at", "targets")

    def __init__(self) -> None:
        self.targets: dict[str, None] = {}
        self.failed_at = 0.0

    def is_over_with(self, target: str, now: float) -> bool:
        self.targets.pop(target, None)
        # Nothing may ever call a target again that no longer exists.
        return not self.targets or now >= self.failed_at + QUIET


def _where(action: str, alias: str) -> str:
    addresses = addresses_of(alias)
    if alias in ("", DEFAULT_CHANNEL_LAYER) and not addresses:
        return action  # It ends with "the channel layer", and there is only one.
    return f"{action} {alias!r}" + (f" at {addresses}" if addresses else "")


class RepeatedLog:
    """Limits frequent warnings to a few per minute for each kind.

    Otherwise, another process that sends invalid messages could fill the disk.

    Args:
        logger: The logger to write to.
        clock: Returns the current time in seconds.
    """

    def __init__(self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._clock = clock
        self._since = clock()
        self._lines: Counter[str] = Counter()

    def warning(
        self,
        kind: str,
        message: str,
        *args: object,
        extra: Mapping[str, str | None],
        exc: BaseException | None = None,
        level: int = logging.WARNING,
    ) -> None:
        """Log a warning, unless the kind has reached its limit.

        Args:
            kind: The kind that the warning counts for.
            message: The text, with placeholders.
            *args: The values for the placeholders. Strings are made printable.
            extra: The result of about().
            exc: An exception whose traceback is shown.
            level: The level of the record.
        """
        self._start_period()
        if kind not in self._lines and len(self._lines) >= MOST_KINDS:
            kind = OTHER_KINDS
        self._lines[kind] += 1
        if self._lines[kind] <= MOST_LINES:
            shown = [printable(arg) if isinstance(arg, str) else arg for arg in args]
            self._logger.log(level, message, *shown, extra=extra, exc_info=exc)

    def _start_period(self) -> None:
        now = self._clock()
        if now < self._since + PERIOD:
            return
        for kind, count in self._lines.items():
            if count > MOST_LINES:
                text = "Suppressed %d more warnings about %s."
                self._logger.warning(text, count - MOST_LINES, kind, extra=about())
        self._since = now
        self._lines.clear()


#: Faults of the channel layer. Shared, so that a fault that many callers notice is logged once.
layer_faults = FaultLog(logging.getLogger(__name__))
