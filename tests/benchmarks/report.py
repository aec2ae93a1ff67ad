"""From the figures of all rounds to a table."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from tests.acceptance.harness.layers import Kind

from .measuring import Variant

#: Of a processor: a generator that uses more was the bottleneck, and the figures are too low.
SATURATED = 0.85

NAMES: dict[Variant, str] = {
    "plain": "plain consumer",
    "by-hand": "by hand",
    "demux": "channels_demux_layer",
}

Figures = dict[str, float]
Key = tuple[Kind, Variant]

HEADER = (
    "",
    "echoes/s",
    "edge",
    "worker",
    "redis",
    "commands",
    "p50",
    "p99",
    "x plain",
    "x by hand",
    "lost",
)
UNITS = ("", "", "us/frame", "us/frame", "us/frame", "/frame", "ms", "ms", "", "", "")


def medians(rounds: Sequence[Figures]) -> Figures:
    """Takes the median of each figure.

    Args:
        rounds: The figures of each round of one variant.

    Returns:
        The medians; of `lost`, `repeated` and `generator_share` the largest.
    """
    worst = ("lost", "repeated", "generator_share")
    return {
        name: (max if name in worst else median)(figures[name] for figures in rounds)
        for name in rounds[0]
    }


def ratios(results: Mapping[Key, Figures]) -> dict[Key, Figures]:
    """Compares the rates on each layer.

    Args:
        results: The medians.

    Returns:
        For each variant `plain` and `by-hand`: how many times that one's rate, where it was
        measured.
    """
    compared: dict[Key, Figures] = {}
    for layer, variant in results:
        rate = results[layer, variant]["rate"]
        bases: tuple[Variant, ...] = ("plain", "by-hand")
        compared[layer, variant] = {
            base: rate / results[layer, base]["rate"]
            for base in bases
            if results.get((layer, base), {}).get("rate")
        }
    return compared


def table(results: Mapping[Key, Figures]) -> str:
    """Writes the table.

    Args:
        results: The medians.

    Returns:
        Lines of text.
    """
    compared = ratios(results)
    lines: list[Sequence[str]] = [HEADER, UNITS]
    for layer in dict.fromkeys(layer for layer, _ in results):
        lines.append((f"{layer} layer", *[""] * (len(HEADER) - 1)))
        lines += [
            row(variant, figures, compared[at, variant])
            for (at, variant), figures in results.items()
            if at == layer
        ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip()
        for line in lines
    )


def row(variant: Variant, figures: Figures, compared: Figures) -> Sequence[str]:
    """Writes one line of the table.

    Args:
        variant: Which of the three.
        figures: Its medians.
        compared: Its ratios.

    Returns:
        The cells.
    """
    return (
        f"  {NAMES[variant]}",
        f"{figures['rate']:,.0f}",
        f"{figures['edge_cpu']:,.0f}",
        f"{figures['worker_cpu']:,.0f}" if variant != "plain" else "",
        f"{figures['redis_cpu']:,.0f}",
        f"{figures['commands']:.2f}",
        f"{figures['p50']:,.1f}",
        f"{figures['p99']:,.1f}",
        f"{compared['plain']:.2f}" if "plain" in compared else "",
        f"{compared['by-hand']:.1f}" if "by-hand" in compared else "",
        f"{figures['lost']:,.0f}",
    )


def warnings(results: Mapping[Key, Figures]) -> Iterable[str]:
    """Looks for what makes figures doubtful.

    Args:
        results: The medians.

    Yields:
        A sentence for each.
    """
    for (layer, variant), figures in results.items():
        where = f"{NAMES[variant]} on the {layer} layer"
        if figures["generator_share"] > SATURATED:
            share = figures["generator_share"]
            yield f"The load generator was busy for {share:.0%} of the time against {where}."
        if figures["lost"]:
            yield f"{figures['lost']:,.0f} frames were lost by {where}."
        if figures["repeated"]:
            yield f"{figures['repeated']:,.0f} frames came twice from {where}."
