"""Guard: forms of elements, purity, threads, processes, memory. What it finds is held by the oracle."""

from __future__ import annotations

import pickle
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from label_guard import DatasetSchema, Guard, UsageError
from tests.elements import Example, Pair


def guard_of(labels: dict[str, Any] | None = None, **label: Any) -> Guard:
    """A guard for one label ``y``, or for several."""
    fields = {"kind": "class_label", "num_classes": 10, **label}
    schema = {"format": 1, "name": "t", "version": "1.0.0", "labels": labels or {"y": fields}}
    return Guard(DatasetSchema.model_validate(schema))


IDS = np.array([1, 10, -1, 3])


@pytest.mark.parametrize(
    ("path", "element"),
    [
        ("y", {"y": IDS}),
        ("image/class/label", {"image/class/label": IDS}),
        ("objects/label", {"objects": {"label": IDS, "box": np.zeros((4, 4))}}),
        ("a/b/c", {"a": {"b/c": IDS}}),
        ("1", (np.zeros((4, 2)), IDS)),
        ("0/y", ({"y": IDS}, np.zeros(4))),
        ("y", Pair(np.zeros(4), IDS)),
        ("y", Example(np.zeros(4), IDS)),
    ],
)
def test_a_label_is_found_wherever_it_lies(path: str, element: Any) -> None:
    """Flat keys, nested keys, tuple indices, named tuples and dataclasses."""
    guard = guard_of({path: {"kind": "class_label", "num_classes": 10}})
    assert guard.check(element).valid.tolist() == [True, False, False, True]


def test_jax_arrays_and_subclasses_are_checked_as_arrays() -> None:
    """A JAX array and an ndarray subclass give what their NumPy array gives; a masked array is not a label."""

    class Shared(np.ndarray):  # what Grain's workers hand over
        pass

    guard = guard_of()
    for batch in (jnp.asarray(IDS), IDS.view(Shared)):
        assert guard.check({"y": batch}).valid.tolist() == [True, False, False, True]
    assert guard.check({"y": np.array([1, 2]).view(Shared)}).ok
    assert guard.check({"y": np.ma.masked_array([1, 2, 3], [0, 1, 0])}, batched=True).counts == {"LG103": 3}


def test_a_clean_batch_is_checked_without_being_copied_or_written() -> None:
    """Read-only memory is enough."""
    batch = np.array([1, 2, 3])
    batch.flags.writeable = False
    assert guard_of().check({"y": batch}).ok
    assert guard_of().check({"y": IDS[::-1]}).valid.tolist() == [True, False, False, True]


def test_labels_of_one_batch_must_agree_in_length() -> None:
    """A label with another number of records is wrong as a whole."""
    label = {"kind": "class_label", "num_classes": 10}
    guard = guard_of({"a": label, "b": label})
    result = guard.check({"a": np.zeros(4, int), "b": np.zeros(3, int)}, batched=True)
    assert result.counts == {"LG105": 4}


def test_a_missing_label_is_missing_in_every_record() -> None:
    """The number of records is then that of the other features."""
    result = guard_of().check({"image": np.zeros((5, 2, 2))}, batched=True)
    assert (result.num_records, result.counts) == (5, {"LG104": 5})


@pytest.mark.parametrize(
    ("element", "reported"),
    [
        ({"y": [1, 2]}, "pass batched="),
        ({"y": np.array([1])}, "a record or a batch"),
        ({"y": np.zeros((2, 2), int)}, "a record or a batch"),
        ({"y": np.zeros((2, 1), int)}, "Likely cause: a trailing axis of one"),
        ({}, "pass batched="),
        ({"y": None}, "pass batched="),
    ],
)
def test_doubt_about_the_form_is_an_error(element: Any, reported: str) -> None:
    """Lists, batches of one and absent labels do not distinguish a record from a batch, so the caller must."""
    with pytest.raises(UsageError, match=reported):
        guard_of().check(element)


def test_a_free_shape_needs_the_form() -> None:
    """With a dimension of any length a record of ids looks like a batch of ids."""
    with pytest.raises(UsageError, match="pass batched="):
        guard_of(shape=[None]).check({"y": np.array([1, 2])})


def test_the_form_is_reported_from_the_rank() -> None:
    """A scalar is a record, a longer vector a batch."""
    guard = guard_of()
    assert not guard.is_batched({"y": np.int64(3)})
    assert guard.is_batched({"y": np.array([3, 4])})


def test_an_element_of_the_other_form_is_the_wrong_shape() -> None:
    """A (1,) label taken for a record is LG105: as a batch of one it would pass and then become (B, 1)."""
    assert guard_of().check({"y": np.array([3])}, batched=False).counts == {"LG105": 1}
    assert guard_of().check({"y": np.int64(3)}, batched=True).counts == {"LG105": 1}


def test_a_guard_pickles_with_its_verdicts() -> None:
    """A worker process gets the same guard: same digest, same findings."""
    guard = guard_of(ignore=[255], dtype="integer")
    again = pickle.loads(pickle.dumps(guard))
    assert (again.digest, again.labels) == (guard.digest, guard.labels)
    assert again.check({"y": IDS}).violations == guard.check({"y": IDS}).violations


def test_one_guard_serves_many_threads() -> None:
    """Scratch buffers are each thread's own: 16 threads over dirty and clean masks agree with one."""
    guard = guard_of(dtype="uint8", ignore=[255], shape=[200, 300])
    rng = np.random.default_rng(0)
    batches = [rng.integers(0, 9 + i % 3, (8, 200, 300), dtype=np.uint8) for i in range(32)]
    alone = [guard.check({"y": batch}).counts for batch in batches]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda batch: guard.check({"y": batch}).counts, batches))
    assert together == alone
    assert {"LG101": 8} in alone
    assert {} in alone


def peak_of(run: Any) -> int:
    """Peak of memory allocated by ``run``, in bytes."""
    run()
    tracemalloc.start()
    run()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def test_clean_masks_cost_no_memory_in_proportion() -> None:
    """4 MiB of masks are checked in cache-sized pieces."""
    batch = {"y": np.zeros((16, 512, 512), np.uint8)}
    guard = guard_of(num_classes=19, dtype="uint8", ignore=[255], shape=[512, 512])
    assert peak_of(lambda: guard.check_batch(batch)) < 64 * 1024


def test_locating_a_few_costs_memory_in_proportion_to_them() -> None:
    """100 bad of 2 million: kilobytes, not megabytes."""
    labels = np.zeros(2_000_000, np.int64)
    labels[:: len(labels) // 100] = 10
    guard = guard_of(shape=[1_000_000])
    batch = {"y": labels.reshape(2, -1)}
    assert guard.check_batch(batch).faults[0].counts.sum() == 100
    assert peak_of(lambda: guard.check_batch(batch)) < 512 * 1024


def test_an_all_bad_batch_keeps_few_examples_and_exact_counts() -> None:
    """Five violations are kept for a rule, whatever the batch; the counts are exact."""
    result = guard_of().check({"y": np.full(100_000, 10)})
    assert (len(result.violations), result.counts, result.num_invalid) == (5, {"LG101": 100_000}, 100_000)


def test_records_that_are_skipped_are_legal_rows() -> None:
    """A declared unlabeled value with on_unlabeled: skip is distinguished from what is bad."""
    schema = {
        "format": 1, "name": "t", "version": "1.0.0", "labels": {"y": {"kind": "class_label", "num_classes": 3}},
        "splits": {"train": {"labels": {"y": {"unlabeled": -1, "on_unlabeled": "skip"}}}},
    }  # fmt: skip
    result = Guard(DatasetSchema.model_validate(schema), "train").check({"y": np.array([0, -1, 5, 2, -1])})
    assert result.valid.tolist() == [True, True, False, True, True]
    assert result.skipped is not None
    assert result.skipped.tolist() == [1, 4]


@pytest.mark.parametrize("ignore", [(), (-1,), (255,), (7, 9)])
@pytest.mark.parametrize("dtypes", [("uint8", "int8"), ("int64",), ("int8",)])
def test_the_short_way_of_single_records_is_right(ignore: tuple[int, ...], dtypes: tuple[str, ...]) -> None:
    """clean_record agrees with check_records on every value of 8 bits and its neighbours, twice, in every dtype."""
    legal = [value for value in ignore if all(np.iinfo(name).min <= value <= np.iinfo(name).max for name in dtypes)]
    guard = guard_of(num_classes=6, dtype=list(dtypes), ignore=legal)
    values: list[Any] = [np.dtype(name).type(v) for name in ("uint8", "int8") for v in range(256) if _fits(name, v)]
    values += [np.int8(v) for v in range(-128, 0)] + [np.int64(v) for v in (*range(-130, 300), 2**32 + 1, 2**53 + 1)]
    values += [np.float32(1), np.bool_(True), np.array(1), np.array(77), 1, None, [1], np.str_("1"), np.array([1])]
    # Some of these have no hash.
    values += [np.void(b"\1"), np.zeros(1, [("a", "i8")])[0], np.timedelta64(1), np.timedelta64(1, "s")]
    for value in [*values, *values]:  # the second time legal ones are remembered
        record = {"y": value}
        if guard.clean_record(record):
            assert guard.check_records([record]).ok, value
        elif isinstance(value, np.integer):
            assert not guard.check_records([record]).ok, value


@pytest.mark.parametrize("ignore", [(), (-1,), (255,), (7, 9)])
@pytest.mark.parametrize("dtypes", [("uint8", "int8"), ("int64",), ("int8",)])
def test_the_short_way_of_batches_is_right(ignore: tuple[int, ...], dtypes: tuple[str, ...]) -> None:
    """clean_batch agrees with check_batch on batches of two values, of every value of 8 bits and in every dtype."""
    legal = [value for value in ignore if all(np.iinfo(name).min <= value <= np.iinfo(name).max for name in dtypes)]
    guard = guard_of(num_classes=6, dtype=list(dtypes), ignore=legal)
    stored = [np.array([1, v], name) for name in ("uint8", "int8") for v in range(-128, 256) if _holds(name, v)]
    wide = [np.array([1, v]) for v in (*range(-130, 300), 2**32 + 1, 2**53 + 1)]
    odd = [np.float32([1, 2]), np.array(1), [1, 2], np.array([[1, 2]]), None, np.array([1, None]), np.array(["1", "2"])]
    for value in [*stored, *wide, *odd]:
        result = guard.check_batch({"y": value})
        if guard.clean_batch({"y": value}, 2):
            assert (result.ok, result.num_records) == (True, 2), value
        elif isinstance(value, np.ndarray) and value.dtype.kind in "iu" and value.ndim == 1:
            assert not result.ok, value


def test_batches_that_need_a_closer_look() -> None:
    """A mask, several lengths, a where and records to skip are left to check_batch."""
    label = {"kind": "class_label", "num_classes": 10}
    model = DatasetSchema.model_validate({"format": 1, "name": "t", "version": "1.0.0", "labels": {"a/y": label}})
    masked, y, zeros = Guard(model, masks={"a/y": "a/y_valid"}), np.arange(3), np.zeros(3, bool)
    assert masked.clean_batch({"a": {"y": y}}, 3) == masked.clean_batch({"a/y": y}, 3) == {"a/y": y}
    assert masked.clean_batch({"a/y": y}, 2) == {}
    for batch in ({"a": {"y": y, "y_valid": zeros}}, {"a/y": y, "a/y_valid": zeros}, {"b": y}, [y], None):
        assert masked.clean_batch(batch, 3) == {}, batch
    assert guard_of(where="w").clean_batch({"y": y, "w": zeros}, 3) == {}
    assert guard_of(unlabeled=-1, on_unlabeled="skip").clean_batch({"y": y}, 3) == {}
    assert guard_of({"y": label, "z": label}).clean_batch({"y": y, "z": y[:2]}, 3) == {}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_one_hot_rows_are_found_among_all_others(dtype: str) -> None:
    """Of every two rows of three values, those that hold one 1 and otherwise zeros are legal; -0.0 is a zero."""
    values = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, np.nan, np.inf]
    rows = np.array(list(product(values, repeat=3)), dtype)
    right = np.array([sorted(abs(row)) == [0, 0, 1] and row.min() >= 0 for row in rows])
    guard = guard_of(kind="soft_label", num_classes=3, one_hot=True)
    assert guard.check_batch({"y": rows}).valid.tolist() == right.tolist()
    first = np.zeros((len(rows), 3), dtype)
    first[:, 1] = 1
    for pair, legal in zip(np.stack([first, rows], axis=1), right, strict=True):
        assert guard.check_batch({"y": pair}).ok == legal, pair
        assert guard.check_batch({"y": pair[::-1, ::-1]}).ok == legal, pair


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_where_in_one_array_counts_as_it_does_record_by_record(data: st.DataObject) -> None:
    """A batch under a where has the violations, the padding and the values of its records, each with its own where."""
    soft, size = data.draw(st.booleans()), data.draw(st.integers(1, 4))
    label = {"kind": "soft_label", "num_classes": 3} if soft else {"kind": "class_label", "num_classes": 3}
    guard = guard_of({"y": {**label, "shape": [2], "where": "w"}})
    shape = data.draw(st.sampled_from([(size,), (size, 1), (size, 2), (size, 3), (size, 0), (size, 2, 1)]))
    where = data.draw(
        hnp.arrays(st.sampled_from(["bool", "int32", "float32"]), shape, elements=st.sampled_from([0, 1]))
    )
    tail = (2, 3) if soft else (2,)
    y = data.draw(hnp.arrays("float32" if soft else "int64", (size, *tail), elements=st.sampled_from([0, 1, 3])))
    records = [{"y": y[row], "w": where[row]} for row in range(size)]
    batch, single = guard.check_batch({"y": y, "w": where}), guard.check_records(records)
    assert batch.counts == single.counts
    assert batch.valid.tolist() == single.valid.tolist()
    assert batch.num_padding == single.num_padding
    columns, own = guard.batch_columns({"y": y, "w": where}, size)["y"], guard.record_columns(records)["y"]
    assert [(c.rows.tolist(), str(c.array)) for c in columns] == [(c.rows.tolist(), str(c.array)) for c in own]


def _holds(name: str, value: int) -> bool:
    return np.iinfo(name).min <= value <= np.iinfo(name).max


def _fits(name: str, value: int) -> bool:
    return value <= np.iinfo(name).max


# A label as a list, and what its `where` may hold; the last says whether the record is valid.
LISTED: list[tuple[list[int], Any, bool]] = [
    ([1, 2, 3], [1, 1, 0], True),
    ([1, 12, 3], [1, 0, 1], True),
    ([1, 12], [1, 0.5], False),
    ([1, 12], [0.5, 0], True),
    ([1, 12], [True, False], True),
    ([1, 12], [True, 2], False),
    ([5], [2**70], True),
    ([], [], True),
    ([12], 1, False),
    ([1, 2], [1], True),
    ([1, 2], [1, 1, 1], False),
    ([1, 2], [[1, 1]], False),
    ([1, 2], ["a", "b"], False),
    ([1, 2], "x", False),
    ([1, 2], None, False),
    ([1, 12], np.array([0.5, 0], ml_dtypes.bfloat16), True),
    ([1, 12], np.array([0.5, 2], ml_dtypes.float8_e4m3fn), False),
]


@pytest.mark.parametrize("pair", [*product(range(len(LISTED)), repeat=2)])
def test_a_where_of_several_forms_counts_record_by_record(pair: tuple[int, int]) -> None:
    """Lists of any lengths, as readers of JSON and Parquet yield them: an odd one leaves its neighbours as they are."""
    rows = [LISTED[place] for place in pair]
    features = {"y": [ids for ids, _, _ in rows], "w": [where for _, where, _ in rows]}
    guard = guard_of(shape=[None], where="w")
    expected = [valid for _, _, valid in rows]
    assert guard.check_columns(guard.gathered(features, len(rows)), len(rows)).valid.tolist() == expected
    records = [{"y": np.array(ids, np.int64), "w": where} for ids, where, _ in rows]
    assert guard.check_records(records).valid.tolist() == expected


@pytest.mark.parametrize("where", [(0,), (0, 3), (0, 1, 1)])
@pytest.mark.parametrize("label", [(0,), (0, 2), (0, 3)])
def test_a_batch_without_records_breaks_no_rule(label: tuple[int, ...], where: tuple[int, ...]) -> None:
    """Whatever the shapes of a label and its where are: no record is there that they could not fit."""
    guard = guard_of({"y": {"kind": "class_label", "num_classes": 3, "shape": [3], "where": "w"}})
    found = guard.check_batch({"y": np.zeros(label, np.int64), "w": np.ones(where, np.bool_)})
    assert (found.ok, found.num_records) == (True, 0)


@pytest.mark.parametrize(
    ("rules", "ids", "legal"),
    [
        ({"min_length": 1}, [], "at least 1 id"),
        ({"max_length": 2}, [0, 1, 2], "at most 2 ids"),
        ({"min_length": 1, "max_length": 2}, [], "at least 1 id, at most 2 ids"),
        ({"unique": True}, [1, 1], "no id twice"),
        ({"unique": True, "max_length": 2}, [1, 1], "at most 2 ids, no id twice"),
    ],
)
@pytest.mark.parametrize("kind", [{"kind": "class_label", "shape": [None]}, {"kind": "multi_label", "encoding": "ids"}])
def test_a_list_is_refused_by_what_lists_must_be(
    kind: dict[str, Any], rules: dict[str, Any], ids: list[int], legal: str
) -> None:
    """LG111 names the rules of length and repeats as what was expected, not the legal ids."""
    label = {**kind, **rules, "num_classes": 3}
    schema = DatasetSchema.model_validate({"format": 1, "name": "x", "version": "1.0.0", "labels": {"y": label}})
    (found,) = Guard(schema).check({"y": np.array(ids, np.int64)}, batched=False).violations
    assert (found.rule, found.legal) == ("LG111", legal)
