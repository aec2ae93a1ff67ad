"""Host, port and URL, as they are listened on, looked at and shown."""

import errno
import os
import socket
from urllib.parse import urlsplit

from channels_demux_layer.demo.problems import DemoError

EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""An address that stands for all of a machine's own: where a browser on it finds the server."""

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

REUSE_IS_HARMLESS = os.name == "posix"
"""Elsewhere SO_REUSEADDR lets two servers share a port, here it only forgets closed sockets."""


def reserve_port(host: str, port: int) -> int:
    """Make sure that a server can listen on a port.

    Args:
        host: The address or name to listen on.
        port: The port, or 0 for any free one.

    Returns:
        The port: the one asked for, or the free one that was found.

    Raises:
        DemoError: It is in use, or nobody may listen there.
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
        f"nothing can listen on {host} port {port} ({error.strerror}): "
        "choose another --host or --port."
    )


def reachable_host(host: str) -> str:
    """Where a client on this machine finds what listens on a host.

    Args:
        host: The address listened on.

    Returns:
        The same, or the loopback address where it stands for every address.
    """
    return EVERY_ADDRESS.get(host, host)


def web_address(scheme: str, host: str, port: int, path: str) -> str:
    """Write a URL for a client on this machine.

    Args:
        scheme: ``http`` or ``ws``.
        host: The address listened on.
        port: The port listened on.
        path: What follows, with its leading slash.

    Returns:
        The URL, with an IPv6 address in brackets.
    """
    reachable = reachable_host(host)
    bracketed = f"[{reachable}]" if ":" in reachable else reachable
    return f"{scheme}://{bracketed}:{port}{path}"


def without_password(url: str) -> str:
    """A URL that may be shown.

    Args:
        url: The URL, maybe with a user and a password.

    Returns:
        The URL with ``***`` in their place.
    """
    parts = urlsplit(url)
    _, secret, location = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"***@{location}").geturl() if secret else url
