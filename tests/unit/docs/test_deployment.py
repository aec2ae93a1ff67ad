"""What the pages on deploying have to be pasted is in step with the package."""

import re
from typing import Any

import yaml

from channels_demux_layer import conf, metrics

from .pages import DOCS, all_snippets, text_of

KUBERNETES, SYSTEMD, COMPOSE = (
    f"docs/howto/{name}.md" for name in ("kubernetes", "systemd", "deploying")
)
#: What a supervisor has to wait for: the drain, and five seconds more for who does not return.
PATIENCE = conf.Settings.DRAIN_TIMEOUT + 5


def codes_of(page: str, language: str) -> list[str]:
    """Read the code of one language on a page."""
    return [
        snippet.code
        for snippet in all_snippets()
        if snippet.place.startswith(page) and snippet.language == language
    ]


def pods(part: str) -> list[dict[str, Any]]:
    """Return what the Deployments of one part of the site run on Kubernetes."""
    manifests = [each for code in codes_of(KUBERNETES, "yaml") for each in yaml.safe_load_all(code)]
    return [
        manifest["spec"]["template"]["spec"]
        for manifest in manifests
        if manifest.get("kind") == "Deployment" and part in manifest["metadata"]["name"]
    ]


def test_supervisors_wait_for_a_drain() -> None:
    """No supervisor on the pages kills a worker that may still drain."""
    times = [pod["terminationGracePeriodSeconds"] for pod in pods("worker")]
    units = [unit for unit in codes_of(SYSTEMD, "ini") if "runworker" in unit]
    times += [int(*re.findall(r"TimeoutStopSec=(\d+)", unit)) for unit in units]
    files = [yaml.safe_load(code) for code in codes_of(COMPOSE, "yaml")]
    services = [service for file in files for service in file["services"].values()]
    workers = [service for service in services if "runworker" in service["command"]]
    times += [int(worker["stop_grace_period"].rstrip("s")) for worker in workers]
    assert len(times) == 3
    assert min(times) > PATIENCE


def test_probes_ask_ports_that_answer() -> None:
    """The ports that Kubernetes probes are those that the containers have."""
    for pod in pods("mysite"):
        (container,) = pod["containers"]
        named = {port["name"] for port in container["ports"]}
        kinds = ("startupProbe", "livenessProbe", "readinessProbe")
        probes = [container[kind]["httpGet"] for kind in kinds]
        assert {probe["port"] for probe in probes} <= named
        assert [probe["path"] for probe in probes] == ["/live", "/live", "/ready"]


def test_scalers_ask_for_metrics_that_there_are() -> None:
    """The figures that workers are scaled by are metrics of the package."""
    named = set(re.findall(r"\bdemux_\w+", text_of(DOCS / "howto" / "kubernetes.md")))
    own = {"demux_load"}  # the adapter's name for their sum
    assert named - own == {metrics.PENDING.name, metrics.SESSIONS.name}
