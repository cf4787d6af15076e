"""Compiled shortcuts of the check against brute force: integer sets and limits, value by value."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from label_guard.check.integer_set import MAX_TABLE, IntegerSet
from label_guard.check.real_label import limits_in
from label_guard.schema.labels import RealLabel

NARROW = [np.dtype("int8"), np.dtype("uint8")]
WIDE = [np.dtype(name) for name in ("int16", "int32", "int64", "uint16", "uint32", "uint64")]


def every(dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """All 256 values of a dtype of one byte."""
    return np.arange(256, dtype=np.uint8).view(dtype)


def near(low: int, high: int) -> st.SearchStrategy[int]:
    """Integers in and around ``[low, high]``, its ends and zero often among them."""
    return st.sampled_from([low, high, low + 1, high - 1, 0, -1, 1, low - 1, high + 1]) | st.integers(low - 9, high + 9)


def ids_of(low: int, high: int) -> st.SearchStrategy[range | tuple[int, ...]]:
    """A range of ids, or ids with gaps."""
    gapped = st.lists(near(low, high), min_size=1, max_size=9, unique=True).map(tuple)
    return gapped | st.builds(lambda start, size: range(start, start + size), near(low, high), st.integers(0, 300))


@settings(max_examples=400)
@given(st.sampled_from(NARROW), st.data())
def test_every_value_of_one_byte(dtype: np.dtype[Any], data: Any) -> None:
    """Each of the 256 values is legal exactly where Python's ``in`` says so, alone, in pairs and all together."""
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    ids = data.draw(ids_of(low, high))
    sentinels = tuple(data.draw(st.lists(near(low, high), max_size=6)))
    compiled = IntegerSet(dtype, ids, sentinels)
    legal = [v in ids or v in sentinels for v in every(dtype).tolist()]
    illegal = np.flatnonzero(~np.array(legal))
    assert compiled.illegal_positions(every(dtype)).tolist() == illegal.tolist()
    assert compiled.all_legal(every(dtype)) == all(legal)
    assert [compiled.all_legal(every(dtype)[k : k + 1]) for k in range(256)] == legal
    first = every(dtype)[legal.index(True)] if any(legal) else dtype.type(0)
    pairs = [compiled.all_legal(np.array([first, value], dtype)) for value in every(dtype)[::7]]
    assert pairs == [any(legal) and ok for ok in legal[::7]]


@pytest.mark.parametrize("dtype", NARROW)
def test_ids_at_both_ends_of_the_dtype(dtype: np.dtype[Any]) -> None:
    """The least and the greatest value alone are two legal values, with a third one too, with and without sentinels."""
    low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    for ids in ((low, high), (high, low), (low, 7, high)):
        for sentinels in ((), (3,), (low + 1,), (3, 9, 11, 13, 15)):
            found = IntegerSet(dtype, ids, sentinels).illegal_positions(every(dtype))
            assert set(every(dtype)[found].tolist()) == set(range(low, high + 1)) - {*ids, *sentinels}


@settings(max_examples=150)
@given(st.sampled_from(WIDE), st.booleans(), st.data())
def test_wider_dtypes(dtype: np.dtype[Any], strided: bool, data: Any) -> None:
    """Intervals, tables, searched ids and lone negative sentinels, at every width, in blocks and strided."""
    low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    sparse = data.draw(st.sampled_from([(), (2 * MAX_TABLE,), (low, high), (2**31, 2**32, 2**53 + 1)]))
    ids = data.draw(ids_of(0, 90))
    ids = (*ids, *sparse) if isinstance(ids, tuple) else ids
    sentinels = data.draw(st.sampled_from([(), (-100,), (-1,), (255,), (-100, 255), (-1, -2, 91, 92, 93, 2**40)]))
    values = st.sampled_from([*ids[:5], *ids[-5:], *sentinels, -101, -99, -2, -1, 0, 91, 254, 256, low, high])
    drawn = [v for v in data.draw(st.lists(values | near(low, high), max_size=40)) if low <= v <= high]
    array = np.array(drawn, dtype)
    array = np.repeat(array, 2)[::2] if strided else array
    illegal = [k for k, v in enumerate(drawn) if v not in ids and v not in sentinels]
    compiled = IntegerSet(dtype, ids, sentinels)
    assert compiled.illegal_positions(array).tolist() == illegal
    assert compiled.all_legal(array) == (not illegal)
    legal = np.array([v for v in drawn if v in ids or v in sentinels], dtype)
    assert compiled.all_legal(np.tile(legal, 50_000 // (len(legal) + 1)))


HALVES = np.arange(65536, dtype=np.uint16).view(np.float16)


@settings(max_examples=30)
@given(
    st.none() | st.floats(-7e4, 7e4) | st.integers(-300, 300),
    st.none() | st.floats(-7e4, 7e4) | st.integers(-300, 300),
    st.sampled_from([HALVES, every(np.dtype("int8")), every(np.dtype("uint8"))]),
)
def test_limits_hold_the_legal_values_exactly(low: Any, high: Any, values: np.ndarray[Any, Any]) -> None:
    """Every float16 and every value of one byte is inside the compiled limits exactly where Python's <= says so."""
    if low is not None and high is not None and low > high:
        low, high = high, low
    label = RealLabel(minimum=low, maximum=high, dtype=("float16", "int8", "uint8", "float64"))
    limits = limits_in(label, values.dtype)
    expected = [math.isfinite(v) and (low is None or v >= low) and (high is None or v <= high) for v in values.tolist()]
    found = np.zeros(len(values), bool) if limits is None else (values >= limits[0]) & (values <= limits[1])
    assert found.tolist() == expected


@given(st.floats(6.5e4, 6.6e4) | st.floats(3.3e38, 3.5e38) | st.floats(allow_nan=False))
def test_a_number_that_emit_makes_infinite_is_outside(number: float) -> None:
    """For each float64, the limits agree with what the conversion to float16 and float32 gives."""
    for target in (np.dtype("float16"), np.dtype("float32")):
        limits = limits_in(RealLabel(), np.dtype("float64"), [target])
        assert limits is not None
        with np.errstate(over="ignore"):
            assert (limits[0] <= number <= limits[1]) == bool(np.isfinite(target.type(number)))
