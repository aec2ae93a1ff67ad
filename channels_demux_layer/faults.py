"""Logs of faults that repeat: what cannot be done, and what others send that makes no sense.

What these logs remember is bounded, and so is what they write: other processes may cause faults as
often as they like, and choose what the faults look like.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping

from channels import DEFAULT_CHANNEL_LAYER

from .addresses import addresses_of
from .logs import about, printable

__all__ = ["FaultLog", "RepeatedLog", "layer_faults"]

#: So many lines of one kind are written in so many seconds; the rest is counted.
MOST_LINES = 5
PERIOD = 60.0
#: So many kinds are counted apart in one period; those beyond are counted together.
MOST_KINDS = 32
OTHER_KINDS = "other matters"
#: For so many seconds no call has failed when a fault is over whose targets are gone.
QUIET = 10.0
#: So many channels and groups are remembered for which an action failed.
MOST_TARGETS = 16


class FaultLog:
    """Logs a fault once when it begins, and once when it is over, however often it repeats.

    Faults are kept apart by what cannot be done and by the channel layer. Where a layer has several
    servers, some calls fail while others work. So a fault is over when calls have worked for all
    targets that failed, or when one works and none has failed for a while (``QUIET``).

    Args:
        logger: The logger to write to.
        clock: Returns the present time in seconds.
    """

    def __init__(self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._clock = clock
        self._failing: dict[tuple[str, str], _Fault] = {}

    def failed(
        self,
        action: str,
        reason: object,
        extra: Mapping[str, str | None] | None = None,
        *,
        alias: str = "",
        target: str = "",
    ) -> None:
        """Note that an action failed.

        Args:
            action: What could not be done, as it reads after "Cannot".
            reason: Why.
            extra: Whom it is about, as logs.about() says it.
            alias: The name of the channel layer in CHANNEL_LAYERS, where that is known.
            target: The channel or group that the action was for, where there are several.
        """
        fault = self._failing.get((action, alias))
        if fault is None:
            detail = printable(str(reason).rstrip(".")) or type(reason).__name__
            text, facts = "Cannot %s: %s. Trying on.", extra or about()
            self._logger.warning(text, _where(action, alias), detail, extra=facts)
            fault = self._failing[action, alias] = _Fault()
        fault.failed_at = self._clock()
        fault.targets.pop(target, None)
        fault.targets[target] = None
        if len(fault.targets) > MOST_TARGETS:
            del fault.targets[next(iter(fault.targets))]

    def worked(self, action: str, *, alias: str = "", target: str = "") -> None:
        """Note that an action worked.

        Args:
            action: What was done.
            alias: The name of the channel layer, as for failed().
            target: The channel or group that it was done for, as for failed().
        """
        if not self._failing:
            return
        fault = self._failing.get((action, alias))
        if fault is not None and fault.is_over_with(target, self._clock()):
            del self._failing[action, alias]
            self._logger.info("Can %s again.", _where(action, alias), extra=about())


class _Fault:
    """An action that fails on one channel layer.

    Attributes:
        targets: What it failed for last and has not worked for since, oldest first.
        failed_at: When it failed last.
    """

    __slots__ = ("failed_at", "targets")

    def __init__(self) -> None:
        self.targets: dict[str, None] = {}
        self.failed_at = 0.0

    def is_over_with(self, target: str, now: float) -> bool:
        self.targets.pop(target, None)
        # A target may be gone for good, and nobody tries it again.
        return not self.targets or now >= self.failed_at + QUIET


def _where(action: str, alias: str) -> str:
    addresses = addresses_of(alias)
    if alias in ("", DEFAULT_CHANNEL_LAYER) and not addresses:
        return action  # It ends with "the channel layer", of which there is one.
    return f"{action} {alias!r}" + (f" at {addresses}" if addresses else "")


class RepeatedLog:
    """Warns of what may come often, a few times a minute for each kind.

    Another process can send any amount of nonsense; it must not fill the disk.

    Args:
        logger: The logger to write to.
        clock: Returns the present time in seconds.
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
        level: int = logging.WARNING,
    ) -> None:
        """Warn, unless there were enough warnings of this kind.

        Args:
            kind: What it is counted as.
            message: The text, with placeholders.
            *args: What stands in their places; strings are made printable.
            extra: Whom it is about, as logs.about() says it.
            exc: The exception to show the traceback of.
            level: The level of the record.
        """
        self._begin_anew()
        if kind not in self._lines and len(self._lines) >= MOST_KINDS:
            kind = OTHER_KINDS
        self._lines[kind] += 1
        if self._lines[kind] <= MOST_LINES:
            shown = [printable(arg) if isinstance(arg, str) else arg for arg in args]
            self._logger.log(level, message, *shown, extra=extra, exc_info=exc)

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
