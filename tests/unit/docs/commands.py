"""Command lines as the pages have them, each asked of the parser of its program."""

import argparse
import configparser
import contextlib
import importlib
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml
from daphne.cli import CommandLineInterface
from django.core.management import get_commands, load_command_class
from packaging.requirements import Requirement
from uvicorn.main import main as uvicorn_command

from channels_demux_layer.management.commands import demuxstatus, runworker

from .pages import ROOT

#: What ends one command of a line and begins another, or leads its output elsewhere.
SEPARATORS = {"&&", "||", ";", "|", "&"}
ASSIGNMENT = re.compile(r"\w+=")
#: Programs that are not the project's, and no dependency of its tests: nothing here knows their
#: options. Their arguments are looked through for what is the project's.
STRANGERS = {
    "apt-get",
    "build",
    "cd",
    "curl",
    "cut",
    "journalctl",
    "kubectl",
    "npm",
    "redis-cli",
    "redis-server",
    "sleep",
    "systemctl",
    "twine",
}
#: Words of the shell that a command may follow, and those that begin or end something else.
LEADING, ELSE = {"do", "then", "exec"}, {"for", "done", "if", "fi", ".", "export"}
#: The commands of this package; with the stock `runworker` it is a matter of INSTALLED_APPS.
OWN = {"demuxstatus": demuxstatus.Command, "runworker": runworker.Command}
#: The modules of `python -m` that parse what follows, with the function that does it.
MODULES = {
    "channels_demux_layer.demo": "channels_demux_layer.demo.__main__",
    "tests.benchmarks": "tests.benchmarks.__main__",
    "tests.fuzz": "tests.fuzz.__main__",
    "tests.simulation": "tests.simulation.__main__",
    "tests.simulation.scale": "tests.simulation.scale",
    "tests.soak": "tests.soak.__main__",
}


class WrongCommand(Exception):  # noqa: N818 - says what it is
    """A program does not take what a page tells its reader to enter."""


class Parsed(BaseException):
    """Takes the place of what a program does once it has understood its command line."""


def split(text: str) -> Iterator[list[str]]:
    """Take lines as a shell does.

    Args:
        text: One line or several, each with or without a prompt.

    Yields:
        The words of each command, without what it sets in the environment.
    """
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(re.sub(r"^\s*[$#] ", "", line), posix=True, punctuation_chars="&|;<>")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word not in SEPARATORS:
                words.append(word)
                continue
            while words and (words[0] in LEADING or ASSIGNMENT.match(words[0])):
                words.pop(0)
            if words and words[0] not in ELSE:
                yield words
            words = []


def check(words: list[str]) -> None:
    """Ask the parser of a program whether it takes a command.

    Args:
        words: The program and its arguments.

    Raises:
        WrongCommand: There is no such program or command here, or it does not take them.
    """
    program, *arguments = words
    name = Path(program).name
    if name in STRANGERS:
        return
    checker = PROGRAMS.get(name)
    if checker is None:
        raise WrongCommand(f"Nothing here knows {name!r}.")
    try:
        checker(arguments)
    except (SystemExit, Exception) as error:
        raise WrongCommand(f"{shlex.join(words)}: {error}") from error


def options_of(words: list[str]) -> set[str]:
    """Return the options of a command of this package, of its tests, or of what it runs on.

    Args:
        words: The command or the module, and the name of a scenario where it has those.
    """
    name, *scenario = words
    if name == "daphne":
        return {
            option
            for each in CommandLineInterface().parser._actions
            for option in each.option_strings
        }
    if name == "uvicorn":
        return {option for each in uvicorn_command.params for option in each.opts}
    if name == "check":
        return set(
            load_command_class("django.core", name).create_parser("", "")._option_string_actions
        )
    if name in OWN:
        return set(OWN[name]().create_parser("manage.py", name)._option_string_actions)
    parsers: list[argparse.ArgumentParser] = []
    run_module(name, scenario, parsers.append)
    options = set(parsers[0]._option_string_actions)
    for action in parsers[0]._actions:
        if scenario and isinstance(action.choices, dict):
            options |= set(action.choices[scenario[0]]._option_string_actions)
    return options


# -- one program after the other --------------------------------------------------------------


def check_python(arguments: list[str]) -> None:
    """Check the command of an interpreter."""
    if arguments[0] == "-m":
        check_module(arguments[1], arguments[2:])
    elif arguments[0] == "-c":
        compile(arguments[1], "command", "exec")
    elif Path(arguments[0]).name == "manage.py":
        check_manage(arguments[1:])
    else:
        assert (ROOT / arguments[0]).exists(), "there is no such script"


def check_module(module: str, arguments: list[str]) -> None:
    """Check the command of a module that an interpreter runs."""
    if module in MODULES:
        run_module(module, arguments)
    elif module == "pytest":
        check_pytest(arguments)
    elif module == "venv":
        assert len(arguments) == 1
    elif module == "django":
        check_manage(arguments)
    else:
        check([module, *arguments])


def run_module(
    module: str,
    arguments: list[str],
    seen: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
) -> None:
    """Run a module until its command line has been parsed, and no further."""
    parse = argparse.ArgumentParser.parse_args

    def stop(self: Any, args: Any = None, namespace: Any = None) -> Any:
        seen(self)
        parse(self, args, namespace)
        raise Parsed

    main = importlib.import_module(MODULES[module]).main
    argv = patch("sys.argv", [module, *arguments])
    parsing = patch.object(argparse.ArgumentParser, "parse_args", stop)
    with argv, parsing, contextlib.suppress(Parsed):
        main()


def check_manage(arguments: list[str]) -> None:
    """Check a command of Django's."""
    name, *rest = arguments
    known = get_commands()
    command = OWN[name]() if name in OWN else load_command_class(known[name], name)
    command.create_parser("manage.py", name).parse_args(rest)


def check_pytest(arguments: list[str]) -> None:
    """Check a command of pytest: markers that there are, files that there are."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("-m", default="")
    parser.add_argument("-k")
    parser.add_argument("-x", action="store_true")
    parser.add_argument("-q", action="store_true")
    parser.add_argument("-n", type=int)
    parser.add_argument("--dist", choices=["loadfile"])
    parser.add_argument("files", nargs="*")
    found = parser.parse_args(arguments)
    markers = re.findall(
        r'^    "(\w+):', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE
    )
    assert set(re.findall(r"\w+", found.m)) <= {*markers, "not", "and", "or"}
    assert all((ROOT / file.partition("::")[0]).exists() for file in found.files)


def check_pip(arguments: list[str]) -> None:
    """Check what is installed: extras of this package that there are."""
    assert arguments[0] == "install"
    extras = set(configured_extras())
    for argument in arguments[1:]:
        if argument in ("-e", "-q", "-U", "--upgrade"):
            continue
        local = re.fullmatch(r"\.\[([\w,-]+)\]", argument)
        if local:
            assert set(local[1].split(",")) <= extras
        else:
            requirement = Requirement(argument)
            is_ours = requirement.name.replace("_", "-") == "channels-demux-layer"
            assert not is_ours or requirement.extras <= extras


def configured_extras() -> list[str]:
    """Return the extras of the package."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    section = text.partition("[project.optional-dependencies]\n")[2].partition("\n[")[0]
    return re.findall(r"^([\w-]+) = \[", section, re.MULTILINE)


def check_tox(arguments: list[str]) -> None:
    """Check a command of tox: environments that there are, and what their command takes."""
    own, _, rest = " ".join(arguments).partition(" -- ")
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("-e", dest="environments", default="")
    parser.add_argument("-p", dest="parallel")
    for environment in filter(None, parser.parse_args(own.split()).environments.split(",")):
        command = tox_command(environment)
        if rest:
            module = re.search(r"python -m ([\w.]+)", command)
            assert module, "its command takes nothing more"
            check_module(module[1], rest.split())


def tox_command(environment: str) -> str:
    """Return the commands of an environment of tox."""
    parser = configparser.RawConfigParser()
    parser.read_string((ROOT / "tox.ini").read_text("utf-8"))
    section = f"testenv:{environment}"
    if not parser.has_section(section):
        assert re.fullmatch(r"py3\d+-django\d+(-cov)?", environment), "there is no such environment"
        section = "testenv"
    return parser.get(section, "commands")


def check_docker(arguments: list[str]) -> None:
    """Check a command of Compose: services that there are. Images are those of others."""
    if arguments[0] == "run":
        return
    services = set(yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"])
    parser = argparse.ArgumentParser(exit_on_error=False)
    commands = (
        parser.add_subparsers(required=True).add_parser("compose").add_subparsers(required=True)
    )
    up = commands.add_parser("up")
    up.add_argument("--scale", action="append", default=[])
    up.add_argument("--build", action="store_true")
    up.add_argument("-d", "--detach", action="store_true")
    up.add_argument("--no-deps", action="store_true")
    up.add_argument("services", nargs="*", default=[])
    for name in ("logs", "stop", "down", "restart", "ps", "kill"):
        other = commands.add_parser(name)
        other.add_argument("-f", action="store_true")
        other.add_argument("-s", "--signal")
        other.add_argument("services", nargs="*", default=[])
    execute = commands.add_parser("exec")
    execute.add_argument("services", nargs=1)
    execute.add_argument("command", nargs=argparse.REMAINDER)
    found = parser.parse_args(arguments)
    assert set(found.services) <= services
    assert {scale.partition("=")[0] for scale in getattr(found, "scale", [])} <= services
    if getattr(found, "command", None):
        check(found.command)


def check_uvicorn(arguments: list[str]) -> None:
    """Check a command of uvicorn; a sentence about its options may leave out the application."""
    is_whole = not arguments[0].startswith("-")
    arguments = arguments if is_whole else ["app:app", *arguments]
    uvicorn_command.make_context("uvicorn", arguments)


def check_daphne(arguments: list[str]) -> None:
    """Check a command of Daphne."""
    CommandLineInterface().parser.parse_args(arguments)


def check_shell(arguments: list[str]) -> None:
    """Check the commands that a shell is given, as a unit of systemd writes them."""
    option, script = arguments
    assert option == "-c"
    for words in split(script.replace("%%", "%").replace("$$", "$")):
        check(words)


def check_node(arguments: list[str]) -> None:
    """Check a command of Node: the tests that it runs."""
    option, *patterns = arguments
    assert option == "--test"
    assert all(list(ROOT.glob(pattern)) for pattern in patterns)


PROGRAMS: dict[str, Callable[[list[str]], None]] = {
    "python": check_python,
    "python3": check_python,
    "manage.py": check_manage,
    "django-admin": check_manage,
    "pip": check_pip,
    "pytest": check_pytest,
    "tox": check_tox,
    "docker": check_docker,
    "uvicorn": check_uvicorn,
    "daphne": check_daphne,
    "node": check_node,
    "sh": check_shell,
}
