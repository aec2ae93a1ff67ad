"""A stand-in for Redis that needs no installation: fakeredis on a free port of this machine.

It keeps its data in memory, and it is slow. A round trip takes about 10 ms on the pub/sub layer and
90 ms on the core layer.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .child import STANDARD_INPUT
from .child import watch as watch_parent

ANNOUNCEMENT = "listening on "


def make_server() -> Any:
    """Bind the stand-in to a free port of 127.0.0.1.

    Returns:
        A ``socketserver`` server. Call its ``serve_forever()``.
    """
    from fakeredis import TcpFakeServer  # an extra: preflight.py reports if it is missing

    server = TcpFakeServer(("127.0.0.1", 0))
    server.daemon_threads = True  # so that connected clients do not delay the shutdown
    return server


def address(server: Any) -> str:
    """Return the URL of a stand-in, in the form of ``REDIS_URL``.

    Args:
        server: The return value of ``make_server()``.
    """
    return f"redis://127.0.0.1:{server.server_address[1]}/0"


def announced_address(log: Path) -> str | None:
    """Return the URL that a stand-in in another process has printed.

    Args:
        log: The file with the stand-in's output.

    Returns:
        The URL; None until the stand-in prints it.
    """
    found = re.search(rf"^{ANNOUNCEMENT}(\S+)$", log.read_text("utf-8", "replace"), re.MULTILINE)
    return found[1] if found else None


def main(watch: Callable[[int], object] = watch_parent) -> None:
    """Serve until the process ends.

    Args:
        watch: Ends this process when its parent ends.
    """
    server = make_server()
    print(f"{ANNOUNCEMENT}{address(server)}", flush=True)
    watch(STANDARD_INPUT)
    server.serve_forever()


if __name__ == "__main__":  # pragma: no cover - runs in a process of its own
    main()
