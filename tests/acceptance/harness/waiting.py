"""How long anything may take, and waiting for what tells of itself only when asked."""

import time
from collections.abc import Callable
from typing import TypeVar

#: Seconds that any one event may take. Generous on purpose: reaching it means that the event
#: never comes, not that the machine is slow.
LIMIT = 60.0

#: Seconds between two looks at something that can't be waited for, such as a file.
PAUSE = 0.01

Value = TypeVar("Value")


def wait_until(look: Callable[[], Value], what: str, limit: float = LIMIT) -> Value:
    """Looks again and again until there is something to see.

    Args:
        look: Returns something true once the awaited state is reached.
        what: Says what is awaited, for the message of a failure.
        limit: Seconds after which the wait is given up.

    Returns:
        The first true value that `look` returned.

    Raises:
        TimeoutError: Nothing true within `limit`.
    """
    deadline = time.monotonic() + limit
    while not (value := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"Waited {limit:.0f} s in vain for {what}.")
        time.sleep(PAUSE)
    return value
