"""What must be there before anything is started."""

import importlib.util
from collections.abc import Callable

from channels_demux_layer.demo.problems import DemoError

ALWAYS = {module: module for module in ("uvicorn", "websockets", "channels_redis", "redis")}
"""What each module that the demo needs comes in."""
FOR_THE_STAND_IN = {"fakeredis": "fakeredis", "lupa": "fakeredis[lua]"}


def is_installed(module: str) -> bool:
    """Look for a module without importing it.

    Args:
        module: Its name.

    Returns:
        Whether it can be imported.
    """
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # a module that is there, but hidden or half made
        return False


def check_extras(*, stand_in: bool, installed: Callable[[str], bool] = is_installed) -> None:
    """Make sure that what the demo needs beside the package is installed.

    Args:
        stand_in: Whether the stand-in for Redis is to be started.
        installed: How to find out whether a module is installed.

    Raises:
        DemoError: Something is missing.
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
