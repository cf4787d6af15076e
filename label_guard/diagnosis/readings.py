"""Readings of class ids that are integers but not all legal: which values are classes, which mean "no label".

Each reading is a model of the counts: a set of class ids, some void values, and noise. Their evidence decides which one
is reported, and whether it is reported alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, combinations, pairwise

import numpy as np

from label_guard.core.types import Array
from label_guard.diagnosis.class_counts import ClassCounts
from label_guard.diagnosis.evidence import log_classes, log_noise
from label_guard.diagnosis.illegal import WELL_KNOWN
from label_guard.diagnosis.statistics import LabelStatistics
from label_guard.schema.labels import ClassLabel

_VOIDS = {255: 0.3, -1: 0.3, -100: 0.3}  # how likely it is that each is used without being declared
_RARE_VOID = 0.01
_ODD_VOID = 0.003  # a number that is not well known for it
_MOST_VOIDS = 3
_MANY_VALUES = 20_000  # with more distinct values, fewer combinations of void values are tried
WIDEST = 8  # classes of another set are looked for up to so many times the declared number
FAR = 2**62
_MOVED_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_SURE = 5.0  # standard deviations of one of many counts


class ObservedValues:
    """The integers that one label holds.

    Args:
        label: the label as declared.
        found: its statistics.
        run: records of the pipeline's run that the places of illegal values are in; 0: they are in files.

    Attributes:
        values: int64[n], ascending: distinct values but for declared sentinels.
        counts: int64[n], positions of each.
        far: positions of values that are not listed, all illegal.
        total: all positions.
        illegal: positions by illegal value.
        usual_count: positions of the median legal class; 0 where there is none.
        usual_records: records that hold the median legal class.
    """

    def __init__(self, label: ClassLabel, stats: LabelStatistics, run: int = 0) -> None:
        self.label, self.stats, self.run = label, stats, run
        self.illegal = {int(v): n for v, n in stats.illegal.items() if abs(v) < FAR}
        self.far = stats.illegal_overflow + sum(n for v, n in stats.illegal.items() if abs(v) >= FAR)
        both = {**stats.class_counts, **self.illegal}
        self.values: Array = np.array(sorted(both), np.int64)
        self.counts: Array = np.array([both[value] for value in self.values.tolist()], np.int64)
        self.total = int(self.counts.sum()) + self.far
        self.usual_count = _median(stats.class_counts)
        self.usual_records = _median(stats.class_records)

    def count(self, value: int) -> int:
        """Positions that hold ``value``."""
        place = int(np.searchsorted(self.values, value))
        return int(self.counts[place]) if place < len(self.values) and self.values[place] == value else 0

    def inside(self, low: int, high: int) -> Array:
        """Counts of the values from ``low`` to ``high``."""
        return self.counts[np.searchsorted(self.values, low) : np.searchsorted(self.values, high, "right")]


def _median(counts: ClassCounts) -> float:
    return float(np.median(counts.arrays()[1])) if counts else 0.0


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read the counts.

    Attributes:
        cause: short name of the cause that it means.
        low: smallest class id.
        high: greatest class id.
        prior: how likely it is before the counts are seen.
        ids: the class ids where they have gaps, else None.
        voids: values that mean "no label".
        mixed: whether ``low`` and ``high`` are the two ends of one class that moves by one.
    """

    cause: str
    low: int
    high: int
    prior: float
    ids: tuple[int, ...] | None = None
    voids: tuple[int, ...] = ()
    mixed: bool = False

    def holds(self, value: int) -> bool:
        """Whether ``value`` is a class."""
        return self.low <= value <= self.high if self.ids is None else value in self.ids


@dataclass(frozen=True, slots=True)
class ScoredReading:
    """A reading with what it leaves over and how probable it is.

    Attributes:
        reading: the reading.
        noise: positions by value that it takes for noise.
        probability: posterior probability among all readings.
    """

    reading: Reading
    noise: dict[int, int]
    probability: float = 0.0


def score(observed: ObservedValues) -> list[tuple[ScoredReading, float]]:
    """The best reading of each cause with the probability of the cause, most probable first."""
    candidates = list(_with_voids(observed))
    scored = [_evidence(observed, reading) for reading in candidates]
    values = np.array([value for _, value in scored])
    shares = np.exp(values - np.logaddexp.reduce(values)).tolist()
    best: dict[str, ScoredReading] = {}
    causes: dict[str, float] = {}
    for share, reading, (noise, _) in sorted(zip(shares, candidates, scored, strict=True), key=lambda one: -one[0]):
        best.setdefault(reading.cause, ScoredReading(reading, noise, share))
        causes[reading.cause] = causes.get(reading.cause, 0.0) + share
    return sorted(((best[cause], share) for cause, share in causes.items()), key=lambda pair: -pair[1])


def _evidence(observed: ObservedValues, reading: Reading) -> tuple[dict[int, int], float]:
    """The noise that a reading leaves, and its log posterior weight."""
    if reading.ids is None:
        classes, size = observed.inside(reading.low, reading.high), reading.high - reading.low + 1
        outside = np.flatnonzero((observed.values < reading.low) | (observed.values > reading.high))
    else:
        near = [value for value in reading.ids if abs(value) < FAR]
        member = np.isin(observed.values, np.array(near, np.int64))
        classes, size, outside = observed.counts[member], len(reading.ids), np.flatnonzero(~member)
    rest = dict(zip(observed.values[outside].tolist(), observed.counts[outside].tolist(), strict=True))
    voids = [rest.pop(value) for value in reading.voids]
    split = 0.0
    if reading.mixed:
        ends = observed.count(reading.low), observed.count(reading.high)
        classes = np.append(observed.inside(reading.low + 1, reading.high - 1), sum(ends))
        size -= 1
        split = math.lgamma(ends[0] + 1) + math.lgamma(ends[1] + 1) - math.lgamma(sum(ends) + 2)
    classes = np.append(classes, np.array(voids, np.int64)) if voids else classes
    value = math.log(reading.prior) + log_classes(classes, size + len(voids)) + split
    return rest, value + log_noise(rest, observed.far, observed.total, reading.low, reading.high)


# Candidates ----------------------------------------------------------------------------------------------------------


def _with_voids(observed: ObservedValues) -> Iterator[Reading]:
    """Every set of classes, with every choice of void values outside it."""
    most = 1 if len(observed.values) > _MANY_VALUES else _MOST_VOIDS
    usual = float(np.median(observed.counts)) if len(observed.counts) else 0.0  # an edited report may count no class
    known = [v for v in WELL_KNOWN if v in observed.illegal and observed.illegal[v] >= min(5.0, usual / 4)]
    known = sorted(known, key=lambda v: -observed.illegal[v])[:most] + _lone_values(observed, usual)
    for reading in _class_sets(observed):
        if reading.cause != "stray" and not any(map(reading.holds, observed.illegal)):
            continue  # it explains nothing
        free = [value for value in known if not reading.holds(value) and value not in reading.voids]
        for chosen in chain.from_iterable(combinations(free, n) for n in range(len(free) + 1)):
            prior = reading.prior * math.prod(_prior_of_void(value) for value in chosen)
            cause = "undeclared-ignore" if reading.cause == "stray" and chosen else reading.cause
            yield replace(reading, cause=cause, prior=prior, voids=(*reading.voids, *chosen))


def _prior_of_void(value: int) -> float:
    return _VOIDS.get(value, _RARE_VOID if value in WELL_KNOWN else _ODD_VOID)


def _lone_values(observed: ObservedValues, usual: float) -> list[int]:
    """The one illegal value that is not well known and is as frequent as a class, apart from the declared ids."""
    low, high = observed.label.id_range
    new = [v for v in observed.illegal if v not in WELL_KNOWN]
    return [v for v in new if len(new) == 1 and not low - 1 <= v <= high + 1 and observed.illegal[v] * 30 >= usual]


def _class_sets(observed: ObservedValues) -> Iterator[Reading]:
    label = observed.label
    ids, size = label.raw_ids, label.num_classes
    low, high = label.id_range
    gapped = None if isinstance(ids, range) or high - low + 1 == size else tuple(ids)
    yield Reading("stray", low, high, 1.0, gapped)
    if gapped is None:
        yield from _moved(observed, low, high)
        prior = 0.3 if observed.count(low) else _prior_of_unused_first(observed)
        yield Reading("one-class-too-few", low, high + 1, prior)
        ends = observed.count(low), observed.count(high + 1)
        if min(ends) > 0.1 * sum(ends) and _may_be_mixed(observed, low, high + 1):  # few classes show it less clearly
            yield Reading("mixed", low, high + 1, max(0.004, 0.03 / size), mixed=True)
    else:
        yield Reading("zero-based", 0, size - 1, 0.2)
    yield from _wider(observed, low, high)
    yield from _gaps(observed)


def _moved(observed: ObservedValues, low: int, high: int) -> Iterator[Reading]:
    """As many classes from another start."""
    size = high - low + 1
    known = set(WELL_KNOWN) - {-1, -2}
    plain = [v for v in observed.values[:8].tolist() if v not in known]
    others = observed.counts[observed.values != -1]
    fills = observed.count(-1) >= 3 * int(others.max(initial=0))  # as "no label" does, not class 0
    down = 0.003 if fills else 0.025 if observed.count(high) else 0.25
    priors = {1: 0.4, 0: 0.4, -1: down}
    for start in sorted({low - 1, low + 1, 0, 1, *plain[:2]} - {low}):
        cause = {1: "one-based", 0: "zero-based"}.get(start, "minus-one-shift" if start == low - 1 else "offset")
        yield Reading(cause, start, start + size - 1, priors.get(start, 0.01))
    if low == 0 and observed.count(0):
        yield Reading("one-based", 1, size, _prior_of_void_zero(observed), voids=(0,))
    if size == 2 and observed.count(-1) and observed.count(1):
        yield Reading("plus-minus-one", -1, 1, 0.2, (-1, 1))


def _prior_of_unused_first(observed: ObservedValues) -> float:
    """How likely one class too few is where the first id is never used.

    Where n ids are used, chance leaves another one unused with a probability of the order of 1 / n. An id 0 that is
    never used is usual where a frequent token was added.
    """
    size = observed.label.num_classes
    if observed.count(observed.label.id_range[1] + 1) == observed.counts.max(initial=0):
        return 0.1
    unused = max(1, size + 1 - len(observed.counts))
    return min(0.1, 5.0 * unused / size)


def _prior_of_void_zero(observed: ObservedValues) -> float:
    """How likely 0 is "nothing" where the other ids count from 1: often in masks, in lists where it fills them."""
    if observed.label.rank > 1:
        return 0.3
    others = observed.counts[observed.values != 0]
    fills = observed.count(0) >= 2.5 * int(others.max(initial=0))
    if observed.label.rank == 1:
        return 0.1 if fills else 0.003
    least = int(observed.inside(1, observed.label.num_classes).min(initial=observed.total))
    return 0.02 if fills or 1.5 * observed.count(0) < least else 0.002


def _may_be_mixed(observed: ObservedValues, low: int, high: int) -> bool:
    """Whether the counts may be those of ids of which some moved up by one.

    Where a share f moved, count k holds 1 - f of class k and f of class k - 1, and both reappear in the counts next to
    it: none exceeds (1 - f) / f times the next and f / (1 - f) times the one before.
    """
    counts = np.zeros(high - low + 3)
    inside = (observed.values >= low) & (observed.values <= high)
    counts[observed.values[inside] - low + 1] = observed.counts[inside]
    before, here, after = counts[:-2], counts[1:-1], counts[2:]
    for moved in _MOVED_SHARES:
        ratio = (1 - moved) / moved
        excess = here - ratio * after - before / ratio
        if np.all(excess < _SURE * np.sqrt(here + ratio**2 * after + before / ratio**2 + 1)):
            return True
    return False


def _wider(observed: ObservedValues, low: int, high: int) -> Iterator[Reading]:
    """More classes than are declared, up to each of the greatest plausible ids."""
    size = high - low + 1
    above = sorted(v for v in observed.illegal if high + 1 < v <= high + WIDEST * size + 32 and v not in (255, 65535))
    if not above:
        return
    ends = {above[-1]}
    run = [v for v in [high + 1, *above] if v == high + 1 or v in observed.illegal]
    for before, after in pairwise(run):
        if after - before > max(2, size // 4):
            ends.add(before)
    for end in sorted(ends - {high + 1})[:4]:
        yield Reading("other-classes", low, end, 0.05)
        if low == 0:
            yield Reading("other-classes", 1, end, 0.02)


def _gaps(observed: ObservedValues) -> Iterator[Reading]:
    """As many distinct ids as classes, with gaps.

    Where each of them occurs several times no class is missing by chance, so none of them is a stray in its place.
    """
    if not observed.counts.size:
        return
    size = observed.label.num_classes
    frequent = observed.counts >= np.median(observed.counts) / 30
    binary = size == 2 and observed.values[frequent].tolist() == [0, 255]
    top = max((v for v in observed.values.tolist() if v not in WELL_KNOWN), default=0)
    step = int(np.gcd.reduce(observed.values))
    for chosen in (observed.values, observed.values[frequent]):
        ids = [v for v in chosen.tolist() if step > 1 or v not in WELL_KNOWN or 0 <= v < top]
        if len(ids) == size - 1 and 2 * ids[-1] > 255 and 255 in chosen:
            ids.append(255)  # the brightest of the grey levels
        new = [v for v in ids if v in observed.illegal]
        often = 2 * sum(observed.illegal[v] > 1 for v in new) > len(new)
        lone = len(new) == 1 and new[0] > 2 * size + 8 and not binary
        if len(ids) == size and new and often and not lone and ids[-1] - ids[0] + 1 > size and ids[0] >= 0:
            yield Reading("ids-with-gaps", ids[0], ids[-1], 0.5 if binary else 0.05, tuple(ids))
            return
