"""Every Python snippet of every page names what there is, and runs where it is complete."""

import ast
import asyncio
import builtins
import importlib
import inspect
import sys
import types
from typing import Any

import pytest
from channels.layers import get_channel_layer
from django.test import override_settings
from django.test.utils import isolate_apps

from channels_demux_layer import WebsocketDemultiplexer, conf
from channels_demux_layer.contrib import prometheus
from channels_demux_layer.streams import Stream

from .pages import snippets

#: Packages of the reader's own project: all others have to be installed.
READERS_OWN = {"mysite", "market", "chat", "audit", "shell"}
#: Modules that those have.
PARTS = ("consumers", "demultiplexer", "logs", "middleware", "models", "schema", "tokens")
#: What gives a name to something, beside assignments and imports.
NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler)
#: Where the callables are whose arguments are looked at.
HOMES = ("streams", "client", "testing", "status", "routing")


@pytest.mark.parametrize("code", snippets("python"))
def test_python_names_what_there_is(code: str) -> None:
    """Every Python snippet is valid, and what it takes from packages is there."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level:
            assert_has(str(node.module), [alias.name for alias in node.names])
        elif isinstance(node, ast.Import):
            for alias in node.names:
                assert_has(alias.name, [])
        elif isinstance(node, ast.Assign):
            assert_known_settings(node)
        elif isinstance(node, ast.Call):
            assert_known_options(node)
        elif isinstance(node, ast.ClassDef):
            assert_known_attributes(node)


def assert_has(module: str, names: list[str]) -> None:
    """Assert that a module can be imported, unless it is the reader's, and has these names."""
    if module.partition(".")[0] in READERS_OWN:
        return
    found = importlib.import_module(module)
    for name in names:
        if not hasattr(found, name):
            importlib.import_module(f"{module}.{name}")


def assert_known_settings(node: ast.Assign) -> None:
    """Assert that the dict of the package's settings has none that there is not."""
    names = [target.id for target in node.targets if isinstance(target, ast.Name)]
    if names == ["CHANNELS_DEMUX_LAYER"]:
        assert isinstance(node.value, ast.Dict)
        keys = {ast.literal_eval(key) for key in node.value.keys if key is not None}
        assert keys <= set(conf.Settings.__dataclass_fields__)


def assert_known_options(node: ast.Call) -> None:
    """Assert that a Stream, a client and what tests use get arguments that they take."""
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    for home in HOMES:
        module = importlib.import_module(f"channels_demux_layer.{home}")
        if name in module.__all__:
            arguments = [None for _ in node.args]
            options = {keyword.arg: None for keyword in node.keywords if keyword.arg}
            inspect.signature(getattr(module, name)).bind(*arguments, **options)


def assert_known_attributes(node: ast.ClassDef) -> None:
    """Assert that a demultiplexer sets and overrides what there is, but for its own handlers."""
    bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
    if "WebsocketDemultiplexer" not in bases:
        return
    for statement in node.body:
        if isinstance(statement, ast.Assign):
            (target,) = statement.targets
            assert isinstance(target, ast.Name)
            assert hasattr(WebsocketDemultiplexer, target.id), target.id


def is_complete(code: str) -> bool:
    """Tell whether a snippet can be run as it is: it uses no name that it has not made itself.

    What starts a program of its own is left to the tests of what it uses.
    """
    tree = ast.parse(code)
    made = set(dir(builtins)) | {"__name__"}
    used = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and _names(node.value) & _names(node.targets[0]):
            return False  # It adds to what the file has.
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else made).add(node.id)
        elif isinstance(node, ast.arg):
            made.add(node.arg)
        elif isinstance(node, NAMED):
            made.add(str(node.name))
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            if getattr(node, "level", 0):
                return False
            made |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    return used <= made and "asyncio.run(" not in code


def _names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def complete_snippets() -> list[Any]:
    """Find the Python snippets that can be run, each as a parameter."""
    return [parameter for parameter in snippets("python") if is_complete(str(parameter.values[0]))]


@pytest.fixture
def readers_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules of the reader's own project, which have whatever is imported from them."""
    for name in READERS_OWN:

        class Module(types.ModuleType):
            def __getattr__(self, attribute: str) -> Any:
                if attribute.startswith("__"):
                    raise AttributeError(attribute)
                if attribute == "Demultiplexer":
                    return WebsocketDemultiplexer
                return type(attribute, (), {"as_asgi": classmethod(lambda cls: cls)})

        module = Module(name)
        module.__path__ = []
        monkeypatch.setitem(sys.modules, name, module)
        for part in (
            "consumers",
            "demultiplexer",
            "models",
            "logs",
            "middleware",
            "schema",
            "tokens",
        ):
            monkeypatch.setitem(sys.modules, f"{name}.{part}", Module(f"{name}.{part}"))


@pytest.mark.parametrize("code", complete_snippets())
def test_python_runs(code: str, readers_modules: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python snippet that needs nothing of its page's other ones can be run as it is."""
    monkeypatch.setenv("CELL", "cell7")
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "tests.settings")
    monkeypatch.setattr(prometheus, "_registered", [prometheus.REGISTRY])  # no more than one
    made = run(code)
    for demultiplexer in made.values():
        if inspect.isclass(demultiplexer) and issubclass(demultiplexer, WebsocketDemultiplexer):
            assert all(isinstance(s, Stream) for s in demultiplexer.stream_table().values())
    settings = {name: value for name, value in made.items() if name.startswith("CHANNEL")}
    with override_settings(**settings):
        assert conf.find_problems(*conf.read_django_settings()) == []
        for alias in settings.get("CHANNEL_LAYERS", {}):
            assert asyncio.run(make_layer(alias)) is not None


async def make_layer(alias: str) -> Any:
    """Make a channel layer in a running event loop, as some have to be."""
    return get_channel_layer(alias)


def run(code: str) -> dict[str, Any]:
    """Run a snippet, and return the names that it has made."""
    made: dict[str, Any] = {"__name__": "mysite.snippet"}
    with isolate_apps():
        exec(compile(code, "snippet", "exec"), made)
    return made
