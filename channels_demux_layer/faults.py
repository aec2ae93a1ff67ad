"""Logs of faults that repeat: one line when they begin, one when they end."""

from __future__ import annotations

import logging

__all__ = ["FaultLog", "layer_faults"]


class FaultLog:
    """Tells of a repeated fault once, and once more when it is over.

    Args:
        logger: The logger that is told.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._failing: set[str] = set()

    def failed(self, action: str, reason: object) -> None:
        """Note a fault.

        Args:
            action: What could not be done, as it reads after "Cannot".
            reason: Why.
        """
        if action not in self._failing:
            self._failing.add(action)
            detail = str(reason).rstrip(".") or type(reason).__name__
            self._logger.warning("Cannot %s: %s. Trying on.", action, detail)

    def worked(self, action: str) -> None:
        """Note that it works, or works again."""
        if self._failing and action in self._failing:
            self._failing.discard(action)
            self._logger.info("Can %s again.", action)


#: Faults of the channel layer, which many find at the same time and one of them tells.
layer_faults = FaultLog(logging.getLogger(__name__))
