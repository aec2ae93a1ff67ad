"""Who may import whom: the rings are the folders of the package, and imports go one way.

``protocol/`` imports itself alone, and does nothing but compute: no I/O, clock, task or log.
``transport/`` imports the protocol. All other folders are rooms, and import these two and the rooms
that are named for them. At the root stand the modules that users import, and the ground: settings,
logs and the like, which all but the protocol may use.
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

#: What everybody may import, the protocol as well. Nothing in it does I/O either.
WORDS = {"codes", "exceptions"}
#: What all but the protocol may import.
GROUND = WORDS | {"conf", "logs", "streams", "tracing", PACKAGE}
#: The folders that are part of a site, each with the other folders that it may import.
ROOMS: dict[str, set[str]] = {
    "protocol": set(),
    "transport": {"protocol"},
    "hosting": {"protocol", "transport"},
    "edge": {"protocol", "transport", "hosting"},
    "monitoring": {"protocol", "transport"},
    "workers": {"protocol", "transport", "hosting", "monitoring"},
    "checks": {"protocol", "hosting", "edge"},
    "client": {"protocol"},
}
#: The folders that use the package as a site does, through whatever they need of it.
OUTSIDE = {"contrib", "demo", "management", "templatetags", "testing"}
#: The root modules outside of the ground: each puts rooms together for users. The folders of the
#: site do not import them.
FACES = {"apps", "demultiplexer", "health", "metrics", "middleware", "routing", "status"}
#: The modules that may name a class of the other side, for its type alone.
BY_TYPE_ONLY = {("routing", "demultiplexer")}

IMPURE = {
    *("asgiref", "channels", "channels_redis", "django", "fakeredis", "redis"),
    *("asyncio", "concurrent", "multiprocessing", "subprocess", "threading", "_thread"),
    *("logging", "queue", "random", "sched", "secrets", "select", "selectors", "signal", "socket"),
    *("time", "importlib", "websockets"),
}
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


def _room(module: str) -> str:
    """Return the folder of a module; its own name for one at the root."""
    return module.partition(".")[0]


def _in_room(*rooms: str) -> list[str]:
    return [module for module in MODULES if _room(module) in rooms]


EDGE = {*_in_room("edge"), "demultiplexer"}
WORKER = {*_in_room("workers"), "routing"}
CLIENT = set(_in_room("client"))


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


# The rules


def test_every_module_has_its_place() -> None:
    """A new folder, or a new module at the root, has to be named above."""
    assert {_room(module) for module in MODULES} == ROOMS.keys() | OUTSIDE | GROUND | FACES


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_use_each_other_one_way(room: str) -> None:
    """A folder's modules use those of the folders named for it, even for types."""
    allowed = {room} | ROOMS[room] | (WORDS if room in ("protocol", "client") else GROUND)
    wrong = {
        (module, target)
        for module in _in_room(room)
        for target in ours(module, by_type=True)
        if _room(target) not in allowed
    }
    assert not wrong


@pytest.mark.parametrize("module", sorted(GROUND - {PACKAGE}))
def test_the_ground_bears_itself(module: str) -> None:
    """What all use uses nothing but the protocol, itself and, of the words, nothing beyond them."""
    used = {_room(target) for target in ours(module, by_type=True)}
    assert used <= (WORDS if module in WORDS else GROUND | {"protocol"})


@pytest.mark.parametrize("module", sorted({*_in_room("protocol"), *WORDS}))
def test_the_protocol_does_nothing_but_compute(module: str) -> None:
    """No module of the protocol can do I/O, read a clock, start a task or write a log."""
    foreign = {found.target for found in imports(module) if not found.ours}
    assert not foreign & IMPURE


@pytest.mark.parametrize("module", sorted(EDGE))
def test_the_edge_never_loads_the_worker(module: str) -> None:
    """Nothing of the worker is loaded with the edge, directly or through others."""
    assert not reachable(module) & WORKER
    assert not ours(module, by_type=True) & WORKER


@pytest.mark.parametrize("module", sorted(WORKER))
def test_the_worker_never_loads_the_edge(module: str) -> None:
    """Nothing of the edge is loaded with the worker; its routing names its class as a type."""
    assert not reachable(module) & EDGE
    named = {(module, target) for target in ours(module, by_type=True) & EDGE}
    assert named <= BY_TYPE_ONLY


@pytest.mark.parametrize("module", sorted(CLIENT))
def test_the_client_stands_alone(module: str) -> None:
    """Nothing of the server is loaded with the client, and nothing of Django or Channels."""
    loaded = reachable(module) | {module}
    assert loaded <= CLIENT | set(_in_room("protocol")) | WORDS | {PACKAGE}
    foreign = {found.target for name in loaded for found in imports(name) if not found.ours}
    assert not foreign & {"asgiref", "channels", "channels_redis", "django", "redis"}


def test_only_the_client_loads_the_client() -> None:
    """No process of a site loads the client, nor what it needs."""
    users = {module for module in MODULES if ours(module, by_type=True) & CLIENT}
    assert {user for user in users if _room(user) not in OUTSIDE} <= CLIENT


def test_only_the_edge_knows_envelopes() -> None:
    """In the processes of a site, only the edge encodes and decodes envelopes."""
    codecs = {"protocol.envelope", "protocol.client_envelope"}
    users = {module for module in MODULES if ours(module, by_type=True) & codecs}
    assert {user for user in users if _room(user) not in OUTSIDE} <= EDGE | CLIENT


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
from .protocol import link
from .protocol.frames import Send, VERSION
from channels_demux_layer import Stream, streams
import channels_demux_layer.protocol.envelope
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
    expected_ours = {"codes", "streams", "protocol.envelope", "conf", "demultiplexer", PACKAGE}
    expected_ours |= {"protocol.link", "protocol.frames"}
    assert {found.target for found in here if found.ours} == expected_ours
    assert {found.target for found in here if not found.ours} == (
        {"asyncio", "django", "channels", "random", "logging"}
    )
    assert {found.target for found in here if found.by_type} == types


@pytest.mark.parametrize(
    ("module", "is_package", "source", "target"),
    [
        ("protocol.link", False, "from .frames import Send", "protocol.frames"),
        ("protocol.link", False, "from . import frames", "protocol.frames"),
        ("protocol.link", False, "from ..codes import CloseCode", "codes"),
        ("protocol.link", False, "from .. import codes", "codes"),
        ("protocol", True, "from .frames import Send", "protocol.frames"),
        ("protocol", True, "from ..codes import CloseCode", "codes"),
        (PACKAGE, True, "from .streams import Stream", "streams"),
        ("worker", False, "from . import Stream", PACKAGE),
    ],
)
def test_the_reader_follows_dots(module: str, is_package: bool, source: str, target: str) -> None:
    """A relative import is followed from a module, a package and the root alike."""
    assert read_imports(module, source, is_package) == {Import(target, True, False)}
