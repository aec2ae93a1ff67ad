"""Who is connected to Redis: how a worker shows that it is ready.

A worker listens on no port, so nothing can be asked of it. But it names its connections to Redis
(``DEMUX_DEMO_NAME``, see the project's settings), and Redis lists them. Run as a module, this is
the health check of a worker in its container: exit code 0 when the worker of this host is
connected, 1 when it is not.
"""

import os
import re
import socket
import sys
from collections.abc import Mapping

from channels_demux_layer.demo.addresses import without_password
from channels_demux_layer.demo.problems import DemoError

ANSWER_LIMIT = 3.0
"""Seconds that Redis may take to answer: it is on the same machine or network."""

NAME = re.compile(rb"(?:^| )name=(\S+)", re.MULTILINE)
"""The name that a client goes by, where it has one, in Redis' list of clients."""


def client_names(url: str) -> set[str]:
    """Ask Redis for the names of its clients.

    Args:
        url: The address of Redis.

    Returns:
        Their names; a client without one is left out.

    Raises:
        DemoError: Nobody answers there as Redis does, or the address is none.
    """
    import redis  # an extra: the demo says so when it is missing
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
            # As it is: redis-py 5 cannot take a list apart in which a value has a space.
            listed = client.execute_command("CLIENT", "LIST")
            return {name.decode() for name in NAME.findall(listed)}
    except ValueError as error:
        raise DemoError(
            f"REDIS_URL is {shown!r}, which is no address of a Redis server: "
            "write one such as redis://127.0.0.1:6379/0."
        ) from error
    except (redis.RedisError, OSError) as error:
        raise DemoError(
            f"no Redis server answers at {shown} ({error}): start one there, correct REDIS_URL, "
            "or unset it to use the embedded stand-in."
        ) from error


def own_name(environ: Mapping[str, str]) -> str:
    """The name that this process's connections to Redis carry.

    Args:
        environ: The environment.

    Returns:
        ``DEMUX_DEMO_NAME``, or the name of the host, which in a container is the container's.
    """
    return environ.get("DEMUX_DEMO_NAME") or socket.gethostname()


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Tell whether the worker of this host is connected to Redis.

    Args:
        environ: The environment of the worker, with ``REDIS_URL``.

    Returns:
        The exit code: 0 when it is, else 1.
    """
    try:
        names = client_names(environ.get("REDIS_URL", ""))
    except DemoError as error:
        print(error)
        return 1
    return 0 if own_name(environ) in names else 1


if __name__ == "__main__":  # pragma: no cover - runs in a process of its own
    sys.exit(main())
