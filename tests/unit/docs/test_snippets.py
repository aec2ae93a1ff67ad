"""Every snippet of every page is compiled, rendered or parsed, and names what there is."""

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer
from django.template import Context, Engine

from channels_demux_layer.codes import ServerEvent
from channels_demux_layer.protocol.client_envelope import ClientCodec
from channels_demux_layer.protocol.envelope import EnvelopeCodec

from .pages import all_snippets, snippets

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: What holds the snippets of a language: a test of this module, of another one, or the reason why
#: nothing can.
HELD = {
    "python": "test_python",
    "json": "below",
    "yaml": "below",
    "toml": "below",
    "ini": "below; test_commands has what a unit of systemd starts",
    "html": "below",
    "javascript": "below",
    "console": "test_commands",
    "text": "drawings and output: nothing that anybody enters",
    "nginx": "below, as far as that goes without nginx",
    "{eval-rst}": "Sphinx; test_names has what it names",
    "{glossary}": "Sphinx",
    "{include}": "Sphinx",
    "{toctree}": "Sphinx",
    "{image}": "Sphinx",
    "{figure}": "Sphinx",
    "{note}": "Sphinx",
    "{warning}": "Sphinx",
}


def test_every_language_is_held() -> None:
    """No snippet is in a language that nothing holds to the code."""
    assert {snippet.language.partition(" ")[0] for snippet in all_snippets()} <= set(HELD)


# -- data -------------------------------------------------------------------------------------


def read_json(code: str) -> Any:
    """Read one value, or one on each line."""
    try:
        return json.loads(code)
    except ValueError:
        return [json.loads(line) for line in code.splitlines()]


def read_yaml(code: str) -> Any:
    """Read one document or several, none of them empty."""
    documents = list(yaml.safe_load_all(code))
    return all(document is not None for document in documents) and documents


def read_ini(code: str) -> Any:
    """Read an INI file, or a unit of systemd: sections, each with something in it."""
    parser = configparser.RawConfigParser(strict=False)
    parser.read_string(code)
    return parser.sections() and all(parser.items(section) for section in parser.sections())


def read_nginx(code: str) -> Any:
    """Look whether braces and lines end, and the headers that a WebSocket needs are passed."""
    lines = [line.partition("#")[0].strip() for line in code.splitlines()]
    ends = all(not line or line[-1] in "{};" for line in lines)
    return ends and code.count("{") == code.count("}") and "Upgrade" in code


#: What reads data, by its language.
READERS = {
    "json": read_json,
    "yaml": read_yaml,
    "toml": tomllib.loads,
    "ini": read_ini,
    "nginx": read_nginx,
}


@pytest.mark.parametrize(
    ("language", "code"),
    [
        pytest.param(snippet.language, snippet.code, id=snippet.place)
        for snippet in all_snippets()
        if snippet.language in READERS
    ],
)
def test_data_can_be_read(language: str, code: str) -> None:
    """Data can be read in its language, and there is something in it."""
    assert READERS[language](code)


def test_envelopes_are_understood() -> None:
    """Each example of the client wire is one that the server takes, or that clients do."""
    place = "docs/specification/client-wire.md"
    examples = [
        line
        for snippet in all_snippets()
        if snippet.language == "json" and snippet.place.startswith(place)
        for line in snippet.code.splitlines()
    ]
    heard = [line for line in examples if ClientCodec().decode(line) is not None]
    assert len(heard) == 1 + len(ServerEvent)  # what has a payload may go both ways
    for line in set(examples) - set(heard[1:]):
        EnvelopeCodec().decode_text(line)


# -- pages of a site --------------------------------------------------------------------------


@pytest.mark.parametrize("code", snippets("html"))
def test_template_renders(code: str, settings: Any) -> None:
    """A template of Django renders, with the tag of the package."""
    settings.STATIC_URL = "/static/"
    engine = Engine(
        libraries={"channels_demux_layer": "channels_demux_layer.templatetags.channels_demux_layer"}
    )
    rendered = engine.from_string(code).render(Context({"room_name": "lobby"}))
    assert "{%" not in rendered
    if "demux_script" in code:
        assert "/static/channels_demux_layer/demultiplexer.js" in rendered


def scripts() -> list[Any]:
    """Find all JavaScript, that of templates included, each as a parameter."""
    found = snippets("javascript")
    for parameter in snippets("html"):
        template = str(parameter.values[0])
        inside = re.findall(r"<script[^>]*>(.*?)</script>", template, re.DOTALL)
        found += [pytest.param(script, id=parameter.id) for script in inside]
    return found


@pytest.mark.parametrize("code", scripts())
def test_javascript_parses(code: str, tmp_path: Path) -> None:
    """JavaScript is valid, as a module."""
    node = shutil.which("node")
    if node is None:
        assert os.environ.get("CI") != "true", "There is no node here."
        pytest.skip("There is no node here: install Debian's package nodejs.")
    (tmp_path / "snippet.mjs").write_text(code, encoding="utf-8")
    command = [node, "--check", str(tmp_path / "snippet.mjs")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_layers_of_the_pages_are_those_that_there_are() -> None:
    """The dotted paths of channel layers in the pages lead to the layers of channels_redis."""
    found = {
        path
        for snippet in all_snippets()
        for path in re.findall(r'"BACKEND": "(channels_redis\.[\w.]+)"', snippet.code)
    }
    known = {RedisChannelLayer, RedisPubSubChannelLayer}
    assert found == {f"{layer.__module__}.{layer.__name__}" for layer in known}
