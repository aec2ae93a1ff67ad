"""Lists the clients of Redis, to see whether a worker is ready.

A worker of the demo listens on no port, so it cannot be asked. But it names its connections to
Redis (``DEMUX_DEMO_NAME``, see ``project/settings.py``), and Redis lists these names. Run as a
module, this is the health check of a worker's container: exit code 0 if the worker of this host is
connected, else 1.
"""

import os
import re
import socket
import sys
from collections.abc import Mapping

from .preflight import DemoError, without_password

ANSWER_LIMIT = 3.0
"""Seconds that Redis may take to answer. It runs on the same machine or network."""

NAME = re.compile(rb"(?:^| )name=(\S+)", re.MULTILINE)
"""The name of a client in the output of CLIENT LIST. Clients without a name do not match."""


def client_names(url: str) -> set[str]:
    """Return the names of Redis' clients.

    Args:
        url: The URL of Redis.

    Returns:
        The names. Clients without a name are left out.

    Raises:
        DemoError: The URL is invalid, or no Redis server answers there.
    """
    import redis  # an extra: preflight.py reports if it is missing
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    shown = without_password(url)
    try:
        with redis.Redis.from_url(
            url,
            socket_connect_timeout=ANSWER_LIMIT,
            socket_timeout=ANSWER_LIMIT,
            retry=Retry(NoBackoff(), 0),
        ) as client:
            # The raw reply: client_list() of redis-py 5 fails on values that contain a space.
            listed = client.execute_command("CLIENT", "LIST")
            return {name.decode() for name in NAME.findall(listed)}
    except ValueError as error:
        raise DemoError(
            f"REDIS_URL is {shown!r}, which is not the URL of a Redis server: "
            "set it to a URL such as redis://127.0.0.1:6379/0."
        ) from error
    except (redis.RedisError, OSError) as error:
        raise DemoError(
            f"no Redis server answers at {shown} ({error}): start one there, correct REDIS_URL, "
            "or unset it to use the embedded stand-in."
        ) from error


def own_name(environ: Mapping[str, str]) -> str:
    """Return the name of this process's connections to Redis.

    Args:
        environ: The environment.

    Returns:
        ``DEMUX_DEMO_NAME``, or else the host's name. In a container that is the container's id.
    """
    return environ.get("DEMUX_DEMO_NAME") or socket.gethostname()


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Check whether the worker of this host is connected to Redis.

    Args:
        environ: The environment of the worker, with ``REDIS_URL``.

    Returns:
        The exit code: 0 if the worker is connected, else 1.
    """
    try:
        names = client_names(environ.get("REDIS_URL", ""))
    except DemoError as error:
        print(error)
        return 1
    return 0 if own_name(environ) in names else 1


if __name__ == "__main__":  # pragma: no cover - runs in a process of its own
    sys.exit(main())
