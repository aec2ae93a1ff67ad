"""``python -m channels_demux_layer.demo``: the command line of the demo."""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence

from channels_demux_layer.demo.plan import Options
from channels_demux_layer.demo.problems import DemoError
from channels_demux_layer.demo.supervisor import Supervisor

DESCRIPTION = """
Starts a server, worker processes for the streams echo, chat, prices and upload, and, where
REDIS_URL is not set, a stand-in for Redis. Ctrl-C stops all of it.
"""


def port_number(text: str) -> int:
    """Read a port.

    Args:
        text: What the user wrote.

    Returns:
        The port.

    Raises:
        ValueError: It is none.
    """
    if not 0 <= int(text) <= 65535:
        raise ValueError
    return int(text)


def positive_number(text: str) -> int:
    """Read a number of processes.

    Args:
        text: What the user wrote.

    Returns:
        The number.

    Raises:
        ValueError: It is none, or less than one.
    """
    if int(text) < 1:
        raise ValueError
    return int(text)


def parse(arguments: Sequence[str] | None) -> Options:
    """Read the command line.

    Args:
        arguments: What follows the command; the process's own where None.

    Returns:
        What the user asks for.
    """
    default = Options()
    parser = argparse.ArgumentParser(
        prog="python -m channels_demux_layer.demo",
        description=DESCRIPTION,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--host", default=default.host, help="address to listen on")
    parser.add_argument(
        "--port", type=port_number, default=default.port, help="port to listen on, 0: any"
    )
    parser.add_argument(
        "--layer", choices=("core", "pubsub"), default=default.layer, help="channel layer"
    )
    parser.add_argument(
        "--workers",
        type=positive_number,
        default=argparse.SUPPRESS,
        help="processes per stream (default: two for echo, one for each other)",
    )
    parser.add_argument(
        "--control",
        action=argparse.BooleanOptionalAction,
        default=argparse.SUPPRESS,
        help="let the page add and end workers (default: where --host is this machine alone)",
    )
    return Options(**vars(parser.parse_args(arguments)))


def say(line: str) -> None:
    """Print a line of progress at once.

    Args:
        line: The line.
    """
    with contextlib.suppress(OSError):  # nobody reads any more: that must not keep it from ending
        print(line, flush=True)


async def run(options: Options) -> None:
    """Run the demo until Ctrl-C or SIGTERM.

    Args:
        options: What the user asks for.

    Raises:
        DemoError: It cannot start or cannot go on.
    """
    supervisor = Supervisor(options, os.environ, say)
    loop = asyncio.get_running_loop()

    def stop(*_: object) -> None:
        with contextlib.suppress(RuntimeError):  # once more, when the loop has ended already
            loop.call_soon_threadsafe(supervisor.request_stop)

    # Not loop.add_signal_handler: not all systems have it, and it is undone as the loop ends.
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    await supervisor.run()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo.

    Args:
        arguments: What follows the command; the process's own where None.

    Returns:
        The exit code: 0 when it was asked to end, 1 when it could not go on.
    """
    try:
        asyncio.run(run(parse(arguments)))
    except DemoError as error:
        print(f"The demo cannot run: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":  # pragma: no cover - runs in a process of its own
    sys.exit(main())
