"""The settings of the package: one typed class, read from ``settings.CHANNELS_DEMUX_LAYER``.

The names that channels-demultiplexer used are honoured where the dict does not set a value.
The system checks and the run time both report what :func:`find_problems` finds.
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
"""Name of the dict in the Django settings."""

OLD_NAMES: Mapping[str, str] = {
    key: f"CHANNELS_DEMULTIPLEXER_{key}"
    for key in ("MULTIPLEX_KEY", "PAYLOAD_KEY", "CONSUMER_CLOSE_TIMEOUT", "MANAGE_ENVELOPE")
}
"""The settings of channels-demultiplexer, by the key that they set here."""

_ENVELOPE_KEYS = ("MULTIPLEX_KEY", "PAYLOAD_KEY", "EVENT_KEY")
_SPARE_EVENT_KEY = "demux_event"
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Settings:
    """Every setting with its default.

    All times are in seconds, all sizes in bytes. Payload sizes are those of its JSON text in
    UTF-8, or of the binary payload.
    """

    MULTIPLEX_KEY: str = "stream"
    """Key of an envelope that holds the name of its stream."""

    PAYLOAD_KEY: str = "payload"
    """Key of an envelope that holds its payload."""

    EVENT_KEY: str = "event"
    """Key that tells an event from a payload. Where one of the two keys above is ``"event"``
    by an old name and this one is not set, it is ``"demux_event"``."""

    MANAGE_ENVELOPE: bool = True
    """Take envelopes off for consumers and put them on what they send. Off, consumers get whole
    envelopes and what they send passes unchanged."""

    CONSUMER_CLOSE_TIMEOUT: float = 5.0
    """Seconds that a consumer has for its ``disconnect()``; None, which is read as infinity:
    as long as it takes."""

    HOSTING: Literal["auto", "inline", "workers"] = "auto"
    """Where consumers run: ``"inline"`` in the server's process, ``"workers"`` in workers,
    ``"auto"`` inline where there is no channel layer or it is in-memory, else in workers."""

    CHANNEL_LAYER: str = "default"
    """Alias of the channel layer that carries payloads."""

    DISPATCH_LAYER: str | None = None
    """Alias of the channel layer that carries opens to workers; None: ``CHANNEL_LAYER``."""

    MAX_PAYLOAD: int = 786_432
    """Largest payload in bytes, either way. A larger one is refused with an ``error`` event."""

    BATCH_BYTES: int = 786_432
    """Bytes of frames at which a batch is full; a larger frame goes alone."""

    WINDOW_FRAMES: int = 64
    """Frames that may be on their way, per session and direction."""

    WINDOW_BYTES: int = 1_048_576
    """Bytes of payload, characters of text, that may be on their way, per session and direction."""

    OPEN_RETRY: float = 2.0
    """Seconds without a claim after which an open is tried again."""

    OPEN_TIMEOUT: float = 10.0
    """Seconds without a consumer that has accepted, after which the client gets ``unavailable``."""

    STALL_TIMEOUT: float = 60.0
    """Seconds that a session may go without taking a frame before its stream is closed."""

    PEER_TIMEOUT: float = 10.0
    """Seconds of silence after which a node is taken for dead."""

    MAX_DELIVERIES: int = 3
    """Workers that may die with the same payload in hand, one after the other, before its stream
    is closed; 0: no bound."""

    DRAIN_TIMEOUT: float = 30.0
    """Seconds that the sessions of a worker that ends may take to move to others."""

    STEADFAST_LAYERS: bool = True
    """Calls of consumers in workers wait while their channel layer fails; groups are rejoined."""

    SYNC_THREADS: int = 16
    """Threads of one process that sessions of synchronous consumers share. Each thread may hold
    one connection to each database."""

    MAX_SESSIONS: int = 0
    """Sessions that one worker process hosts at a time; 0: no bound."""

    MAX_OPEN_STREAMS: int = 0
    """Streams that one connection may have open at a time; 0: no bound."""

    OPENS_PER_MINUTE: int = 0
    """Opens that one client may ask for in a minute; 0: no bound."""

    FRAMES_PER_SECOND: float = 0.0
    """WebSocket frames that are read from one client in a second; 0: no bound."""

    BYTES_PER_SECOND: float = 0.0
    """Bytes of WebSocket frames that are read from one client in a second; 0: no bound."""

    MAX_BUFFERED: int = 0
    """Bytes of payload that may wait at the edge for one connection, per direction and over all
    of its streams; 0: no bound beside the windows."""

    SCOPE_HEADERS: tuple[str, ...] | None = None
    """Names of the headers that travel to workers; None: all."""

    SCOPE_COOKIES: tuple[str, ...] | None = None
    """Names of the cookies that travel to workers; None: all."""

    @property
    def dispatch_layer(self) -> str:
        """Alias of the layer that carries opens, resolved (str)."""
        return self.CHANNEL_LAYER if self.DISPATCH_LAYER is None else self.DISPATCH_LAYER


class Problem(NamedTuple):
    """One thing that is wrong with the configuration.

    Attributes:
        key: The key concerned, as a user wrote it.
        message: What is wrong, a sentence that names the setting.
        hint: What to do, a sentence.
    """

    key: str
    message: str
    hint: str


class _Rule(NamedTuple):
    """What a value must be: a test and the words for it."""

    accepts: Callable[[Any], bool]
    expected: str


def _is_name(value: object) -> bool:
    # A lone surrogate has no UTF-8 form: no envelope could ever hold such a key.
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
    """Find all that is wrong with a configuration.

    Args:
        configured: The value of ``settings.CHANNELS_DEMUX_LAYER``.
        old: Values of channels-demultiplexer's settings by their key here.

    Returns:
        The problems in the order of the keys, an empty list where there are none.
    """
    if not isinstance(configured, Mapping):
        return [
            Problem(
                SETTING,
                f"{SETTING} must be a dict, not {reprlib.repr(configured)}.",
                "Set it to a dict of settings, or leave it out for all defaults.",
            )
        ]
    values = _merge(configured, old or {})
    names = _written_names(configured, old or {})
    found = [_unknown_key(key) for key in configured if key not in _RULES]
    found += [_bad_value(key, values[key], names[key]) for key in _bad_keys(values)]
    return found or _equal_keys(values, names) + _taken_keys(values, names)


def build_settings(configured: object, old: Mapping[str, object] | None = None) -> Settings:
    """Make typed settings out of a configuration.

    Args:
        configured: The value of ``settings.CHANNELS_DEMUX_LAYER``.
        old: Values of channels-demultiplexer's settings by their key here.

    Returns:
        The settings, defaults filled in.

    Raises:
        ConfigurationError: Something is wrong with it; the message says all of it.
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
    """Read what the project has configured.

    Returns:
        The value of ``settings.CHANNELS_DEMUX_LAYER`` (an empty dict where it is not set), and
        the values of channels-demultiplexer's settings that are set, by their key here.
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
    """Return the project's settings, read once and again after a settings override.

    Returns:
        The settings, defaults filled in.

    Raises:
        ConfigurationError: A key, type or value is wrong; the message says which and what to do.
    """
    return build_settings(*read_django_settings())


def _merge(configured: Mapping[Any, Any], old: Mapping[str, object]) -> dict[Any, Any]:
    """Put the old names' values under the dict's."""
    values = {key: _convert_old(key, value) for key, value in old.items()} | dict(configured)
    taken = (old.get("MULTIPLEX_KEY"), old.get("PAYLOAD_KEY"))
    if Settings.EVENT_KEY in taken:
        # Who comes from channels-demultiplexer changes an import only, whatever its keys are.
        values.setdefault("EVENT_KEY", _SPARE_EVENT_KEY)
    return values


def _convert_old(key: str, value: object) -> object:
    """Read an old name's value as channels-demultiplexer did."""
    if key == "MANAGE_ENVELOPE":
        return value is True
    if key == "CONSUMER_CLOSE_TIMEOUT" and isinstance(value, (int, float)):
        # It was the timeout of asyncio.wait(): a negative number is 0 there, and True is 1.
        return max(0, +value)
    return value


def _bad_keys(values: Mapping[Any, Any]) -> list[str]:
    return [key for key in _RULES if key in values and not _RULES[key].accepts(values[key])]


def _bad_value(key: str, value: object, name: str) -> Problem:
    return Problem(
        key,
        f"{name} must be {_RULES[key].expected}, not {reprlib.repr(value)}.",
        f"Correct it, or leave it out for the default, {getattr(Settings, key)!r}.",
    )


def _unknown_key(key: object) -> Problem:
    close = difflib.get_close_matches(str(key).upper(), _RULES, n=1)
    hint = f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(_RULES)}."
    return Problem(str(key), f"{SETTING} has no setting {reprlib.repr(key)}.", hint)


def _equal_keys(values: Mapping[Any, Any], names: Mapping[str, str]) -> list[Problem]:
    found = []
    for one, other in itertools.combinations(_ENVELOPE_KEYS, 2):
        value = values.get(one, getattr(Settings, one))
        if value == values.get(other, getattr(Settings, other)):
            message = f"{names[one]} and {names[other]} are both {value!r}."
            hint = f"An envelope could not be read: set {names[other]} to another string."
            found.append(Problem(other, message, hint))
    return found


def _taken_keys(values: Mapping[Any, Any], names: Mapping[str, str]) -> list[Problem]:
    hint = "It stands for something else in events: set another string."
    return [
        Problem(key, f"{names[key]} is {values[key]!r}.", hint)
        for key in ("MULTIPLEX_KEY", "EVENT_KEY")
        if values.get(key) in EVENT_FIELDS
    ]


def _written_names(configured: Mapping[Any, Any], old: Mapping[str, object]) -> dict[str, str]:
    """Name each setting as the user wrote it, so that it is found by searching for it."""
    names = {key: f"{SETTING}[{key!r}]" for key in _RULES}
    return names | {key: OLD_NAMES[key] for key in old if key not in configured}


def _forget(*, setting: str, **kwargs: object) -> None:
    if setting == SETTING or setting in OLD_NAMES.values():
        get_settings.cache_clear()


setting_changed.connect(_forget, dispatch_uid="channels_demux_layer.conf")
