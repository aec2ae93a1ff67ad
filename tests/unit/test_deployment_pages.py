"""What the pages on deploying have to be pasted is in step with the package."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from channels_demux_layer import conf, metrics
from channels_demux_layer.management.commands import runworker

HOWTO = Path(__file__).parents[2] / "docs" / "howto"
#: What a supervisor has to wait for: the drain, and five seconds more for who does not return.
PATIENCE = conf.Settings.DRAIN_TIMEOUT + 5


def fences(page: str, language: str) -> list[str]:
    """Read the code of one language on a page."""
    text = (HOWTO / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def manifests() -> list[dict[str, Any]]:
    """Read all manifests for Kubernetes."""
    documents = "---\n".join(fences("kubernetes.md", "yaml"))
    return [manifest for manifest in yaml.safe_load_all(documents) if "kind" in manifest]


def pods(part: str) -> list[dict[str, Any]]:
    """Return what the Deployments of one part of the site run."""
    return [
        manifest["spec"]["template"]["spec"]
        for manifest in manifests()
        if manifest["kind"] == "Deployment" and part in manifest["metadata"]["name"]
    ]


def commands() -> list[list[str]]:
    """Return the arguments of every runworker on the pages."""
    compose = [yaml.safe_load(text) for text in fences("deploying.md", "yaml")]
    found = [service["command"] for file in compose for service in file["services"].values()]
    found += [pod["containers"][0]["command"] for pod in pods("worker")]
    units = "".join(fences("systemd.md", "ini"))
    lines = re.findall(r"manage\.py (runworker .*)'$", units, re.MULTILINE)
    found += [shlex.split(line) for line in lines]
    return [words[words.index("runworker") + 1 :] for words in found]


def test_supervisors_wait_for_a_drain() -> None:
    """No supervisor on the pages kills a worker that may still drain."""
    times = [pod["terminationGracePeriodSeconds"] for pod in pods("worker")]
    workers = [unit for unit in fences("systemd.md", "ini") if "runworker" in unit]
    times += [int(*re.findall(r"TimeoutStopSec=(\d+)", unit)) for unit in workers]
    for file in fences("deploying.md", "yaml"):
        services = yaml.safe_load(file)["services"].values()
        times += [int(service["stop_grace_period"].rstrip("s")) for service in services]
    assert len(times) == 3
    assert min(times) > PATIENCE


@pytest.mark.parametrize("arguments", commands(), ids=" ".join)
def test_commands_are_understood(arguments: list[str]) -> None:
    """Every worker on the pages is started with options that there are."""
    parser = runworker.Command().create_parser("manage.py", "runworker")
    options = parser.parse_args(arguments)
    assert options.channels
    assert all(channel.startswith("demux.") for channel in options.channels)


def test_probes_ask_ports_that_answer() -> None:
    """The ports that Kubernetes probes are those that the containers have."""
    for pod in pods("mysite"):
        (container,) = pod["containers"]
        named = {port["name"] for port in container["ports"]}
        probes = [container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness")]
        probes.append(container["readinessProbe"]["httpGet"])
        assert {probe["port"] for probe in probes} <= named
        assert {probe["path"] for probe in probes} == {"/live", "/ready"}


def test_scalers_ask_for_metrics_that_there_are() -> None:
    """The figures that workers are scaled by are metrics of the package."""
    text = (HOWTO / "kubernetes.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\bdemux_\w+", text)) - {"demux_load"}  # the adapter's own name
    assert named == {metrics.PENDING.name, metrics.SESSIONS.name}
