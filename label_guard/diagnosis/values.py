"""From the readings of class ids to one likely cause, with its alternatives, and a change where it is certain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from label_guard.diagnosis.arithmetic import not_ids
from label_guard.diagnosis.cause import TO_CHANGE, LikelyCause, OtherCause, with_alternatives
from label_guard.diagnosis.illegal import WELL_KNOWN
from label_guard.diagnosis.places import LIKELY, clustered, whole_files
from label_guard.diagnosis.readings import ObservedValues, Reading, ScoredReading, score
from label_guard.diagnosis.statistics import LabelStatistics
from label_guard.diagnosis.wording import advice, alternative, name_of, named_by_number, text_of
from label_guard.schema.labels import ClassLabel
from label_guard.schema.split_spec import is_training

_PLAUSIBLE = 0.02  # a cause that reaches this probability is named with the most likely one
_CHANCE = 1e-5  # rare values may be strays although that is less probable than _PLAUSIBLE, above this
_CHANCE_MOVED = 1e-3  # the same where ids have another start: the id that is missing speaks for it as well
_CERTAIN = 0.95  # a reading below this changes nothing
_FREQUENT = 20  # occurrences of a value before it may become legal; fewer where classes have fewer
_LEAST = 6  # occurrences of a value before it may become legal, however few the others have
_LEAST_VOID = 0.02  # share of small data that a value for "no label" has before it may become legal
_RARER = 30  # times rarer than the median class: too rare to become legal
_WIDEST_IDS = 6  # times the number of classes: ids with gaps beyond this may not be in the order of the classes
_WHOLE = 0.95  # share of its records that a value fills where whole records are damaged
_LONG = 16  # positions of a record from which that says something
_UNSEEN = 4  # times more gaps, or unused classes, than are estimated to be unseen by chance
_FEW_CLASSES = 50  # of more classes it is hardly ever the last one that a list lacks
_RARE_MINUS_ONE = 0.03  # below this share -1 may as well come from names that were not found
_MOVED = ("one-based", "zero-based", "offset", "minus-one-shift")
_RULES_OF_VALUES = frozenset({"LG101", "LG102", "LG110"})


def value_cause(
    path: str, label: ClassLabel, stats: LabelStatistics, split: str | None, *, only_label: bool, run: int
) -> LikelyCause | None:
    """The likely cause of illegal class ids; None where there are none. Arguments are those of ``diagnose``."""
    if not stats.illegal_values.positions:
        return None
    observed = ObservedValues(label, stats, run)
    if not stats.class_counts and len(observed.illegal) == 1 and not observed.far:
        constant = _no_label_at_all(path, observed, split)
        if constant is not None:
            return constant
    scored = score(observed)
    ranked = [one for one, share in scored if share >= _PLAUSIBLE]
    best = ranked[0]
    if best.reading.cause not in ("stray", "undeclared-ignore") and _leaves_most(observed, best):
        if 2 * stats.illegal_values.positions > observed.total:
            return LikelyCause("not-ids", not_ids(label, stats))
        best = ScoredReading(_declared(observed), observed.illegal)
        ranked = [best]
    voids = best.reading.voids and best.reading.cause != "undeclared-ignore"
    plain = ("stray", "undeclared-ignore") if voids else ("stray",)  # readings of the declared classes alone
    strays = sum(share for one, share in scored if one.reading.cause in plain)
    others = _twins(observed, best, strays, [alternative(observed, one) for one in ranked[1:]])
    place = clustered(observed)
    if place is not None and not (place.sorted and best.reading.cause in (*_MOVED, "undeclared-ignore")):
        readings = [one for one in (alternative(observed, best), *others) if one.cause not in ("stray", "noise")]
        return with_alternatives(place.cause, place.text, readings)
    if others:
        return with_alternatives(name_of(observed, best), text_of(observed, best), others)
    certain = _certain(observed, best)
    patch: Mapping[str, Any] = patch_of(observed, best.reading, only_label=only_label) if certain else {}
    finding = text_of(observed, best) + advice(observed, best)
    to_change = "" if best.reading.cause == "stray" else TO_CHANGE
    return LikelyCause(name_of(observed, best), finding, patch, to_change=to_change)


def _leaves_most(observed: ObservedValues, scored: ScoredReading) -> bool:
    """Whether a reading explains less than half of the illegal positions."""
    rest = sum(n for value, n in scored.noise.items() if value in observed.illegal) + observed.far
    return 2 * rest > observed.stats.illegal_values.positions


def _no_label_at_all(path: str, observed: ObservedValues, split: str | None) -> LikelyCause | None:
    """Every value is the same well-known number."""
    value = next(iter(observed.illegal))
    where = f"the split {split}" if split else "the data"
    if value == -1 and observed.label.rank == 0:
        text = f"every label is -1: {where} looks unlabeled"
        if split is None or is_training(split):
            return LikelyCause("unlabeled-split", f"{text}; find its labels before you train on it")
        patch = {"splits": {split: {"labels": {path: {"unlabeled": -1}}}}}
        return LikelyCause("unlabeled-split", f"{text}; if it has labels elsewhere, read those, else: ", patch)
    if value in (255, -1, -100):
        return LikelyCause("all-ignored", f"every value is {value}: no label left in {where}; read the right file")
    return None


def _twins(observed: ObservedValues, best: ScoredReading, strays: float, others: list[OtherCause]) -> list[OtherCause]:
    """``others`` with causes that leave the very same counts; ``strays``: probability of strays."""
    reading = best.reading
    rare = {v: n for v, n in observed.illegal.items() if reading.cause != "stray" and not _frequent(observed, v)}
    chance = _CHANCE_MOVED if reading.cause in _MOVED else _CHANCE
    alone = len(observed.illegal.keys() - set(reading.voids)) == 1
    if rare and (strays > chance or (alone and min(rare.values()) * _RARER < observed.usual_count)):
        stray = alternative(observed, ScoredReading(Reading("stray", reading.low, reading.high, 1.0), rare))
        return [stray, *others] if min(rare.values()) < _LEAST else [*others, stray]
    if reading.cause == "ids-with-gaps":
        return [*others, *_twins_of_gaps(observed, reading)]
    if reading.cause == "one-class-too-few" and whole_files(observed.stats.illegal_values):
        text = (
            f"every {reading.high} is in a file that holds only {reading.high}: these files are of another kind, or "
            "are corrupt"
        )
        return [*others, OtherCause("mixed-files", text)]
    if reading.cause == "other-classes" and best.noise:
        return [*others, alternative(observed, ScoredReading(_declared(observed), observed.illegal))]
    if reading.cause == "mixed" and observed.count(reading.low) >= _least_inside(observed, reading):
        extra = Reading("one-class-too-few", reading.low, reading.high, 1.0)
        return [*others, alternative(observed, ScoredReading(extra, {}))]
    if reading.cause == "one-class-too-few" and observed.label.rank == 0 and _fills(observed, reading.high):
        text = f"{reading.high} is far more frequent than every class, as what fills places that hold nothing"
        return [*others, OtherCause("undeclared-ignore", text)]
    if reading.cause == "minus-one-shift" and reading.low == -1 and observed.label.num_classes <= _FEW_CLASSES:
        text = f"-1 marks what was not found in a list of classes, such as class {reading.high + 1}, never used"
        return [*others, OtherCause("lookup-failed", text)]
    lookup = OtherCause("lookup-failed", "-1 marks names that were not found in a list of classes")
    if reading.cause == "stray" and best.noise.keys() == {-1} and not observed.far:
        return [*others, lookup]
    if reading.cause == "undeclared-ignore":
        return [*others, *_twins_of_void(observed, reading, lookup)]
    return others


def _fills(observed: ObservedValues, value: int) -> bool:
    others = observed.counts[observed.values != value]
    return observed.count(value) >= 2 * int(others.max(initial=0))


def _declared(observed: ObservedValues) -> Reading:
    return Reading("stray", *observed.label.id_range, 1.0)


def _least_inside(observed: ObservedValues, reading: Reading) -> float:
    """The fewest positions that a class between the ends has, as far as chance goes: ``low`` has lost none above it."""
    inside = observed.inside(reading.low + 1, reading.high - 1)
    least = float(inside.min()) if inside.size == reading.high - reading.low - 1 else 0.0
    return least - 3 * math.sqrt(least)


def _twins_of_void(observed: ObservedValues, reading: Reading, lookup: OtherCause) -> list[OtherCause]:
    """What an undeclared void value may be as well: a failed lookup, class 0 less one, or one of two classes."""
    odd = next((value for value in reading.voids if value not in WELL_KNOWN), None)
    if odd is not None:
        more = OtherCause("other-classes", f"{odd} is one of more classes, of which some never occur")
        failed = OtherCause("lookup-failed", f"{odd} marks what was not found in a list of classes")
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
            return [lookup]
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


def _twins_of_gaps(observed: ObservedValues, reading: Reading) -> list[OtherCause]:
    """What ids with gaps may be as well: numbers in another order, or classes and a value far from them."""
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


# A change of the schema --------------------------------------------------------------------------------------------


def _certain(observed: ObservedValues, best: ScoredReading) -> bool:
    """Whether the reading explains everything, and each value that it makes legal occurs often, anywhere."""
    stats, reading = observed.stats, best.reading
    if best.probability < _CERTAIN or best.noise or observed.far or stats.fractional or stats.not_finite:
        return False
    if stats.violations.keys() - _RULES_OF_VALUES:
        return False
    if reading.cause == "ids-with-gaps":
        ids = reading.ids or ()
        new = all(_frequent(observed, value, most=_LEAST) for value in ids if value in observed.illegal)
        return new and all(_one_of_many(observed, value) for value in ids)
    if reading.cause == "one-class-too-few":
        usual = observed.usual_count
        if observed.count(reading.low) < min(_FREQUENT, max(usual / 4, min(_LEAST, usual))):
            return False  # an extra class may have been sorted first
        if clustered(observed, LIKELY):
            return False  # some files, or the records of a run, may count from another start
    if any(observed.count(value) < min(_FREQUENT, _LEAST_VOID * observed.total) for value in reading.voids):
        return False
    return all(_frequent(observed, value) for value in observed.illegal)


def _frequent(observed: ObservedValues, value: int, *, most: int = _FREQUENT) -> bool:
    """Whether ``value`` occurs often enough (``most`` times suffice), and in enough records, to be no accident."""
    count, stats = observed.count(value), observed.stats
    usual = max(observed.usual_count, float(np.median(observed.counts)))  # few classes may be legal
    if count < min(most, max(_LEAST, usual / 4)) or count * _RARER < usual:
        return False
    illegal = stats.illegal_values.values.get(value)
    records = stats.class_records[value] if illegal is None else illegal.records
    length = stats.positions / max(1, stats.records)
    if illegal is not None and length >= _LONG and count > _WHOLE * records * length:
        return False  # whole records of it are damaged
    return records >= min(_LEAST, max(2, stats.records // 10)) and records * _RARER >= observed.usual_records


def _one_of_many(observed: ObservedValues, value: int) -> bool:
    """Whether ``value`` is frequent, or about as rare as others in the tail of uneven classes: a stray is so alone."""
    count = observed.count(value)
    if count * _RARER < np.median(observed.counts):
        return False
    enough = min(_FREQUENT, max(_LEAST + 1, float(np.median(observed.counts)) / 3))
    as_rare = int(np.count_nonzero(observed.counts <= 2 * count + 1))
    return count >= enough or as_rare >= max(3, len(observed.counts) // 20)


def patch_of(observed: ObservedValues, reading: Reading, *, only_label: bool) -> Mapping[str, Any]:
    """The fields that declare what ``reading`` says; empty where no change is ever suggested for its cause.

    Args:
        observed: the integers of the label.
        reading: what they mean.
        only_label: whether the schema has no other label: then a record without it may be unlabeled.
    """
    label = observed.label
    void = _patch_of_voids(label, reading, only_label=only_label)
    if reading.cause == "undeclared-ignore":
        return void
    if reading.cause == "one-class-too-few" and label.class_names is None and observed.label.rank < 2:
        return {"num_classes": label.num_classes + 1, **void}
    if reading.cause in ("one-based", "offset") and reading.low > 0 and not named_by_number(label):
        return {"class_ids": {"start": reading.low}, **void}
    if reading.cause == "zero-based" and label.class_names is None:
        return {"class_ids": None, **void}
    if reading.cause == "ids-with-gaps" and reading.ids is not None and _in_order(label, reading.ids):
        return {"class_ids": list(reading.ids), **void}
    return {}


def _patch_of_voids(label: ClassLabel, reading: Reading, *, only_label: bool) -> dict[str, Any]:
    if not reading.voids:
        return {}
    if label.rank == 0 and reading.voids == (-1,) and label.unlabeled is None:
        return {"unlabeled": -1, "on_unlabeled": "skip" if only_label else "replace"}
    patch: dict[str, Any] = {"ignore": [*label.ignore, *reading.voids]}
    # A loss that skips only what was declared before would train the last class at a negative value.
    return {**patch, "on_ignore": "replace"} if min(reading.voids) < 0 or 0 in reading.voids else patch


def _in_order(label: ClassLabel, ids: Sequence[int]) -> bool:
    """Whether ids with gaps are in the order of the classes: names may be listed in another order than raw ids."""
    return label.class_names is None or len({after - before for before, after in pairwise(ids)}) == 1
