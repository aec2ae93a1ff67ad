"""Logs of faults that repeat: what cannot be done, and what others send that makes no sense."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping

from .logs import about

__all__ = ["FaultLog", "RepeatedLog", "layer_faults"]

#: So many lines of one kind are written in so many seconds; the rest is counted.
MOST_LINES = 5
PERIOD = 60.0


class FaultLog:
    """Tells of a repeated fault once, and once more when it is over.

    Args:
        logger: The logger that is told.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._failing: set[str] = set()

    def failed(
        self, action: str, reason: object, extra: Mapping[str, str | None] | None = None
    ) -> None:
        """Note a fault.

        Args:
            action: What could not be done, as it reads after "Cannot".
            reason: Why.
            extra: Whom it is about, as logs.about() says it.
        """
        if action not in self._failing:
            self._failing.add(action)
            detail = str(reason).rstrip(".") or type(reason).__name__
            facts = extra or about()
            self._logger.warning("Cannot %s: %s. Trying on.", action, detail, extra=facts)

    def worked(self, action: str) -> None:
        """Note that it works, or works again."""
        if self._failing and action in self._failing:
            self._failing.discard(action)
            self._logger.info("Can %s again.", action, extra=about())


class RepeatedLog:
    """Warns of what may come often, a few times a minute for each kind.

    Who can send nonsense can send much of it, and is not to fill the disk.

    Args:
        logger: The logger that is told.
        clock: Gives the present time in seconds.
    """

    def __init__(self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._clock = clock
        self._since = clock()
        self._lines: Counter[str] = Counter()

    def warning(
        self,
        kind: str,
        message: str,
        *args: object,
        extra: Mapping[str, str | None],
        exc: BaseException | None = None,
    ) -> None:
        """Warn, unless there were enough warnings of this kind.

        Args:
            kind: What it is counted as, from a closed list.
            message: The text, with placeholders.
            *args: What stands in their places.
            extra: Whom it is about, as logs.about() says it.
            exc: The exception to show the traceback of.
        """
        self._begin_anew()
        self._lines[kind] += 1
        if self._lines[kind] <= MOST_LINES:
            self._logger.warning(message, *args, extra=extra, exc_info=exc)

    def _begin_anew(self) -> None:
        now = self._clock()
        if now < self._since + PERIOD:
            return
        for kind, count in self._lines.items():
            if count > MOST_LINES:
                text = "There were %d more warnings like the last about %s."
                self._logger.warning(text, count - MOST_LINES, kind, extra=about())
        self._since = now
        self._lines.clear()


#: Faults of the channel layer, which many find at the same time and one of them tells.
layer_faults = FaultLog(logging.getLogger(__name__))
