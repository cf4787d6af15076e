"""Features that are lists as long as the batch: what leaves with a label belongs to its record."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import grain
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from label_guard import ClassLabel, UsageError, guard_batches
from label_guard.core.types import Array
from label_guard.grain import guard_labels
from label_guard.quarantine.reader import read_quarantine

SCHEMA = {"label": ClassLabel(num_classes=10)}
READ = grain.ReadOptions(0, 0)


def _label(record: int) -> int:
    return 77 if record in (1, 5) else record % 10


@pytest.mark.parametrize("size", [1, 2, 3])
def test_rows_of_lists(tmp_path: Path, size: int) -> None:
    """Rows of plain lists stay with their labels under drop, in the batches and in the quarantine."""
    batches = [
        {"x": [[k] * size for k in range(at, at + size)], "label": [_label(k) for k in range(at, at + size)]}
        for at in range(0, 12, size)
    ]
    guarded = guard_batches(batches, SCHEMA, batched=True, quarantine=str(tmp_path), stop_above=None)
    found = [(row, int(label)) for batch in guarded for row, label in zip(batch["x"], batch["label"], strict=True)]
    assert sorted(found) == [([k] * size, k % 10) for k in range(12) if _label(k) != 77]
    kept = [entry.payload for entry in read_quarantine(str(tmp_path)).entries]
    assert sorted(payload["x"] for payload in kept) == [[1] * size, [5] * size]


def test_alike_arrays_are_refused(tmp_path: Path) -> None:
    """Two arrays of two boxes in a batch of two may be rows or features: no silent choice."""
    batch = {"x": [np.zeros((2, 4)), np.ones((2, 4))], "label": np.array([77, 1])}
    guarded = guard_batches([batch], SCHEMA, batched=True, quarantine=str(tmp_path), stop_above=None)
    with pytest.raises(UsageError, match="tuple or a dict of features, or an array"):
        next(iter(guarded))


def test_top_level_pair_of_one_dtype(tmp_path: Path) -> None:
    """A batch ``[tokens, labels]`` of two records: each label leaves with its tokens."""
    batches: list[Any] = [
        [np.array([[k, k], [k + 1, k + 1]]), np.array([k, 77 if k == 2 else k + 1])] for k in (0, 2, 4)
    ]
    guarded = guard_batches(
        batches, {"1": ClassLabel(num_classes=10)}, batched=True, quarantine=str(tmp_path), stop_above=None
    )
    found = [(x.tolist(), int(label)) for xs, labels in guarded for x, label in zip(xs, labels, strict=True)]
    assert sorted(found) == [([k, k], k) for k in (0, 1, 2, 4, 5)]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_padding_of_stacked_lists(size: int) -> None:
    """Lists of records are stacked to a list of features; padding repeats records, whatever the length of the list."""
    records = [{"x": [10 * k + i for i in range(size)], "label": k} for k in range(size)]
    options: dict[str, Any] = {"batched": False, "batch_size": 4, "remainder": "pad", "on_invalid": "mask"}
    (batch,) = guard_batches(records, SCHEMA, **options)
    assert [column.tolist() for column in batch["x"]] == [
        [10 * k + i for k in range(size)] + [i] * (4 - size) for i in range(size)
    ]


class Tensor:
    """An array of another framework, such as PyTorch."""

    def __init__(self, values: Any) -> None:
        self._values = np.asarray(values)
        self.shape = self._values.shape

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, rows: Any) -> Any:
        return self._values[rows]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.array(self._values, dtype)


def _collated(records: list[dict[str, Any]], made: Any) -> dict[str, Any]:
    """A batch as Grain and PyTorch make it of records whose label is a Python list: one array for each place in it."""
    columns = [made([record["label"][k] for record in records]) for k in range(len(records[0]["label"]))]
    ids = [f"row{record['id']}" for record in records]
    return {"id": ids, "x": made([record["id"] for record in records]), "label": columns}


@pytest.mark.parametrize("shape", [(3,), (None,)])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("made", [np.array, Tensor])
def test_a_label_that_batching_turned_on_its_side(tmp_path: Path, made: Any, size: int, shape: Any) -> None:
    """Of lists Grain and PyTorch make columns: never taken for rows, which would mix the labels of records."""
    records = [{"id": k, "label": [k % 10, 77 if k == 5 else 1, 2]} for k in range(12)]
    batches = [_collated(records[at : at + size], made) for at in range(0, 12, size)]
    schema = {"label": ClassLabel(num_classes=10, shape=shape)}
    if size % 2:  # names alone show how many records there are
        batches = [{name: value for name, value in batch.items() if name != "x"} for batch in batches]
    guarded = guard_batches(batches, schema, batched=True, quarantine=str(tmp_path / "q"), stop_above=None)
    if size == 3 and shape == (None,):
        return  # records of any length: three rows of three are as likely
    with pytest.raises(UsageError, match=r"label 'label'.*np\.asarray"):
        next(iter(guarded))
    assert not (tmp_path / "q").exists()


@pytest.mark.parametrize("place", ["IterDataset", "MapDataset"])
@pytest.mark.parametrize("shape", [(3,), (None,)])
@pytest.mark.parametrize("size", [2, 3])
def test_a_list_before_a_batch_of_grain(size: int, shape: Any, place: str) -> None:
    """The same behind Grain's own batch, for any shape; an array in its place, or a guard on records, works."""
    records = [{"id": np.int64(k), "label": [k % 10, 1, 2]} for k in range(12)]
    schema = {"label": ClassLabel(num_classes=10, shape=shape)}

    def guarded(found: Any) -> list[Any]:
        ds = grain.MapDataset.source(found)
        ds = ds.batch(size) if place == "MapDataset" else ds.to_iter_dataset(READ).batch(size)
        ds = ds.pipe(guard_labels, schema, on_invalid="raise")
        return list(ds if place == "IterDataset" else ds.to_iter_dataset(READ))

    with pytest.raises(UsageError, match=r"label 'label'.*before \.batch"):
        guarded(records)
    arrays = guarded([{**record, "label": np.asarray(record["label"])} for record in records])
    ds = grain.MapDataset.source(records).to_iter_dataset(READ)
    stacked = list(ds.pipe(guard_labels, schema, batched=False, batch_size=size, on_invalid="raise"))
    for one, other in zip(arrays, stacked, strict=True):
        assert one["label"].tolist() == other["label"].tolist()


def test_rows_that_are_arrays(tmp_path: Path) -> None:
    """A list with one array for each record is rows: in a first batch where only that fits, and in all that follow."""
    rows = [np.array([k % 10, 77 if k == 5 else 1, 2]) for k in range(7)]
    batches = [{"id": np.arange(7)[at : at + 4], "label": rows[at : at + 4]} for at in (0, 4)]
    schema = {"label": ClassLabel(num_classes=10, shape=(3,))}
    options = {"batched": True, "quarantine": str(tmp_path / "q"), "stop_above": None}
    found = list(guard_batches(batches, schema, on_invalid="mask", **options))
    assert [row for batch in found for row in batch["label_valid"][:, 1].tolist()] == [k != 5 for k in range(7)]
    alone = [{"label": [np.array([1, 2])] * 3}]  # no other feature shows which it is
    free = {"label": ClassLabel(num_classes=10, shape=(None,))}
    assert len(next(iter(guard_batches(alone, free, on_invalid="raise", batched=True)))["label"]) == 3
    wrong = [{"id": np.arange(3), "label": [np.array([1, 2])] * 3}]  # each record is too short
    guarded = guard_batches(wrong, schema, on_invalid="mask", **options)
    list(guarded)
    assert guarded.summary.by_rule == {"LG105": 3}


def in_container(values: Array, kind: str) -> Any:
    """The values of a batch as loaders hand them on: PyTorch makes a tuple of texts, a collate function one of any."""
    made = {"array": lambda: values, "list": values.tolist, "tuple": lambda: tuple(values.tolist())}
    made |= {"tuple of rows": lambda: tuple(map(tuple, values.tolist())), "tuple of arrays": lambda: tuple(values)}
    return made[kind]()


@pytest.mark.parametrize("what", ["names", "numbers", "tokens", "where"])
@pytest.mark.parametrize("kind", ["list", "tuple", "tuple of rows", "tuple of arrays"])
def test_a_value_for_each_record_leaves_with_it(kind: str, what: str, tmp_path: Path) -> None:
    """A tuple, or a list, of a value for each record is cut by record, in batches and in the quarantine."""
    count = 10
    features: dict[str, Array] = {
        "names": np.array([f"{k}.png" for k in range(count)]),
        "numbers": np.arange(count) * 1.5,
        "tokens": np.arange(count * 5).reshape(count, 5),
        "where": np.array([k % 3 for k in range(count)]),
    }
    if kind == "tuple of rows" and what != "tokens":
        kind = "tuple"
    labels = np.array([99 if k in (1, 2, 5) else k % 4 for k in range(count)])
    schema = {"y": ClassLabel(num_classes=4, where="where" if what == "where" else None)}
    found: dict[str, list[Any]] = {}
    for form in ("array", kind):
        batches = [
            {"y": labels[at : at + 4], "x": features["numbers"][at : at + 4]}
            | {what: in_container(features[what][at : at + 4], form)}
            for at in range(0, count, 4)
        ]
        options: dict[str, Any] = {"quarantine": tmp_path / form, "stop_above": None, "batched": True}
        guarded = list(guard_batches(batches, schema, **options))
        kept = read_quarantine(str(tmp_path / form)).entries
        rows = [
            (float(x), np.asarray(own).tolist(), int(y), bool(batch.get("y_valid", [True] * 4)[row]))
            for batch in guarded
            for row, (x, own, y) in enumerate(zip(batch["x"], batch[what], batch["y"], strict=True))
        ]
        found[form] = [rows, sorted(float(entry.payload["x"]) for entry in kept)]
        assert what != "names" or {entry.payload["names"] for entry in kept} == {"1.png", "2.png", "5.png"}
        assert {type(batch[what]) for batch in guarded} == {type(batches[0][what])}
    assert found[kind] == found["array"]
    assert {x: own for x, own, *_ in found[kind][0]}.items() <= dict(
        zip(features["numbers"].tolist(), features[what].tolist(), strict=True)
    ).items()


def test_a_tuple_of_features_stays_one(tmp_path: Path) -> None:
    """A tuple of arrays is a container of features, also where it has as many as the batch has records."""
    batches = [
        {"y": np.array([1, 77]) if at == 0 else np.arange(2), "x": (np.arange(at, at + 2), np.arange(at, at + 2) * 10)}
        for at in (0, 2, 4)
    ]
    guarded = guard_batches(batches, {"y": ClassLabel(num_classes=10)}, quarantine=tmp_path, stop_above=None)
    found = [pair for batch in guarded for pair in zip(*map(np.ndarray.tolist, batch["x"]), strict=True)]
    assert sorted(found) == [(k, 10 * k) for k in (0, 2, 3, 4, 5)]


@pytest.mark.parametrize(
    ("square", "named"),
    [
        (([1, 2], [3, 4]), "tuple of 2 lists"),
        ([("a", "b"), ("c", "d")], "list of 2 tuples"),
        ((("a", "b"),) * 2, "tuple of 2 tuples"),
    ],
)
def test_a_square_of_python_values_is_refused(square: Any, named: str, tmp_path: Path) -> None:
    """PyTorch collates pairs of texts to a list of two tuples: in a batch of two they may be rows or features."""
    batch = {"x": square, "y": np.array([77, 1])}
    guarded = guard_batches([batch], {"y": SCHEMA["label"]}, batched=True, quarantine=tmp_path, stop_above=None)
    with pytest.raises(UsageError, match=f"'x' is a {named} of length 2.*Make it a dict of features, or an array"):
        next(iter(guarded))


class Point(NamedTuple):
    """A feature of two parts."""

    x: Any
    y: Any


LEAVES: list[Callable[[int], Any]] = [
    lambda k: k * 3,
    lambda k: f"s{k}",
    lambda k: np.array([k, k]),
    lambda k: np.full((2, 3), k, np.float32),
    lambda k: np.zeros(0),
]


def _containers(parts: st.SearchStrategy[Callable[[int], Any]]) -> st.SearchStrategy[Callable[[int], Any]]:
    """A dict, tuple, list or named tuple of what ``parts`` make of a record."""
    several = st.lists(parts, min_size=1, max_size=4)
    return st.one_of(
        several.map(lambda made: lambda k: {f"c{i}": one(k) for i, one in enumerate(made)}),
        several.map(lambda made: lambda k: tuple(one(k) for one in made)),
        several.map(lambda made: lambda k: [one(k) for one in made]),
        st.tuples(parts, parts).map(lambda made: lambda k: Point(made[0](k), made[1](k))),
    )


def _record(batch: Any, row: int, like: Any) -> Any:
    """Record ``row`` of a batched feature, by what one record looks like."""
    if isinstance(like, dict):
        return {name: _record(batch[name], row, value) for name, value in like.items()}
    if isinstance(like, list | tuple):
        assert len(batch) == len(like)
        return [_record(part, row, value) for part, value in zip(batch, like, strict=True)]
    return batch[row]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return np.asarray(value).tolist()


def _collate(values: Sequence[Any]) -> Any:
    """A batch as PyTorch's ``default_collate`` makes it: lists in place of tuples, texts in a tuple inside of one."""
    first = values[0]
    if isinstance(first, dict):
        return {name: _collate([value[name] for value in values]) for name in first}
    if isinstance(first, Point):
        return Point(*(_collate(parts) for parts in zip(*values, strict=True)))
    if isinstance(first, list | tuple):
        return [_collate(parts) for parts in zip(*values, strict=True)]
    return values if isinstance(first, str) else np.stack(values)


FEATURE = st.recursive(st.sampled_from(LEAVES), _containers, max_leaves=6)


@given(FEATURE, st.integers(1, 4), st.sets(st.integers(0, 8)), st.sampled_from(["short", "pad"]), st.booleans())
@settings(deadline=None, max_examples=150)
def test_features_of_any_nesting_stay_with_their_records(
    feature: Callable[[int], Any], size: int, invalid: set[int], remainder: str, torch: bool
) -> None:
    """Whatever containers a feature has and however many items: each record leaves with its own, or none leaves."""
    records = [{"label": 77 if k in invalid else k % 10, "id": k, "x": feature(k)} for k in range(9)]
    groups = [records[at : at + size] for at in range(0, len(records), size)]
    batches = [_collate(group) for group in groups] if torch else list(grain.MapDataset.source(records).batch(size))
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {"batch_size": size, "remainder": remainder, "quarantine": folder, "stop_above": None}
        try:
            delivered = list(guard_batches(batches, SCHEMA, batched=True, **options))
        except UsageError:  # it may hold one array for each record, or one for each of several features
            return
    found: set[int] = set()
    for batch in delivered:
        for row, k in enumerate(np.asarray(batch["id"]).tolist()):
            assert _plain(_record(batch["x"], row, records[k]["x"])) == _plain(records[k]["x"])
            found.add(k)
    assert found == {k for k in range(9) if k not in invalid}
