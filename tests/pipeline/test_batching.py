"""Batches as trees against plain loops: stack, row, join, fill, pad; only ``fill`` writes an input."""

from __future__ import annotations

import copy
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grain
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from label_guard import ClassLabel, DatasetSchema, guard_batches, keyed
from label_guard.errors import UsageError
from label_guard.grain import guard_labels
from label_guard.pipeline import batching as batches
from label_guard.pipeline.masking import OnInvalid
from tests.schemas import one_label


def _record(k: int) -> dict[str, Any]:
    return {"x": np.full((2, 3), k, np.uint8), "deep": {"y": np.int32(k)}, "pair": (np.float32(k), f"name{k}")}


@given(st.integers(1, 8))
def test_stack_and_row_are_inverse(size: int) -> None:
    """Row k of a stack is record k, leaf by leaf with its dtype."""
    records = [_record(k) for k in range(size)]
    batch = batches.stack(records)
    for k, record in enumerate(records):
        found = batches.row(batch, k, size)
        np.testing.assert_array_equal(found["x"], record["x"])
        assert found["deep"]["y"] == record["deep"]["y"]
        assert found["deep"]["y"].dtype == np.int32
        assert found["pair"] == record["pair"]


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 63)), min_size=1, max_size=4))
def test_join_takes_the_rows(parts: list[tuple[int, int]]) -> None:
    """A join holds the chosen rows of each piece in order, and writes to no piece."""
    pieces, expected = [], []
    for at, (size, chosen) in enumerate(parts):
        batch = batches.stack([_record(10 * at + k) for k in range(size)])
        batch["x"].flags.writeable = False
        rows = np.array([k for k in range(size) if chosen >> k & 1], np.intp)
        pieces.append((batch, rows, size))
        expected += [10 * at + int(k) for k in rows]
    joined = batches.join(pieces)
    assert joined["deep"]["y"].tolist() == expected
    assert joined["x"][:, 0, 0].tolist() == expected
    assert joined["pair"][1].tolist() == [f"name{k}" for k in expected]
    assert joined["deep"]["y"].dtype == np.int32


def test_integers_stay_integers() -> None:
    """int64 next to uint64 stays an integer array; floats next to integers become floats as NumPy has it."""
    assert batches.stack([{"x": np.int64(1)}, {"x": np.uint64(2)}])["x"].dtype == np.int64
    assert batches.stack([{"x": np.int64([1])}, {"x": np.uint64([2])}])["x"].dtype == np.int64
    assert batches.stack([{"x": np.int64(1)}, {"x": np.float64(2.5)}])["x"].dtype == np.float64
    pieces = [({"x": np.ones(2, dtype)}, np.arange(2), 2) for dtype in (np.int64, np.uint64)]
    assert batches.join(pieces)["x"].dtype == np.int64


def test_columns_of_lists() -> None:
    """A list of one value for each record is a column; a list of batched arrays is a container."""
    ragged = {"x": np.arange(2), "ids": [np.arange(3), np.arange(1)]}
    other = {"x": np.arange(2), "ids": [np.arange(5), np.arange(4)]}
    joined = batches.join([(ragged, np.array([1]), 2), (other, np.array([0, 1]), 2)])
    assert [len(ids) for ids in joined["ids"]] == [1, 5, 4]
    container = {"views": [np.arange(2), np.arange(2) + 5.5]}
    assert [x.tolist() for x in batches.join([(container, np.array([1]), 2)])["views"]] == [[1], [6.5]]


def test_lists_of_the_length_of_the_batch() -> None:
    """A list of B items of length B: Python lists are rows, arrays that differ are features, alike ones are refused."""
    rows = np.array([1])
    assert batches.join([({"x": [[0, 1], [2, 3]]}, rows, 2)]) == {"x": [[2, 3]]}
    assert batches.row({"x": [[0, 1], [2, 3]]}, 1, 2) == {"x": [2, 3]}
    assert batches.join([({"x": [[[], 0], [[0, 1]]]}, rows, 2)]) == {"x": [[[0, 1]]]}
    boxes = {"x": [np.arange(2), np.arange(2) + 5]}
    with pytest.raises(UsageError, match="feature 'x' is a list of 2 arrays of length 2 in a batch of as many"):
        batches.join([(boxes, rows, 2)])
    assert batches.row(boxes, 1, 2) == {"x": None}
    ragged = {"x": [np.arange(3), np.arange(1)]}
    assert [x.tolist() for x in batches.join([(boxes, rows, 2), (ragged, rows, 2)])["x"]] == [[5, 6], [0]]
    pair = {"x": [np.arange(3), np.arange(3)]}
    joined = batches.join([(boxes, rows, 2), (pair, rows, 3)])["x"]
    assert [x.tolist() for x in joined] == [[1, 1], [6, 1]]


def test_lists_with_a_label_inside_are_containers() -> None:
    """PyTorch's ``[inputs, labels]`` is cut by record, whatever the size of the batch."""
    pair = [np.array([[1, 2], [3, 4]]), np.array([[5, 6], [7, 8]])]
    taken = batches.join([(pair, np.array([1]), 2)], ["1"])
    assert [x.tolist() for x in taken] == [[[3, 4]], [[7, 8]]]
    first = batches.row(pair, 0, 2, ["1"])
    assert [x.tolist() for x in first] == [[1, 2], [5, 6]]


class Pictures:
    """Pictures of a batch with their masks, as DETR's loader has them; NumPy cannot read it."""

    def __init__(self, size: int) -> None:
        self.tensors, self.mask = np.arange(size), np.ones(size, bool)


class Shapeless:
    """A tensor that neither becomes an array nor gives its shape, as PyTorch's nested tensors."""

    @property
    def shape(self) -> tuple[int, ...]:
        raise RuntimeError("no sizes")

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("no array")


OBJECTS: dict[str, Any] = {
    "Pictures": Pictures(3),
    "SimpleNamespace": SimpleNamespace(x=np.arange(3)),
    "set": {0, 1, 2},
    "list_iterator": iter([0, 1, 2]),
    "dict_keys": {0: 0, 1: 1, 2: 2}.keys(),
    "Shapeless": Shapeless(),
}


@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize("policy", ["drop", "mask", "report"])
def test_objects_that_cannot_be_cut_by_record(tmp_path: Path, name: str, policy: str) -> None:
    """Records are taken neither out of a batch with such a feature nor put into it; without that it passes as it is."""
    batch = {"label": np.array([1, 10, 2]), "deep": {"x": OBJECTS[name]}}
    schema = one_label("label", 10)
    guarded = guard_batches([batch] * 2, schema, on_invalid=policy, quarantine=str(tmp_path), stop_above=None)
    if policy == "drop":
        with pytest.raises(UsageError, match=f"feature 'deep/x' (is a {name} object|cannot be read as an array)"):
            next(guarded)
    else:
        assert [found["deep"]["x"] is OBJECTS[name] for found in guarded] == [True, True]


ALSO_WHOLE: dict[str, Any] = {"key": np.zeros(2, np.uint32), "list": [np.arange(3), np.arange(3), np.arange(3)]}
BY_RECORD: dict[str, Any] = {"texts": ["a", "b", "c"], "nested": {"z": np.zeros((3, 2))}, "split": "train", "step": 3}


@pytest.mark.parametrize("name", [*OBJECTS, *ALSO_WHOLE, *BY_RECORD])
@pytest.mark.parametrize("policy", ["drop", "mask"])
def test_features_that_cannot_be_cut_are_named_at_the_first_batch(
    tmp_path: Path, name: str, policy: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The first batch, though clean, says that a bad record would end the run; once, and only where it is so."""
    batch = {"label": np.array([1, 2, 3]), "x": {**OBJECTS, **ALSO_WHOLE, **BY_RECORD}[name]}
    guarded = guard_batches([batch] * 3, one_label("label", 10), on_invalid=policy, quarantine=str(tmp_path))
    assert len(list(guarded)) == 3
    warned = [record.getMessage() for record in caplog.records if "first bad record" in record.getMessage()]
    assert len(warned) == (policy == "drop" and name not in BY_RECORD)
    assert all("feature 'x'" in message for message in warned)


@pytest.mark.parametrize(
    "value",
    [None, 7, 0.5, "train", b"x", np.float32(3), np.array(3), Decimal(2), datetime(2026, 1, 1), Path("a"), lambda: 1],
)
def test_values_of_a_batch(value: Any) -> None:
    """One number, text or name of a whole batch stays; where another batch has an array there, it is an error."""
    rows = np.array([1])
    parts = [({"x": value, "y": np.arange(2)}, rows, 2)] * 2
    joined = batches.join(parts)
    assert joined["x"] is value
    assert joined["y"].tolist() == [1, 1]
    other = ({"x": np.arange(2), "y": np.arange(2)}, rows, 2)
    for mixed in ([parts[0], other], [other, parts[0]]):
        with pytest.raises(UsageError, match="feature 'x' is "):
            batches.join(mixed)


NESTED = st.recursive(st.integers(0, 9) | st.text(max_size=2), lambda inner: st.lists(inner, max_size=3), max_leaves=6)


@given(st.lists(st.lists(NESTED, max_size=3), min_size=1, max_size=5), st.booleans(), st.data())
def test_lists_of_any_nesting_are_rows(values: list[Any], pairs: bool, data: st.DataObject) -> None:
    """Polygons, lists of lists of any lengths, pairs of a name and a list: row k is item k of a list of records."""
    size = len(values)
    column = [(str(k), value) for k, value in enumerate(values)] if pairs else values
    chosen = data.draw(st.lists(st.integers(0, size - 1), max_size=size))
    if pairs and size == 2:
        return  # as many pairs as the length of one: refused, see below
    batch = {"x": column, "y": np.arange(size)}
    joined = batches.join([(batch, np.array(chosen, np.intp), size)])
    assert joined["x"] == [column[k] for k in chosen]
    assert [batches.row(batch, k, size)["x"] for k in range(size)] == column


def test_arrays_keep_their_masks_and_byte_order() -> None:
    """Values that a masked array hides stay hidden, and big-endian arrays stay big-endian."""
    batch = {"m": np.ma.array(np.arange(3), mask=[True, False, True]), "b": np.arange(3, dtype=">f4")}
    plain = {"m": np.arange(3) + 5, "b": np.arange(3, dtype=">f4")}
    joined = batches.join([(batch, np.array([0, 1]), 3), (plain, np.array([2]), 3)])
    assert joined["m"].filled(-1).tolist() == [-1, 1, 7]
    assert joined["b"].dtype == np.dtype(">f4")
    assert joined["b"].tolist() == [0, 1, 2]


def test_join_may_repeat_rows() -> None:
    """Padding repeats the first record; what belongs to the batch stays as it is."""
    padded = batches.join([({"x": np.array([3, 4]), "step": np.int64(9)}, np.array([0, 1, 0, 0]), 2)])
    assert padded["x"].tolist() == [3, 4, 3, 3]
    assert padded["step"] == 9


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (
            [{"x": np.zeros(2)}, {"x": np.zeros(3)}],
            r"feature 'x' cannot be batched: records hold float64\[2\] \(row 0\), float64\[3\] \(row 1\)",
        ),
        ([{"x": 1}, {"y": 1}], r"differ in structure: \['x'\] \(row 0\) and \['y'\] \(row 1\)"),
        ([{"x": 1}, {"x": None}], "feature 'x' cannot be batched"),
    ],
)
def test_records_that_do_not_stack(records: list[Any], message: str) -> None:
    """The error names the feature that cannot be stacked."""
    with pytest.raises(UsageError, match=message):
        batches.stack(records)


def test_batches_that_do_not_join() -> None:
    """Batches of a different structure or shape are an error that says so."""
    rows = np.arange(2)
    with pytest.raises(UsageError, match="features differ"):
        batches.join([({"x": rows}, rows, 2), ({"y": rows}, rows, 2)])
    with pytest.raises(UsageError, match="shapes"):
        batches.join([({"x": np.zeros((2, 3))}, rows, 2), ({"x": np.zeros((2, 4))}, rows, 2)])


@pytest.mark.parametrize("other", [np.array([2.5]), np.array([True]), np.array([3], "M8[D]")])
def test_text_and_numbers_do_not_join(other: np.ndarray[Any, Any]) -> None:
    """NumPy would write the numbers as text; a feature that is text in one batch only is an error that names it."""
    rows = np.array([0])
    for pair in ([np.array(["a"]), other], [other, np.array([b"a"])]):
        parts = [({"deep": {"x": column}}, rows, 1) for column in pair]
        with pytest.raises(UsageError, match="'deep/x' has the dtypes"):
            batches.join(parts)
    assert batches.join([({"x": np.array(["a"])}, rows, 1), ({"x": np.array(["bc"])}, rows, 1)])["x"].tolist() == [
        "a",
        "bc",
    ]


@pytest.mark.parametrize("on_invalid", ["drop", "mask", "raise", "report"])
@pytest.mark.parametrize("shapes", [(2, 2, 3, 2), (2, 2, 3, 3), (3, 2, 2, 2)])
def test_records_that_do_not_stack_are_named(tmp_path: Path, on_invalid: OnInvalid, shapes: tuple[int, ...]) -> None:
    """By their keys, next to their shapes, in every policy and however the batch was filled."""
    records = [{"x": np.zeros(length), "y": np.int64(k)} for k, length in enumerate(shapes)]
    records = [*records[:2], {"x": np.zeros(shapes[2]), "y": np.int64(77)}, *records[2:]]
    if on_invalid == "raise":
        records.pop(2)
    stream = guard_batches(
        keyed(records),
        {"y": ClassLabel(num_classes=10)},
        batch_size=4,
        on_invalid=on_invalid,
        quarantine=tmp_path if on_invalid == "drop" else None,
        stop_above=None,
    )
    first = {shapes[row]: row for row in (3, 2, 1, 0)}
    with pytest.raises(UsageError, match="feature 'x' cannot be batched") as error:
        list(stream)
    for length, row in first.items():
        place = row if on_invalid == "raise" or row < 2 or (on_invalid != "drop" and row == 2) else row + 1
        assert f"float64[{length}] (record {place})" in str(error.value)


@pytest.mark.parametrize("on_invalid", ["drop", "raise", "report"])
def test_labels_that_do_not_stack_are_named(tmp_path: Path, on_invalid: OnInvalid) -> None:
    """The schema's ``record_key`` names them."""
    schema = DatasetSchema(
        format=1,
        name="t",
        version="1.0.0",
        record_key="id",
        labels={"y": ClassLabel(num_classes=3, shape=[None], dtype="int64")},
    )
    records = [{"id": f"img_{length}", "y": np.zeros(length, np.int64)} for length in (2, 3)]
    shown = r"label 'y' cannot be batched: records hold int64\[2\] \(record img_2\), int64\[3\] \(record img_3\)"
    with pytest.raises(UsageError, match=shown):
        list(guard_batches(records, schema, batched=False, batch_size=2, on_invalid=on_invalid, quarantine=tmp_path))


def test_keys_other_than_text_stay_as_they_are() -> None:
    """Records with integers as keys are stacked to a batch with these keys, and their label is found."""
    records = [{0: np.int64(k), 1: np.int64(k % 3), "more": {2: np.float32(k)}} for k in range(4)]
    (batch,) = guard_batches(records, {"1": ClassLabel(num_classes=3)}, batched=False, batch_size=4, on_invalid="raise")
    assert list(batch) == [0, 1, "more"]
    assert batch[1].tolist() == [0, 1, 2, 0]
    assert batch["more"][2].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("value", [np.array([1, 2], np.uint32), np.arange(10.0), np.arange(5), np.zeros((0, 3))])
@pytest.mark.parametrize(("on_invalid", "remainder"), [("drop", "short"), ("drop", "pad"), ("mask", "pad")])
def test_a_feature_of_the_whole_batch_is_not_cut(tmp_path: Path, value: Any, on_invalid: Any, remainder: Any) -> None:
    """A random key, class weights, offsets of rows: it stays whole, or is an error by name where records move."""
    loader = [{"y": np.array(labels), "deep": {"extra": value}} for labels in ([1, 2, 0, 1], [1, 9, 0, 1], [2, 2, 1])]
    options: dict[str, Any] = {"quarantine": tmp_path, "stop_above": None, "remainder": remainder}
    guarded = guard_batches(loader, {"y": ClassLabel(num_classes=3)}, on_invalid=on_invalid, **options)
    passed: list[Any] = []
    named = r"feature 'deep/extra' is .* in a batch of \d records, so records cannot"
    with pytest.raises(UsageError, match=named) as error:
        passed.extend(guarded)
    for batch in passed:
        np.testing.assert_array_equal(batch["deep"]["extra"], value)
    assert f"{value.dtype}{list(value.shape)}" in str(error.value)


ARRAYS: dict[str, Any] = {
    "bytes": lambda n: np.arange(6 * n, dtype=np.uint8).reshape(n, 3, 2),
    "numbers": lambda n: np.linspace(0, 1, n),
    "dates": lambda n: np.arange(n).astype("datetime64[D]"),
    "column": lambda n: np.arange(2 * n).reshape(n, 2)[:, 1],
    "texts": lambda n: np.array([f"{k:03}" for k in range(n)]),
    "nested": lambda n: {"ids": np.arange(n), "box": np.ones((n, 4), np.float32)},
    "objects": lambda n: np.arange(n).astype(object),
    "big-endian": lambda n: np.arange(n, dtype=">i4"),
    "list": lambda n: list(range(n)),
    "of the batch": lambda n: np.array(7),
    "other dtype": lambda n: np.arange(n, dtype=np.int16 if n % 2 else np.int64),
}
FILLED = {"bytes", "numbers", "dates", "column", "texts", "nested"}


@given(
    st.lists(st.sampled_from([*FILLED] * 2 + list(ARRAYS)), min_size=1, max_size=3, unique=True),
    st.lists(st.booleans(), min_size=2, max_size=9),
    st.lists(st.integers(1, 9), min_size=1, max_size=3),
)
def test_free_places_are_filled_in_order(kinds: list[str], keeps: list[bool], sizes: list[int]) -> None:
    """Rows that stay keep their place, the others are those of the next batches; or nothing is written at all."""
    found = [{kind: ARRAYS[kind](n) for kind in kinds} for n in (len(keeps), *sizes)]
    before = copy.deepcopy(found)
    parts: list[Any] = []
    missing = keeps.count(False)
    for batch, n in zip(found[1:], sizes, strict=True):
        parts.append((batch, np.arange(n)[: min(n, missing)], n))
        missing -= len(parts[-1][1])
    others = [batches.row(batch, int(at), n) for batch, rows, n in parts for at in rows]
    alike = {str(batch.get("other dtype", np.zeros(0)).dtype) for batch in found}
    plain = FILLED.issuperset(kinds) or (len(alike) == 1 and {*FILLED, "other dtype"}.issuperset(kinds))
    holes = np.flatnonzero(~np.array(keeps, np.bool_))
    filled = plain and not missing
    assert batches.fill(found[0], holes, len(keeps), parts) == filled
    assert repr(found[1:]) == repr(before[1:])
    if filled:
        wanted = [
            batches.row(before[0], place, len(keeps)) if keep else others[keeps[:place].count(False)]
            for place, keep in enumerate(keeps)
        ]
        assert repr([batches.row(found[0], place, len(keeps)) for place in range(len(keeps))]) == repr(wanted)
    else:
        assert repr(found[0]) == repr(before[0])


def test_a_batch_of_a_loader_is_never_written(tmp_path: Path) -> None:
    """The places of bad records are filled within the arrays of Grain's own batches only."""
    found = [{"label": np.array([1, 12, 3]), "id": np.arange(3) + 3 * number} for number in range(4)]
    before = copy.deepcopy(found)
    options: Any = {"on_invalid": "drop", "quarantine": str(tmp_path / "quarantine"), "stop_above": None}
    passed = list(guard_batches(found, one_label("label", 10), **options))
    assert repr(found) == repr(before)
    assert sorted(int(one) for batch in passed for one in batch["id"]) == [0, 2, 3, 5, 6, 8, 9, 11]


def test_valid_records_keep_their_place_after_grain_batches(tmp_path: Path) -> None:
    """A bad record's place in a batch is taken by a record of a later batch."""
    labels = [0, 1, 20, 3, 4, 5, 6, 7, 8, 9, 1, 2]
    records = [{"label": np.int32(label), "id": np.int32(place)} for place, label in enumerate(labels)]
    ds = grain.MapDataset.source(records).to_iter_dataset().batch(4)
    options: Any = {"on_invalid": "drop", "quarantine": str(tmp_path / "quarantine"), "stop_above": None}
    ids = [batch["id"].tolist() for batch in ds.pipe(guard_labels, one_label("label", 10), **options)]
    assert ids == [[0, 1, 4, 3], [8, 9, 10, 11], [5, 6, 7]]
