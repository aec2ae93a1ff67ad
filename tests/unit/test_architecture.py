"""Who may import whom: the rings of the package, the divide between edge and worker, and sizes.

Three rings, each of which imports itself and what is inside it::

    django   settings, checks, app, commands        (settings alone are also read by the shell)
    shell    asyncio and Channels: moves what is said
    pure     what is said, and what state it leaves; no I/O, clock, task or log

Outside stands what is made of the package: the demo, the test tools, exporters.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest

import channels_demux_layer

PACKAGE = "channels_demux_layer"
ROOT = Path(channels_demux_layer.__file__).parent

#: Every module of the package, by ring; a name with a star stands for all modules below it. A
#: module that is not here fails the test: decide where it belongs before it imports anything.
RINGS = {
    "root": {PACKAGE},
    "pure": {
        "edge",
        "hosting",
        "layer",
        "reports",
        "workers",
        "client.options",
        "client.reconnect",
        "client.wire",
        "codes",
        "edge.envelope",
        "edge.frame_limit",
        "exceptions",
        "reports.fleet",
        "layer.handshake",
        "layer.pacing",
        "layer.portion",
        "json_text",
        "link",
        "link.*",
        "edge.limits",
        "metrics",
        "naming",
        "hosting.portable",
        "reports.report",
        "reports.view",
        "streams",
        "edge.trimming",
    },
    "shell": {
        "applications",
        "layer.calls",
        "layer.failures",
        "layer.hearing",
        "layer.own",
        "layer.typed",
        "client",
        "client.buffer",
        "client.demultiplexer",
        "client.dialing",
        "client.stream",
        "client.table",
        "edge.connection",
        "demultiplexer",
        "workers.drain",
        "addresses",
        "faults",
        "hosting.elsewhere",
        "hosting.flow",
        "layer.groups",
        "hosting.hops",
        "hosting.outlet",
        "hosting.threads",
        "hosting.consumer",
        "hosting.fetching",
        "hosting.locale",
        "hosting.outgoing",
        "hosting.users",
        "http_pages",
        "layer.ignored",
        "edge.hooks",
        "edge.inline",
        "layer.link_log",
        "logs",
        "measuring",
        "middleware",
        "layer.node",
        "layer.nodes",
        "edge.opening",
        "edge.outbox",
        "edge.permissions",
        "readiness",
        "edge.remote",
        "layer.refresh",
        "edge.survival",
        "hosting.exits",
        "layer.watchdog",
        "layer.reporter",
        "routing",
        "workers.runner",
        "hosting.scope",
        "status",
        "layer.owners",
        "layer.steadfast",
        "reports.tally",
        "edge.throttle",
        "tracing",
        "layer.wire",
        "workers.session",
        "workers.worker",
    },
    "django": {
        "apps",
        "checks",
        "checks.wiring",
        "conf",
        "discovery",
        "health",
        "checks.layers",
        "checks.limits",
        "management",
        "management.*",
        "templatetags",
        "templatetags.*",
    },
    "outside": {"contrib", "contrib.*", "demo", "demo.*", "testing", "testing.*"},
}
MAY_IMPORT = {
    "root": {"pure", "shell"},
    "pure": {"pure"},
    "shell": {"root", "pure", "shell"},
    "django": {"pure", "shell", "django"},
    "outside": {"root", "pure", "shell", "django", "outside"},
}
#: The folders of the server and the workers, and whose modules each may use beside its own.
ROOMS: dict[str, set[str]] = {
    "link": set(),
    "reports": set(),
    "layer": {"link", "reports"},
    "hosting": {"link", "reports"},
    "edge": {"hosting", "layer", "link", "reports"},
    "workers": {"hosting", "layer", "link", "reports"},
    "checks": {"edge"},
}
#: The settings belong to the Django ring, and are the one part of it that the shell reads.
SETTINGS = "conf"

EDGE = {
    "edge.connection",
    "demultiplexer",
    "edge.inline",
    "edge.opening",
    "edge.outbox",
    "edge.permissions",
    "edge.remote",
    "edge.survival",
    "edge.throttle",
}
WORKER = {"routing", "workers.drain", "workers.runner", "workers.session", "workers.worker"}
#: The Python client, which runs where there is no Django: it loads the pure ring and itself.
CLIENT = {
    "client",
    "client.buffer",
    "client.demultiplexer",
    "client.dialing",
    "client.options",
    "client.reconnect",
    "client.stream",
    "client.table",
    "client.wire",
}
#: The modules that may name a class of the other side, for its type alone.
BY_TYPE_ONLY = {("routing", "demultiplexer")}

IMPURE = {
    *("asgiref", "channels", "channels_redis", "django", "fakeredis", "redis"),
    *("asyncio", "concurrent", "multiprocessing", "subprocess", "threading", "_thread"),
    *("logging", "queue", "random", "sched", "secrets", "select", "selectors", "signal", "socket"),
    *("time", "importlib", "websockets"),
}
#: streams.py resolves dotted paths: that is an import, and no other effect.
IMPORTERS = {"streams"}

MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 50


class Import(NamedTuple):
    """One import of a module.

    Attributes:
        target: What is imported: a module of the package as it is named here, or the top of
            another package.
        ours: Whether it is a module of the package.
        by_type: Whether only the type checker sees it.
    """

    target: str
    ours: bool
    by_type: bool


def _paths() -> dict[str, Path]:
    """Return the file of every module of the package, named without the package."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__") or PACKAGE] = path
    return found


MODULES = _paths()


def _ring(module: str) -> str | None:
    rings = [
        ring
        for ring, names in RINGS.items()
        if module in names or any(_is_below(module, name) for name in names)
    ]
    return rings[0] if len(rings) == 1 else None


def _is_below(module: str, name: str) -> bool:
    return name.endswith(".*") and module.startswith(name[:-1])


def _walk(node: ast.AST, by_type: bool = False) -> Iterator[tuple[ast.stmt, bool]]:
    """Give every import below a node, in functions as well, and if it is for types alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child, by_type
        elif isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            yield from _walk(ast.Module(child.body, []), True)
            yield from _walk(ast.Module(child.orelse, []), by_type)
        else:
            yield from _walk(child, by_type)


def _absolute(module: str, is_package: bool, node: ast.ImportFrom) -> str:
    """Return the full name of the module that an import statement imports from."""
    if not node.level:
        return node.module or ""
    here = [PACKAGE] if module == PACKAGE else [PACKAGE, *module.split(".")]
    base = here[: len(here) - node.level + is_package]
    return ".".join([*base, *([node.module] if node.module else [])])


def _names(module: str, is_package: bool, node: ast.stmt) -> Iterator[str]:
    """Give the full name of each thing that an import statement imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        source = _absolute(module, is_package, node)
        yield from (f"{source}.{alias.name}" for alias in node.names)


def _target(name: str) -> tuple[str, bool]:
    """Find the module behind the full name of something imported."""
    top, _, inner = name.partition(".")
    if top != PACKAGE:
        return top, False
    while inner and inner not in MODULES:
        inner = inner.rpartition(".")[0]
    return inner or PACKAGE, True


def read_imports(module: str, source: str, is_package: bool = False) -> set[Import]:
    """Read the imports of a module.

    Args:
        module: Its name, without the package.
        source: Its text.
        is_package: Whether it is the ``__init__`` of its package.

    Returns:
        Its imports, those in functions included.
    """
    return {
        Import(*_target(name), by_type)
        for node, by_type in _walk(ast.parse(source))
        for name in _names(module, is_package, node)
    }


@lru_cache
def imports(module: str) -> frozenset[Import]:
    """Return the imports of a module of the package."""
    path = MODULES[module]
    text = path.read_text(encoding="utf-8")
    return frozenset(read_imports(module, text, path.name == "__init__.py"))


def ours(module: str, by_type: bool = False) -> set[str]:
    """Return the modules of the package that a module imports, on request with types."""
    return {
        found.target
        for found in imports(module)
        if found.ours and found.target != module and (by_type or not found.by_type)
    }


def reachable(module: str) -> set[str]:
    """Return what is loaded with a module: all that it imports, and what they import."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        new = ours(waiting.pop()) - seen
        seen |= new
        waiting.extend(new)
    return seen


def _in_ring(ring: str) -> list[str]:
    return [module for module in MODULES if _ring(module) == ring]


def _present(names: set[str]) -> list[str]:
    return sorted(names & MODULES.keys())


# The rules


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_its_ring(module: str) -> None:
    """A new module is put into one ring before it goes anywhere."""
    assert _ring(module), f"Add {module!r} to exactly one of the RINGS."


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_inwards(module: str) -> None:
    """A module imports its own ring and what is inside it, even for types."""
    ring = _ring(module)
    assert ring
    wrong = {
        target for target in ours(module, by_type=True) if _ring(target) not in MAY_IMPORT[ring]
    }
    assert wrong <= ({SETTINGS} if ring == "shell" else set())


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_use_each_other_one_way(room: str) -> None:
    """A folder's modules use those of the folders below it, and never the other way round."""
    inside = [module for module in MODULES if module.startswith(f"{room}.")]
    used = {target.partition(".")[0] for module in inside for target in ours(module, by_type=True)}
    assert inside
    assert used & ROOMS.keys() <= {room} | ROOMS[room]


@pytest.mark.parametrize("module", _in_ring("pure"))
def test_the_pure_ring_does_nothing_but_compute(module: str) -> None:
    """No pure module can do I/O, read a clock, start a task or write a log."""
    foreign = {found.target for found in imports(module) if not found.ours}
    assert foreign & IMPURE <= ({"importlib"} if module in IMPORTERS else set())


@pytest.mark.parametrize("module", _present(EDGE))
def test_the_edge_never_loads_the_worker(module: str) -> None:
    """Nothing of the worker is loaded with the edge, directly or through others."""
    assert not reachable(module) & WORKER
    assert not ours(module, by_type=True) & WORKER


@pytest.mark.parametrize("module", _present(WORKER))
def test_the_worker_never_loads_the_edge(module: str) -> None:
    """Nothing of the edge is loaded with the worker; its routing names its class as a type."""
    assert not reachable(module) & EDGE
    named = {(module, target) for target in ours(module, by_type=True) & EDGE}
    assert named <= BY_TYPE_ONLY


@pytest.mark.parametrize("module", _present(CLIENT))
def test_the_client_stands_alone(module: str) -> None:
    """Nothing of the server is loaded with the client, and nothing of Django or Channels."""
    loaded = reachable(module) | {module}
    assert loaded <= CLIENT | RINGS["pure"]
    foreign = {found.target for name in loaded for found in imports(name) if not found.ours}
    assert not foreign & {"asgiref", "channels", "channels_redis", "django", "redis"}


def test_only_the_client_loads_the_client() -> None:
    """No process of a site loads the client, nor what it needs."""
    users = {module for module in MODULES if ours(module, by_type=True) & CLIENT}
    assert {user for user in users if _ring(user) != "outside"} <= CLIENT


def test_only_the_edge_knows_envelopes() -> None:
    """Of what a site runs, only the edge reads and writes what clients see."""
    users = {module for module in MODULES if "edge.envelope" in ours(module, by_type=True)}
    assert {user for user in users if _ring(user) != "outside"} <= EDGE


def test_nothing_shared_belongs_to_one_side() -> None:
    """What edge and worker share loads neither of them, so that both can load it."""
    shared = set(_in_ring("pure") + _in_ring("shell")) - EDGE - WORKER
    assert not {module for module in shared if ours(module, by_type=True) & (EDGE | WORKER)}


@pytest.mark.parametrize("module", MODULES)
def test_no_imports_in_a_circle(module: str) -> None:
    """No module is loaded by what it loads itself, not even by an import in a function."""
    assert module not in reachable(module)


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        (PACKAGE, {"django", "channels", "asyncio", "msgspec", "websockets"}),
        (f"{PACKAGE}.client", {"django", "channels", "asgiref", "redis"}),
    ],
)
def test_importing_is_cheap(module: str, heavy: set[str]) -> None:
    """The package loads nothing heavy, and its client needs neither Django nor Channels."""
    code = (
        f"import sys, {module}; "
        f"print(*({{name.partition('.')[0] for name in sys.modules}} & {heavy}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT.parent, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


# Other packages


#: Those whose insides nothing of the package may touch.
FOREIGN = ("asgiref", "channels", "channels_postgres", "channels_redis", "redis")
#: The modules that may, each for something that cannot be had otherwise: with a guard, a fallback
#: that is logged, and a test on the oldest and the newest release.
UNAVOIDABLE: set[str] = set()
#: Names of Django's lazy objects that the others happen to have as well.
DJANGO = {"_setup", "_wrapped"}


def private_names(text: str) -> set[str]:
    """Return the names with one underscore that a module defines, for itself or for its objects."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
    return {name for name in found if re.match(r"_[^_]", name)}


def touched_names(text: str) -> set[str]:
    """Return the names with one underscore that a module asks of something that is not itself."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls"):
            found.add(node.attr)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return {name for name in found if re.fullmatch(r"_[^_]\w*", name)}


@lru_cache
def foreign_names() -> frozenset[str]:
    """Return all names with one underscore that the foreign packages define."""
    paths = [
        path
        for package in FOREIGN
        for path in Path(next(iter(import_module(package).__path__))).rglob("*.py")
    ]
    return frozenset().union(*(private_names(path.read_text("utf-8")) for path in paths))


@lru_cache
def own_names() -> frozenset[str]:
    """Return all names with one underscore that the package defines."""
    return frozenset().union(*(private_names(path.read_text("utf-8")) for path in MODULES.values()))


@pytest.mark.parametrize("module", sorted(MODULES.keys() - UNAVOIDABLE))
def test_the_insides_of_other_packages_are_left_alone(module: str) -> None:
    """No name with an underscore of Channels, its layers, redis-py or asgiref is used."""
    touched = touched_names(MODULES[module].read_text("utf-8"))
    assert touched & foreign_names() <= own_names() | DJANGO


def test_the_reader_of_private_names_sees_every_use() -> None:
    """Attributes, imports and strings are seen; what belongs to an object itself is not."""
    defined = (
        "class _A:\n    _b = 1\n    def _c(self):\n        self._d = 2\n        self.__e = _f()"
    )
    assert private_names(defined) == {"_A", "_b", "_c", "_d"}
    used = "from redis import _a\nfrom . import _own\ngetattr(x, '_b')\nx._c()\nself._d.go()\n"
    assert touched_names(used) == {"_a", "_b", "_c"}
    assert {"_get_layer", "_brpop_with_clean", "_ensure_redis"} <= foreign_names() - own_names()


# Sizes


@pytest.mark.parametrize("module", MODULES)
def test_modules_are_short(module: str) -> None:
    """A module that grows too long is two modules."""
    lines = len(MODULES[module].read_text(encoding="utf-8").splitlines())
    assert lines < MAX_MODULE_LINES


@pytest.mark.parametrize("module", MODULES)
def test_functions_are_short(module: str) -> None:
    """A function that grows too long is two functions."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    long = {
        node.name: lines
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (lines := (node.end_lineno or 0) - node.lineno + 1) >= MAX_FUNCTION_LINES
    }
    assert long == {}


# The reader that the rules rest on


def test_the_reader_sees_every_kind_of_import() -> None:
    """Relative, nested, aliased and type-only imports are all seen for what they are."""
    source = """
import asyncio.events as x, django
from . import codes
from .link import machine
from .link.frames import Send, VERSION
from channels_demux_layer import Stream, naming
import channels_demux_layer.edge.envelope
try:
    from channels.layers import get_channel_layer
except ImportError:
    pass
def late():
    from .conf import get_settings
if TYPE_CHECKING:
    from .demultiplexer import WebsocketDemultiplexer
else:
    import random
if typing.TYPE_CHECKING:
    import logging
"""
    here, types = read_imports("worker", source), {"demultiplexer", "logging"}
    expected_ours = {"codes", "naming", "edge.envelope", "conf", "demultiplexer", PACKAGE}
    expected_ours |= {"link.machine", "link.frames"}
    assert {found.target for found in here if found.ours} == expected_ours
    assert {found.target for found in here if not found.ours} == (
        {"asyncio", "django", "channels", "random", "logging"}
    )
    assert {found.target for found in here if found.by_type} == types


@pytest.mark.parametrize(
    ("module", "is_package", "source", "target"),
    [
        ("link.machine", False, "from .frames import Send", "link.frames"),
        ("link.machine", False, "from . import frames", "link.frames"),
        ("link.machine", False, "from ..codes import CloseCode", "codes"),
        ("link.machine", False, "from .. import codes", "codes"),
        ("link", True, "from .frames import Send", "link.frames"),
        ("link", True, "from ..codes import CloseCode", "codes"),
        (PACKAGE, True, "from .streams import Stream", "streams"),
        ("worker", False, "from . import Stream", PACKAGE),
    ],
)
def test_the_reader_follows_dots(module: str, is_package: bool, source: str, target: str) -> None:
    """A relative import is followed from a module, a package and the root alike."""
    assert read_imports(module, source, is_package) == {Import(target, True, False)}


def test_the_tables_agree_with_each_other() -> None:
    """The sides are of the shell, the importers are pure, and the rings know each other."""
    assert RINGS["shell"] >= EDGE | WORKER
    assert {name for name in MODULES if name.split(".")[0] == "client"} == CLIENT
    assert not EDGE & WORKER
    assert RINGS["pure"] >= IMPORTERS
    assert RINGS.keys() == MAY_IMPORT.keys()
    assert SETTINGS in RINGS["django"]


@pytest.mark.parametrize("module", ["surprise", "linkage", "demonstration.page", ""])
def test_a_strange_module_is_in_no_ring(module: str) -> None:
    """The table is closed: a module that it does not name has no ring."""
    assert _ring(module) is None


def test_pure_packages_are_named_as_a_whole() -> None:
    """All of the link is pure, modules of later releases included."""
    assert _ring("link") == _ring("link.machine") == _ring("link.later") == "pure"
    assert re.fullmatch(r"[a-z_.*\s]+", " ".join(set().union(*RINGS.values())))
