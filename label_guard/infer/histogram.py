"""How often each class, name or range of values occurs, as bars for a terminal."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from label_guard.core.escape import within_line
from label_guard.core.plural import counted
from label_guard.core.similar import shortened
from label_guard.core.strict_json import EXACT
from label_guard.infer.profile import ColumnProfile, number

_WIDTH = 30  # of the longest bar
_MAX_BARS = 20  # classes that are all shown
_MOST, _LEAST = 6, 3  # classes shown at either end, where there are more
_BINS = 10
_MAX_NAME = 32


@dataclass(frozen=True, slots=True)
class Bar:
    """One row: what it counts, how often that occurs, and whether it lies outside the classes."""

    name: str
    count: int
    outside: bool = False


def bars(profile: ColumnProfile, fields: Mapping[str, Any]) -> list[Bar]:
    """The bars of a column: of its classes, of its names, or of ranges of its values.

    Args:
        profile: what the column holds.
        fields: the label that declares it; empty where none does.
    """
    kind = fields.get("kind")
    if kind in ("multi_label", "soft_label") and profile.rows.totals is not None:
        names = fields.get("class_names") or range(len(profile.rows.totals))
        return [Bar(_short(str(name)), round(count)) for name, count in zip(names, profile.rows.totals, strict=False)]
    if profile.texts and profile.dtypes:  # numbers, and texts among them
        strays = [Bar(_short(repr(text)), count, bool(fields)) for text, count in profile.texts.most_common(_LEAST)]
        return [*bars(replace(profile, texts=Counter()), fields), *strays]
    if profile.texts:
        known = set(fields.get("class_names", profile.texts))
        counts = dict.fromkeys(fields.get("class_names", ()), 0) | dict(profile.texts)
        if not fields and max(counts.values()) == 1:  # identifiers
            return []
        ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        return [Bar(_short(repr(text) if text not in known else text), n, text not in known) for text, n in ranked]
    if kind == "class_label" and not profile.many and not profile.fractions:
        return _of_ids(profile.counts, fields)
    return _of_ranges(profile)


def _of_ids(counts: Mapping[int, int], fields: Mapping[str, Any]) -> list[Bar]:
    ids: Any = fields.get("class_ids")
    size = fields["num_classes"]
    if isinstance(ids, Mapping):
        first = cast("Mapping[str, int]", ids)["start"]
        ids = range(first, first + size)
    ids = range(size) if ids is None else ids
    names = dict(zip(ids, fields.get("class_names") or (), strict=False))
    ids = ids if isinstance(ids, range) else frozenset(ids)
    sentinels = {*fields.get("ignore", ()), fields.get("unlabeled")}
    shown = sorted({*counts, *(ids if size <= _MAX_BARS else ())})
    titles = {value: f"{value} {names[value]}" if value in names else str(value) for value in shown}
    legal = {value for value in shown if value in ids or value in sentinels}
    return [Bar(_short(titles[value]), counts.get(value, 0), value not in legal) for value in shown]


def _of_ranges(profile: ColumnProfile) -> list[Bar]:
    """Ten ranges between the least and the greatest value."""
    values = np.array([*profile.counts, *profile.sample], np.float64)
    weights = np.array([*profile.counts.values(), *[1] * len(profile.sample)], np.int64)
    if not values.size:
        return []
    low, high = float(values.min()), float(values.max())
    whole = not profile.sample and high - low < EXACT
    if whole:
        step = max(1, math.ceil((high - low + 1) / _BINS))
        edges = np.arange(low, high + step + 1, step)
    else:
        scale = 1.0 if math.isfinite(high - low) else 2.0
        edges = scale * np.linspace(low / scale, high / scale, _BINS + 1)
    counts, edges = np.histogram(values, edges, weights=weights)
    found = [
        Bar(_range(a, min(b - 1, high) if whole else b), int(count))
        for a, b, count in zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True)
    ]
    while found and not found[-1].count:
        found.pop()
    return found


def _range(low: float, high: float) -> str:
    return number(low) if low == high else f"{number(low)} to {number(high)}"


def drawn(rows: Sequence[Bar]) -> Iterator[str]:
    """Yields the lines of a histogram; of many classes only the most and least frequent, and what is not a class."""
    kept = rows
    if len(rows) > _MAX_BARS:
        inside = sorted((bar for bar in rows if not bar.outside), key=lambda bar: -bar.count)
        kept = [*inside[:_MOST], *inside[-_LEAST:], *[bar for bar in rows if bar.outside][:_MOST]]
    width = max((len(bar.name) for bar in kept), default=0)
    most = max((bar.count for bar in kept), default=0) or 1
    total = sum(bar.count for bar in rows) or 1
    for place, bar in enumerate(kept):
        if len(rows) > _MAX_BARS and place == _MOST:
            yield f"... and {counted(len(rows) - len(kept), 'more value')}"
        mark = " <- not a class" if bar.outside else ""
        stars = "#" * math.ceil(_WIDTH * bar.count / most)
        line = f"{bar.name:<{width}}  {bar.count:>{len(f'{most:,}')},}  {100 * bar.count / total:5.1f}%  {stars}{mark}"
        yield line.rstrip()


def _short(text: str) -> str:
    return shortened(within_line(text), _MAX_NAME)
