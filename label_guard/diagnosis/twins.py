"""Causes that leave the very same counts as a reading of class ids: what is named next to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from label_guard.core.plural import agreed, counted
from label_guard.diagnosis.cause import OtherCause
from label_guard.diagnosis.illegal import WELL_KNOWN
from label_guard.diagnosis.places import whole_files
from label_guard.diagnosis.readings import ObservedValues, Reading, ScoredReading
from label_guard.diagnosis.wording import alternative

FREQUENT = 20  # occurrences of a value before it may become legal; fewer where classes have fewer
LEAST = 6  # occurrences of a value before it may become legal, however few the others have
RARER = 30  # times rarer than the median class: too rare to become legal
_WIDEST_IDS = 6  # times the number of classes: ids with gaps beyond this may not be in the order of the classes
_WHOLE = 0.95  # share of its records that a value fills where whole records are damaged
_LONG = 16  # positions of a record from which that says something
_UNSEEN = 4  # times more gaps, or unused classes, than are estimated to be unseen by chance
_FEW_VALUES = 3  # so many values may mean "nothing", each in another way
_FEW_CLASSES = 50  # of more classes it is hardly ever the last one that a list lacks
_RARE_MINUS_ONE = 0.03  # below this share -1 may as well come from names that were not found
_LOOKUP = OtherCause("lookup-failed", "-1 marks names that were not found in a list of classes")


def twins(observed: ObservedValues, best: ScoredReading) -> list[OtherCause]:
    """What the counts that a reading explains best mean as well; empty where they mean nothing else."""
    find = _TWINS.get(best.reading.cause)
    return [] if find is None else find(observed, best)


def frequent(observed: ObservedValues, value: int, *, most: int = FREQUENT) -> bool:
    """Whether ``value`` occurs often enough (``most`` times suffice), and in enough records, to be no accident."""
    count, stats = observed.count(value), observed.stats
    usual = max(observed.usual_count, float(np.median(observed.counts)))  # few classes may be legal
    if count < min(most, max(LEAST, usual / 4)) or count * RARER < usual:
        return False
    illegal = stats.illegal_values.values.get(value)
    records = stats.class_records[value] if illegal is None else illegal.records
    length = stats.positions / max(1, stats.records)
    if illegal is not None and length >= _LONG and count > _WHOLE * records * length:
        return False  # whole records of it are damaged
    return records >= min(LEAST, max(2, stats.records // 10)) and records * RARER >= observed.usual_records


def _void(values: Sequence[int]) -> OtherCause:
    which = f"{', '.join(map(str, values))} {agreed(len(values), 'is', 'are')}"
    return OtherCause("undeclared-ignore", f"{which} apart from the other ids and may mean that there is none")


def _twins_of_more(observed: ObservedValues, best: ScoredReading) -> list[OtherCause]:
    """What more classes than are declared may be as well: a few values apart from the ids, noise, or no ids."""
    used, size = observed.values.tolist(), observed.label.num_classes
    low, high = observed.label.id_range
    for first in range(max(1, len(used) - _FEW_VALUES), len(used)):
        if used[first] - used[first - 1] > 1 and low <= used[0] and high - 1 <= used[first - 1] <= high + 1:
            moved = used[0] > low and used[first - 1] == high + 1
            text = f"ids count from {low + 1}: {low + 1}..{high + 1} for {counted(size, 'class')}"
            return [_void(used[first:]), *([OtherCause("one-based", text)] if moved and low == 0 else [])]
    if best.noise:
        return [alternative(observed, ScoredReading(declared(observed), observed.illegal))]
    if observed.stats.illegal_values.distinct > 4 * size:
        return [OtherCause("not-ids", "numbers that are not class ids, such as grey levels or counts")]
    return []


def _fills(observed: ObservedValues, value: int) -> bool:
    others = observed.counts[observed.values != value]
    return observed.count(value) >= 2 * int(others.max(initial=0))


def declared(observed: ObservedValues) -> Reading:
    """The reading that all illegal values are strays."""
    return Reading("stray", *observed.label.id_range, 1.0)


def _least_inside(observed: ObservedValues, reading: Reading) -> float:
    """The fewest positions that a class between the ends has, as far as chance goes: ``low`` has lost none above it."""
    inside = observed.inside(reading.low + 1, reading.high - 1)
    least = float(inside.min()) if inside.size == reading.high - reading.low - 1 else 0.0
    return least - 3 * math.sqrt(least)


def _twins_of_void(observed: ObservedValues, best: ScoredReading) -> list[OtherCause]:
    """What an undeclared void value may be as well: a failed lookup, class 0 less one, or one of two classes."""
    reading = best.reading
    odd = next((value for value in reading.voids if value not in WELL_KNOWN), None)
    if odd is not None:
        more = OtherCause("other-classes", f"{odd} is one of more classes, of which some never occur")
        failed = OtherCause("lookup-failed", f"{odd} marks what was not found in a list of classes")
        absent = [value for value in observed.label.raw_ids if not observed.count(value)]
        stored = (
            OtherCause("ids-with-gaps", f"{odd} is how class {absent[0]}, never used, is stored") if absent else None
        )
        if len(absent) == 1 and stored is not None:
            return [stored, more if odd > reading.high else failed]
        return [more if odd > reading.high else failed, OtherCause("stray", f"{odd} is corrupt wherever it occurs")]
    for bits in (8, 16):
        if 2**bits - 1 in reading.voids and f"uint{bits}" in observed.stats.dtypes and not observed.count(reading.high):
            text = f"ids less one in uint{bits}, where {2**bits - 1} is class 0; the last class is never used"
            return [OtherCause("minus-one-shift", text)]
    if reading.voids == (255,) and observed.label.rank > 1 and _apart(observed, reading.high, 255) and reading.high > 1:
        text = "ids less one in uint8 in some records, where 255 is class 0: the last class need not occur in them"
        return [OtherCause("minus-one-shift", text)]
    binary = _twin_of_two_classes(observed, reading)
    if binary is not None:
        return [binary]
    absent = [value for value in observed.label.raw_ids if not observed.count(value)]
    if len(absent) > _UNSEEN * _chao(observed.stats.class_counts.arrays()[1].tolist()) and reading.voids != (-100,):
        text = (
            f"{reading.voids[0]} marks what was not found in a list of classes, such as class {absent[0]}, never used"
        )
        return [OtherCause("lookup-failed", text)]
    if -1 in reading.voids and observed.label.rank < 2:
        ragged = any(n is None for n in observed.label.record_shape)
        if (ragged or observed.label.rank == 0) and observed.count(-1) < _RARE_MINUS_ONE * observed.total:
            return [_LOOKUP]
    return []


def _twin_of_two_classes(observed: ObservedValues, reading: Reading) -> OtherCause | None:
    """The same counts from two conventions for two classes: 0 and 1 with 0 and 255, or with -1 and 1."""
    if tuple(observed.label.raw_ids) != (0, 1):
        return None
    if reading.voids == (255,) and _apart(observed, 1, 255):
        return OtherCause("mixed-conventions", "0 and 255 in some records, 0 and 1 in others: 255 is class 1")
    if reading.voids == (-1,) and observed.label.rank == 0:
        return OtherCause("plus-minus-one", "-1 and 1 are the two classes, and 0 is not known or of other records")
    return None


def _apart(observed: ObservedValues, value: int, void: int) -> bool:
    """Whether there are records enough for ``value`` and ``void`` never to be in the same one."""
    stats = observed.stats
    return stats.class_records[value] + stats.illegal_values.values[void].records <= stats.records


def _twins_of_gaps(observed: ObservedValues, best: ScoredReading) -> list[OtherCause]:
    """What ids with gaps may be as well: numbers in another order, or classes and a value far from them."""
    reading = best.reading
    ids = list(reading.ids or (0,))
    steps = [after - before for before, after in pairwise(ids)]
    if len(set(steps)) == 1 and ids[0] in (0, steps[0]):
        return []
    new = [value for value in ids if value in observed.illegal]
    size, counts = observed.label.num_classes, [observed.count(value) for value in ids]
    if len(new) == 1 and (new[0] > size or 3 * observed.count(new[0]) < np.median(counts)) and len(ids) > 2:
        return [OtherCause("other-classes", f"{new[0]} is one of more classes, of which some never occur")]
    if steps[-1] > ids[-2] - ids[0] + 8 and len(ids) > 2:
        return [OtherCause("undeclared-ignore", f"{ids[-1]} is far from the other ids and means that there is none")]
    if ids[-1] > _WIDEST_IDS * size + 8:
        return [OtherCause("not-ids", "numbers in another order than the classes, such as grey levels or hashes")]
    if not _all_seen(observed, reading):
        return [OtherCause("other-classes", "more classes than are declared, of which some never occur by chance")]
    return []


def _all_seen(observed: ObservedValues, reading: Reading) -> bool:
    """Whether the gaps are more than chance leaves unseen."""
    counts = [observed.count(value) for value in reading.ids or ()]
    unseen = max(min(counts.count(1), 1), _chao(counts))
    return _UNSEEN * unseen < reading.high + 1 - len(counts)


def _chao(counts: Sequence[int]) -> float:
    """How many classes chance leaves unseen, at least.

    Chao, Nonparametric estimation of the number of classes, 1984: unseen classes by how many occur once and twice.
    """
    once, twice = counts.count(1), counts.count(2)
    return once * (once - 1) / (2 * (twice + 1))


def _twins_of_one_more(observed: ObservedValues, best: ScoredReading) -> list[OtherCause]:
    """What an id next to the classes may be as well: files of another kind, or what fills places."""
    reading = best.reading
    if whole_files(observed.stats.illegal_values):
        text = (
            f"every {reading.high} is in a file that holds only {reading.high}: these files are of another kind, or "
            "are corrupt"
        )
        return [OtherCause("mixed-files", text)]
    if observed.label.rank == 0 and _fills(observed, reading.high):
        text = f"{reading.high} is far more frequent than every class, as what fills places that hold nothing"
        return [OtherCause("undeclared-ignore", text)]
    return []


def _twins_of_mixed(observed: ObservedValues, best: ScoredReading) -> list[OtherCause]:
    """A rare class more, where the first id has lost nothing."""
    reading = best.reading
    if observed.count(reading.low) < _least_inside(observed, reading):
        return []
    extra = Reading("one-class-too-few", reading.low, reading.high, 1.0)
    return [alternative(observed, ScoredReading(extra, {}))]


def _twins_of_less_one(observed: ObservedValues, best: ScoredReading) -> list[OtherCause]:
    """The last class was not found."""
    if best.reading.low != -1 or observed.label.num_classes > _FEW_CLASSES:
        return []
    text = f"-1 marks what was not found in a list of classes, such as class {best.reading.high + 1}, never used"
    return [OtherCause("lookup-failed", text)]


def _twins_of_strays(observed: ObservedValues, best: ScoredReading) -> list[OtherCause]:
    """Names that were not found, or a few frequent values that mean "nothing"."""
    if observed.far:
        return []
    if best.noise.keys() == {-1}:
        return [_LOOKUP]
    few = 0 < len(best.noise) <= _FEW_VALUES and all(frequent(observed, value) for value in best.noise)
    return [_void(list(best.noise))] if few else []


_TWINS: Mapping[str, Callable[[ObservedValues, ScoredReading], list[OtherCause]]] = {
    "ids-with-gaps": _twins_of_gaps,
    "one-class-too-few": _twins_of_one_more,
    "other-classes": _twins_of_more,
    "mixed": _twins_of_mixed,
    "minus-one-shift": _twins_of_less_one,
    "stray": _twins_of_strays,
    "undeclared-ignore": _twins_of_void,
}
