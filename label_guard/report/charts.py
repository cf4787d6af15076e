"""Drawings of class counts for the HTML report, bounded in size for any number of classes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from label_guard.audit.blocks import Blocks
from label_guard.audit.dataset_rules import total_variation

MAX_BARS = 240  # bars of one chart; above this number of classes a bar is a group of neighbours
MAX_CELLS = 240  # cells of a strip of files
_TICKS = 10  # at most, under a chart: ids of six digits do not touch on a page of 960 pixels
WIDTH, HEIGHT = 960, 180  # the units of a drawing; the page stretches it


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: ``text`` is what a pointer or a screen reader gets."""

    x: float
    width: float
    height: float
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """One drawing of a distribution.

    Attributes:
        order: ``id`` or ``count``: how the classes are sorted from left to right.
        scale: ``linear`` or ``log``.
        bars: at most ``MAX_BARS``.
        ticks: left edge in percent and text of what is written under the chart.
        levels: what is written at the left: the top, the middle and the foot of the chart.
    """

    order: str
    scale: str
    bars: Sequence[Bar]
    ticks: Sequence[tuple[float, str]]
    levels: Sequence[str]


@dataclass(frozen=True, slots=True)
class Line:
    """The distribution of one split in a chart that compares splits: an SVG path and its name."""

    name: str
    path: str
    records: int
    distance: float | None


def class_charts(ids: Sequence[int], names: Sequence[str], counts: Mapping[int, int]) -> list[Chart]:
    """Draws the counts of classes, by id and by count, linear and logarithmic.

    Args:
        ids: stored class ids, in order; at least one.
        names: class names in the same order, or empty.
        counts: occurrences by stored class id; classes that never occur may be absent.

    Returns:
        Four charts, each with at most ``MAX_BARS`` bars; none where nothing was counted.
    """
    if not any(counts.values()):
        return []
    by_id = [counts.get(raw, 0) for raw in ids]
    ranked = sorted(by_id, reverse=True)
    places = range(0, len(ids), max(1, round(tick_step(len(ids), _TICKS))))
    charts: list[Chart] = []
    for order, values in (("id", by_id), ("count", ranked)):
        groups = list(_groups(values))
        texts = [_text(order, ids, names, start, stop, total) for start, stop, total in groups]
        ticks = [(100 * at / len(ids), f"{ids[at]}" if order == "id" else f"{at + 1}") for at in places]
        heights = [total / (stop - start) for start, stop, total in groups]
        charts += [
            Chart(order, scale, list(_bars(heights, texts, scale)), ticks, levels(max(heights), scale))
            for scale in ("linear", "log")
        ]
    return charts


def comparison(
    ids: Sequence[int], splits: Sequence[tuple[str, Mapping[int, int], int]], *, log: bool = False
) -> list[Line]:
    """Draws the class shares of several splits over each other.

    Args:
        ids: stored class ids, in order.
        splits: name, occurrences by stored class id, and records of each split; something was counted in each.
        log: draw shares on a logarithmic scale from half of the least one.

    Returns:
        One line for each split; ``distance`` is the total variation distance from the first split, in ``[0, 1]``.
    """
    shares = [
        [total / sum(counts.values()) for _, _, total in _groups([counts.get(raw, 0) for raw in ids])]
        for _, counts, _ in splits
    ]
    positive = [share for share in itertools.chain.from_iterable(shares) if share]
    top, floor = max(positive), min(positive) / 2

    def height(share: float) -> float:
        return (math.log(share / floor) / math.log(top / floor) if share else 0.0) if log else share / top

    return [
        Line(
            name,
            _steps([height(share) for share in shares[at]]),
            records,
            total_variation(splits[0][1], counts) if at else None,
        )
        for at, (name, counts, records) in enumerate(splits)
    ]


def strip(shares: Sequence[float]) -> list[Bar]:
    """Draws the share of invalid records file by file, as cells from left to right; ``height`` is the opacity.

    Args:
        shares: share of invalid records of each file, in order, in ``[0, 1]``.
    """
    size = -(-len(shares) // MAX_CELLS) or 1
    cells = [max(shares[at : at + size]) for at in range(0, len(shares), size)]
    step = WIDTH / max(1, len(cells))
    return [Bar(round(at * step, 2), round(step, 2), round(share and 0.2 + 0.8 * share, 3), f"{share:.2%}")
            for at, share in enumerate(cells)]  # fmt: skip


def block_strip(blocks: Blocks, records: int) -> list[Bar]:
    """Draws where in a file its invalid records are, from its first record to its last; ``height`` is the opacity.

    Args:
        blocks: invalid records by block.
        records: records of the file.
    """
    cells: list[Bar] = []
    for block, count in blocks.counts.items():
        start = block * blocks.size
        size = max(1, min(blocks.size, records - start))
        x, width = start * WIDTH / records, max(size * WIDTH / records, WIDTH / MAX_CELLS)
        where = f"records {start:,} to {start + size - 1:,}" if size > 1 else f"record {start:,}"
        cells.append(
            Bar(
                round(min(x, WIDTH - width), 2),
                round(width, 2),
                round(0.2 + 0.8 * min(1.0, count / size), 3),
                f"{where}: {count:,} invalid",
            )
        )
    return cells


def ranges(ids: Iterable[int], most: int) -> list[str]:
    """Ids as ranges, the first ``most`` of them.

    >>> ranges([1, 2, 3, 7, 9, 10], 2)
    ['1..3', '7', '...']
    """
    found: list[str] = []
    for _, run in itertools.groupby(enumerate(ids), key=lambda pair: pair[1] - pair[0]):
        if len(found) == most:
            return [*found, "..."]
        members = [raw for _, raw in run]
        found.append(f"{members[0]}..{members[-1]}" if len(members) > 1 else str(members[0]))
    return found


def _groups(values: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Start, stop and sum of neighbouring values, in at most ``MAX_BARS`` groups of one size."""
    size = -(-len(values) // MAX_BARS)
    for start in range(0, len(values), size):
        stop = min(start + size, len(values))
        yield start, stop, sum(values[start:stop])


def _bars(heights: Sequence[float], texts: Sequence[str], scale: str) -> Iterator[Bar]:
    top, step = max(heights), WIDTH / len(heights)
    for at, (height, text) in enumerate(zip(heights, texts, strict=True)):
        if height:
            part = math.log1p(height) / math.log1p(top) if scale == "log" else height / top
            # A class that occurs stays visible next to one that occurs a million times as often.
            width = round(step * (0.85 if step > 6 else 1), 2)
            yield Bar(round(at * step, 2), width, round(max(1.5, HEIGHT * part), 1), text)


def _text(order: str, ids: Sequence[int], names: Sequence[str], start: int, stop: int, total: int) -> str:
    if order == "count":
        ranks = f"rank {start + 1}" if stop - start == 1 else f"ranks {start + 1} to {stop}"
        return f"{ranks}: {total:,}" if stop - start == 1 else f"{ranks}: {total / (stop - start):,.1f} each"
    if stop - start == 1:
        return f"{ids[start]}{' ' + names[start] if names else ''}: {total:,}"
    return f"{ids[start]} to {ids[stop - 1]}: {total:,} in all"


def levels(top: float, scale: str) -> list[str]:
    """Texts of the top, the middle and the foot of a chart.

    >>> levels(12000, "linear"), levels(12000, "log")
    (['12,000', '6,000', '0'], ['12,000', '109', '0'])
    """
    middle = math.expm1(math.log1p(top) / 2) if scale == "log" else top / 2
    return [f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:,.1f}" for value in (top, middle, 0)]


def tick_step(extent: float, most: int) -> float:
    """Returns the least of 1, 2 or 5 times a power of ten that cuts ``extent`` into at most ``most`` parts.

    >>> [tick_step(classes, 10) for classes in (10, 20, 21, 100, 1000)], tick_step(1, 4)
    ([1.0, 2.0, 5.0, 10.0, 100.0], 0.5)
    """
    power = 10.0 ** math.floor(math.log10(extent / most))
    return next(factor * power for factor in (1, 2, 5, 10) if extent / (factor * power) <= most)


def _steps(shares: Sequence[float]) -> str:
    step = WIDTH / len(shares)
    corners = (f"L{at * step:.1f} {HEIGHT - HEIGHT * share:.1f}h{step:.1f}" for at, share in enumerate(shares))
    return f"M0 {HEIGHT}{''.join(corners)}"
