"""What all sockets of the load generator saw together."""

import asyncio
import time
from array import array


class Tally:
    """Counts of one run.

    Args:
        budget: Frames that may still be sent; None: as many as the time allows.
    """

    def __init__(self, budget: int | None) -> None:
        self.budget = -1 if budget is None else budget
        self.answered = 0
        self.lost = 0
        self.repeated = 0
        self.under_way = 0
        self.latencies = array("d")
        self.quiet = asyncio.Event()
        self.cpu = time.process_time()
        self.began = self.last_answer = time.perf_counter()

    def may_send(self) -> bool:
        """Counts a frame that is about to be sent.

        Returns:
            Whether it may be.
        """
        if self.budget == 0:
            return False
        self.budget -= 1
        self.under_way += 1
        return True

    def note_answer(self, sent: float, skipped: int) -> None:
        """Counts an answer.

        Args:
            sent: When its frame was sent.
            skipped: Earlier frames that it shows to be lost.
        """
        self.last_answer = now = time.perf_counter()
        self.latencies.append(now - sent)
        self.answered += 1
        self.lost += skipped
        self.under_way -= 1 + skipped
        if self.under_way == 0 and self.budget == 0:
            self.quiet.set()

    def stop(self) -> None:
        """Lets nothing more be sent."""
        self.budget = 0
        if self.under_way == 0:
            self.quiet.set()
