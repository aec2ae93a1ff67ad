"""What a test needs that pip does not install."""

import os
from typing import TypeVar

import pytest

Found = TypeVar("Found")


def need(found: Found | None, what: str, package: str) -> Found:
    """Skips what needs something where it is not installed; on CI that is a failure.

    Args:
        found: Where it is; None where it is not.
        what: What it is called.
        package: Debian's package of it.

    Returns:
        Where it is.
    """
    if found is not None:
        return found
    reason = f"There is no {what} here: install Debian's package {package}."
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
