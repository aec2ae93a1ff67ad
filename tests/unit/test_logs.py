"""Log records say what they are about, show no secrets, and repeated faults do not fill the log."""

import ast
import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest

import channels_demux_layer
from channels_demux_layer import logs
from channels_demux_layer.logs import (
    MOST_KINDS,
    MOST_LINES,
    MOST_TARGETS,
    QUIET,
    FaultLog,
    RepeatedLog,
    about,
    addresses_of,
)
from channels_demux_layer.protocol import events as ev
from channels_demux_layer.protocol.frames import Batch
from channels_demux_layer.protocol.session import SendWindow, Session
from channels_demux_layer.transport import records
from channels_demux_layer.transport.records import LinkLog

ROOT = Path(channels_demux_layer.__file__).parent
DOCS = Path(__file__).parents[2] / "docs"
METHODS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
#: What speaks with the voice of Channels' own command, and the demo.
OTHERS = {"management", "demo", "client"}


def _calls() -> list[tuple[str, ast.Call]]:
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        if OTHERS.isdisjoint(path.relative_to(ROOT).parts):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    owner = ast.unparse(node.func.value).rpartition(".")[2]
                    if node.func.attr in METHODS and owner in {"logger", "_logger"}:
                        found.append((f"{path.name}:{node.lineno}", node))
    return found


def test_every_call_of_a_logger_says_whom_it_is_about() -> None:
    """No record of the package lacks the keys that a format may name."""
    calls = _calls()
    assert len(calls) > 20
    without = [
        where for where, call in calls if "extra" not in {keyword.arg for keyword in call.keywords}
    ]
    assert without == []


def test_every_record_has_all_keys() -> None:
    """What does not apply is None; none is an attribute that records have already."""
    assert tuple(logs.about(stream="s", ref="r")) == logs.KEYS
    assert logs.about(stream="s")["demux_stream"] == "s"
    assert logs.about(stream="s")["demux_link"] is None
    record = logging.LogRecord("x", 10, "x", 1, "x", (), None)
    assert not set(logs.KEYS) & set(vars(record))


def a_session() -> Session:
    """A session with a number."""
    return Session(7, SendWindow(1, 1), SendWindow(1, 1))  # type: ignore[arg-type]


def test_the_log_of_links_is_silent_unless_it_is_asked_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Who calls it asks for that first."""
    log = LinkLog("0123456789abcdef", "here", "there")
    caplog.set_level("INFO", records.LOGGER)
    assert not log.is_on
    caplog.set_level("DEBUG", records.LOGGER)
    assert log.is_on


def test_the_log_of_links_has_a_mark_for_everything(caplog: pytest.LogCaptureFixture) -> None:
    """A line begins with its mark, and names the link in short."""
    caplog.set_level("DEBUG", records.LOGGER)
    log = LinkLog("0123456789abcdef", "here", "there")
    fields: dict[str, Any] = {"version": 1, "link": "l", "to_edge": True, "channel": "there"}
    batch = Batch(**fields, seq=3, base=1, ack=2, early=[5], again=True, frames=b"1234")
    log.batch(">", batch, "demux.c.edge")
    log.batch("<", batch)
    log.event(ev.PeerLost(1.0))
    log.event(ev.Closed(a_session(), 1000, ""))
    assert caplog.messages == [
        "> link 01234567 batch 3 again, 4 bytes, ack 2, early [5] to group demux.c.edge",
        "< link 01234567 batch 3 again, 4 bytes, ack 2, early [5]",
        "! link 01234567 PeerLost(silence=1.0)",
        "= link 01234567 session 7: closed",
    ]
    assert {vars(record)["demux_link"] for record in caplog.records} == {"0123456789abcdef"}


def test_the_legend_is_that_of_the_code() -> None:
    """The module's table, the page's and the marks in use are the same."""
    legend = re.findall(r"^(\S)  +\S", str(records.__doc__), re.MULTILINE)
    assert "".join(legend) == records.MARKS
    page = (DOCS / "reference" / "logs.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\S)` \|", page, re.MULTILINE) == legend
    used = set(
        re.findall(r'_log\.(?:say|batch)\(\s*"(.)"', (ROOT / "transport" / "wire.py").read_text())
    )
    own = (ROOT / "transport" / "records.py").read_text()
    used |= set(re.findall(r'self\.say\(\s*"(.)"', own))
    assert used == set(records.MARKS)


def test_the_page_has_the_keys_and_the_loggers() -> None:
    """What the page on logs names is there, and it names all of it."""
    page = (DOCS / "reference" / "logs.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(demux_\w+)` \|", page, re.MULTILINE) == list(logs.KEYS)
    modules = {
        ".".join(("channels_demux_layer", *path.relative_to(ROOT).with_suffix("").parts))
        for path in ROOT.rglob("*.py")
        if "getLogger(__name__)" in path.read_text(encoding="utf-8")
    }
    named = set(re.findall(r"^\| `(channels_demux_layer\.[\w.]+)` \|", page, re.MULTILINE))
    assert named == modules | {records.LOGGER}


def test_the_example_of_a_configuration_writes_json(tmp_path: Path) -> None:
    """The page's LOGGING and its formatter give a JSON object with the keys."""
    page = (DOCS / "reference" / "logs.md").read_text(encoding="utf-8")
    formatter = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    names: dict[str, Any] = {}
    exec(compile(formatter, "logs.md", "exec"), names)
    record = logging.makeLogRecord({"msg": "It %s.", "args": ("broke",), **logs.about(stream="s")})
    said = json.loads(names["JsonFormatter"]().format(record))
    assert said["message"] == "It broke."
    assert said["demux_stream"] == "s"
    assert "demux_link" not in said


def test_strings_of_others_are_made_printable() -> None:
    """Control characters, hidden ones and lone surrogates are escaped, and long strings cut."""
    assert logs.printable("demux.écho 漢") == "demux.écho 漢"
    assert logs.printable("\x1b]0;a\x07\n\u202e\ud800") == r"\x1b]0;a\x07\n\u202e\ud800"
    assert logs.printable("x" * logs.LONGEST) == "x" * logs.LONGEST
    assert logs.printable("x" * 10_000) == "x" * logs.LONGEST + "…"
    assert logs.about(link="\x1b")["demux_link"] == r"\x1b"


@pytest.mark.parametrize(
    ("config", "shown"),
    [
        ({"hosts": ["redis://user:secret@10.0.0.1:6380/0"]}, "10.0.0.1:6380"),
        ({"hosts": ["rediss://redis.example"]}, "redis.example:6379"),
        ({"hosts": ["unix:///run/redis.sock?db=1"]}, "/run/redis.sock"),
        ({"hosts": [("a", 1), ["b", 2]]}, "a:1, b:2"),
        ({"hosts": [{"address": "redis://:secret@a:1"}]}, "a:1"),
        ({"hosts": [{"address": ("a", 1)}]}, "a:1"),
        ({"hosts": [{"host": "a", "password": "secret"}]}, "a:6379"),
        ({"hosts": [{"master_name": "m", "sentinels": []}]}, "Sentinel's m"),
        ({"hosts": ["redis://a:port"]}, "an unknown address"),
        ({"hosts": [7, {"address": None}, ""]}, ", ".join(["an unknown address"] * 3)),
        ({"hosts": "redis://a"}, ""),
        ({"HOST": "db", "PASSWORD": "secret"}, "db:5432"),
        ({"HOST": "", "PORT": 1}, "localhost:1"),
        ({}, ""),
        (None, ""),
    ],
)
def test_addresses(settings: Any, config: Any, shown: str) -> None:
    """Every form that channels_redis and DATABASES take is shown, and no user or password."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "x", "CONFIG": config}}
    assert addresses_of("default") == shown


def test_layers_that_are_none(settings: Any) -> None:
    """An alias without a configuration has no address."""
    settings.CHANNEL_LAYERS = {"odd": None}
    assert addresses_of("odd") == addresses_of("missing") == ""


LOGGER = logging.getLogger("channels_demux_layer.tests")


def test_a_fault_is_told_of_when_it_begins_and_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """However often it repeats, it has two lines; and each fault its own."""
    caplog.set_level(logging.INFO, LOGGER.name)
    faults = FaultLog(LOGGER)
    for _ in range(3):
        faults.failed("publish", ConnectionError("refused"))
    faults.worked("receive")
    faults.failed("receive", ConnectionError())
    for _ in range(3):
        faults.worked("publish")
    faults.failed("publish", "again")
    assert caplog.messages == [
        "Cannot publish: refused. Retrying.",
        "Cannot receive: ConnectionError. Retrying.",
        "Can publish again.",
        "Cannot publish: again. Retrying.",
    ]


def test_what_others_send_is_warned_of_a_few_times(caplog: pytest.LogCaptureFixture) -> None:
    """Each kind has its lines in a minute; how many more there were is told after it."""
    now = [0.0]
    repeated = RepeatedLog(LOGGER, lambda: now[0])
    for number in range(MOST_LINES + 3):
        repeated.warning("garbage", "No. %d", number, extra=about(node="n"))
    repeated.warning("other", "Else", extra=about())
    assert caplog.messages == [*(f"No. {number}" for number in range(MOST_LINES)), "Else"]
    assert {vars(record)["demux_node"] for record in caplog.records} == {"n", None}
    caplog.clear()
    now[0] = 61.0
    repeated.warning("garbage", "Again", extra=about())
    assert caplog.messages == ["Suppressed 3 more warnings about garbage.", "Again"]


def test_a_warning_may_show_where_it_comes_from(caplog: pytest.LogCaptureFixture) -> None:
    """The traceback of an exception goes with it."""
    error = ValueError("broken")
    RepeatedLog(LOGGER).warning("x", "It broke", extra=about(), exc=error)
    assert caplog.records[0].exc_info
    assert caplog.records[0].exc_info[1] is error


def test_layers_are_told_apart(caplog: pytest.LogCaptureFixture) -> None:
    """A layer that works says nothing about another one that fails."""
    caplog.set_level(logging.INFO, LOGGER.name)
    faults = FaultLog(LOGGER)
    for _ in range(10):
        faults.failed("publish on the channel layer", OSError("refused"), alias="opens")
        faults.worked("publish on the channel layer", alias="default")
    faults.failed("publish on the channel layer", OSError("gone"), alias="default")
    faults.worked("publish on the channel layer", alias="opens")
    assert caplog.messages == [
        "Cannot publish on the channel layer 'opens': refused. Retrying.",
        "Cannot publish on the channel layer: gone. Retrying.",
        "Can publish on the channel layer 'opens' again.",
    ]


def test_one_server_of_several_that_fails_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """What works on the others is no end of the fault: the targets that failed have to work."""
    caplog.set_level(logging.INFO, LOGGER.name)
    faults = FaultLog(LOGGER)
    for number in range(100):
        faults.failed("publish", OSError("refused"), target=f"lost {number}")
        faults.worked("publish", target=f"well {number}")
    assert caplog.messages == ["Cannot publish: refused. Retrying."]
    faults.worked("publish", target="lost 0")  # Forgotten: the latest are enough.
    for number in range(100 - MOST_TARGETS, 100):
        assert len(caplog.messages) == 1
        faults.worked("publish", target=f"lost {number}")
    assert caplog.messages[1:] == ["Can publish again."]


def test_a_target_that_fails_while_others_work_again_makes_no_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """When a server comes back, one call of several may fail once more after another has worked."""
    caplog.set_level(logging.INFO, LOGGER.name)
    faults = FaultLog(LOGGER)
    for target in ("a", "b", "c"):
        faults.failed("receive", OSError("refused"), target=target)
    faults.worked("receive", target="a")
    faults.failed("receive", OSError("reset"), target="b")
    faults.failed("receive", OSError("reset"), target="a")
    for target in ("b", "a", "c"):
        faults.worked("receive", target=target)
    assert caplog.messages == ["Cannot receive: refused. Retrying.", "Can receive again."]


def test_a_fault_ends_when_its_targets_are_gone(caplog: pytest.LogCaptureFixture) -> None:
    """After a while without a failure whatever works tells that the fault is over."""
    caplog.set_level(logging.INFO, LOGGER.name)
    now = [0.0]
    faults = FaultLog(LOGGER, lambda: now[0])
    faults.failed("publish", OSError("refused"), target="gone")
    now[0] = QUIET - 1
    faults.worked("publish", target="other")
    assert len(caplog.messages) == 1
    now[0] = QUIET
    faults.worked("publish", target="other")
    assert caplog.messages[1:] == ["Can publish again."]


def test_kinds_that_others_choose_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """Beyond so many kinds all are one, for what is written and for what is remembered."""
    repeated = RepeatedLog(LOGGER)
    for number in range(10_000):
        repeated.warning(f"kind {number}", "No. %d", number, extra=about())
    assert len(caplog.messages) == MOST_KINDS + MOST_LINES
    assert len(repeated._lines) == MOST_KINDS + 1


def test_what_others_have_written_is_made_printable(caplog: pytest.LogCaptureFixture) -> None:
    """No escape sequence and no line break of another process reaches a log, and no long text."""
    repeated, faults = RepeatedLog(LOGGER), FaultLog(LOGGER)
    evil = "\x1b[2J\nERROR forged" + "x" * 1_000
    repeated.warning("x", "Node %s sent %d.", evil, 1, extra=about(peer=evil))
    faults.failed("publish", evil)
    assert all(text.isprintable() and len(text) < 300 for text in caplog.messages)
    assert vars(caplog.records[0])["demux_peer"].startswith("\\x1b[2J\\nERROR")
