"""Counts by class id agree with a plain Counter, and merge in time that 300 shards of 100,000 classes allow."""

from __future__ import annotations

import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from label_guard.diagnosis import class_counts
from label_guard.diagnosis.class_counts import ClassCounts

IDS = st.one_of(st.integers(-5, 20), st.integers(-(2**62), 2**62), st.integers(2**63 - 2, 2**63 + 2))
PARTS = st.lists(st.dictionaries(IDS, st.integers(0, 1000), max_size=6), max_size=8)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint64", "int8", "object"])
def test_whole_numbers_of_every_dtype_are_ids(dtype: str) -> None:
    """Without a warning: 2**63, to which they are compared, is infinite in float16."""
    found = class_counts.exact_ids(np.array([1, 77, 100], dtype))
    assert (found.tolist(), found.dtype) == ([1, 77, 100], np.int64)


@given(parts=PARTS, pending=st.sampled_from([0, 3, 4096]))
def test_counts_are_those_of_a_counter(parts: list[dict[int, int]], pending: int) -> None:
    """Whatever the order of adding, merging, reading and pickling."""
    class_counts._MIN_PENDING = pending
    plain: Counter[int] = Counter()
    found = ClassCounts()
    for number, part in enumerate(parts):
        plain.update(part)
        other = ClassCounts(part)
        if number % 2:
            found.update(pickle.loads(pickle.dumps(other)))
        else:
            found.add(*other.arrays())
        if number % 3 == 0:
            assert found.total() == plain.total()
    kept = {key: count for key, count in sorted(plain.items()) if count}
    assert list(found.items()) == list(kept.items())
    assert list(found) == list(kept)
    assert list(found.values()) == list(kept.values())
    assert (len(found), bool(found), found == kept) == (len(kept), bool(kept), True)
    assert all(found[key] == plain[key] and (key in found) == bool(plain[key]) for key in [*plain, 10**6])
    class_counts._MIN_PENDING = 4096


def test_merged_shards_cost_arrays_not_classes() -> None:
    """300 shards of 100,000 classes each: the sums, of which a loop over classes would take half a minute."""
    ids = np.arange(0, 200_000, 2)
    total = ClassCounts()
    for shard in range(300):
        total.add(ids, np.full(len(ids), shard))
    assert total[4] == sum(range(300))
    assert len(total) == 100_000
