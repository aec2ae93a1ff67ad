"""``python -m channels_demux_layer.demo``: the command line of the demo."""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence

from .plan import Options
from .preflight import DemoError
from .supervisor import Supervisor

DESCRIPTION = """
Starts a server and worker processes for the streams echo, chat, prices and upload. Without
REDIS_URL it also starts a stand-in for Redis. Ctrl-C stops everything.
"""


def port_number(text: str) -> int:
    """Parse a port number.

    Args:
        text: The user's input.

    Returns:
        The port.

    Raises:
        ValueError: The text is not a number from 0 to 65535.
    """
    if not 0 <= int(text) <= 65535:
        raise ValueError
    return int(text)


def positive_number(text: str) -> int:
    """Parse a number of processes.

    Args:
        text: The user's input.

    Returns:
        The number.

    Raises:
        ValueError: The text is not a number, or it is less than one.
    """
    if int(text) < 1:
        raise ValueError
    return int(text)


def parse(arguments: Sequence[str] | None) -> Options:
    """Parse the command line.

    Args:
        arguments: The arguments of the command; None for those of the process.

    Returns:
        The options.
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
        help="let the page add and stop workers (default: only if --host is a loopback address)",
    )
    return Options(**vars(parser.parse_args(arguments)))


def say(line: str) -> None:
    """Print a line of progress, and flush it.

    Args:
        line: The line.
    """
    with contextlib.suppress(OSError):  # a closed terminal must not keep the demo from stopping
        print(line, flush=True)


async def run(options: Options) -> None:
    """Run the demo until Ctrl-C or SIGTERM.

    Args:
        options: The user's options.

    Raises:
        DemoError: The demo could not start, or an essential process ended.
    """
    supervisor = Supervisor(options, os.environ, say)
    loop = asyncio.get_running_loop()

    def stop(*_: object) -> None:
        with contextlib.suppress(RuntimeError):  # a second signal may arrive after the loop closed
            loop.call_soon_threadsafe(supervisor.request_stop)

    # loop.add_signal_handler() is missing on Windows, and the loop removes its handlers on closing.
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    await supervisor.run()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo.

    Args:
        arguments: The arguments of the command; None for those of the process.

    Returns:
        The exit code: 0 after Ctrl-C or SIGTERM, 1 after an error.
    """
    try:
        asyncio.run(run(parse(arguments)))
    except DemoError as error:
        print(f"The demo cannot run: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":  # pragma: no cover - runs in a process of its own
    sys.exit(main())
