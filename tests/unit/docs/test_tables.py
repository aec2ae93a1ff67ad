"""The tables of the pages say what the code says, no more and no less."""

import dataclasses
import inspect
import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from django.core.management import BaseCommand

from channels_demux_layer import codes, conf, metrics
from channels_demux_layer.checks import layers as layer_checks
from channels_demux_layer.checks import limits as limit_checks
from channels_demux_layer.checks import wiring as checks
from channels_demux_layer.client import ClientError, connect
from channels_demux_layer.management.commands import demuxstatus, runworker
from channels_demux_layer.protocol import frames, handshake, report
from channels_demux_layer.streams import Stream
from tests.integration import conftest as integration

from .pages import DOCS, ROOT, rows, words


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


def test_the_largest_payload_that_settings_allow() -> None:
    """The page on settings has the number beyond which a check complains."""
    largest = f"{checks.MAX_LAYER_MESSAGE - checks.BATCH_OVERHEAD:,}"
    assert f"may be more than {largest}." in (DOCS / "reference" / "settings.md").read_text("utf-8")


def test_layers_table() -> None:
    """The table of layers has each that the integration tests run on, and each that checks know."""
    table = rows("howto/layers.md", "Which channel layer")
    tested = {name for cells in table for name in re.findall("`([a-z-]+)`", cells[2])}
    assert tested == set(integration.LAYERS) - {integration.ODD}
    known = set(layer_checks.LAYERS) - {layer_checks.RABBITMQ_LAYER}
    assert {cells[0].strip("`") for cells in table} == known


def test_old_names_table() -> None:
    """The table of channels-demultiplexer's settings has those that are honoured."""
    table = rows("reference/settings.md", "The names of channels-demultiplexer")
    assert {key.strip("`"): name.strip("`") for name, key in table} == dict(conf.OLD_NAMES)
    migrated = words("howto/coming-from-channels-demultiplexer.md", "Its four settings")
    assert migrated == list(conf.OLD_NAMES.values())


def test_stream_options_table() -> None:
    """The table of a stream's options has all of them, with their defaults."""
    table = rows("reference/streams.md", "Entries of `consumer_classes`")
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
    clauses = {cells[1].strip("`") for cells in rows("specification/client-wire.md", "C6. Errors")}
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
        int(cells[0]): cells[1] for cells in rows("specification/layer-wire.md", "L4. Frames")
    } == {kind.__struct_config__.tag: kind.__name__.lower() for kind in get_args(frames.Frame)}


def test_tables_of_layer_messages() -> None:
    """The tables of the fields of opens, claims and batches have those of the code, in order."""
    opens_and_claims = words("specification/layer-wire.md", "L2. Opening a session")
    head = opens_and_claims.index("field")  # the second table's own
    assert opens_and_claims[:head] == list(handshake.Open.__struct_fields__)
    assert opens_and_claims[head + 1 :] == list(handshake.Claim.__struct_fields__)
    assert words("specification/layer-wire.md", "L3. Batches") == list(
        frames.Batch.__struct_fields__
    )


def test_tables_of_reports() -> None:
    """The tables of questions, answers and reports have the fields of the code, in order."""
    kinds = [report.Question, report.Answer, report.NodeReport]
    kinds += [report.StreamReport, report.LinkReport]
    fields = [list(kind.__struct_fields__) for kind in kinds]
    expected = fields[0] + [name for each in fields[1:] for name in ("field", *each)]
    assert words("specification/layer-wire.md", "L7. Asking nodes") == expected


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
    """The tables of options have those that the commands take beside Django's own."""
    ours = BaseCommand().create_parser("manage.py", "x")._option_string_actions
    for command in (demuxstatus.Command(), runworker.Command()):
        taken = command.create_parser("manage.py", "x")._option_string_actions
        heading = f"`{command.__module__.rpartition('.')[2]}`"
        written = [word.split()[0].strip("[") for word in words("reference/commands.md", heading)]
        assert {word for word in written if word.startswith("--")} == taken.keys() - ours.keys()


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


def test_compatibility_table() -> None:
    """The README's table has the versions of Python, Django and Channels that the package says."""
    said = {cells[0]: cells[1] for cells in rows("../README.md", "Compatibility")}
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for name, classifier in (
        ("Python", "Programming Language :: Python"),
        ("Django", "Framework :: Django"),
    ):
        versions = re.findall(rf'"{classifier} :: (\d\.\d+)"', project)
        assert re.findall(r"\d\.\d+", said[name].partition("(")[0]) == versions
    minimum = re.search(r'"channels>=([\d.]+)"', project)
    assert minimum
    assert said["Channels"] == f"{minimum[1]} and later"


def test_commands_for_a_fresh_machine() -> None:
    """The README has exactly one line that runs the tests and one that runs the demo."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    start = "python3 -m venv .venv && .venv/bin/pip install "
    assert [line for line in lines if "'.[test]'" in line] == [
        f"{start}-e '.[test]' && .venv/bin/python -m pytest -n 2 --dist loadfile tests"
    ]
    assert [line for line in lines if "'.[demo]'" in line] == [
        f"{start}'.[demo]' && .venv/bin/python -m channels_demux_layer.demo"
    ]
