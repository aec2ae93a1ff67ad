"""Checks that all required packages are installed before the demo starts anything."""

import importlib.util
from collections.abc import Callable

from .problems import DemoError

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
