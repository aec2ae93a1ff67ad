"""What the demo checks before it starts anything: required packages, the port, and addresses."""

import errno
import importlib.util
import os
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

from channels_demux_layer.exceptions import DemuxError


class DemoError(DemuxError):
    """The demo cannot start or continue. The message says why and what to do."""


ALWAYS = {module: module for module in ("uvicorn", "websockets", "channels_redis", "redis")}
"""Modules that the demo needs, and the requirement that installs each."""
FOR_THE_STAND_IN = {"fakeredis": "fakeredis", "lupa": "fakeredis[lua]"}


def is_installed(module: str) -> bool:
    """Return whether a module can be imported, without importing it.

    Args:
        module: The module's name.
    """
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # blocked in sys.modules, or loaded without a spec
        return False


def check_extras(*, stand_in: bool, installed: Callable[[str], bool] = is_installed) -> None:
    """Raise DemoError unless all required packages are installed.

    Args:
        stand_in: Whether the demo starts the stand-in for Redis.
        installed: Returns whether a module is installed.

    Raises:
        DemoError: A package is missing.
    """
    needed = {**ALWAYS, **FOR_THE_STAND_IN} if stand_in else ALWAYS
    missing = [package for module, package in needed.items() if not installed(module)]
    if not missing:
        return
    enough = set(missing) <= set(FOR_THE_STAND_IN.values())
    otherwise = ", or set REDIS_URL to the address of a Redis server" if enough else ""
    raise DemoError(
        f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed: "
        f"run pip install 'channels-demux-layer[demo]'{otherwise}."
    )


EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Wildcard addresses, and the loopback address at which a local browser reaches the server."""

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

REUSE_IS_HARMLESS = os.name == "posix"
"""On POSIX, SO_REUSEADDR only skips TIME_WAIT. On Windows it lets two servers share a port."""


def reserve_port(host: str, port: int) -> int:
    """Return a port that a server can listen on.

    Args:
        host: The address or name to listen on.
        port: The port, or 0 for any free one.

    Returns:
        The given port, or a free one for 0.

    Raises:
        DemoError: The port is in use, or the address cannot be listened on.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as listener:
            if REUSE_IS_HARMLESS:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            return int(listener.getsockname()[1])
    except OSError as error:
        raise DemoError(_why_not(host, port, error)) from error


def _why_not(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use: stop what uses it, or choose another --port."
    return (
        f"cannot listen on {host} port {port} ({error.strerror}): choose another --host or --port."
    )


def reachable_host(host: str) -> str:
    """Return the address at which a client on this machine reaches a server.

    Args:
        host: The address that the server listens on.

    Returns:
        The same address, or the loopback address for a wildcard.
    """
    return EVERY_ADDRESS.get(host, host)


def web_address(scheme: str, host: str, port: int, path: str) -> str:
    """Return a URL for a client on this machine.

    Args:
        scheme: ``http`` or ``ws``.
        host: The address that the server listens on.
        port: The port that the server listens on.
        path: The path, with its leading slash.

    Returns:
        The URL, with an IPv6 address in brackets.
    """
    reachable = reachable_host(host)
    bracketed = f"[{reachable}]" if ":" in reachable else reachable
    return f"{scheme}://{bracketed}:{port}{path}"


def without_password(url: str) -> str:
    """Return a URL without its credentials.

    Args:
        url: The URL, with or without a user and a password.

    Returns:
        The URL with ``***`` in place of user and password.
    """
    parts = urlsplit(url)
    _, secret, location = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"***@{location}").geturl() if secret else url
