"""statistics: a commutative monoid, exact against plain counting, the same for any cut."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from label_guard import DatasetSchema, Guard
from label_guard.diagnosis.illegal import MAX_VALUES, IllegalValues
from label_guard.diagnosis.overflow import Overflow
from label_guard.diagnosis.statistics import MAX_EXAMPLES, LabelStatistics


def guard_of(**label: Any) -> Guard:
    """A guard for one label ``y``."""
    fields = {"kind": "class_label", "num_classes": 5, "ignore": [-1], **label}
    return Guard(DatasetSchema.model_validate({"format": 1, "name": "t", "version": "1.0.0", "labels": {"y": fields}}))


def statistics_of(guard: Guard, values: list[Any], first: int = 0) -> LabelStatistics:
    """Statistics of records whose keys start at ``first``."""
    found = LabelStatistics()
    if values:
        records = [{"y": value} for value in values]
        result = guard.check_records(records)
        keys = [f"f__{first + i}" for i in range(len(values))]
        columns = guard.record_columns(records)["y"]
        rows = range(first, first + len(values))
        found.add(guard.labels["y"], columns, result.faults, len(values), keys, file="f", rows=rows)
    return found


VALUES = st.lists(
    st.integers(-3, 200).map(np.int64)
    | st.sampled_from([None, 2.7, np.float32(1), np.array([1]), np.uint8(255), True, 2**40, np.array([], np.int64)]),
    max_size=30,
)


@pytest.mark.parametrize("bits", ["uint16", "uint32", "uint64"])
def test_bits_of_every_float_are_counted_without_a_warning(bits: str) -> None:
    """Bytes read as floats that were written as something else: NumPy warns about a floor of some NaN bits."""
    width = 8 * np.dtype(bits).itemsize
    top = np.arange(2**16, dtype=np.uint64) << np.uint64(width - 16)  # each sign and exponent, and NaN of both kinds
    words = np.concatenate([top, top | np.uint64(1)]).astype(bits)
    found = statistics_of(guard_of(shape=[None]), [words.view(f"float{width}")])
    assert found.violations["LG103"][0] == 1


@given(VALUES, VALUES, VALUES)
def test_merging_is_commutative_and_associative(a: list[Any], b: list[Any], c: list[Any]) -> None:
    """The order and grouping of merges never shows, and empty statistics are the unit."""
    guard = guard_of()
    x, y, z = statistics_of(guard, a), statistics_of(guard, b, 100), statistics_of(guard, c, 200)
    assert json.dumps(x.merge(y).model_dump(mode="json")) == json.dumps(y.merge(x).model_dump(mode="json"))
    assert x.merge(y).merge(z) == x.merge(y.merge(z))
    assert x.merge(LabelStatistics()) == x


@given(st.lists(st.integers(-3, 200).map(np.int64) | st.none(), max_size=40), st.integers(0, 40))
def test_any_cut_gives_the_same_bytes(values: list[Any], cut: int) -> None:
    """Statistics of two halves merged are those of the whole, byte for byte, also through their JSON."""
    guard = guard_of()
    head, tail = statistics_of(guard, values[:cut]), statistics_of(guard, values[cut:], cut)
    whole = statistics_of(guard, values)
    assert json.dumps(head.merge(tail).model_dump(mode="json")) == json.dumps(whole.model_dump(mode="json"))
    again = LabelStatistics.model_validate_json(json.dumps(whole.model_dump(mode="json")))
    assert json.dumps(again.model_dump(mode="json")) == json.dumps(whole.model_dump(mode="json"))


@given(st.lists(st.integers(-3, 9), min_size=1, max_size=60))
def test_counts_are_those_of_plain_counting(values: list[int]) -> None:
    """Class counts, sentinels, illegal values, extremes and violations equal a Python loop's."""
    found = statistics_of(guard_of(), [np.int64(v) for v in values])
    assert found.class_counts == Counter(v for v in values if 0 <= v < 5)
    assert found.sentinels == Counter(v for v in values if v == -1)
    assert found.illegal == dict(Counter(v for v in values if v < -1 or v >= 5))
    assert (found.low, found.high) == (min(values), max(values))
    assert found.violations.get("LG101", [0, 0])[0] == sum(v >= 5 for v in values)
    assert found.records == len(values)


def test_gaps_count_as_illegal_and_raw_ids_as_they_are_stored() -> None:
    """With class_ids counts are by raw id, and an id in a gap is illegal."""
    found = statistics_of(
        guard_of(num_classes=3, class_ids=[1, 5, 9], ignore=[]), [np.int64(v) for v in (1, 5, 5, 3, 10)]
    )
    assert found.class_counts == {1: 1, 5: 2}
    assert found.illegal == {3: 1, 10: 1}


def test_dense_labels_count_places_and_records() -> None:
    """A mask counts each place, and each record once for a class it holds."""
    masks = [np.array([0, 0, 1]), np.array([1, 1, 7])]
    found = statistics_of(guard_of(shape=[3]), masks)
    assert found.class_counts == {0: 2, 1: 3}
    assert found.class_records == {0: 1, 1: 2}
    assert found.illegal == {7: 1}


def test_multi_labels_count_their_ones() -> None:
    """k-hot rows count the ones of each class."""
    guard = guard_of(kind="multi_label", num_classes=3, ignore=[])
    found = statistics_of(guard, [np.array([1, 0, 1]), np.array([0, 0, 1])])
    assert found.class_counts == {0: 1, 2: 2}


def test_beyond_the_kept_values_the_number_and_the_frequent_ones_are_known() -> None:
    """Of 30,000 distinct illegal values any cut gives the same counts; a frequent one shows with a bound."""
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.integers(10_000, 2**40, 30_000), np.full(3_000, 2**45 + 17), [-(2**50)] * 9])
    values = rng.permutation(values)
    parts = [IllegalValues() for _ in range(3)]
    for part, found in zip(parts, np.split(values, [500, 20_000]), strict=True):
        part.add(found, np.arange(len(found)), lambda row: ("f", row, ""))
    whole = IllegalValues()
    for part in parts:
        whole.update(part)
    other = IllegalValues()
    for part in parts[::-1]:
        other.update(part)
    assert whole.model_dump_json() == other.model_dump_json()
    assert IllegalValues.model_validate_json(whole.model_dump_json()).overflow == whole.overflow
    assert whole.positions == len(values)
    assert abs(whole.distinct - len(np.unique(values))) < 0.2 * len(np.unique(values))
    value, most = whole.overflow.frequent()[0]
    assert value == 2**45 + 17
    assert 3_000 <= most < 3_600
    assert f"most often {value}" in whole.often_beyond()


@given(st.dictionaries(st.integers(-(2**63), 2**64 - 1), st.integers(1, 50), max_size=30), st.integers(0, 30))
def test_what_holds_more_than_half_of_a_bucket_occurs_at_most_so_often(counts: dict[int, int], cut: int) -> None:
    """The bound holds for every value that is named, and one alone is exact; merging changes nothing."""
    found, head, tail = Overflow(), Overflow(), Overflow()
    found.add(counts)
    head.add(dict(list(counts.items())[:cut]))
    tail.add(dict(list(counts.items())[cut:]))
    head.update(tail)
    assert head == found
    for value, most in found.frequent():
        assert most >= counts.get(value, 0)
    if len(counts) == 1:
        assert found.frequent() == list(counts.items())


def test_memory_is_bounded_and_the_rest_is_counted() -> None:
    """Of too many illegal values the smallest and the well-known are kept and the others counted; so are examples."""
    values = [np.int64(v) for v in range(901 + MAX_VALUES + 100, 900, -1)]
    values.append(np.int64(2**31 - 1))
    found = statistics_of(guard_of(), values)
    assert sorted(found.illegal) == [*range(901, 900 + MAX_VALUES), 2**31 - 1]
    assert found.illegal_overflow == len(values) - MAX_VALUES
    assert [one.record for one in found.examples["LG101"]] == [f"f__{i}" for i in range(MAX_EXAMPLES)]


@given(st.lists(st.sampled_from([0, 1, 4, 7, 255, -100, 12]), min_size=1, max_size=40))
def test_each_illegal_value_is_known_by_records_and_places(values: list[int]) -> None:
    """An illegal value is counted in positions and records, with the first and the last place where it occurs."""
    found = statistics_of(guard_of(), [np.int64(v) for v in values]).illegal_values.values
    for value in {7, 255, -100, 12} & set(values):
        rows = [row for row, other in enumerate(values) if other == value]
        one = found[value]
        assert (one.positions, one.records) == (len(rows), len(rows))
        assert one.first == ("f", rows[0], f"f__{rows[0]}")
        assert one.last == ("f", rows[-1], f"f__{rows[-1]}")


def test_files_with_illegal_values_are_counted_by_name() -> None:
    """A closed file keeps its counts by illegal value when files are merged; clean files are counted together."""
    guard = guard_of()
    parts = [statistics_of(guard, [np.int64(v) for v in values]) for values in ([0, 7, 7], [1, 4], [2, 3])]
    for name, part in zip("abc", parts, strict=True):
        part.end_of_file(name)
    found = parts[0].merge(parts[1]).merge(parts[2]).illegal_values
    assert {name: (f.positions, f.illegal, dict(f.values)) for name, f in found.files.items()} == {"a": (3, 2, {7: 2})}
    assert (found.clean_files, found.clean_positions, found.clean_low, found.clean_high) == (2, 4, 1, 4)


@given(
    ids=st.lists(st.sampled_from([-5, 0, 3, 2**20, 2**31, 2**40, 2**62]), min_size=2, max_size=6, unique=True),
    values=st.lists(st.sampled_from([-6, -5, 0, 3, 4, 2**20, 2**31, 2**40, 2**40 + 1, 2**62]), min_size=1, max_size=12),
)
def test_ids_that_are_far_apart_cost_no_table(ids: list[int], values: list[int]) -> None:
    """The memory is that of the ids, not of the distance between them; the counts are those of plain counting."""
    guard = guard_of(num_classes=len(ids), class_ids=ids, ignore=[], shape=[2])
    found = statistics_of(guard, [np.array([value, ids[0]]) for value in values])
    legal = Counter(value for pair in [(value, ids[0]) for value in values] for value in pair if value in ids)
    assert dict(found.class_counts.items()) == dict(legal)
    records = Counter(value for value in values for value in {value, ids[0]} if value in ids)
    assert dict(found.class_records.items()) == dict(records)


_BEYOND = [2**63 - 1, 2**63, 2**63 + 1, 2**64 - 1]


@given(
    ids=st.lists(st.sampled_from([*_BEYOND, 2**63 + 2, 0, 5]), min_size=1, max_size=5, unique=True).map(tuple)
    | st.sampled_from([2**63 - 1, 2**63, 2**63 + 1]).map(lambda start: range(start, start + 3)),
    values=st.lists(st.lists(st.sampled_from([*_BEYOND, 2**63 + 3, 0, 5, 7]), min_size=2, max_size=2), min_size=1),
    is_list=st.booleans(),
)
def test_ids_beyond_int64_are_counted(ids: tuple[int, ...] | range, values: list[list[int]], *, is_list: bool) -> None:
    """Ids that only uint64 holds, in scalars and lists: as plain counting finds them, also through JSON."""
    declared = {"start": ids.start} if isinstance(ids, range) else list(ids)
    shape = {"shape": [2]} if is_list else {}
    guard = guard_of(num_classes=len(ids), class_ids=declared, ignore=[], dtype="uint64", **shape)
    rows = values if is_list else [row[:1] for row in values]
    found = statistics_of(guard, [np.array(row if is_list else row[0], np.uint64) for row in rows])
    assert dict(found.class_counts) == dict(Counter(value for row in rows for value in row if value in ids))
    assert dict(found.class_records) == dict(Counter(value for row in rows for value in {*row} if value in ids))
    assert found.illegal_values.positions == sum(value not in ids for row in rows for value in row)
    assert LabelStatistics.model_validate_json(found.model_dump_json()).class_counts == found.class_counts


@given(
    st.lists(
        st.tuples(*[st.tuples(st.sampled_from([0, 1, 4, 7, 255, -100]), st.booleans())] * 3), min_size=1, max_size=9
    )
)
def test_positions_that_do_not_count_are_in_no_count(records: list[tuple[tuple[int, bool], ...]]) -> None:
    """Values where ``where`` is 0 are left out of all counts and of the extremes."""
    guard = guard_of(shape=[3], where="seen")
    batch = {
        "y": np.array([[value for value, _ in record] for record in records]),
        "seen": np.array([[counts for _, counts in record] for record in records]),
    }
    result = guard.check(batch, batched=True)
    found = LabelStatistics()
    columns = guard.batch_columns(batch, len(records))["y"]
    found.add(guard.labels["y"], columns, result.faults, len(records), [str(row) for row in range(len(records))])
    left = [[value for value, counts in record if counts] for record in records]
    values, legal = [value for record in left for value in record], guard.labels["y"].raw_ids
    assert dict(found.class_counts.items()) == dict(Counter(value for value in values if value in legal))
    held = Counter(value for record in left for value in set(record) if value in legal)
    assert dict(found.class_records.items()) == dict(held)
    assert found.positions == len(values)
    assert (found.low, found.high) == ((min(values), max(values)) if values else (None, None))


def test_nan_that_is_declared_is_in_no_count() -> None:
    """NaN for "not measured" is not counted as another value, not even as a 0."""
    guard = guard_of(kind="multi_label", num_classes=3, dtype="float32", ignore=[float("nan")])
    found = statistics_of(guard, [np.array([1, np.nan, np.nan], np.float32)])
    assert dict(found.class_counts.items()) == {0: 1}
    assert (found.low, found.high) == (1, 1)


LONG_LABELS: list[dict[str, Any]] = [
    {"kind": "class_label", "num_classes": 5, "shape": [5]},
    {"kind": "multi_label", "num_classes": 5},
    {"kind": "soft_label", "num_classes": 5},
    {"kind": "real_label", "minimum": 0, "shape": [5]},
]


@pytest.mark.parametrize("label", LONG_LABELS)
@given(numbers=st.lists(st.floats(-9, 9) | st.integers(-9, 9).map(float), min_size=5, max_size=5))
def test_long_doubles_are_counted_as_doubles(label: dict[str, Any], numbers: list[float]) -> None:
    """Statistics of a dtype that labels cannot have, wider than a double, can be written and read back."""
    schema = DatasetSchema.model_validate({"format": 1, "name": "t", "version": "1.0.0", "labels": {"y": label}})
    wide, usual = (
        LabelStatistics.model_validate_json(statistics_of(Guard(schema), [np.array(numbers, dtype)]).model_dump_json())
        for dtype in (np.longdouble, np.float64)
    )
    assert (wide.illegal, wide.low, wide.high) == (usual.illegal, usual.low, usual.high)
