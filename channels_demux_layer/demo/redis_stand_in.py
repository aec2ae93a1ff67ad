"""An embedded stand-in for Redis, where there is none: fakeredis on a free port of this machine.

Slow (a round trip of the pub/sub layer takes some 10 ms, of the core layer 90 ms) and gone with
its process, but it needs no installation.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from channels_demux_layer.demo import lifeline

ANNOUNCEMENT = "listening on "


def make_server() -> Any:
    """Bind the stand-in to a free port of 127.0.0.1.

    Returns:
        A ``socketserver`` server; ``serve_forever()`` serves.
    """
    from fakeredis import TcpFakeServer  # an extra: the demo says so when it is missing

    server = TcpFakeServer(("127.0.0.1", 0))
    server.daemon_threads = True  # a client that stays connected must not hold up the end
    return server


def address(server: Any) -> str:
    """The URL of a stand-in.

    Args:
        server: What ``make_server()`` returned.

    Returns:
        Its address as ``REDIS_URL`` has it.
    """
    return f"redis://127.0.0.1:{server.server_address[1]}/0"


def announced_address(log: Path) -> str | None:
    """Find the address that a stand-in in another process printed.

    Args:
        log: The file that its output goes to.

    Returns:
        The URL, or None while it has not printed one.
    """
    found = re.search(rf"^{ANNOUNCEMENT}(\S+)$", log.read_text("utf-8", "replace"), re.MULTILINE)
    return found[1] if found else None


def main(watch: Callable[[int], object] = lifeline.watch) -> None:
    """Serve until the process is ended.

    Args:
        watch: What sees to it that this process ends with its parent.
    """
    server = make_server()
    print(f"{ANNOUNCEMENT}{address(server)}", flush=True)
    watch(lifeline.STANDARD_INPUT)
    server.serve_forever()


if __name__ == "__main__":  # pragma: no cover - runs in a process of its own
    main()
