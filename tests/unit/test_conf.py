"""The settings: their defaults, what they accept, and the old names."""

import ast
import dataclasses
import inspect
import math

import pytest
from django.test import override_settings

from channels_demux_layer.conf import (
    OLD_NAMES,
    Settings,
    build_settings,
    find_problems,
    get_settings,
    read_django_settings,
)
from channels_demux_layer.exceptions import ConfigurationError


def message_of(configured: object, old: dict[str, object] | None = None) -> str:
    """Return the one problem of a configuration, as check and run time say it."""
    (problem,) = find_problems(configured, old)
    with pytest.raises(ConfigurationError) as caught:
        build_settings(configured, old)
    assert str(caught.value) == f"{problem.message} {problem.hint}"
    return str(caught.value)


def test_empty_dict_gives_the_defaults() -> None:
    """A project that sets nothing gets the defaults of the class."""
    assert build_settings({}) == Settings()


def test_defaults_are_valid() -> None:
    """Each default is accepted where it is set explicitly."""
    defaults = dataclasses.asdict(Settings())
    assert find_problems(defaults) == []
    assert build_settings(defaults) == Settings()


def test_settings_are_frozen() -> None:
    """Nobody changes the settings of others."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().HOSTING = "inline"  # type: ignore[misc]


def test_dispatch_layer_is_the_channel_layer_unless_set() -> None:
    """Opens go the way of payloads unless a layer is named for them."""
    assert build_settings({"CHANNEL_LAYER": "bus"}).dispatch_layer == "bus"
    named = build_settings({"CHANNEL_LAYER": "bus", "DISPATCH_LAYER": "opens"})
    assert named.dispatch_layer == "opens"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("MULTIPLEX_KEY", "s"),
        ("PAYLOAD_KEY", "größe"),
        ("EVENT_KEY", "e"),
        ("MANAGE_ENVELOPE", False),
        ("CONSUMER_CLOSE_TIMEOUT", 0),
        ("CONSUMER_CLOSE_TIMEOUT", math.inf),
        ("HOSTING", "workers"),
        ("CHANNEL_LAYER", "bus"),
        ("DISPATCH_LAYER", None),
        ("MAX_PAYLOAD", 1),
        ("BATCH_BYTES", 1),
        ("WINDOW_FRAMES", 1),
        ("WINDOW_BYTES", 1),
        ("OPEN_RETRY", 0.1),
        ("OPEN_TIMEOUT", 1),
        ("STALL_TIMEOUT", 1e9),
        ("PEER_TIMEOUT", 3),
        ("MAX_SESSIONS", 0),
    ],
)
def test_valid_values_are_taken(key: str, value: object) -> None:
    """What is within the range of a setting becomes its value."""
    assert getattr(build_settings({key: value}), key) == value


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("MULTIPLEX_KEY", "", "a non-empty string"),
        ("PAYLOAD_KEY", 3, "a non-empty string"),
        ("EVENT_KEY", "\ud800", "a non-empty string"),
        ("MANAGE_ENVELOPE", 1, "True or False"),
        ("CONSUMER_CLOSE_TIMEOUT", -1, "0 or more, or None"),
        ("CONSUMER_CLOSE_TIMEOUT", "5", "0 or more, or None"),
        ("CONSUMER_CLOSE_TIMEOUT", True, "0 or more, or None"),
        ("HOSTING", "worker", '"auto", "inline" or "workers"'),
        ("HOSTING", ["auto"], '"auto", "inline" or "workers"'),
        ("CHANNEL_LAYER", None, "a non-empty string"),
        ("DISPATCH_LAYER", "", "the alias of a channel layer, or None"),
        ("MAX_PAYLOAD", 0, "a whole number, 1 or more"),
        ("BATCH_BYTES", 1.5, "a whole number, 1 or more"),
        ("WINDOW_FRAMES", True, "a whole number, 1 or more"),
        ("WINDOW_BYTES", "1", "a whole number, 1 or more"),
        ("OPEN_RETRY", 0, "a number of seconds above 0"),
        ("OPEN_TIMEOUT", None, "a number of seconds above 0"),
        ("STALL_TIMEOUT", math.nan, "a number of seconds above 0"),
        ("PEER_TIMEOUT", math.inf, "a number of seconds above 0"),
        ("OPEN_RETRY", 10**400, "a number of seconds above 0"),
        ("MAX_SESSIONS", -1, "a whole number, 0 (no bound) or more"),
    ],
)
def test_wrong_values_are_named(key: str, value: object, expected: str) -> None:
    """A wrong value is refused in words that name the setting, the rule and the default."""
    message = message_of({key: value})
    assert message.startswith(f"CHANNELS_DEMUX_LAYER['{key}'] must be ")
    assert expected in message
    assert f"the default, {getattr(Settings, key)!r}" in message


@pytest.mark.parametrize("key", ["SCOPE_HEADERS", "SCOPE_COOKIES"])
def test_lists_of_names_are_kept_as_tuples(key: str) -> None:
    """Settings are compared and hashed; a string is no list, and a name is no number."""
    assert getattr(build_settings({key: ["host", "x"]}), key) == ("host", "x")
    assert getattr(build_settings({key: None}), key) is None
    for wrong in ("host", [1], [""]):
        assert "a list of names, or None for all" in message_of({key: wrong})


@pytest.mark.parametrize(
    "key",
    [
        "MAX_OPEN_STREAMS",
        "OPENS_PER_MINUTE",
        "FRAMES_PER_SECOND",
        "BYTES_PER_SECOND",
        "MAX_BUFFERED",
    ],
)
def test_limits_are_no_less_than_0(key: str) -> None:
    """0 is no bound."""
    assert getattr(build_settings({key: 5}), key) == 5
    assert getattr(build_settings({key: 0}), key) == 0
    for wrong in (-1, "5", True, None):
        assert "0 (no bound) or more" in message_of({key: wrong})


def test_times_become_floats_and_none_no_bound() -> None:
    """Times are floats whatever was written, and None for closing means infinity."""
    settings = build_settings({"PEER_TIMEOUT": 3, "CONSUMER_CLOSE_TIMEOUT": None})
    assert isinstance(settings.PEER_TIMEOUT, float)
    assert math.isinf(settings.CONSUMER_CLOSE_TIMEOUT)


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("HOSTNG", "Did you mean 'HOSTING'?"),
        ("max_payload", "Did you mean 'MAX_PAYLOAD'?"),
        ("XYZZY", "Settings: MULTIPLEX_KEY, "),
        (7, "Settings: MULTIPLEX_KEY, "),
    ],
)
def test_unknown_keys_are_named_with_the_nearest(key: object, hint: str) -> None:
    """A mistyped key is refused, and the setting that was meant is suggested."""
    message = message_of({key: 1})
    assert message.startswith(f"CHANNELS_DEMUX_LAYER has no setting {key!r}.")
    assert hint in message


@pytest.mark.parametrize("configured", [None, [], "auto", {"HOSTING"}])
def test_a_setting_that_is_no_dict_is_refused(configured: object) -> None:
    """Anything but a dict is refused as a whole."""
    assert message_of(configured).startswith("CHANNELS_DEMUX_LAYER must be a dict, not ")


def test_all_problems_are_reported_at_once() -> None:
    """Who fixes a configuration sees all of it in one run."""
    problems = find_problems({"HOSTING": "x", "MAX_PAYLOAD": 0, "NOPE": 1})
    assert [problem.key for problem in problems] == ["NOPE", "HOSTING", "MAX_PAYLOAD"]
    with pytest.raises(ConfigurationError, match=r"NOPE.*HOSTING.*MAX_PAYLOAD"):
        build_settings({"HOSTING": "x", "MAX_PAYLOAD": 0, "NOPE": 1})


@pytest.mark.parametrize(
    ("configured", "names"),
    [
        ({"MULTIPLEX_KEY": "payload"}, ("MULTIPLEX_KEY", "PAYLOAD_KEY")),
        ({"MULTIPLEX_KEY": "event"}, ("MULTIPLEX_KEY", "EVENT_KEY")),
        ({"PAYLOAD_KEY": "x", "EVENT_KEY": "x"}, ("PAYLOAD_KEY", "EVENT_KEY")),
    ],
)
def test_envelope_keys_differ(configured: dict[str, str], names: tuple[str, str]) -> None:
    """Two envelope keys that are the same string are refused, both named."""
    message = message_of(configured)
    assert all(f"CHANNELS_DEMUX_LAYER['{name}']" in message for name in names)
    assert "are both" in message


def test_old_names_are_read_where_the_dict_is_silent() -> None:
    """The four settings of channels-demultiplexer work, under those of the dict."""
    old = {
        "MULTIPLEX_KEY": "type",
        "PAYLOAD_KEY": "body",
        "CONSUMER_CLOSE_TIMEOUT": 2,
        "MANAGE_ENVELOPE": False,
    }
    settings = build_settings({"PAYLOAD_KEY": "data"}, old)
    assert (settings.MULTIPLEX_KEY, settings.PAYLOAD_KEY) == ("type", "data")
    assert (settings.CONSUMER_CLOSE_TIMEOUT, settings.MANAGE_ENVELOPE) == (2.0, False)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(5, 5.0), (0.5, 0.5), (0, 0.0), (-1, 0.0), (True, 1.0), (None, math.inf), (math.inf,) * 2],
)
def test_old_timeouts_mean_what_they_meant(value: object, expected: float) -> None:
    """Every timeout that asyncio.wait() took is taken, with the meaning that it had there."""
    timeout = build_settings({}, {"CONSUMER_CLOSE_TIMEOUT": value}).CONSUMER_CLOSE_TIMEOUT
    assert timeout == expected


@pytest.mark.parametrize("value", [1, "yes", None, 0, False])
def test_old_flag_is_on_only_where_it_is_true_itself(value: object) -> None:
    """Envelopes were managed where the setting was True itself, and are so still."""
    assert build_settings({}, {"MANAGE_ENVELOPE": value}).MANAGE_ENVELOPE is False
    assert build_settings({}, {"MANAGE_ENVELOPE": True}).MANAGE_ENVELOPE is True


def test_old_names_are_named_in_their_own_words() -> None:
    """A wrong value of an old name is reported under the name that the project uses."""
    message = message_of({}, {"MULTIPLEX_KEY": ""})
    assert message.startswith("CHANNELS_DEMULTIPLEXER_MULTIPLEX_KEY must be ")
    message = message_of({}, {"CONSUMER_CLOSE_TIMEOUT": "5"})
    assert message.startswith("CHANNELS_DEMULTIPLEXER_CONSUMER_CLOSE_TIMEOUT must be ")


def test_old_key_named_event_moves_the_event_key() -> None:
    """A project that used the key "event" changes no setting to come over."""
    assert build_settings({}, {"MULTIPLEX_KEY": "event"}).EVENT_KEY == "demux_event"
    assert build_settings({}, {"PAYLOAD_KEY": "event"}).EVENT_KEY == "demux_event"
    kept = build_settings({"EVENT_KEY": "e"}, {"PAYLOAD_KEY": "event"})
    assert kept.EVENT_KEY == "e"


def test_every_setting_is_documented() -> None:
    """Each attribute of the class is followed by its documentation."""
    (cls,) = ast.parse(inspect.getsource(Settings)).body
    assert isinstance(cls, ast.ClassDef)
    for statement, following in zip(cls.body, [*cls.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign):
            assert isinstance(following, ast.Expr), ast.unparse(statement)


@override_settings(CHANNELS_DEMUX_LAYER={"HOSTING": "inline"})
def test_project_settings_are_read_once() -> None:
    """The project's dict is read once, and then served from memory."""
    assert get_settings().HOSTING == "inline"
    assert get_settings() is get_settings()


def test_override_settings_is_seen() -> None:
    """An override in a test is seen at once, and so is its end."""
    assert get_settings().HOSTING == "auto"
    with override_settings(CHANNELS_DEMUX_LAYER={"HOSTING": "workers"}):
        assert get_settings().HOSTING == "workers"
    assert get_settings().HOSTING == "auto"


@pytest.mark.parametrize(("key", "name"), OLD_NAMES.items())
def test_override_of_an_old_name_is_seen(key: str, name: str) -> None:
    """An override of an old name is seen at once, and so is its end."""
    value = {"MANAGE_ENVELOPE": False, "CONSUMER_CLOSE_TIMEOUT": 1.0}.get(key, "x")
    with override_settings(**{name: value}):
        assert getattr(get_settings(), key) == value
    assert getattr(get_settings(), key) == getattr(Settings, key)


def test_other_overrides_keep_the_settings() -> None:
    """An override of someone else's setting does not cost a reading."""
    before = get_settings()
    with override_settings(DEBUG=True):
        assert get_settings() is before


@override_settings(CHANNELS_DEMUX_LAYER={"HOSTING": 1})
def test_wrong_project_settings_raise_every_time() -> None:
    """A wrong configuration is an error for everyone who asks."""
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="HOSTING"):
            get_settings()


@override_settings(CHANNELS_DEMULTIPLEXER_PAYLOAD_KEY="body")
def test_what_the_project_has_configured() -> None:
    """Only what is set is read, old names by their key."""
    assert read_django_settings() == ({}, {"PAYLOAD_KEY": "body"})


@pytest.mark.parametrize("key", ["MULTIPLEX_KEY", "EVENT_KEY"])
@pytest.mark.parametrize("value", ["code", "reason", "message"])
def test_envelope_keys_are_none_of_events(key: str, value: str) -> None:
    """A key that events use for something else is refused."""
    message = message_of({key: value})
    assert f"CHANNELS_DEMUX_LAYER[{key!r}] is {value!r}." in message
    assert not find_problems({"PAYLOAD_KEY": value})
