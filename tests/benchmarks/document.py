"""The file of all figures."""

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from typing import Any

from .benchmark import Results
from .options import Options
from .report import verdicts

PACKAGES = (
    "django",
    "channels",
    "channels-redis",
    "redis",
    "uvicorn",
    "uvloop",
    "httptools",
    "websockets",
    "msgspec",
    "picows",
)


def versions() -> dict[str, Any]:
    """Looks up what was measured, and on what.

    Returns:
        The versions, the platform and the number of processors; None: not installed.
    """
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
    }
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def write_document(options: Options, measured: Mapping[str, Results]) -> dict[str, Any]:
    """Writes down everything.

    Args:
        options: What was asked for.
        measured: What was measured, by benchmark.

    Returns:
        What JSON can say.
    """
    return {
        "options": asdict(options),
        "versions": versions(),
        "targets": [
            {"text": target.text, "limits": target.limits, "measured": values}
            for target, values in verdicts(measured)
        ],
        "benchmarks": {
            name: [
                {
                    "layer": layer,
                    "case": case,
                    "label": label,
                    "failure": results.failures.get((layer, case)),
                    "median": results.medians(layer, case)
                    if (layer, case) in results.rounds
                    else {},
                    "rounds": results.rounds.get((layer, case), []),
                }
                for (layer, case), label in results.labels.items()
            ]
            for name, results in measured.items()
        },
    }


def read_document(document: Mapping[str, Any]) -> dict[str, Results]:
    """Reads what was written down.

    Args:
        document: As `write_document` wrote it.

    Returns:
        What was measured, by benchmark.
    """
    measured = {}
    for name, cases in document["benchmarks"].items():
        results = measured[name] = Results()
        for case in cases:
            key = (case["layer"], case["case"])
            results.labels[key] = case["label"]
            if case["failure"] is None:
                results.rounds[key] = case["rounds"]
            else:
                results.failures[key] = case["failure"]
    return measured
