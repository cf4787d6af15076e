"""Kinds made to mislead: counts that look like one cause and are another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from bench.causes.kinds import laid_out
from bench.causes.situations import (
    CORRUPT,
    UNKNOWN,
    VOID,
    Column,
    Kind,
    Make,
    Rng,
    Situation,
    dense,
    draw,
    label,
    lists,
    one,
    scalars,
    spoil,
)

ADVERSARY: list[Kind] = []


def kind(variants: int) -> Callable[[Make], Make]:
    """Registers a kind under the name of its function."""

    def add(make: Make) -> Make:
        ADVERSARY.append(Kind(make.__name__.replace("_", "-"), variants, make))
        return make

    return add


@kind(4)
def two_datasets_joined(rng: Rng, i: int) -> Situation:
    """Two datasets behind each other, the ids of the second moved by an offset."""
    classes, offset = [(10, 10), (10, 5), (100, 1), (20, 100)][i]
    values = draw(rng, classes, 6_000)
    second = np.arange(6_000) >= 3_000
    causes = "other-classes one-class-too-few mixed mixed-conventions corrupt-block not-ids ids-with-gaps noise"
    return one(scalars(values + offset * second, values), classes, causes, drafted=False)


@kind(3)
def class_255_is_real(rng: Rng, i: int) -> Situation:
    """Id 255 is a class, and no void."""
    classes = [256, 300, 1_000][i]
    values = draw(rng, classes, 200_000)
    return one(scalars(values, values, np.int32), classes)


@kind(3)
def class_255_is_the_one_more(rng: Rng, i: int) -> Situation:
    """255 classes are declared and 256 are used: 255 is the last class."""
    values = draw(rng, 256, [20_000, 60_000, 200_000][i])
    return one(scalars(values, values), 255, "one-class-too-few undeclared-ignore")


@kind(3)
def long_tail_vocabulary(rng: Rng, i: int) -> Situation:
    """A vocabulary of which most ids never occur."""
    classes = [5_000, 50_000, 119_547][i]
    values = draw(rng, classes, 40_000, "zipf", all_used=False)
    return one(dense(values, values, np.int32, (64,)), classes)


@kind(2)
def void_in_one_split(rng: Rng, i: int) -> Situation:
    """255 occurs in the test split alone."""
    values, other = draw(rng, 10, 40 * 1024), draw(rng, 10, 20 * 1024)
    void = rng.random(len(other)) < [0.1, 0.5][i]
    train = dense(values, values)
    test = dense(np.where(void, 255, other), np.where(void, VOID, other))
    splits = {"train": {"label": train}, "test": {"label": test}}
    return Situation({"label": label(train, 10)}, splits, frozenset({"undeclared-ignore"}), patchable=True)


@kind(4)
def sorted_records(rng: Rng, i: int) -> Situation:
    """Records sorted by class, in files: ids from 1, or sound."""
    classes, files = [(10, 1), (10, 4), (100, 8), (10, 4)][i]
    values = np.sort(draw(rng, classes, 8_000))
    form = "npz" if files == 1 else "parquet"
    if i == 3:
        return one(scalars(values, values), classes, form=form, files=files)
    return one(scalars(values + 1, values), classes, "one-based", form=form, files=files, patchable=True)


@kind(6)
def tiny(rng: Rng, i: int) -> Situation:
    """20 records: sound, from 1, one class more, one stray, -1, 255."""
    values = draw(rng, 3, 20, "even")
    stored = [values, values + 1, rng.integers(0, 4, 20), values, values, values][i]
    column = scalars(stored, values if i != 2 else stored)
    if i > 2:
        column = spoil(rng, column, [[3], [-1], [255]][i - 3])
    return one(column, 3, ["", "one-based", "one-class-too-few stray", "stray", "stray", "stray"][i], silent=i == 2)


@kind(3)
def one_class_only(_: Rng, i: int) -> Situation:
    """Every label is the same."""
    values = np.full([50, 1_000, 20_000][i], i)
    return one(scalars(values, values), 10, "constant-label unused-ids", silent=True)


@kind(4)
def uniform_garbage(rng: Rng, i: int) -> Situation:
    """Nothing but random numbers, of a range that is not far above the classes."""
    size, classes, top = [(500, 10, 30), (5_000, 10, 1_000), (200, 5, 12), (40_000, 100, 250)][i]
    values = rng.integers(0, top, size)
    causes = "not-ids noise other-classes ids-with-gaps"
    return one(scalars(values, np.full(size, UNKNOWN)), classes, causes)


@kind(3)
def one_file_moved(rng: Rng, i: int) -> Situation:
    """One of many files counts from 1."""
    files, classes = [(4, 10), (20, 10), (8, 100)][i]
    values = draw(rng, classes, 16_000)
    moved = np.arange(16_000) * files // 16_000 == files // 2
    return one(scalars(values + moved, values), classes, "mixed-files", form="parquet", files=files, drafted=False)


@kind(3)
def garbage_in_one_file(rng: Rng, i: int) -> Situation:
    """One of eight files holds random bytes, or one value."""
    values = draw(rng, 10, 16_000)
    bad = (np.arange(16_000) // 2_000 == 3) & (rng.random(16_000) < 0.5)
    junk = [rng.integers(0, 256, 16_000), np.full(16_000, 255), np.full(16_000, 10)][i]
    meant = np.where(bad, CORRUPT, values)
    return one(scalars(np.where(bad, junk, values), meant), 10, "mixed-files", form="parquet", files=8, drafted=False)


@kind(3)
def a_run_of_garbage(rng: Rng, i: int) -> Situation:
    """A block of consecutive records is overwritten by one value."""
    values = draw(rng, 10, 20_000)
    bad = np.zeros(20_000, bool)
    bad[5_000 : 5_000 + [200, 1_000, 60][i]] = True
    bad &= rng.random(20_000) < 0.7
    stored = np.where(bad, [10, 255, -1][i], values)
    return one(scalars(stored, np.where(bad, CORRUPT, values)), 10, "mixed-conventions corrupt-block", drafted=False)


@kind(3)
def one_record_of_255(rng: Rng, i: int) -> Situation:
    """One or two whole masks are 255: damage, and no void class."""
    values = draw(rng, 19, 200 * 1024)
    column = dense(values, values)
    assert column.meaning is not None
    masks, meant = column.values.copy(), column.meaning.reshape(200, -1).copy()
    hit = rng.choice(200, 1 + i % 2, replace=False)
    masks[hit], meant[hit] = 255, CORRUPT
    return one(Column(masks, meant.reshape(-1)), 19, "stray noise undeclared-ignore")


@kind(3)
def overflow_of_uint8(rng: Rng, i: int) -> Situation:
    """More classes than uint8 holds: ids wrapped into other legal ids."""
    classes = [300, 400, 1_000][i]
    values = draw(rng, classes, 40_000)
    column = scalars(values.astype(np.uint8), np.where(values > 255, CORRUPT, values), np.uint8)
    return one(column, classes, "narrow-dtype-wrap", {"dtype": "integer", "emit": "int32"})


@kind(2)
def percentages(rng: Rng, i: int) -> Situation:
    """Percentages in place of ids."""
    values = rng.integers(0, 101, [500, 20_000][i])
    return one(scalars(values, np.full(len(values), CORRUPT)), [2, 10][i], "not-ids noise other-classes", drafted=False)


@kind(2)
def smoothed_rows(rng: Rng, i: int) -> Situation:
    """Rows of smoothed labels where an id is declared."""
    rows = np.eye([5, 100][i])[draw(rng, [5, 100][i], 500)] * 0.9 + 0.1 / [5, 100][i]
    return one(Column(rows), [5, 100][i], "soft-rows", {"dtype": "integer", "shape": []})


@kind(3)
def from_one_without_the_last(rng: Rng, i: int) -> Situation:
    """Ids count from 1 and the last class is absent: every value is legal."""
    classes = [5, 10, 100][i]
    values = draw(rng, classes - 1, 20_000)
    return one(scalars(values + 1, np.full(20_000, UNKNOWN)), classes, "unused-ids one-based", silent=True)


@kind(3)
def from_zero_without_zero(rng: Rng, i: int) -> Situation:
    """Ids count from 0, class 0 is absent, and the next id strays in a few times."""
    classes = [5, 10, 50][i]
    values = draw(rng, classes - 1, 5_000) + 1
    return one(spoil(rng, scalars(values, values), [classes] * (i + 1)), classes, "stray")


@kind(3)
def tens(rng: Rng, i: int) -> Situation:
    """Ids multiplied by 10, by 17, or by 255."""
    classes, factor = [(10, 10), (16, 17), (2, 255)][i]
    values = draw(rng, classes, 8_000)
    return one(scalars(values * factor, values), classes, "ids-with-gaps", patchable=True)


@kind(2)
def packed_colours(rng: Rng, i: int) -> Situation:
    """Colours packed into one integer."""
    palette = rng.integers(0, 2**24, [8, 19][i])
    values = draw(rng, len(palette), 40 * 1024)
    column = dense(palette[values], values, np.int32)
    return one(column, len(palette), "not-ids noise ids-with-gaps", silent=False)


@kind(2)
def weekdays(rng: Rng, i: int) -> Situation:
    """Days of the week 1..7 for 7 classes."""
    values = draw(rng, 7, [700, 20_000][i], "even")
    return one(scalars(values + 1, values), 7, "one-based", patchable=True)


@kind(2)
def lookups_failed(rng: Rng, i: int) -> Situation:
    """A few -1 from names that were not found."""
    values = draw(rng, 30, 9_000)
    column = scalars(values, values) if i else lists(rng, values, values)
    return one(spoil(rng, column, [-1] * [5, 100][i]), 30, "lookup-failed stray")


@kind(3)
def half_void(rng: Rng, i: int) -> Situation:
    """Void occurs in the first half of the records alone."""
    values = draw(rng, 10, 40 * 1024)
    void = (rng.random(40 * 1024) < 0.3) & (np.arange(40 * 1024) < 20 * 1024)
    stored = np.where(void, [255, -1, -100][i], values)
    column = dense(stored, np.where(void, VOID, values), np.int32)
    return one(column, 10, "undeclared-ignore mixed-conventions")


@kind(3)
def from_one_with_void(rng: Rng, i: int) -> Situation:
    """Ids from 1 and an undeclared void at once."""
    classes, value = [(10, 255), (100, -1), (20, -100)][i]
    values = draw(rng, classes, 60 * 1024)
    void = rng.random(60 * 1024) < 0.2
    column = dense(np.where(void, value, values + 1), np.where(void, VOID, values), np.int32)
    return one(column, classes, "one-based undeclared-ignore", patchable=True)


@kind(3)
def ternary(rng: Rng, i: int) -> Situation:
    """-1, 0, 1 for three classes, or -1 and 1 for two."""
    classes = [3, 2, 3][i]
    values = draw(rng, classes, [300, 300, 9_000][i], "even")
    stored = values - 1 if classes == 3 else 2 * values - 1
    causes = "minus-one-shift offset plus-minus-one unlabeled-records"
    return one(scalars(stored, values), classes, causes)


@kind(3)
def blended_masks(rng: Rng, i: int) -> Situation:
    """Masks with values between the ids, as interpolation leaves them."""
    masks = np.repeat(np.repeat(rng.integers(0, 2, (20, 8, 8)) * 255, 4, axis=1), 4, axis=2).astype(float)
    soft = (masks + np.roll(masks, 1, 1) + np.roll(masks, 1, 2) + rng.normal(0, 3, masks.shape)) / 3
    stored = np.clip(soft.round(), 0, 255).astype(np.uint8)
    meant = np.where(stored == 0, 0, np.where(stored == 255, 1, CORRUPT)).reshape(-1)
    fields = [{"class_ids": [0, 255]}, {"class_ids": [0, 255]}, {"ignore": [255]}][i]
    causes = "lossy-mask noise not-ids"
    return one(Column(stored, meant if i < 2 else np.full(meant.shape, UNKNOWN)), 2, causes, fields)


@kind(2)
def zero_based_where_one_based_is_declared(rng: Rng, i: int) -> Situation:
    """class_ids starts at 1, and the ids count from 0."""
    classes = [10, 100][i]
    values = draw(rng, classes, 10_000)
    return one(scalars(values, values), classes, "zero-based", {"class_ids": {"start": 1}}, patchable=True)


@kind(3)
def shared_half(rng: Rng, i: int) -> Situation:
    """A fifth to a half of the records count from 1, scattered."""
    classes = [3, 10, 100][i]
    values = draw(rng, classes, 300 * classes, "even")
    moved = rng.random(len(values)) < [0.2, 0.5, 0.35][i]
    return one(laid_out(rng, values + moved, values, "scalar"), classes, "mixed", drafted=False)
