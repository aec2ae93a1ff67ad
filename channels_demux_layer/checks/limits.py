"""System checks of permissions and limits. `channels_demux_layer.checks.wiring` runs them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from django.apps import apps
from django.core import checks as django_checks
from django.core.checks import CheckMessage

from channels_demux_layer import conf
from channels_demux_layer.edge.limits import LONGEST_PAUSE
from channels_demux_layer.hosting.discovery import Edge

from .layers import TAG, fault

__all__ = ["attribute_faults", "limit_faults", "permission_faults", "protection_faults"]

OWN = (
    "MAX_OPEN_STREAMS",
    "OPENS_PER_MINUTE",
    "FRAMES_PER_SECOND",
    "BYTES_PER_SECOND",
    "MAX_BUFFERED",
    "SCOPE_HEADERS",
    "SCOPE_COOKIES",
)
"""The settings that a demultiplexer may override with an attribute, in lower case."""

_PERMISSION = re.compile(r"(\w+)\.(\S+)")


def protection_faults(edges: Iterable[Edge], settings: conf.Settings) -> list[CheckMessage]:
    """Return the problems of permissions and limits (E017, E018, W003)."""
    found: list[CheckMessage] = []
    for edge in edges:
        wrong = attribute_faults(edge)
        found += permission_faults(edge) + (wrong or limit_faults(edge, settings))
    return found


def permission_faults(edge: Edge) -> list[CheckMessage]:
    """Return permissions whose name is malformed, or whose app is not installed (E017)."""
    found: list[CheckMessage] = []
    labels = {config.label for config in apps.get_app_configs()}
    for name, stream in edge.table.items():
        permission = stream.permission
        if not isinstance(permission, str):
            continue
        match = _PERMISSION.fullmatch(permission)
        if match and match[1] in labels:
            continue
        problem = f"no app {match[1]!r} is installed" if match else "this is no permission name"
        message = f"Stream {name!r} of {edge.name}: permission {permission!r}: {problem}."
        hint = "Use 'app_label.codename' or a callable."
        found.append(fault(17, message, hint))
    return found


def attribute_faults(edge: Edge) -> list[CheckMessage]:
    """Return attributes of a demultiplexer whose value is invalid for the setting (E018)."""
    values = {key: getattr(edge.cls, key.lower(), None) for key in OWN}
    own = {key: value for key, value in values.items() if value is not None}
    written = [
        (f"{conf.SETTING}[{problem.key!r}]", f"{edge.name}.{problem.key.lower()}", problem)
        for problem in conf.find_problems(own)
    ]
    return [
        fault(18, problem.message.replace(setting, attribute), problem.hint)
        for setting, attribute, problem in written
    ]


def limit_faults(edge: Edge, settings: conf.Settings) -> list[CheckMessage]:
    """Return limits that delay or refuse normal clients (W003)."""
    limits, problems = edge.cls.client_limits(), []
    eager = sum(not stream.lazy for stream in edge.table.values())
    if 0 < limits.open_streams < eager:
        problems.append(
            f"{eager} streams open with the connection, but MAX_OPEN_STREAMS is "
            f"{limits.open_streams}, so a client cannot open any other"
        )
    if 0 < limits.bytes_per_second * LONGEST_PAUSE < settings.MAX_PAYLOAD:
        problems.append(
            f"BYTES_PER_SECOND ({limits.bytes_per_second}) is too small for a payload of "
            f"MAX_PAYLOAD within {LONGEST_PAUSE:.0f} s, the maximum delay of a client"
        )
    hint = "Raise the limit, make streams lazy, or lower MAX_PAYLOAD."
    return [
        django_checks.Warning(f"{edge.name}: {problem}.", hint=hint, id=f"{TAG}.W003")
        for problem in problems
    ]
