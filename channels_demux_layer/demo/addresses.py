"""Hosts, ports and URLs: to listen on, to connect to, and to print."""

import errno
import os
import socket
from urllib.parse import urlsplit

from .problems import DemoError

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
