"""What is asked of a run."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.acceptance.harness.layers import KINDS, Kind


@dataclass(frozen=True)
class Options:
    """How much is measured.

    Attributes:
        rounds: Rounds, in each of which all cases of a benchmark take turns.
        layers: Channel layers.
        seconds: Length of one measurement.
        frames: Frames of one measurement, instead of a length; None: the length counts.
        scale: What numbers of connections are multiplied by.
    """

    rounds: int = 5
    layers: Sequence[Kind] = KINDS
    seconds: float = 4.0
    frames: int | None = None
    scale: float = 1.0

    def connections(self, number: int) -> int:
        """Scales a number of connections.

        Args:
            number: As many as a run at full size has.

        Returns:
            As many as this run has, at least one.
        """
        return max(1, round(number * self.scale))

    def amount(self, part: float = 1.0) -> dict[str, float]:
        """Says how long the load generator echoes.

        Args:
            part: The share of the whole, for a warm-up.

        Returns:
            Arguments of its command `echo`.
        """
        if self.frames is not None:
            return {"frames": max(1, round(self.frames * part))}
        return {"seconds": self.seconds * part}
