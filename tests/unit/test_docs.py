"""What is written about the package is true of it."""

import dataclasses
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from channels_demux_layer import (
    checks,
    codes,
    conf,
    handshake,
    layer_checks,
    limit_checks,
    metrics,
    report,
)
from channels_demux_layer.client import ClientError, connect
from channels_demux_layer.link import frames
from channels_demux_layer.management.commands import demuxstatus, runworker
from channels_demux_layer.streams import Stream
from tests.integration import conftest as integration

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(DOCS.rglob("*.md")),
]
FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#[^)]*)?\)")


def snippets(language: str) -> list[Any]:
    """Find the code of one language.

    Args:
        language: The word behind the opening fence.

    Returns:
        The code of each fence, as a parameter named after its page and line.
    """
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            if match[2] == language:
                line = text.count("\n", 0, match.start()) + 2
                code = re.sub(rf"^{match[1]}", "", match[3], flags=re.MULTILINE)
                found.append(pytest.param(code, id=f"{page.name}:{line}"))
    return found


def rows(page: str, heading: str) -> list[list[str]]:
    """Read the first table under a heading.

    Args:
        page: The file, below docs.
        heading: The text of the heading.

    Returns:
        The cells of each row below the table's own head.
    """
    text = (DOCS / page).read_text(encoding="utf-8")
    section = re.split(rf"^#+ {re.escape(heading)}$", text, flags=re.MULTILINE)[1]
    lines = [line for line in section.partition("\n#")[0].splitlines() if line.startswith("|")]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [cells for cells in table if set(cells[0]) != {"-"}][1:]


def words(page: str, heading: str) -> list[str]:
    """Read the first column of a table, without its backticks."""
    return [cells[0].strip("`") for cells in rows(page, heading)]


@pytest.mark.parametrize("code", snippets("python"))
def test_python_compiles(code: str) -> None:
    """Every Python snippet can be pasted: it is valid Python."""
    compile(code, "snippet", "exec")


def test_links_lead_somewhere() -> None:
    """Every link from a page to a file of the repository leads to one that is there."""
    broken = [
        f"{page.name}: {target}"
        for page in PAGES
        for target in LINK.findall(page.read_text(encoding="utf-8"))
        if target and not (page.parent / target).exists()
    ]
    assert broken == []


def test_settings_table() -> None:
    """The table of settings has the settings of the code, in their order, with their defaults."""
    written = [
        (cells[0].strip("`"), cells[1].strip("`"))
        for cells in rows("reference/settings.md", "Settings")
    ]
    fields = dataclasses.fields(conf.Settings)
    assert [name for name, _ in written] == [field.name for field in fields]
    # The package decides what the text means, not Python's way to write it: 1_000 is 1000.
    read = {name: eval(default, {}) for name, default in written}
    assert read == {field.name: field.default for field in fields}


def test_layers_table() -> None:
    """The table of layers has each that the integration tests run on, and each that checks know."""
    table = rows("howto/layers.md", "Which channel layer")
    tested = {name for cells in table for name in re.findall("`([a-z-]+)`", cells[2])}
    assert tested == set(integration.LAYERS)
    assert {cells[0].strip("`") for cells in table} == set(layer_checks.LAYERS)


def test_old_names_table() -> None:
    """The table of channels-demultiplexer's settings has those that are honoured."""
    table = rows("reference/settings.md", "The names of channels-demultiplexer")
    assert {key.strip("`"): name.strip("`") for name, key in table} == dict(conf.OLD_NAMES)
    migrated = words("howto/coming-from-channels-demultiplexer.md", "Its four settings")
    assert migrated == list(conf.OLD_NAMES.values())


def test_stream_options_table() -> None:
    """The table of a stream's options has all of them, with their defaults."""
    table = rows("quickstart.md", "Entries of `consumer_classes`")
    options = {
        field.name: repr(field.default)
        for field in dataclasses.fields(Stream)
        if field.name != "target"
    }
    assert {cells[0].strip("`"): cells[1].strip("`") for cells in table} == options


@pytest.mark.parametrize(
    ("heading", "words_of_code"),
    [
        ("Events from the server", codes.ServerEvent),
        ("Events from the client", codes.ClientEvent),
        ("Codes of `error` events", codes.ErrorCode),
    ],
)
def test_words_tables(heading: str, words_of_code: Any) -> None:
    """The tables of events and error codes have those of the code, in their order."""
    assert words("reference/events-and-codes.md", heading) == [str(word) for word in words_of_code]


def test_close_codes_table() -> None:
    """The table of close codes has those of the code, with their names."""
    table = rows("reference/events-and-codes.md", "Close codes")
    written = {cells[1].strip("`"): int(cells[0]) for cells in table}
    assert written == {code.name: code.value for code in codes.CloseCode}


def test_every_error_code_has_its_clause() -> None:
    """The client wire says for every error code which WebSocket frame gets it."""
    clauses = {cells[1].strip("`") for cells in rows("specification/client-wire.md", "6. Errors")}
    assert clauses == {str(code) for code in codes.ErrorCode}


def test_checks_table() -> None:
    """The table of checks has the identifiers that the checks report."""
    source = "".join(
        Path(str(module.__file__)).read_text(encoding="utf-8")
        for module in (checks, layer_checks, limit_checks)
    )
    listed = set(re.findall(r"^([EW]\d{3}) ", str(checks.__doc__), re.MULTILINE))
    reported = {f"E{int(number):03}" for number in re.findall(r"\bfault\((\d+),", source)}
    reported |= set(re.findall(r"\.(W\d{3})", source))
    assert reported == listed
    assert words("reference/checks.md", "Checks") == [
        f"{checks.TAG}.{number}" for number in sorted(listed)
    ]


def test_frames_table() -> None:
    """The table of frames has the tags and the names of those on the layer wire."""
    assert {
        int(cells[0]): cells[1] for cells in rows("specification/layer-wire.md", "4. Frames")
    } == {kind.__struct_config__.tag: kind.__name__.lower() for kind in get_args(frames.Frame)}


def test_tables_of_layer_messages() -> None:
    """The tables of the fields of opens, claims and batches have those of the code, in order."""
    opens_and_claims = words("specification/layer-wire.md", "2. Opening a session")
    head = opens_and_claims.index("field")  # the second table's own
    assert opens_and_claims[:head] == list(handshake.Open.__struct_fields__)
    assert opens_and_claims[head + 1 :] == list(handshake.Claim.__struct_fields__)
    assert words("specification/layer-wire.md", "3. Batches") == list(
        frames.Batch.__struct_fields__
    )


def test_tables_of_reports() -> None:
    """The tables of questions, answers and reports have the fields of the code, in order."""
    kinds = [report.Question, report.Answer, report.NodeReport]
    kinds += [report.StreamReport, report.LinkReport]
    fields = [list(kind.__struct_fields__) for kind in kinds]
    expected = fields[0] + [name for each in fields[1:] for name in ("field", *each)]
    assert words("specification/layer-wire.md", "7. Asking nodes") == expected


def test_metrics_table() -> None:
    """The table of metrics has those of the code, in their order, with all that is said of them."""
    expected = [
        [f"`{name}`", kind, unit, ", ".join(f"`{label}`" for label in labels), text]
        for name, kind, unit, labels, text, _ in metrics.METRICS
    ]
    assert rows("reference/metrics.md", "Names") == expected


def test_labels_table() -> None:
    """Every label of a metric is explained, and no other."""
    explained = re.findall(r"\w+", " ".join(words("reference/metrics.md", "Labels")))
    assert set(explained) == {label for metric in metrics.METRICS for label in metric.labels}


def queries() -> list[str]:
    """Return all queries of the dashboard."""
    path = DOCS / "reference" / "grafana" / "channels_demux_layer.json"
    dashboard = json.loads(path.read_text(encoding="utf-8"))
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def test_the_dashboard_shows_every_metric() -> None:
    """Each metric is in some query of the dashboard, and no query has another name."""
    named = {name for query in queries() for name in re.findall(r"demux_\w+", query)}
    assert named == {metric.name for metric in metrics.METRICS}


@pytest.mark.parametrize("query", queries())
def test_the_dashboard_knows_the_labels(query: str) -> None:
    """A query selects and groups by labels that its metric has, and takes rates of counters."""
    by_name = {metric.name: metric for metric in metrics.METRICS}
    (metric,) = {by_name[name] for name in re.findall(r"demux_\w+", query)}
    used = set(re.findall(r"(\w+)(?:=~|!=|=)", query))
    used |= {label for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(", ")}
    assert used <= {*metric.labels, "job", "instance"}
    assert bool(re.search(r"\b(rate|increase)\(", query)) == (metric.kind == "counter")


def test_options_table() -> None:
    """The tables of options have those that the commands take."""
    for heading, command, own in (
        ("At a terminal", demuxstatus.Command(), {"--once", "--watch", "--json", "--limit"}),
        ("Health", runworker.Command(), {"--health-port", "--metrics-port", "--http-host"}),
    ):
        taken = command.create_parser("manage.py", "x")._option_string_actions
        written = [word.split()[0] for word in words("howto/watching.md", heading)]
        assert {word for word in written if word.startswith("--")} == own
        assert own <= taken.keys()


def test_client_options_table() -> None:
    """The table of the client's options has those of connect(), in order, with their defaults."""
    options = {
        name: "" if option.default is option.empty else option.default
        for name, option in inspect.signature(connect).parameters.items()
        if option.kind is not option.VAR_KEYWORD
    }
    written = {
        cells[0].strip("`"): eval(cells[1].strip("`"), {}) if cells[1] else ""
        for cells in rows("reference/python-client.md", "Options of `connect()`")
    }
    assert list(written.items()) == list(options.items())


def test_client_exceptions_table() -> None:
    """The table of the client's exceptions has those of the code, with attributes they have."""
    table = rows("reference/python-client.md", "Exceptions")
    found = {error.__name__: error for error in ClientError.__subclasses__()}
    assert {cells[0].strip("`") for cells in table} == set(found)
    for name, attributes, _ in table:
        documented = str(found[name.strip("`")].__doc__)
        assert all(f"{word}: " in documented for word in re.findall(r"`(\w+)`", attributes))


def test_services_table() -> None:
    """The table of services has those of the Compose file, in their order."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    table = rows("howto/deploying.md", "Docker Compose")
    assert re.findall(r"`([\w-]+)`", " ".join(c[0] for c in table)) == list(compose["services"])


def test_commands_for_a_fresh_machine() -> None:
    """The README has exactly one line that runs the tests and one that runs the demo."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    start = "python3 -m venv .venv && .venv/bin/pip install "
    assert [line for line in lines if "'.[test]'" in line] == [
        f"{start}-e '.[test]' && .venv/bin/python -m pytest"
    ]
    assert [line for line in lines if "'.[demo]'" in line] == [
        f"{start}'.[demo]' && .venv/bin/python -m channels_demux_layer.demo"
    ]


@pytest.fixture
def quickstart(tmp_path: Path) -> Path:
    """The project of the README's quickstart, each file as it stands there.

    Returns:
        The folder that holds the project's package.
    """
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Quickstart")[2]
    package = tmp_path / "mysite"
    package.mkdir()
    (package / "__init__.py").touch()
    for name, code in re.findall(
        r"^`mysite/(\w+\.py)`.*?```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL
    ):
        (package / name).write_text(code, encoding="utf-8")
    return tmp_path


def run_project(folder: Path, code: str, *settings: str) -> str:
    """Run code in a process of its own, with the quickstart's project set up.

    Args:
        folder: The folder that holds the project's package.
        code: The code.
        *settings: Lines to add to the project's settings.

    Returns:
        What it printed.
    """
    with (folder / "mysite" / "settings.py").open("a", encoding="utf-8") as file:
        file.write("\n".join(['SECRET_KEY = "quickstart"', *settings, ""]))
    path = os.pathsep.join([str(folder), *filter(None, sys.path)])
    environ = {**os.environ, "DJANGO_SETTINGS_MODULE": "mysite.settings", "PYTHONPATH": path}
    command = [sys.executable, "-c", code]
    result = subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout + result.stderr


def test_quickstart_has_no_wiring_faults(quickstart: Path) -> None:
    """The system checks have nothing to say about the README's quickstart."""
    code = "from django.core.management import execute_from_command_line as run\n"
    code += "run(['manage.py', 'check', '--tag', 'channels_demux_layer'])"
    assert "no issues" in run_project(quickstart, code)


def test_quickstart_runs_in_one_process(quickstart: Path) -> None:
    """The README's quickstart answers, without a worker where there is no channel layer."""
    code = """
import asyncio
from mysite.asgi import application
from channels_demux_layer.testing import DemuxCommunicator

async def main():
    origin = [(b"origin", b"http://localhost")]
    async with DemuxCommunicator(application, "/ws/", headers=origin) as client:
        await client.send_to("echo", {"text": "hello"})
        print(await client.receive_from("echo"), await client.receive_from("clock"))

asyncio.run(main())
"""
    printed = run_project(quickstart, code, "CHANNEL_LAYERS = {}", 'ALLOWED_HOSTS = ["localhost"]')
    assert "{'text': 'hello'} {'now': " in printed
