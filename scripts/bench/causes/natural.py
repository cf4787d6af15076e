"""Kinds whose counts fit a second story: a class lost in a lookup, two conventions, leftovers, strays."""

from __future__ import annotations

from typing import Any

import numpy as np
from bench.causes.situations import CORRUPT, VOID, Array, Kind, Make, Rng, Situation, dense, draw, one, scalars, spoil

NATURAL: list[Kind] = []
_SIZES = (120, 1_000, 4_000, 40_000)
_VOID = (
    "undeclared-ignore unlabeled-records lookup-failed minus-one-shift mixed-conventions plus-minus-one stray "
    "corrupt-block"
)
_IDS = "ids-with-gaps other-classes stray noise not-ids one-based one-class-too-few mixed offset"


def kind(make: Make) -> Make:
    """Registers a kind of four variants under the name of its function."""
    NATURAL.append(Kind(make.__name__.replace("_", "-"), 4, make))
    return make


def _sound(rng: Rng, size: int, least: int = 3, most: int = 40) -> tuple[Array, int]:
    classes = int(rng.integers(least, most))
    return draw(rng, classes, size, str(rng.choice(["even", "mild", "zipf", "mixed"]))), classes


def _masks(stored: Any, meaning: Any, classes: int) -> Situation:
    return one(dense(stored, meaning, np.uint8, (16, 16)), classes, _VOID, drafted=False)


@kind
def one_name_not_found(rng: Rng, i: int) -> Situation:
    """One class is spelled in another way than in the list of names, so that all of it is -1."""
    values, classes = _sound(rng, _SIZES[i])
    lost = int(rng.integers(classes))
    return one(scalars(np.where(values == lost, -1, values), values), classes, _VOID, drafted=False)


@kind
def one_colour_not_found(rng: Rng, i: int) -> Situation:
    """The colour of one class is not in the palette, so that all of it keeps the 255 that masks start with."""
    values, classes = _sound(rng, 5_120 + _SIZES[i])
    lost = int(rng.integers(classes))
    return _masks(np.where(values == lost, 255, values), values, classes)


@kind
def masks_of_1_and_of_255(rng: Rng, i: int) -> Situation:
    """Some masks hold 0 and 1, others 0 and 255 for the same two classes."""
    values = draw(rng, 2, 5_120 + _SIZES[i])
    masks = len(values) // 256 + 1
    scaled = np.repeat(rng.random(masks) < rng.choice([0.1, 0.5, 0.9]), 256)[: len(values)]
    return _masks(np.where(scaled, 255 * values, values), values, 2)


@kind
def one_less_in_some_masks(rng: Rng, i: int) -> Situation:
    """One was subtracted in uint8 from some masks: their class 0 is 255."""
    values, classes = _sound(rng, 5_120 + _SIZES[i], 2, 150)
    less = np.repeat(rng.random(len(values) // 256 + 1) < 0.3, 256)[: len(values)]
    return _masks(np.where(less, (values - 1) % 256, values), values, classes)


@kind
def minus_one_and_one_with_zero(rng: Rng, i: int) -> Situation:
    """-1 and 1 are the two classes; 0 is not known, or class 0 of records from another source."""
    values = draw(rng, 2, _SIZES[i])
    other = rng.random(len(values)) < rng.uniform(0.05, 0.5)
    stored = np.where(other, 0 if i % 2 else values, 2 * values - 1)
    return one(scalars(stored, np.where(other & bool(i % 2), VOID, values)), 2, _VOID, drafted=False)


@kind
def names_in_another_order(rng: Rng, i: int) -> Situation:
    """Some classes were kept of a greater dataset, and their names are listed in another order than their ids."""
    values, classes = _sound(rng, _SIZES[i], 4, 20)
    names = [f"name {number}" for number in range(classes)]
    ids = np.concatenate([[90], rng.choice(90, classes - 1, replace=False)])
    return one(scalars(ids[values], values), classes, _IDS, {"class_names": names}, drafted=False)


@kind
def leftovers_of_a_filter(rng: Rng, i: int) -> Situation:
    """Ids with gaps after classes were left out: one that was kept is absent, and of one left out a few remain."""
    values, classes = _sound(rng, _SIZES[i], 4, 80)
    values = values[values != int(rng.integers(classes))]
    ids = np.sort(rng.choice(3 * classes, classes, replace=False))
    left = int(rng.choice(np.setdiff1d(np.arange(3 * classes), ids)))
    column = spoil(rng, scalars(ids[values], values), [left] * int(rng.integers(1, 6)))
    return one(column, classes, _IDS, silent=True, drafted=False)


@kind
def class_zero_absent_and_typos(rng: Rng, i: int) -> Situation:
    """Class 0 is absent from this part, and a few records hold the next id."""
    values, classes = _sound(rng, _SIZES[i], 3, 60)
    values = values[values != 0]
    column = spoil(rng, scalars(values, values), [classes] * int(rng.integers(1, 6)))
    return one(column, classes, _IDS, silent=True, drafted=False)


@kind
def one_file_of_the_next_id(rng: Rng, i: int) -> Situation:
    """One file holds the next id throughout, the others sound labels."""
    values, classes = _sound(rng, 400 + _SIZES[i])
    files = [3, 5, 12, 5][i]
    bad = np.arange(len(values)) // -(-len(values) // files) == int(rng.integers(files))
    column = scalars(np.where(bad, classes, values), np.where(bad, CORRUPT, values))
    causes = "mixed-files one-class-too-few stray"
    return one(column, classes, causes, form="parquet", files=files, drafted=False)


def _many(rng: Rng, i: int) -> tuple[Array, int]:
    """Values of many classes that occur a few to 200 times each; of the last two variants some may be unused."""
    classes = int(np.exp(rng.uniform(np.log(80), np.log(400))))
    size = int(classes * np.exp(rng.uniform(np.log(3), np.log(200))))
    how = str(rng.choice(["even", "mild", "zipf", "mixed"]))
    return draw(rng, classes, size, how, all_used=i < 2), classes


@kind
def leftover_of_many(rng: Rng, i: int) -> Situation:
    """One of many ids with gaps is filtered out, and a few of an undeclared id are left: as many ids as classes."""
    values, classes = _many(rng, i)
    values = values[values != int(rng.integers(classes))]
    free = rng.permutation(3 * classes)
    ids = np.sort(free[:classes])
    stored = spoil(rng, scalars(ids[values], values), [int(free[-1])] * int(rng.integers(1, 6)))
    return one(stored, classes, _IDS, silent=True, drafted=False)


@kind
def typos_among_many(rng: Rng, i: int) -> Situation:
    """Ids with gaps, written by hand: as many mistyped ids, once to three times each, as classes are unused."""
    values, classes = _many(rng, i)
    free = rng.permutation(np.arange(100, 100 + 4 * classes))
    ids = np.sort(free[:classes])
    wrong = free[classes:][: max(1, min(8, classes - len(np.unique(values))))]
    bad = np.repeat(wrong, rng.integers(1, 4, len(wrong))).tolist()
    return one(spoil(rng, scalars(ids[values], values), bad), classes, _IDS, silent=True, drafted=False)


@kind
def first_of_many_unused(rng: Rng, i: int) -> Situation:
    """Class 0 of many is never used, and a few values are the number of classes."""
    values, classes = _many(rng, i)
    values = values[values != 0]
    stored = spoil(rng, scalars(values, values), [classes] * int(rng.integers(1, 6)))
    return one(stored, classes, _IDS, silent=True, drafted=False)
