"""Each name of the code that a page has is there, and each public name of the code has a page."""

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import global_settings

from channels_demux_layer import WebsocketDemultiplexer, codes, conf, logs, metrics
from channels_demux_layer.checks import wiring as checks
from channels_demux_layer.transport.records import LOGGER

from .pages import DOCS, PACKAGE, PAGES, ROOT, code_in_prose, name_of, text_of, words

PACKAGE_NAME = "channels_demux_layer"
#: A dotted name of the package; not a path, a file or a part of an address.
DOTTED = re.compile(
    r"(?<![\w/.\"-])channels_demux_layer(?:\.[A-Za-z_]\w*)+(?![\w/-]|\.(?:js|json|md))"
)
#: The modules that users import from.
PUBLIC = {
    PACKAGE_NAME,
    *(f"{PACKAGE_NAME}.{name}" for name in ("client", "codes", "health", "metrics", "middleware")),
    *(f"{PACKAGE_NAME}.{name}" for name in ("routing", "status", "testing", "testing.faulty")),
    *(f"{PACKAGE_NAME}.contrib.{name}" for name in ("opentelemetry", "prometheus")),
}
#: The modules at the root that users do not import from: those of Django, and what rooms share.
INTERNAL = {"apps", "conf", "demultiplexer", "logs", "streams", "tracing"}
#: Modules of whose names the page has them all by one directive.
WHOLE = {"channels_demux_layer.exceptions"}
#: Words in capitals that are of others: settings of projects and of Channels, variables of tools.
OF_OTHERS = {
    "ASGI_APPLICATION",
    "CHANNELS_DEMUX_LAYER",
    "CHANNEL_LAYERS",
    "CONN_MAX_AGE",
    "DEMUX_ARTIFACTS",
    "DJANGO_SETTINGS_MODULE",
    "OTEL_PROPAGATORS",
    "PROMETHEUS_MULTIPROC_DIR",
    "PSYCOPG_OPTIONS",
    "REDIS_URL",
    "USERNAME_FIELD",
}


def resolve(name: str) -> Any:
    """Find what a dotted name leads to.

    Raises:
        ImportError: It has no such module.
        AttributeError: What is there has no such attribute.
    """
    words = name.split(".")
    for length in range(len(words), 0, -1):
        module = ".".join(words[:length])
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError:
            continue
        for word in words[length:]:
            found = getattr(found, word)
        return found
    raise ImportError(name)


def test_dotted_names_lead_somewhere() -> None:
    """Each dotted name of the package is that of a module, of what is in it, or of a check."""
    listed = set(re.findall(r"^([EW]\d{3}) ", str(checks.__doc__), re.MULTILINE))
    wrong = []
    for page in PAGES:
        for name in set(DOTTED.findall(text_of(page))):
            number = name.removeprefix(f"{checks.TAG}.")
            if number in listed or name == LOGGER:
                continue
            try:
                resolve(name)
            except (ImportError, AttributeError):
                wrong.append(f"{name_of(page)}: {name}")
    assert wrong == []


def test_words_in_capitals_are_known() -> None:
    """Each word such as MAX_PAYLOAD is a setting, a close code, or known to be of others."""
    known = set(conf.Settings.__dataclass_fields__) | set(conf.OLD_NAMES.values())
    known |= {code.name for code in codes.CloseCode} | OF_OTHERS | set(dir(global_settings))
    used = {
        (page, word)
        for page, code in code_in_prose()
        for word in re.findall(r"(?<![\w.$])[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", code)
    }
    assert {(page, word) for page, word in used if word not in known} == set()


def test_words_of_metrics_and_logs_are_known() -> None:
    """Each word that begins with demux_ is a metric, a key of log records, or the template tag."""
    known = {metric.name for metric in metrics.METRICS} | set(logs.KEYS) | {"demux_script"}
    known.add(conf._SPARE_EVENT_KEY)
    folders = {path.name for path in PACKAGE.rglob("demux_*")}
    used = {
        (name_of(page), word)
        for page in PAGES
        for word in re.findall(r"(?<![\w/.])demux_[a-z_]+", text_of(page))
    }
    assert {(page, word) for page, word in used if word not in known | folders} == set()


@pytest.mark.parametrize("module", sorted({*PUBLIC, *WHOLE}))
def test_public_names_have_their_docstring_in_the_api(module: str) -> None:
    """The page of the Python API has every public name of a module, and none that is not."""
    page = text_of(DOCS / "reference" / "python-api.md")
    if module in WHOLE:
        assert f".. automodule:: {module}\n   :members:" in page
        return
    named = re.findall(
        rf"^\.\. auto(?:class|function|data):: {re.escape(module)}\.(\w+)(?:\(\))?$",
        page,
        re.MULTILINE,
    )
    public = set(importlib.import_module(module).__all__) - exceptions()
    assert set(named) == public
    assert len(named) == len(public)


def test_each_module_at_the_root_is_public_or_not() -> None:
    """A new module at the root is either in the page of the Python API, or internal."""
    names = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    public = {name.partition(".")[2] for name in {*PUBLIC, *WHOLE} if name.count(".") == 1}
    assert names == (public - {"client", "testing"}) | INTERNAL


def exceptions() -> set[str]:
    """Return the names of the package's exceptions, which stand together in the page."""
    return set(importlib.import_module("channels_demux_layer.exceptions").__all__)


def test_what_the_api_names_is_there() -> None:
    """Each directive of the page leads to something, and each member that it lists is there."""
    page = text_of(DOCS / "reference" / "python-api.md")
    directive = re.compile(r"^\.\. auto\w+:: ([\w.]+)(?:\(\))?\n((?:   :.*\n)*)", re.MULTILINE)
    found = directive.findall(page)
    assert found
    for name, options in found:
        thing = resolve(name)
        assert inspect.getdoc(thing)
        for members in re.findall(r":members: (.+)", options):
            assert all(hasattr(thing, member) for member in members.split(", "))


def test_every_attribute_of_a_demultiplexer_is_documented() -> None:
    """Each attribute that a subclass may set is in its docstring, and no other."""
    text = str(inspect.getdoc(WebsocketDemultiplexer))
    listed = set(re.findall(r"^ {4}(\w+): ", text, re.MULTILINE))
    declared = set(inspect.get_annotations(WebsocketDemultiplexer))
    assert listed == {name for name in declared if not name.startswith("_")}


def test_tests_that_prove_something_are_there() -> None:
    """Each test that a page names is one of the suite's."""
    written = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)\(", path.read_text(encoding="utf-8"))
    }
    modules = {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    readers_own = {"test_echo", "test_echo_from_a_worker"}
    named = {word for _, code in code_in_prose() for word in re.findall(r"\btest_\w+", code)}
    assert named
    assert named - written - modules - readers_own == set()


def test_environments_are_documented() -> None:
    """The table of what is checked has the environments of tox, beside those of the versions."""
    named = words("../CONTRIBUTING.md", "What is checked")
    named = named[: named.index("scenario")]  # the second table's own
    config = (ROOT / "tox.ini").read_text(encoding="utf-8")
    sections = re.findall(r"^\[testenv:(\w+)\]$", config, re.MULTILINE)
    assert {name for name in named if name.isalpha()} == set(sections)


def test_options_and_events_of_the_browsers_client() -> None:
    """The tables of the page on the browser have the options and events of its types."""
    types = (PACKAGE / "static" / "channels_demux_layer" / "demultiplexer.d.ts").read_text("utf-8")
    page = text_of(DOCS / "reference" / "javascript.md")
    for interface, intro in (
        ("DemultiplexerOptions", "`new Demultiplexer(url, options)`"),
        ("StreamOptions", "The options are those of the server's"),
        ("StreamEventMap", "Events of a `Stream`"),
        ("DemultiplexerEventMap", "Events of a `Demultiplexer`"),
    ):
        body = types.partition(f"interface {interface} {{\n")[2].partition("\n}")[0]
        members = re.findall(r"^  (\w+)\??: ", body, re.MULTILINE)
        table = page[page.index(intro) :].partition("\n| ")[2].partition("\n\n")[0]
        assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == members


def test_pages_have_one_title() -> None:
    """Each page begins with its only title of the first order."""
    for page in PAGES:
        titles = re.findall(
            r"^# .+$", re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL), re.M
        )
        assert len(titles) == 1 or Path(page).stem in ("changelog", "contributing", "quickstart")
