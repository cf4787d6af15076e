"""From the readings of class ids to one likely cause, with its alternatives, and a change where it is certain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from label_guard.diagnosis.arithmetic import not_ids
from label_guard.diagnosis.cause import TO_CHANGE, LikelyCause, OtherCause, with_alternatives
from label_guard.diagnosis.places import LIKELY, clustered
from label_guard.diagnosis.readings import ObservedValues, Reading, ScoredReading, score
from label_guard.diagnosis.statistics import LabelStatistics
from label_guard.diagnosis.twins import FREQUENT, LEAST, RARER, declared, frequent, twins
from label_guard.diagnosis.wording import advice, alternative, name_of, named_by_number, text_of
from label_guard.schema.labels import ClassLabel
from label_guard.schema.split_spec import is_training

_PLAUSIBLE = 0.02  # a cause that reaches this probability is named with the most likely one
_CHANCE = 1e-5  # rare values may be strays although that is less probable than _PLAUSIBLE, above this
_CHANCE_MOVED = 1e-3  # the same where ids have another start: the id that is missing speaks for it as well
_CERTAIN = 0.95  # a reading below this changes nothing
_LEAST_VOID = 0.02  # share of small data that a value for "no label" has before it may become legal
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
        best = ScoredReading(declared(observed), observed.illegal)
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
    rare = {v: n for v, n in observed.illegal.items() if reading.cause != "stray" and not frequent(observed, v)}
    chance = _CHANCE_MOVED if reading.cause in _MOVED else _CHANCE
    alone = len(observed.illegal.keys() - set(reading.voids)) == 1
    if rare and (strays > chance or (alone and min(rare.values()) * RARER < observed.usual_count)):
        stray = alternative(observed, ScoredReading(Reading("stray", reading.low, reading.high, 1.0), rare))
        return [stray, *others] if min(rare.values()) < LEAST else [*others, stray]
    return [*others, *twins(observed, best)]


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
        new = all(frequent(observed, value, most=LEAST) for value in ids if value in observed.illegal)
        return new and all(_one_of_many(observed, value) for value in ids)
    if reading.cause == "one-class-too-few":
        usual = observed.usual_count
        if observed.count(reading.low) < min(FREQUENT, max(usual / 4, min(LEAST, usual))):
            return False  # an extra class may have been sorted first
        if clustered(observed, LIKELY):
            return False  # some files, or the records of a run, may count from another start
    if any(observed.count(value) < min(FREQUENT, _LEAST_VOID * observed.total) for value in reading.voids):
        return False
    return all(frequent(observed, value) for value in observed.illegal)


def _one_of_many(observed: ObservedValues, value: int) -> bool:
    """Whether ``value`` is frequent, or about as rare as others in the tail of uneven classes: a stray is so alone."""
    count = observed.count(value)
    if count * RARER < np.median(observed.counts):
        return False
    enough = min(FREQUENT, max(LEAST + 1, float(np.median(observed.counts)) / 3))
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
