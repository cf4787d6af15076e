"""Situations of one fault with sizes, frequencies, layouts and rates drawn over their whole range."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from bench.causes.kinds import laid_out
from bench.causes.situations import VOID, Column, Kind, Make, Rng, Situation, draw, one, scalars, spoil

RANDOM: list[Kind] = []
_VARIANTS = 12


def kind(make: Make) -> Make:
    """Registers a kind under the name of its function."""
    RANDOM.append(Kind(make.__name__.replace("_", "-"), _VARIANTS, make))
    return make


def _between(rng: Rng, low: float, high: float) -> int:
    return round(float(np.exp(rng.uniform(np.log(low), np.log(high)))))


def _sound(rng: Rng, more: int = 0) -> tuple[Any, int, Callable[[Any, Any], Column]]:
    """Class indices of ``classes + more`` classes, their number, and a layout."""
    classes = _between(rng, 2, 2_000)
    size = _between(rng, max(40, 3 * classes), max(400, min(100_000, 300 * classes)))
    how = str(rng.choice(["even", "mild", "zipf", "mixed"]))
    layout = str(rng.choice(["scalar", "scalar", "tokens", "list"])) if size > 2_100 else "scalar"
    return draw(rng, classes + more, size, how), classes, lambda values, meaning: laid_out(rng, values, meaning, layout)


@kind
def random_sound(rng: Rng, _: int) -> Situation:
    """Nothing is wrong."""
    values, classes, layout = _sound(rng)
    return one(layout(values, values), classes)


@kind
def random_one_based(rng: Rng, _: int) -> Situation:
    """Ids count from 1."""
    values, classes, layout = _sound(rng)
    return one(layout(values + 1, values), classes, "one-based", patchable=True)


@kind
def random_too_few(rng: Rng, i: int) -> Situation:
    """num_classes is one to four too small."""
    values, classes, layout = _sound(rng, 1 + i % 4)
    causes = "one-class-too-few other-classes stray"
    return one(layout(values, values), classes, causes, patchable=i % 4 == 0, silent=True)


@kind
def random_strays(rng: Rng, i: int) -> Situation:
    """One to four bad values: the next id, -1, 255 or any number."""
    values, classes, layout = _sound(rng)
    column = layout(values, values)
    number = min(1 + i % 4, max(1, column.flat().size // 40))
    far = 255 if classes < 250 else 40_000
    bad = [
        np.full(number, classes),
        np.full(number, -1),
        np.full(number, far),
        rng.integers(classes, 60 * classes, number),
    ]
    return one(spoil(rng, column, bad[i % 4]), classes, "stray noise")


@kind
def random_voids(rng: Rng, i: int) -> Situation:
    """1 % to 90 % of the values are an undeclared void value."""
    values, classes, layout = _sound(rng)
    value = [255, -1, -100][i % 3] if classes < 250 else [-1, -100][i % 2]
    void = rng.random(len(values)) < np.exp(rng.uniform(np.log(0.01), np.log(0.9)))
    void[: min(30, len(values) // 3)] = True
    column = layout(np.where(void, value, values), np.where(void, VOID, values))
    return one(column, classes, "undeclared-ignore unlabeled-records", patchable=True)


@kind
def random_noise(rng: Rng, _: int) -> Situation:
    """1 % to 60 % of the values are random numbers."""
    values, classes, _layout = _sound(rng)
    count = max(8, int(len(values) * np.exp(rng.uniform(np.log(0.01), np.log(0.6)))))
    bad = rng.integers(-(2**31), 2**31, count)
    return one(spoil(rng, scalars(values, values), bad), classes, "noise stray not-ids")


@kind
def random_gaps(rng: Rng, _: int) -> Situation:
    """Ids with gaps."""
    values, classes, layout = _sound(rng)
    classes = min(classes, 400)
    ids = np.sort(rng.choice(_between(rng, 1.3 * classes + 2, 5 * classes + 4), classes, replace=False))
    ids[-1] = max(int(ids[-1]), classes + 1)
    values = values % classes
    causes = "ids-with-gaps other-classes not-ids"
    return one(layout(ids[values], values), classes, causes, patchable=True)


@kind
def random_moved_down(rng: Rng, _: int) -> Situation:
    """One was subtracted."""
    values, classes, layout = _sound(rng)
    return one(layout(values - 1, values), classes, "minus-one-shift offset")
