"""Every command of every page is one that its program takes, and every option has its place."""

import re

import pytest
import yaml
from django.core.management import BaseCommand

from channels_demux_layer.management.commands import demuxstatus, runworker
from tests.soak.__main__ import SCENARIOS

from .commands import MODULES, WrongCommand, check, options_of, split
from .pages import PAGES, all_snippets, code_in_prose, snippets, text_of

#: Options of programs whose parsers are not asked.
STRANGE_OPTIONS = {"--dist", "--scale", "--test"}


def started() -> list[object]:
    """Find what units of systemd and the containers of Kubernetes start, as parameters."""
    found = []
    for snippet in all_snippets():
        if snippet.language == "ini":
            lines = re.findall(r"^Exec(?:Start|Reload)=(.*)$", snippet.code, re.MULTILINE)
        elif snippet.language == "yaml":
            lines = [
                " ".join(words) for words in _commands_in(list(yaml.safe_load_all(snippet.code)))
            ]
        else:
            continue
        found += [pytest.param(line, id=snippet.place) for line in lines]
    return found


def _commands_in(value: object) -> list[list[str]]:
    if isinstance(value, list):
        return [command for item in value for command in _commands_in(item)]
    if not isinstance(value, dict):
        return []
    own = value.get("command")
    found = [[*own, *value.get("args", [])]] if isinstance(own, list) else []
    return found + [command for item in value.values() for command in _commands_in(item)]


@pytest.mark.parametrize("code", [*snippets("console"), *started()])
def test_commands_are_taken(code: str) -> None:
    """Each command of a snippet is one that its program takes, arguments and all."""
    commands = list(split(code))
    assert commands or "export" in code
    for words in commands:
        check(words)


def test_commands_in_prose_are_taken() -> None:
    """So is each command in a sentence, where it is whole; its options there are in any case."""
    wrong = []
    for page, code in code_in_prose():
        if re.match(r"(python3?|tox|pip|manage\.py|node|docker|uvicorn|daphne) \S", code):
            for words in split(code):
                try:
                    check(words)
                except WrongCommand as error:
                    wrong.append(f"{page}: {error}")
    assert wrong == []


def test_options_in_prose_are_taken() -> None:
    """Each option in a sentence or a table is one of the package's commands or of its tools."""
    known = set(STRANGE_OPTIONS)
    for name in ("runworker", "demuxstatus", "check", "uvicorn", "daphne", *MODULES):
        known |= options_of([name])
    for scenario in SCENARIOS:
        known |= options_of(["tests.soak", scenario])
    used = {
        (page, option)
        for page, code in code_in_prose()
        for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", code)
    }
    assert {(page, option) for page, option in used if option not in known} == set()


def test_every_option_is_documented() -> None:
    """Each option that the package's commands have beside Django's stands in some page."""
    pages = "\n".join(map(text_of, PAGES))
    djangos = BaseCommand().create_parser("manage.py", "x")._option_string_actions
    for command in (runworker.Command(), demuxstatus.Command()):
        own = command.create_parser("manage.py", "x")._option_string_actions.keys() - djangos
        assert {option for option in own if option not in pages} == set()


@pytest.mark.parametrize(
    "line",
    [
        "python manage.py runworker --no-such-option",
        "python manage.py nosuchcommand",
        "python -m channels_demux_layer.demo --no-such-option",
        "tox -e nosuch",
        "tox -e soak -- nosuch",
        "pip install 'channels-demux-layer[nosuch]'",
        "docker compose up --scale nosuch=3",
        "uvicorn mysite.asgi:application --no-such-option",
        "python -m pytest -m nosuch",
        "nosuch",
    ],
)
def test_a_wrong_command_is_found(line: str) -> None:
    """What a program would refuse is refused here."""
    (words,) = split(line)
    with pytest.raises(WrongCommand):
        check(words)
