"""Distributions: exact sums, the same for any cut and any order of merging."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from label_guard.check.columns import Column
from label_guard.diagnosis.distribution import MAX_BINS, Distribution, Histogram
from label_guard.schema.labels import MultiLabel, RealLabel, SoftLabel

NUMBERS = st.lists(st.floats() | st.integers(-5, 5).map(float), max_size=60)


def histogram_of(values: list[float]) -> Histogram:
    """A histogram of ``values``."""
    histogram = Histogram()
    histogram.add(np.array(values, np.float64))
    return histogram


def column(array: np.ndarray, counts: np.ndarray | None = None) -> Column:
    """A column of every row of ``array``."""
    return Column(np.arange(len(array)), array, True, None, counts)


@given(NUMBERS, NUMBERS, NUMBERS)
def test_histograms_merge_in_any_order(a: list[float], b: list[float], c: list[float]) -> None:
    """Merged parts are the histogram of the whole, byte for byte."""
    x, y, z = map(histogram_of, (a, b, c))
    whole = histogram_of([*c, *a, *b]).model_dump_json()
    assert x.merge(y).merge(z).model_dump_json() == z.merge(y.merge(x)).model_dump_json() == whole


@given(NUMBERS)
def test_each_finite_number_is_in_its_bin(values: list[float]) -> None:
    """Bins ascend, do not overlap, and hold as many numbers as lie between their edges."""
    bins = list(histogram_of(values).bins())
    finite = [value for value in values if math.isfinite(value)]
    assert sum(count for _, _, count in bins) == len(finite)
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(bins))
    for value in finite:
        assert abs(value) < 1e-306 or any(low <= value <= high for low, high, _ in bins)


def test_bins_are_bounded_for_any_numbers() -> None:
    """Numbers of every size of a double coarsen the bins, the same in one part or in a hundred."""
    bits = np.random.default_rng(0).integers(-(2**63), 2**63, 100_000).view(np.float64)
    whole = histogram_of(bits.tolist())
    parts = Histogram()
    for part in np.split(bits, 100):
        parts = histogram_of(part.tolist()).merge(parts)
    assert len(whole.counts) <= MAX_BINS
    assert parts.model_dump_json() == whole.model_dump_json()


def test_declared_values_and_positions_that_do_not_count_are_left_out() -> None:
    """Sentinels (0.1 as float32 stores it), NaN and positions without weight are not values of a regression target."""
    found = Distribution()
    label = RealLabel(ignore=(-999, 0.1), where="weight")
    values = np.array([1.0, -999, 3.0, np.nan, 0.1], np.float32)
    found.add(label, column(values, np.array([True, True, False, True, True])))
    assert [count for _, _, count in found.values.bins()] == [1]


def test_rows_of_probabilities_are_counted_by_sum_and_entropy() -> None:
    """One-hot rows have no entropy, even ones log2(classes); a negative row has a sum alone."""
    found = Distribution()
    rows = np.array([[1, 0, 0, 0], [0.25] * 4, [0.5, 0.5, 0, 0], [2, -1, 0, 0]], np.float32)
    found.add(SoftLabel(num_classes=4), column(rows))
    assert [(low, count) for low, _, count in found.entropy.bins()] == [(0.0, 1), (1.0, 1), (2.0, 1)]
    assert [(low, count) for low, _, count in found.sums.bins()] == [(1.0, 4)]


@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), max_size=20))
def test_pairs_are_counted_as_by_hand(rows: list[list[bool]]) -> None:
    """For each pair of classes, the rows that hold both."""
    found = Distribution()
    found.add_pairs(np.array(rows, np.bool_).reshape(-1, 5))
    expected = {i * 5 + j: sum(row[i] and row[j] for row in rows) for i in range(5) for j in range(i + 1, 5)}
    assert dict(found.pairs.items()) == {pair: count for pair, count in expected.items() if count}


def test_pairs_of_many_classes_are_not_counted() -> None:
    """They grow with the square of the classes."""
    found = Distribution()
    found.add_pairs(np.ones((2, 65), np.bool_))
    found.add(MultiLabel(num_classes=65), column(np.ones((2, 65), np.int64)))
    assert found == Distribution()
    assert json.loads(found.model_dump_json()) == {}


def test_a_bin_that_no_number_has_is_refused() -> None:
    """A report that was edited: the edges of a bin are computed in int64."""
    with pytest.raises(ValueError, match="a bin does not fit int64"):
        Histogram.model_validate({"counts": {str(2**63): 1}})
