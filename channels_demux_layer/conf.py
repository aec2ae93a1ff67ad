"""The settings of the package: a typed class, read from ``settings.CHANNELS_DEMUX_LAYER``.

The settings of channels-demultiplexer apply if the dict does not have theirs. One pure function,
`find_problems`, validates a configuration for the system checks and at run time.
"""

from __future__ import annotations

import difflib
import itertools
import math
import re
import reprlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from django.conf import settings as django_settings
from django.core.signals import setting_changed

from .codes import EVENT_FIELDS
from .exceptions import ConfigurationError

__all__ = [
    "OLD_NAMES",
    "SETTING",
    "Problem",
    "Settings",
    "build_settings",
    "find_problems",
    "get_settings",
    "read_django_settings",
]

SETTING = "CHANNELS_DEMUX_LAYER"
"""The name of the dict in Django's settings."""

OLD_NAMES: Mapping[str, str] = {
    key: f"CHANNELS_DEMULTIPLEXER_{key}"
    for key in ("MULTIPLEX_KEY", "PAYLOAD_KEY", "CONSUMER_CLOSE_TIMEOUT", "MANAGE_ENVELOPE")
}
"""The names of channels-demultiplexer's settings, by their key here."""

_ENVELOPE_KEYS = ("MULTIPLEX_KEY", "PAYLOAD_KEY", "EVENT_KEY")
_SPARE_EVENT_KEY = "demux_event"
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Settings:
    """All settings with their defaults.

    Times are in seconds, sizes in bytes. The size of a payload is that of its JSON in UTF-8, or of
    its bytes.
    """

    MULTIPLEX_KEY: str = "stream"
    """The key of the stream's name in an envelope."""

    PAYLOAD_KEY: str = "payload"
    """The key of the payload in an envelope."""

    EVENT_KEY: str = "event"
    """The key of an event. If an old name sets one of the keys above to ``"event"``, the default is
    ``"demux_event"``."""

    MANAGE_ENVELOPE: bool = True
    """Whether consumers receive and send bare payloads. Otherwise they receive whole envelopes, and
    what they send passes unchanged."""

    CONSUMER_CLOSE_TIMEOUT: float = 5.0
    """Seconds that a consumer's ``disconnect()`` may take; None for no limit."""

    HOSTING: Literal["auto", "inline", "workers"] = "auto"
    """Where consumers run: ``"inline"`` in the server's process, or ``"workers"``. ``"auto"`` is
    ``"workers"`` unless there is no channel layer or it is in memory."""

    CHANNEL_LAYER: str = "default"
    """The alias of the channel layer for payloads."""

    DISPATCH_LAYER: str | None = None
    """The alias of the channel layer for opens; None for ``CHANNEL_LAYER``."""

    MAX_PAYLOAD: int = 786_432
    """The maximum size of a payload, both ways. Larger ones get an ``error`` event."""

    BATCH_BYTES: int = 786_432
    """The maximum size of a batch. A larger frame gets a batch of its own."""

    WINDOW_FRAMES: int = 64
    """The maximum number of frames in flight, per session and direction."""

    WINDOW_BYTES: int = 1_048_576
    """The maximum of payload bytes (characters of text) in flight, per session and direction."""

    OPEN_RETRY: float = 2.0
    """Seconds without a claim until an open is retried."""

    OPEN_TIMEOUT: float = 10.0
    """Seconds without an accepting consumer until the client gets ``unavailable``."""

    STALL_TIMEOUT: float = 60.0
    """Seconds that a session may take no frame until its stream is closed."""

    PEER_TIMEOUT: float = 10.0
    """Seconds of silence until a node counts as dead."""

    MAX_DELIVERIES: int = 3
    """How many workers may die with the same payload, one after the other, until its stream is
    closed; 0 for no limit."""

    DRAIN_TIMEOUT: float = 30.0
    """Seconds that the sessions of a draining worker may take to move to other workers."""

    STEADFAST_LAYERS: bool = True
    """Whether consumers' calls in workers wait while the channel layer fails, and rejoin groups."""

    SYNC_THREADS: int = 16
    """The number of threads that sessions of synchronous consumers share in a process. Each thread
    may hold one connection to each database."""

    MAX_SESSIONS: int = 0
    """The maximum number of sessions of a worker process; 0 for no limit."""

    MAX_OPEN_STREAMS: int = 0
    """The maximum number of open streams of a connection; 0 for no limit."""

    OPENS_PER_MINUTE: int = 0
    """The maximum number of opens per minute from a client; 0 for no limit."""

    FRAMES_PER_SECOND: float = 0.0
    """The maximum rate of WebSocket frames from a client; 0 for no limit."""

    BYTES_PER_SECOND: float = 0.0
    """The maximum rate of bytes of WebSocket frames from a client; 0 for no limit."""

    MAX_BUFFERED: int = 0
    """The maximum of payload bytes that wait at the edge for one connection, per direction and over
    all its streams; 0 for no limit but the windows."""

    SCOPE_HEADERS: tuple[str, ...] | None = None
    """The headers that are sent to workers; None for all."""

    SCOPE_COOKIES: tuple[str, ...] | None = None
    """The cookies that are sent to workers; None for all."""

    @property
    def dispatch_layer(self) -> str:
        """The alias of the channel layer for opens."""
        return self.CHANNEL_LAYER if self.DISPATCH_LAYER is None else self.DISPATCH_LAYER


class Problem(NamedTuple):
    """A problem of the configuration.

    Attributes:
        key: The setting's key.
        message: A sentence that names the setting and the problem.
        hint: A sentence that says what to do.
    """

    key: str
    message: str
    hint: str


class _Rule(NamedTuple):
    """A rule for values: a test, and its description."""

    accepts: Callable[[Any], bool]
    expected: str


def _is_name(value: object) -> bool:
    # UTF-8 cannot encode a lone surrogate, so no envelope can contain such a key.
    return isinstance(value, str) and value != "" and not _SURROGATE.search(value)


def _is_time(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= sys.float_info.max


def _is_positive_time(value: Any) -> bool:
    return _is_time(value) and value > 0


def _is_bound(value: Any) -> bool:
    return value in (None, math.inf) or _is_time(value)


def _is_names(value: Any) -> bool:
    is_list = isinstance(value, (list, tuple, set, frozenset))
    return value is None or (is_list and all(map(_is_name, value)))


def _at_least(minimum: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and value >= minimum


_NAME = _Rule(_is_name, "a non-empty string")
_SECONDS = _Rule(_is_positive_time, "a number of seconds above 0")
_DELAY = _Rule(_is_bound, "a number of seconds, 0 or more, or None for no bound")
_COUNT = _Rule(_at_least(1), "a whole number, 1 or more")
_MAXIMUM = _Rule(_at_least(0), "a whole number, 0 (no bound) or more")
_RATE = _Rule(_is_time, "a number, 0 (no bound) or more")
_SWITCH = _Rule(lambda value: type(value) is bool, "True or False")
_NAMES = _Rule(_is_names, "a list of names, or None for all")
_HOSTINGS = ("auto", "inline", "workers")
_RULES: Mapping[str, _Rule] = {
    "MULTIPLEX_KEY": _NAME,
    "PAYLOAD_KEY": _NAME,
    "EVENT_KEY": _NAME,
    "MANAGE_ENVELOPE": _SWITCH,
    "CONSUMER_CLOSE_TIMEOUT": _DELAY,
    "HOSTING": _Rule(
        lambda value: isinstance(value, str) and value in _HOSTINGS,
        '"auto", "inline" or "workers"',
    ),
    "CHANNEL_LAYER": _NAME,
    "DISPATCH_LAYER": _Rule(
        lambda value: value is None or _is_name(value),
        "the alias of a channel layer, or None for that of CHANNEL_LAYER",
    ),
    "MAX_PAYLOAD": _COUNT,
    "BATCH_BYTES": _COUNT,
    "WINDOW_FRAMES": _COUNT,
    "WINDOW_BYTES": _COUNT,
    "OPEN_RETRY": _SECONDS,
    "OPEN_TIMEOUT": _SECONDS,
    "STALL_TIMEOUT": _SECONDS,
    "PEER_TIMEOUT": _SECONDS,
    "MAX_DELIVERIES": _MAXIMUM,
    "DRAIN_TIMEOUT": _SECONDS,
    "STEADFAST_LAYERS": _SWITCH,
    "SYNC_THREADS": _COUNT,
    "MAX_SESSIONS": _MAXIMUM,
    "MAX_OPEN_STREAMS": _MAXIMUM,
    "OPENS_PER_MINUTE": _MAXIMUM,
    "FRAMES_PER_SECOND": _RATE,
    "BYTES_PER_SECOND": _RATE,
    "MAX_BUFFERED": _MAXIMUM,
    "SCOPE_HEADERS": _NAMES,
    "SCOPE_COOKIES": _NAMES,
}


def find_problems(configured: object, old: Mapping[str, object] | None = None) -> list[Problem]:
    """Return all problems of a configuration.

    Args:
        configured: The value of ``settings.CHANNELS_DEMUX_LAYER``.
        old: The values of channels-demultiplexer's settings by their key here.

    Returns:
        The problems in the order of the keys.
    """
    if not isinstance(configured, Mapping):
        return [
            Problem(
                SETTING,
                f"{SETTING} must be a dict, not {reprlib.repr(configured)}.",
                "Set it to a dict of settings, or remove it for all defaults.",
            )
        ]
    values = _merge(configured, old or {})
    names = _written_names(configured, old or {})
    found = [_unknown_key(key) for key in configured if key not in _RULES]
    found += [_bad_value(key, values[key], names[key]) for key in _bad_keys(values)]
    return found or _equal_keys(values, names) + _taken_keys(values, names)


def build_settings(configured: object, old: Mapping[str, object] | None = None) -> Settings:
    """Return typed settings from a configuration.

    Args:
        configured: The value of ``settings.CHANNELS_DEMUX_LAYER``.
        old: The values of channels-demultiplexer's settings by their key here.

    Raises:
        ConfigurationError: The configuration has problems. The message names all of them.
    """
    problems = find_problems(configured, old)
    if problems:
        raise ConfigurationError(" ".join(f"{item.message} {item.hint}" for item in problems))
    assert isinstance(configured, Mapping)
    values = _merge(configured, old or {})
    for key, value in values.items():
        if _RULES[key] in (_SECONDS, _DELAY):
            values[key] = math.inf if value is None else float(value)
        elif _RULES[key] is _NAMES and value is not None:
            values[key] = tuple(value)
    return Settings(**values)


def read_django_settings() -> tuple[object, dict[str, object]]:
    """Return the project's configuration.

    Returns:
        The value of ``settings.CHANNELS_DEMUX_LAYER`` or an empty dict, and the values of
        channels-demultiplexer's settings by their key here.
    """
    configured = getattr(django_settings, SETTING, {})
    old = {
        key: getattr(django_settings, name)
        for key, name in OLD_NAMES.items()
        if hasattr(django_settings, name)
    }
    return configured, old


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return the project's settings. They are cached until a test overrides them.

    Raises:
        ConfigurationError: The configuration has problems. The message names all of them.
    """
    return build_settings(*read_django_settings())


def _merge(configured: Mapping[Any, Any], old: Mapping[str, object]) -> dict[Any, Any]:
    """Return the values of the dict, and those of old names for keys that it lacks."""
    values = {key: _convert_old(key, value) for key, value in old.items()} | dict(configured)
    taken = (old.get("MULTIPLEX_KEY"), old.get("PAYLOAD_KEY"))
    if Settings.EVENT_KEY in taken:
        # Projects that come from channels-demultiplexer change only an import, with any keys.
        values.setdefault("EVENT_KEY", _SPARE_EVENT_KEY)
    return values


def _convert_old(key: str, value: object) -> object:
    """Convert the value of an old name as channels-demultiplexer did."""
    if key == "MANAGE_ENVELOPE":
        return value is True
    if key == "CONSUMER_CLOSE_TIMEOUT" and isinstance(value, (int, float)):
        # It was a timeout for asyncio.wait(), which treats a negative number as 0 and True as 1.
        return max(0, +value)
    return value


def _bad_keys(values: Mapping[Any, Any]) -> list[str]:
    return [key for key in _RULES if key in values and not _RULES[key].accepts(values[key])]


def _bad_value(key: str, value: object, name: str) -> Problem:
    return Problem(
        key,
        f"{name} must be {_RULES[key].expected}, not {reprlib.repr(value)}.",
        f"Correct it, or remove it for the default, {getattr(Settings, key)!r}.",
    )


def _unknown_key(key: object) -> Problem:
    close = difflib.get_close_matches(str(key).upper(), _RULES, n=1)
    hint = f"Did you mean {close[0]!r}?" if close else f"Settings: {', '.join(_RULES)}."
    return Problem(str(key), f"{SETTING} has no setting {reprlib.repr(key)}.", hint)


def _equal_keys(values: Mapping[Any, Any], names: Mapping[str, str]) -> list[Problem]:
    found = []
    for one, other in itertools.combinations(_ENVELOPE_KEYS, 2):
        value = values.get(one, getattr(Settings, one))
        if value == values.get(other, getattr(Settings, other)):
            message = f"{names[one]} and {names[other]} are both {value!r}."
            hint = f"Envelopes would be ambiguous. Set {names[other]} to another string."
            found.append(Problem(other, message, hint))
    return found


def _taken_keys(values: Mapping[Any, Any], names: Mapping[str, str]) -> list[Problem]:
    hint = "It has another meaning in events. Set another string."
    return [
        Problem(key, f"{names[key]} is {values[key]!r}.", hint)
        for key in ("MULTIPLEX_KEY", "EVENT_KEY")
        if values.get(key) in EVENT_FIELDS
    ]


def _written_names(configured: Mapping[Any, Any], old: Mapping[str, object]) -> dict[str, str]:
    """Return each setting's name as the user wrote it, so that a search finds it."""
    names = {key: f"{SETTING}[{key!r}]" for key in _RULES}
    return names | {key: OLD_NAMES[key] for key in old if key not in configured}


def _forget(*, setting: str, **kwargs: object) -> None:
    if setting == SETTING or setting in OLD_NAMES.values():
        get_settings.cache_clear()


setting_changed.connect(_forget, dispatch_uid="channels_demux_layer.conf")
