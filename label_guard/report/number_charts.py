"""Drawings of numbers for the HTML report: histograms, ranks of a vocabulary, and classes that occur together."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from label_guard.diagnosis.distribution import Histogram
from label_guard.report.charts import HEIGHT, WIDTH, Bar, Chart, levels, tick_step

_MOST_BARS = 60
_TAIL = 0.001  # of the numbers: without limits, what is drawn leaves out this share at either end
_RANK_BARS = 120
_MOST_TICKS = 8
_HUGE, _SMALLER = 2.0**1000, 2.0**-64
MAX_GRID = 10  # classes of a table of pairs


@dataclass(frozen=True, slots=True)
class HistogramView:
    """A histogram, as the page shows it.

    Attributes:
        caption: what is counted.
        chart: its drawing.
        outside: sentences on the numbers left and right of the drawing; empty where there are none.
    """

    caption: str
    chart: Chart
    outside: Sequence[str]


def histogram_view(
    caption: str, histogram: Histogram, low: float | None = None, high: float | None = None
) -> HistogramView | None:
    """Draws a histogram between its limits.

    Args:
        caption: what is counted.
        histogram: the numbers.
        low: left end; where None, so that few numbers are left of it.
        high: right end; likewise.

    Returns:
        The view; None where nothing was counted.
    """
    bins = list(histogram.bins())
    if not bins:
        return None
    first, last = _ends(bins)
    low = min(first, last if high is None else high) if low is None else low
    high = max(last, low) if high is None else high
    scale = _SMALLER if max(-low, high, -first, last) > _HUGE else 1.0  # sums of numbers near the greatest overflow
    bins = [(lower * scale, upper * scale, count) for lower, upper, count in bins]
    low, high = low * scale, high * scale
    step = _bar_width(bins, low, high)
    start, stop = math.floor(low / step), math.ceil(high / step)
    heights = [0] * (max(stop, start + 1) - start + 1)  # one more for the bin that begins with the right end
    below = above = 0
    for lower, upper, count in bins:
        if upper <= start * step and lower < start * step:
            below += count
        elif lower >= (start + len(heights)) * step:
            above += count
        else:
            heights[math.floor(lower / step) - start] += count
    if not heights[-1]:
        heights.pop()
    edges = [(start + at) * step for at in range(len(heights) + 1)]
    outside = [f"{count:,} {side} {_text(edge / scale)}"
               for count, side, edge in ((below, "below", edges[0]), (above, "above", edges[-1])) if count]  # fmt: skip
    return HistogramView(caption, _histogram_chart(heights, edges, scale), outside)


def rank_chart(counts: Mapping[int, int]) -> Chart:
    """Draws counts by rank, both logarithmic: for a vocabulary, near a straight line (Zipf 1949).

    Args:
        counts: occurrences by id; something was counted.
    """
    ranked = sorted((count for count in counts.values() if count), reverse=True)
    total, top = math.log(len(ranked) + 1), math.log1p(ranked[0])
    cuts = sorted({round(math.exp(total * at / _RANK_BARS)) - 1 for at in range(_RANK_BARS + 1)})
    bars = [
        Bar(
            round(WIDTH * math.log(start + 1) / total, 2),
            round(WIDTH * math.log((stop + 1) / (start + 1)) / total, 2),
            round(max(1.5, HEIGHT * math.log1p(sum(ranked[start:stop]) / (stop - start)) / top), 1),
            f"rank {start + 1}: {ranked[start]:,}" if stop - start == 1
            else f"ranks {start + 1:,} to {stop:,}: {ranked[start]:,} to {ranked[stop - 1]:,}",
        )
        for start, stop in itertools.pairwise(cuts)
    ]  # fmt: skip
    ticks = [(100 * math.log(10**power) / total, f"{10**power:,}") for power in range(int(math.log10(len(ranked))) + 1)]
    return Chart("count", "log", bars, ticks, levels(ranked[0], "log"))


def pair_grid(
    classes: Sequence[int], single: Mapping[int, int], pairs: Mapping[int, int], num_classes: int
) -> list[list[tuple[int, float]]]:
    """How often classes occur together.

    Args:
        classes: the classes of rows and columns.
        single: rows that hold each class.
        pairs: rows that hold both classes ``i < j``, under ``i * num_classes + j``.
        num_classes: number of classes of the label.

    Returns:
        For each row and column, the number of rows that hold both, and its share of those that hold the row's class;
        on the diagonal, rows that hold the class.
    """

    def both(one: int, other: int) -> int:
        low, high = min(one, other), max(one, other)
        return single.get(one, 0) if one == other else pairs.get(low * num_classes + high, 0)

    return [[(both(one, other), both(one, other) / max(1, single.get(one, 0))) for other in classes] for one in classes]


def _ends(bins: Sequence[tuple[float, float, int]]) -> tuple[float, float]:
    """Where all but a share of ``_TAIL`` of the numbers begin and end."""
    passed = list(itertools.accumulate(count for _, _, count in bins))
    low = next(at for at, count in enumerate(passed) if count > _TAIL * passed[-1])
    high = next(at for at, count in enumerate(passed) if count >= (1 - _TAIL) * passed[-1])
    return bins[low][0], bins[high][1]


def _bar_width(bins: Sequence[tuple[float, float, int]], low: float, high: float) -> float:
    """The least power of two of which at most ``_MOST_BARS`` lie between the ends, and no bin in part.

    The edges of a bin are multiples of a power of two as large as its width, so each bin is in one bar, and the count
    of a bar is exact.
    """
    drawn = [(lower, upper) for lower, upper, _ in bins if upper >= low and lower <= high]
    extent = high - low or (0.0 if drawn else max(abs(low), 1.0) / 4)
    share, power = math.frexp(max(extent / _MOST_BARS, *(upper - lower for lower, upper in drawn), 0.0))
    return math.ldexp(0.5 if share == 0.5 else 1.0, power)  # frexp: share * 2**power, 0.5 <= share < 1


def _text(edge: float) -> str:
    return f"{max(-sys.float_info.max, min(sys.float_info.max, edge)):.6g}"


def _histogram_chart(heights: Sequence[int], edges: Sequence[float], scale: float) -> Chart:
    top, step = max(*heights, 1), WIDTH / len(heights)
    bars = [
        Bar(round(at * step, 2), round(step * 0.96, 2), round(max(1.5, HEIGHT * height / top), 1),
            f"{_text(edges[at] / scale)} to {_text(edges[at + 1] / scale)}: {height:,}")
        for at, height in enumerate(heights) if height
    ]  # fmt: skip
    return Chart("value", "linear", bars, list(_value_ticks(edges, scale)), levels(top, "linear"))


def _value_ticks(edges: Sequence[float], scale: float) -> Iterator[tuple[float, str]]:
    step = tick_step(edges[-1] - edges[0], _MOST_TICKS)
    for at in range(math.ceil(edges[0] / step - 1e-9), math.floor(edges[-1] / step + 1e-9)):
        yield 100 * (at * step - edges[0]) / (edges[-1] - edges[0]), _text(at * step / scale)
