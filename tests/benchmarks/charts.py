"""Charts as SVG: bars of stacked parts, in colours that can be read on light and on dark."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH, LABELS, VALUES = 760, 300, 70
ROW, BAR, TOP = 24, 15, 60

COLOURS = ("#3f88d2", "#d9822b", "#9467bd")
INK = "#7f7f7f"


class Bar(NamedTuple):
    """One bar.

    Attributes:
        label: What stands before it.
        parts: Lengths of its parts, one for each word of the legend.
    """

    label: str
    parts: Sequence[float]


def draw(title: str, legend: Sequence[str], bars: Sequence[Bar]) -> str:
    """Draws a chart.

    Args:
        title: What stands above.
        legend: What the parts are called.
        bars: The bars, from above.

    Returns:
        The SVG document.
    """
    longest = max((sum(bar.parts) for bar in bars), default=0) or 1.0
    scale = (WIDTH - LABELS - VALUES) / longest
    height = TOP + ROW * len(bars) + 8
    body = [_text(8, 20, title, size=15), *_legend(legend)]
    for place, bar in enumerate(bars):
        body += _bar(bar, TOP + ROW * place, scale)
    lines = "\n".join(f"  {line}" for line in body)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" font-family="sans-serif" role="img">\n'
        f"  <title>{escape(title)}</title>\n{lines}\n</svg>\n"
    )


def _legend(words: Sequence[str]) -> list[str]:
    if len(words) < 2:
        return []
    lines = []
    for place, (word, colour) in enumerate(zip(words, COLOURS, strict=False)):
        left = LABELS + 90 * place
        lines.append(_rect(left, 34, 11, 11, colour))
        lines.append(_text(left + 17, 44, word))
    return lines


def _bar(bar: Bar, top: int, scale: float) -> list[str]:
    lines = [_text(LABELS - 8, top + 12, bar.label, anchor="end")]
    left = float(LABELS)
    for part, colour in zip(bar.parts, COLOURS, strict=False):
        if part > 0:
            lines.append(_rect(left, top, part * scale, BAR, colour))
            left += part * scale
    total = sum(bar.parts)
    lines.append(_text(left + 6, top + 12, f"{total:,.0f}" if total >= 100 else f"{total:.3g}"))
    return lines


def _rect(left: float, top: float, width: float, height: float, colour: str) -> str:
    return (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" '
        f'fill="{colour}"/>'
    )


def _text(left: float, base: float, words: str, size: int = 12, anchor: str = "start") -> str:
    return (
        f'<text x="{left:.1f}" y="{base:.1f}" font-size="{size}" fill="{INK}" '
        f'text-anchor="{anchor}">{escape(words)}</text>'
    )
