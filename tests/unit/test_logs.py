"""What log records say beside their text."""

import ast
import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest

import channels_demux_layer
from channels_demux_layer import logs
from channels_demux_layer.protocol import events as ev
from channels_demux_layer.protocol.frames import Batch
from channels_demux_layer.protocol.session import Session
from channels_demux_layer.protocol.window import SendWindow
from channels_demux_layer.transport import link_log
from channels_demux_layer.transport.link_log import LinkLog

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
    caplog.set_level("INFO", link_log.LOGGER)
    assert not log.is_on
    caplog.set_level("DEBUG", link_log.LOGGER)
    assert log.is_on


def test_the_log_of_links_has_a_mark_for_everything(caplog: pytest.LogCaptureFixture) -> None:
    """A line begins with its mark, and names the link in short."""
    caplog.set_level("DEBUG", link_log.LOGGER)
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
    legend = re.findall(r"^(\S)  +\S", str(link_log.__doc__), re.MULTILINE)
    assert "".join(legend) == link_log.MARKS
    page = (DOCS / "reference" / "logs.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\S)` \|", page, re.MULTILINE) == legend
    used = set(
        re.findall(r'_log\.(?:say|batch)\(\s*"(.)"', (ROOT / "transport" / "wire.py").read_text())
    )
    own = (ROOT / "transport" / "link_log.py").read_text()
    used |= set(re.findall(r'self\.say\(\s*"(.)"', own))
    assert used == set(link_log.MARKS)


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
    assert named == modules | {link_log.LOGGER}


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
