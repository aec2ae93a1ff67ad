"""How the memory of processes goes: sampled every second, and summed up."""

import asyncio
import statistics
import time
from collections.abc import Mapping

from .fleet import measure_memory
from .table import Row

#: By what share the medians of the first and of the last quarter may differ.
FLAT = 0.03
KILOBYTES = 1024


async def sample_memory(pids: Mapping[str, int], seconds: float) -> dict[str, list[float]]:
    """Measures processes every second.

    Args:
        pids: Their ids, by what to call them.
        seconds: For how long.

    Returns:
        The resident memory of each, in megabytes, in the order of the samples.
    """
    samples: dict[str, list[float]] = {name: [] for name in pids}
    begun_at = time.monotonic()
    for number in range(round(seconds)):
        await asyncio.sleep(max(0.0, begun_at + number - time.monotonic()))
        sizes = await asyncio.to_thread(measure_memory, pids.values())
        for name, pid in pids.items():
            samples[name].append(sizes[pid] / KILOBYTES)
    return samples


def memory_rows(name: str, samples: list[float]) -> list[Row]:
    """Says whether the memory of a process was flat.

    Args:
        name: What to call it.
        samples: Its memory in megabytes, one sample a second.
    """
    quarter = max(1, len(samples) // 4)
    minute = min(60, len(samples))
    early, late = (statistics.median(part) for part in (samples[:quarter], samples[-quarter:]))
    first, last = (statistics.median(part) for part in (samples[:minute], samples[-minute:]))
    growth = late / early - 1
    slope = 60 * statistics.linear_regression(range(len(samples)), samples).slope
    return [
        Row(
            f"memory of the {name}, MB, first and last quarter",
            f"{early:.1f}, {late:.1f} ({growth:+.1%})",
            abs(growth) < FLAT,
        ),
        Row("  first and last minute", f"{first:.1f}, {last:.1f}"),
        Row("  slope, MB a minute", f"{slope:+.2f}"),
    ]
