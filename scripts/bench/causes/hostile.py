"""Kinds made to do harm: two faults at once, unlucky places, rare classes, void values that may be classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from bench.causes.situations import (
    CORRUPT,
    UNKNOWN,
    VOID,
    Array,
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

HOSTILE: list[Kind] = []
_FREQUENCIES = ("even", "mild", "zipf", "mixed")
_ANY = (
    "stray noise one-class-too-few other-classes ids-with-gaps one-based mixed offset not-ids mixed-conventions "
    "corrupt-block mixed-files undeclared-ignore unlabeled-records minus-one-shift lookup-failed"
)


def kind(make: Make) -> Make:
    """Registers a kind of four variants under the name of its function."""
    HOSTILE.append(Kind(make.__name__.replace("_", "-"), 4, make))
    return make


def _sound(rng: Rng, most: int = 100, more: int = 0) -> tuple[Array, int]:
    """Class indices of ``classes + more`` classes in any frequencies, and ``classes``."""
    classes = round(float(np.exp(rng.uniform(np.log(3), np.log(most)))))
    size = min(40_000, max(200, classes * int(rng.integers(20, 300))))
    return draw(rng, classes + more, size, str(rng.choice(_FREQUENCIES))), classes


def _any_layout(rng: Rng, values: Any, meaning: Any, dtype: Any = np.int32) -> Column:
    layout = str(rng.choice(["scalar", "scalar", "mask", "tokens", "list"]))
    if layout == "list":
        return lists(rng, values, meaning)
    if layout == "scalar" or len(values) < 4_200:
        return scalars(values, meaning, dtype)
    return dense(values, meaning, dtype, (32, 32) if layout == "mask" else (64,))


def _with_void(rng: Rng, stored: Any, values: Array, void: int, low: float = 0.03) -> tuple[Array, Array]:
    hit = rng.random(len(values)) < rng.uniform(low, 0.4)
    return np.where(hit, void, stored), np.where(hit, VOID, values)


# Two faults at once --------------------------------------------


@kind
def void_and_strays(rng: Rng, i: int) -> Situation:
    """A void value, and one to three corrupt ones."""
    values, classes = _sound(rng)
    column = _any_layout(rng, *_with_void(rng, values, values, [255, -1, -100, 255][i]))
    return one(spoil(rng, column, [classes, classes + 7, 254][: 1 + i % 3]), classes, _ANY)


@kind
def two_void_values(rng: Rng, i: int) -> Situation:
    """Two void values at once."""
    values, classes = _sound(rng)
    pair = [(255, 254), (-1, -100), (255, -1), (-1, -2)][i]
    stored, meant = _with_void(rng, values, values, pair[0])
    stored, meant = _with_void(rng, stored, meant, pair[1])
    return one(_any_layout(rng, stored, meant), classes, _ANY)


@kind
def void_and_one_class_more(rng: Rng, i: int) -> Situation:
    """A void value, and num_classes is one too small."""
    values, classes = _sound(rng, more=1)
    column = _any_layout(rng, *_with_void(rng, values, values, [255, -1, -100, 255][i]))
    return one(column, classes, _ANY)


@kind
def void_where_the_last_class_is_absent(rng: Rng, i: int) -> Situation:
    """255 or -1 is void, and the last class is absent, as if one had been subtracted."""
    values, classes = _sound(rng)
    values = values[values < classes - 1]
    stored, meant = _with_void(rng, values, values, [255, -1, 255, -1][i])
    dtype = [np.uint8, np.int32, np.uint8, np.int64][i]
    causes = "undeclared-ignore unlabeled-records minus-one-shift lookup-failed offset"
    return one(scalars(stored, meant, dtype), classes, causes)


@kind
def one_subtracted_in_uint8(rng: Rng, _: int) -> Situation:
    """One was subtracted in uint8: class 0 became 255."""
    values, classes = _sound(rng)
    return one(scalars((values - 1) % 256, values, np.uint8), classes, "undeclared-ignore minus-one-shift")


@kind
def offset_and_void(rng: Rng, i: int) -> Situation:
    """Reserved ids before the first, and a void value."""
    values, classes = _sound(rng)
    start, void = [(2, 255), (4, -1), (100, -100), (1_000, 0)][i]
    return one(_any_layout(rng, *_with_void(rng, values + start, values, void)), classes, _ANY)


@kind
def gaps_and_void(rng: Rng, i: int) -> Situation:
    """Ids with gaps, and a void value."""
    values, classes = _sound(rng, 60)
    ids = np.sort(rng.choice(3 * classes + 4, classes, replace=False))
    ids[-1] = max(int(ids[-1]), classes + 1)
    return one(_any_layout(rng, *_with_void(rng, ids[values], values, [-1, -100, 255, -1][i])), classes, _ANY)


@kind
def another_dtype_and_moved(rng: Rng, i: int) -> Situation:
    """Another dtype, and ids from 1, a void value or strays."""
    values, classes = _sound(rng)
    column = scalars(values + (i % 2), values, [np.float32, np.int16, np.float64, np.int16][i])
    column = column if i < 2 else spoil(rng, column, [classes, classes])
    return one(column, classes, f"{_ANY} float-ids integer-width", {"dtype": "int64"})


@kind
def special_tokens(rng: Rng, i: int) -> Situation:
    """Two to four special tokens behind a vocabulary, or one pad token some ids behind it."""
    classes, size = int(rng.integers(500, 5_000)), 64 * int(rng.integers(100, 500))
    values = draw(rng, classes, size, "zipf", all_used=False)
    for number in range(2 + i % 3 if i else 1):
        token = classes + number if i else -(-(classes + 1) // 64) * 64 + 20
        values[rng.random(size) < rng.choice([0.2, 0.01, 0.002])] = token
    return one(dense(values, values, np.int32, (64,)), classes, _ANY)


# Unlucky places and splits --------------------------------------------


@kind
def void_here_stray_there(rng: Rng, i: int) -> Situation:
    """A value is void in one split and a stray in the other."""
    values, classes = _sound(rng)
    void = [255, -1, -100, -1][i]
    other = draw(rng, classes, len(values) // 2)
    columns = [scalars(*_with_void(rng, values, values, void)), spoil(rng, scalars(other, other), [void])]
    train, test = columns if i % 2 else columns[::-1]
    return Situation(
        {"label": label(train, classes)}, {"train": {"label": train}, "test": {"label": test}},
        frozenset(_ANY.split()), drafted=False,
    )  # fmt: skip


@kind
def test_counts_from_one(rng: Rng, i: int) -> Situation:
    """One of two splits counts from 1."""
    values, classes = _sound(rng)
    other = draw(rng, classes, max(200, len(values) // 3))
    train, test = scalars(values + i % 2, values), scalars(other + 1 - i % 2, other)
    return Situation(
        {"label": label(train, classes)}, {"train": {"label": train}, "test": {"label": test}},
        frozenset({"one-based", "one-class-too-few", "stray", "unused-ids"}), drafted=False,
    )  # fmt: skip


@kind
def whole_masks_damaged(rng: Rng, i: int) -> Situation:
    """A few whole masks are 255, 254 or the next id."""
    classes, number = [2, 5, 19, 21][i], int(rng.integers(20, 60))
    values = draw(rng, classes, number * 1024)
    masks = values.astype(np.uint8).reshape(number, 32, 32)
    meant = values.reshape(number, -1).copy()
    hit = rng.choice(number, 1 + i % 3, replace=False)
    masks[hit], meant[hit] = [255, classes, 254, 255][i], CORRUPT
    return one(Column(masks, meant.reshape(-1)), classes, _ANY, drafted=False)


@kind
def a_block_of_the_next_id(rng: Rng, i: int) -> Situation:
    """The last records, or some in the middle, are all the next id or 255."""
    values, classes = _sound(rng, 60)
    stored, meant = values.copy(), values.copy()
    size = min(int(rng.integers(6, 80)), len(values) // 5)
    place = slice(len(values) - size, None) if i % 2 else slice(len(values) // 3, len(values) // 3 + size)
    stored[place], meant[place] = (255 if i == 2 else classes), CORRUPT
    return one(scalars(stored, meant), classes, _ANY, drafted=False)


@kind
def some_files_moved(rng: Rng, i: int) -> Situation:
    """Some of the files count from 1."""
    values, classes = _sound(rng, 40)
    values, files = np.resize(values, max(len(values), 100 * classes)), [2, 3, 10, 20][i]
    which = rng.random(files) < 0.5
    which[0], which[-1] = True, False
    moved = which[np.arange(len(values)) * files // len(values)]
    return one(scalars(values + moved, values), classes, _ANY, form="parquet", files=files, drafted=False, silent=True)


@kind
def second_part_moved(rng: Rng, i: int) -> Situation:
    """The records behind a place count from 1, in one file."""
    classes = [3, 10, 30, 100][i]
    values = draw(rng, classes, 200 * classes, "mild")
    moved = np.arange(len(values)) >= len(values) * rng.uniform(0.3, 0.7)
    return one(scalars(values + moved, values), classes, _ANY, drafted=False)


# Rare classes, and numbers that may be classes --------------------------------------------


@kind
def thin_borders(rng: Rng, i: int) -> Situation:
    """Masks with a thin line of 255."""
    classes, number = [2, 5, 21, 150][i], 30
    values = draw(rng, classes, number * 1024)
    border = np.zeros((number, 32, 32), bool)
    border[:, 5, 5 : 8 + 2 * i] = True
    border = border.reshape(-1)
    column = dense(np.where(border, 255, values), np.where(border, VOID, values))
    return one(column, classes, "undeclared-ignore stray", patchable=True)


@kind
def well_known_number_is_a_class(rng: Rng, i: int) -> Situation:
    """The one class that was not counted has the id 99, 254, 255 or 999."""
    classes = [99, 254, 255, 999][i]
    values = draw(rng, classes + 1, classes * int(rng.integers(8, 40)), str(rng.choice(_FREQUENCIES)))
    return one(_any_layout(rng, values, values), classes, _ANY)


@kind
def rare_real_class(rng: Rng, _: int) -> Situation:
    """The class that was not counted is rare."""
    values, classes = _sound(rng, 60)
    column = scalars(values, values)
    return one(
        spoil(rng, column, [classes] * int(rng.integers(1, 30)), classes), classes, "one-class-too-few stray mixed"
    )


@kind
def grey_levels_in_no_order(rng: Rng, i: int) -> Situation:
    """Grey levels that stand for classes in another order."""
    classes = [3, 7, 12, 20][i]
    levels = rng.choice(np.arange(1, 256), classes, replace=False)
    levels[0] = 0
    values = draw(rng, classes, 40 * 1024)
    return one(dense(levels[values], values), classes, _ANY, drafted=False)


@kind
def declared_as_many_as_seen(rng: Rng, _: int) -> Situation:
    """As many classes are declared as occur; more exist, and some of them never occur."""
    classes = int(rng.integers(20, 800))
    values = draw(rng, classes, classes * int(rng.integers(1, 4)), "zipf", all_used=False)
    return one(scalars(values, values), max(2, len(np.unique(values))), _ANY, silent=True, drafted=False)


@kind
def gaps_and_strays(rng: Rng, i: int) -> Situation:
    """Ids with gaps of frequent classes; one is absent, and another value strays in as often as a stray does."""
    classes = [5, 20, 80, 200][i]
    ids = np.sort(rng.choice(2 * classes + 4, classes, replace=False))
    ids[-1] = max(int(ids[-1]), classes + 1)
    values = draw(rng, classes, 150 * classes)
    values = values[values != 1]
    free = np.setdiff1d(np.arange(classes, ids[-1] + 5), ids)
    return one(
        spoil(rng, scalars(ids[values], values), [int(rng.choice(free))] * (1 + i % 3)), classes, _ANY, drafted=False
    )


@kind
def hours_with_24(rng: Rng, i: int) -> Situation:
    """Hours of the day, and a few say 24."""
    values = draw(rng, 24, [300, 2_000, 20_000, 40_000][i])
    return one(spoil(rng, scalars(values, values), [24] * (1 + i)), 24, "stray one-class-too-few")


@kind
def ratings(rng: Rng, i: int) -> Situation:
    """Ratings from 1 to 5, and a few others."""
    values = draw(rng, 5, int(rng.integers(60, 5_000)))
    return one(spoil(rng, scalars(values + 1, values), [[0], [0, 0], [10], [0, 6]][i]), 5, f"{_ANY} one-based")


@kind
def few_wraps_in_int8(rng: Rng, _: int) -> Situation:
    """Few ids above 127 wrapped in int8."""
    classes = int(rng.integers(129, 200))
    values = draw(rng, classes, int(rng.integers(300, 20_000)), "zipf", all_used=False)
    column = Column(values.astype(np.uint8).view(np.int8), np.where(values > 127, CORRUPT, values))
    causes = "int8-wrap stray noise undeclared-ignore narrow-dtype-wrap"
    return one(column, classes, causes, {"dtype": "integer", "emit": "int32"}, silent=True)


@kind
def tokens_in_int16(rng: Rng, i: int) -> Situation:
    """A vocabulary beyond 32,767 through int16: thousands of distinct illegal values."""
    values = draw(
        rng, [40_000, 50_257, 60_000, 50_257][i], 64 * 600, ["even", "zipf", "even", "zipf"][i], all_used=False
    )
    column = dense(values.astype(np.uint16).view(np.int16), np.where(values > 32_767, CORRUPT, values), np.int16, (64,))
    fields = {"dtype": "integer", "emit": "int32"}
    return one(column, 60_000, "int16-wrap narrow-dtype-wrap undeclared-ignore stray", fields, silent=True)


# Other numbers, and sound data that look odd --------------------------------------------


@kind
def trimap(rng: Rng, _: int) -> Situation:
    """0, 128 and 255, where 128 is the border."""
    stored = rng.choice([0, 128, 255], 30 * 1024, p=[0.6, 0.1, 0.3])
    meant = np.select([stored == 0, stored == 255], [0, 1], VOID)
    return one(dense(stored, meant), 2, _ANY, drafted=False)


@kind
def binary_with_values_between(rng: Rng, i: int) -> Situation:
    """0 and 255, and corrupt values between."""
    stored = rng.choice([0, 255], 40 * 1024)
    bad = rng.random(len(stored)) < [0.001, 0.01, 0.05, 0.2][i]
    meant = np.where(bad, CORRUPT, stored // 255)
    return one(dense(np.where(bad, rng.integers(1, 255, len(stored)), stored), meant), 2, f"{_ANY} lossy-mask")


@kind
def ages(rng: Rng, i: int) -> Situation:
    """Ages in place of classes."""
    values = np.clip(rng.normal(38, 16, int(rng.integers(100, 5_000))), 0, 100).astype(int)
    return one(scalars(values, np.full(len(values), CORRUPT)), [2, 5, 10, 50][i], _ANY, drafted=False)


@kind
def counts_as_ids(rng: Rng, i: int) -> Situation:
    """Counts in place of classes: many are small, few are large."""
    values = np.floor(rng.pareto(1.2, int(rng.integers(100, 5_000))) * 2).astype(int)
    return one(scalars(values, np.full(len(values), CORRUPT)), [2, 5, 10, 50][i], _ANY, drafted=False)


@kind
def filled_with_a_legal_zero(rng: Rng, _: int) -> Situation:
    """Rows filled up with a legal 0: nothing is to be said."""
    values, classes = _sound(rng)
    values = np.where(rng.random(len(values)) < 0.5, 0, values)
    return one(dense(values, values, np.int32, (16,)), classes)


@kind
def uneven_and_sound(rng: Rng, _: int) -> Situation:
    """Very uneven classes: nothing is to be said."""
    values, classes = _sound(rng, 600)
    return one(_any_layout(rng, values, values), classes)


@kind
def some_classes_absent(rng: Rng, _: int) -> Situation:
    """A tenth of the classes is absent: an unused class alone means nothing."""
    classes = int(rng.integers(10, 300))
    values = draw(rng, classes, 30 * classes, "zipf", all_used=False)
    values = values[~np.isin(values, rng.choice(np.arange(1, classes - 1), max(1, classes // 10), replace=False))]
    return one(scalars(values, np.full(len(values), UNKNOWN)), classes, "unused-ids", silent=True)
