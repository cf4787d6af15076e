"""Kinds of situations that real datasets have had, in sizes from dozens of records to a million."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
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

KINDS: list[Kind] = []
# records, classes, frequencies, layout
SIZES = [(60, 3, "even", "scalar"), (1_000, 10, "mild", "scalar"), (20_000, 100, "zipf", "scalar"),
         (40_960, 21, "mixed", "mask"), (3_000, 20, "even", "list"), (200_000, 1_000, "mild", "scalar")]  # fmt: skip


def kind(variants: int) -> Callable[[Make], Make]:
    """Registers a kind under the name of its function."""

    def add(make: Make) -> Make:
        KINDS.append(Kind(make.__name__.replace("_", "-"), variants, make))
        return make

    return add


def laid_out(rng: Rng, values: Any, meaning: Any, layout: str) -> Column:
    """Values as scalars, masks, sequences or lists."""
    if layout == "list":
        return lists(rng, values, meaning)
    if layout == "scalar":
        return scalars(values, meaning)
    return dense(values, meaning, *((np.uint8, (32, 32)) if layout == "mask" else (np.int32, (64,))))


@kind(4)
def sound_ids(rng: Rng, i: int) -> Situation:
    """Nothing is wrong with ids."""
    size, classes, how = [(60, 2, "even"), (1_000, 10, "mild"), (20_000, 100, "zipf"), (300_000, 1_000, "mixed")][i]
    values = draw(rng, classes, size, how)
    return one(scalars(values, values), classes)


@kind(3)
def sound_masks(rng: Rng, i: int) -> Situation:
    """Nothing is wrong with masks and their declared 255."""
    classes = [2, 19, 150][i]
    values = draw(rng, classes, 30 * 1024, ["mild", "mixed", "zipf"][i])
    void = rng.random(len(values)) < 0.1
    column = dense(np.where(void, 255, values), np.where(void, VOID, values))
    return one(column, classes, fields={"ignore": [255]})


@kind(3)
def sparse_ids(rng: Rng, i: int) -> Situation:
    """Fewer records than classes: most ids are unused by chance."""
    size, classes, how = [(50, 1_000, "even"), (200, 10_000, "zipf"), (40, 30, "zipf")][i]
    values = draw(rng, classes, size, how, all_used=False)
    return one(scalars(values, values), classes)


@kind(6)
def one_based(rng: Rng, i: int) -> Situation:
    """Ids count from 1."""
    size, classes, how, layout = SIZES[i]
    values = draw(rng, classes, size, how)
    return one(laid_out(rng, values + 1, values, layout), classes, "one-based", patchable=True)


def _background(rng: Rng, i: int) -> tuple[Any, int]:
    classes = [1, 8, 20, 150][i]
    values = draw(rng, classes, 61_440, "mixed") + 1
    return np.where(rng.random(61_440) < 0.5, 0, values), classes


@kind(4)
def zero_means_nothing(rng: Rng, i: int) -> Situation:
    """Masks of 0..N for N classes, and 0 means nothing. One of a pair with the same counts."""
    values, classes = _background(rng, i)
    return one(dense(values, values - 1), classes, "one-based", drafted=False)


@kind(4)
def zero_is_background(rng: Rng, i: int) -> Situation:
    """Masks of 0..N for N classes, and 0 is a class that was not counted. The other of the pair."""
    values, classes = _background(rng, i)
    return one(dense(values, values), classes, "one-class-too-few other-classes")


@kind(6)
def one_class_too_few(rng: Rng, i: int) -> Situation:
    """num_classes is one too small."""
    size, classes, how, layout = SIZES[i]
    values = draw(rng, classes + 1, size, "mild" if how == "mixed" else how)
    patchable = layout != "mask"
    return one(laid_out(rng, values, values, layout), classes, "one-class-too-few", patchable=patchable)


@kind(2)
def added_token(rng: Rng, i: int) -> Situation:
    """A padding token was added behind a vocabulary."""
    classes, size = [(1_000, 20_000), (32_000, 100_000)][i]
    values = draw(rng, classes, size, "zipf", all_used=False)
    values[rng.random(size) < [0.05, 0.3][i]] = classes
    return one(dense(values, values, np.int32, (64,)), classes, "one-class-too-few", patchable=True)


@kind(3)
def hidden_folder(rng: Rng, i: int) -> Situation:
    """A hidden folder became class 0 and moved all others up."""
    size, classes = [(2_000, 10), (20_000, 100), (500, 5)][i]
    values = draw(rng, classes, size)
    return one(spoil(rng, scalars(values + 1, values), [0] * (i + 1)), classes, "one-based mixed")


@kind(3)
def gaps(rng: Rng, i: int) -> Situation:
    """As many ids as classes, with gaps."""
    many = sorted(rng.choice(np.arange(1, 91), 80, replace=False).tolist())
    few = [0, 2, 3, 4, 5]
    size, ids, layout = [(400, few, "scalar"), (40_960, few, "mask"), (20_000, many, "list")][i]
    values = draw(rng, len(ids), size)
    return one(laid_out(rng, np.array(ids)[values], values, layout), len(ids), "ids-with-gaps", patchable=True)


@kind(2)
def raw_ids(rng: Rng, i: int) -> Situation:
    """All 34 ids of a dataset whose 19 training ids are declared."""
    values = draw(rng, 34, 61_440, ["mild", "mixed"][i])
    return one(dense(values, np.full(61_440, UNKNOWN)), 19, "other-classes ids-with-gaps")


@kind(2)
def unused_tail(rng: Rng, i: int) -> Situation:
    """Far more classes are declared than are ever used."""
    low, high, classes = [(1, 26, 37), (0, 29, 40)][i]
    values = draw(rng, high - low + 1, 10_000) + low
    return one(scalars(values, np.full(10_000, UNKNOWN)), classes, "unused-ids one-based")


@kind(6)
def stray_next(rng: Rng, i: int) -> Situation:
    """One or two values of num_classes among many sound ones."""
    size, classes, how, layout = SIZES[i] if i else (2_000, 10, "mild", "scalar")
    values = draw(rng, classes, size, how)
    return one(spoil(rng, laid_out(rng, values, values, layout), [classes] * (1 + i % 2)), classes, "stray")


@kind(3)
def stray_255(rng: Rng, i: int) -> Situation:
    """One to three odd pixels of 255."""
    classes = [2, 21, 19][i]
    values = draw(rng, classes, [40, 200, 400][i] * 1024)
    return one(spoil(rng, dense(values, values), [255] * (i + 1)), classes, "stray")


@kind(3)
def noise(rng: Rng, i: int) -> Situation:
    """Random 32-bit numbers in 1 % to 30 % of the records."""
    size, classes, share = [(2_000, 10, 0.01), (20_000, 100, 0.3), (1_000, 5, 0.1)][i]
    values = draw(rng, classes, size)
    bad = rng.integers(-(2**31), 2**31, int(size * share))
    return one(spoil(rng, scalars(values, values), bad), classes, "noise stray")


@kind(3)
def flipped_bits(rng: Rng, i: int) -> Situation:
    """One high bit is set in some ids."""
    size, classes, count = [(5_000, 10, 4), (50_000, 100, 40), (2_000, 20, 8)][i]
    values = draw(rng, classes, size)
    bad = rng.integers(0, classes, count) + 2 ** rng.integers(9, 30, count)
    return one(spoil(rng, scalars(values, values), bad), classes, "noise stray")


@kind(4)
def undeclared_void(rng: Rng, i: int) -> Situation:
    """255, -100 or -1 in many places, not declared."""
    classes, share, value, layout = [(19, 0.1, 255, "mask"), (2, 0.4, 255, "mask"), (1_000, 0.85, -100, "tokens"),
                                     (30_522, 0.85, -1, "tokens")][i]  # fmt: skip
    values = draw(rng, classes, 61_440, "mixed" if layout == "mask" else "zipf", all_used=layout == "mask")
    void = rng.random(61_440) < share
    column = laid_out(rng, np.where(void, value, values), np.where(void, VOID, values), layout)
    fields = {"ignore": [-100]} if value == -1 else {}
    return one(column, classes, "undeclared-ignore unlabeled-records", fields, patchable=True)


@kind(2)
def unlabeled_test(rng: Rng, i: int) -> Situation:
    """The test split is -1 throughout."""
    classes = [2, 100][i]
    values = draw(rng, classes, 4_000)
    train, test = scalars(values, values), scalars(np.full(300, -1), np.full(300, VOID))
    splits = {"train": {"label": train}, "test": {"label": test}}
    return Situation({"label": label(train, classes)}, splits, frozenset({"unlabeled-split"}), patchable=True)


@kind(3)
def wrapped_in_int8(rng: Rng, i: int) -> Situation:
    """Ids above 127 went through int8."""
    classes = [200, 150, 256][i]
    values = draw(rng, classes, 20_000)
    column = Column(values.astype(np.uint8).view(np.int8), np.where(values > 127, CORRUPT, values))
    return one(column, classes, "int8-wrap", {"dtype": "integer", "emit": "int32"})


@kind(3)
def wide_values(rng: Rng, i: int) -> Situation:
    """Values beyond 32 bits whose lower half is a legal id."""
    size, classes, count = [(2_000, 10, 1), (20_000, 100, 900), (3_000, 10, 30)][i]
    values = draw(rng, classes, size)
    bad = rng.integers(0, classes, count) + 2**32 * rng.integers(1, 9, count)
    return one(spoil(rng, scalars(values, values), bad), classes, "int32-truncation stray")


@kind(4)
def another_dtype(rng: Rng, i: int) -> Situation:
    """Sound ids in another dtype than declared."""
    classes, dtype = [(10, np.float32), (5, np.float16), (1_000, np.int32), (100, np.int16)][i]
    values = draw(rng, classes, 5_000)
    causes = "float-ids" if i < 2 else "integer-width"
    return one(scalars(values, values, dtype), classes, causes, {"dtype": "int64"}, patchable=True)


@kind(5)
def another_form(rng: Rng, i: int) -> Situation:
    """One-hot rows, k-hot rows, a trailing axis, bool or probabilities where an id is declared."""
    values = draw(rng, 10, 1_000)
    rows = np.eye(10)[values]
    stored = [rows.astype(np.int64), np.maximum(rows, rows[::-1]).astype(np.int64), values[:, None], values > 4,
              rng.dirichlet(np.ones(10), 1_000)][i]  # fmt: skip
    cause = ["one-hot", "k-hot", "trailing-axis", "bool-labels", "soft-rows"][i]
    return one(Column(stored), 10, cause, {"dtype": "integer", "shape": []})


@kind(2)
def characters(rng: Rng, i: int) -> Situation:
    """The characters of digits, read as bytes."""
    values = draw(rng, 10, [500, 20_000][i])
    return one(scalars(values + 48, values, np.uint8), 10, "ascii")


@kind(5)
def another_column(rng: Rng, i: int) -> Situation:
    """Years, prices, times, a volume or a picture in place of the label."""
    stored = [
        rng.integers(1990, 2025, 3_000), rng.integers(100, 90_000, 3_000), 10**9 + rng.integers(0, 10**7, 3_000),
        rng.normal(0, 500, (6, 48, 48)).astype(np.int16), rng.integers(0, 256, (20, 32, 32)).astype(np.uint8),
    ][i]  # fmt: skip
    return one(Column(stored, np.full(stored.size, CORRUPT)), 10, "not-ids noise")


@kind(2)
def exchanged_labels(rng: Rng, i: int) -> Situation:
    """Two labels hold what the other declares."""
    small, large = [(3, 30), (10, 100)][i]
    fine, coarse = (scalars(v, np.full(8_000, UNKNOWN)) for v in (draw(rng, small, 8_000), draw(rng, large, 8_000)))
    labels = {"fine": label(fine, large), "coarse": label(coarse, small)}
    return Situation(labels, {"train": {"fine": fine, "coarse": coarse}}, frozenset({"swapped-features"}))


@kind(3)
def two_conventions(rng: Rng, i: int) -> Situation:
    """Two files: the ids of one count from 0, those of the other from 1."""
    size, classes = [(600, 10), (8_000, 100), (2_000, 4)][i]
    values = draw(rng, classes, size, "even")
    stored = values + (np.arange(size) >= size // 2)
    return one(scalars(stored, values), classes, "mixed-files mixed", form="parquet", files=2, drafted=False)
