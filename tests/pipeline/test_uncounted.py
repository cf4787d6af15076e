"""Labels that do not count (``where`` is 0): each record keeps its place, its mask is False, its value is legal."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grain
import ml_dtypes
import numpy as np
import pytest

from label_guard import (
    ClassLabel,
    Guard,
    InvalidLabelError,
    MultiLabel,
    RealLabel,
    SoftLabel,
    UsageError,
    guard_batches,
)
from label_guard.check.fill_values import FillValues
from label_guard.grain import guard_labels
from label_guard.schema.dataset import DatasetSchema
from label_guard.schema.labels import Label

FREE: dict[str, tuple[Label, list[Any]]] = {
    "class_label": (ClassLabel(num_classes=3, shape=(None,), where="w"), [[0], [1, 2], [2, 0, 1]]),
    "class_label that is unique": (
        ClassLabel(num_classes=3, shape=(None,), where="w", unique=True, max_length=3),
        [[0], [1, 2], [2, 0, 1]],
    ),
    "class_label of bool": (
        ClassLabel(num_classes=2, dtype=("bool",), shape=(None,), where="w"),
        [[True], [False] * 2, []],
    ),
    "real_label": (RealLabel(minimum=1, shape=(None,), where="w"), [[1.5], [2.0, 3.0], []]),
    "multi_label": (MultiLabel(num_classes=2, shape=(None,), where="w"), [[[0, 1]], [[1, 1], [0, 0]], [[1, 0]] * 3]),
    "soft_label": (SoftLabel(num_classes=2, shape=(None,), where="w"), [[[0.5, 0.5]], [[1.0, 0.0]] * 2, [[0.0, 1.0]]]),
}


def schema_of(label: Label) -> DatasetSchema:
    """A schema of one label."""
    return DatasetSchema(format=1, name="n", version="1.0.0", labels={"y": label})


def delivered(form: str, label: Label, values: list[Any], where: tuple[int, ...], policy: str) -> list[tuple[Any, Any]]:
    """The label and the mask of each record that leaves the guard."""
    options: dict[str, Any] = {"on_invalid": policy, "stop_above": None}
    records = [{"y": y, "w": np.int64(w), "id": k} for k, (y, w) in enumerate(zip(values, where, strict=True))]
    if form == "lists in a batch":
        batch = {"y": values, "w": np.array(where), "id": np.arange(len(values))}
        (out,) = guard_batches([batch], schema_of(label), batched=True, **options)
        return list(zip(out["y"], out["y_valid"], strict=True))
    if form == "single":
        found = list(guard_batches(records, schema_of(label), batched=False, **options))
    else:
        dataset = grain.MapDataset.source(records).pipe(guard_labels, schema_of(label), batched=False, **options)
        found = [dataset[k] for k in range(len(records))]
    assert [record["id"] for record in found] == list(range(len(values)))
    return [(record["y"], record["y_valid"]) for record in found]


@pytest.mark.parametrize("name", FREE)
@pytest.mark.parametrize("form", ["single", "map", "lists in a batch"])
def test_no_record_of_a_free_shape_is_lost_or_moved(form: str, name: str) -> None:
    """Whatever counts, each record is delivered in its place and shape, and in one batch dtype."""
    label, values = FREE[name]
    for where in itertools.product((0, 1), repeat=3):
        found = delivered(form, label, values, where, "raise")
        assert len(found) == 3
        for (y, valid), stored, counts in zip(found, values, where, strict=True):
            expected = np.asarray(stored).reshape(len(stored), *np.shape(y)[1:])
            assert np.shape(y) == expected.shape
            assert not np.any(valid) or counts
            if counts:
                assert np.array_equal(y, expected)
                assert np.all(valid)
            counted = {"y": np.asarray(y), "w": np.int64(1)}
            unique = isinstance(label, ClassLabel) and label.unique
            assert (unique and not counts) or Guard(schema_of(label).emitted()).check(counted, batched=False).ok


def test_records_that_do_not_count_fill_a_batch() -> None:
    """A window in which nothing counts is stacked in the shape of its records."""
    label = ClassLabel(num_classes=3, shape=(None,), where="w")
    records = [{"y": np.array([9, 9]), "w": np.int64(0)} for _ in range(4)]
    (batch,) = guard_batches(records, schema_of(label), batched=False, batch_size=4, on_invalid="raise")
    assert batch["y"].tolist() == [[0, 0]] * 4
    assert not batch["y_valid"].any()


@pytest.mark.parametrize("emit", [None, "int32"])
@pytest.mark.parametrize(
    "values",
    [np.array(["a", "b"]), np.array([None, "b"], object), np.array([b"1", b"2"]), np.array([1.5, np.nan]), [None, "x"]],
    ids=str,
)
def test_what_does_not_count_leaves_as_a_number_of_the_declared_dtype(values: Any, emit: Any) -> None:
    """A batch in which nothing counts may hold anything, and leaves as the schema says."""
    label = ClassLabel(num_classes=3, dtype=("int64",), emit=emit, where="w")
    batch = {"y": values, "w": np.zeros(2, np.int64)}
    (out,) = guard_batches([batch], schema_of(label), batched=True, on_invalid="raise")
    assert out["y"].dtype == (emit or "int64")
    assert out["y"].tolist() == [0, 0]
    assert out["y_valid"].tolist() == [False, False]


@pytest.mark.parametrize(
    "rule", [{"unique": True}, {"max_length": 2}, {"min_length": 1}, {"unique": True, "max_length": 3}]
)
def test_rules_for_a_record_do_not_stop_its_padding(rule: dict[str, Any]) -> None:
    """A record of ids that does not count is filled, whatever holds for the ids of one that does."""
    label = ClassLabel(num_classes=3, shape=(None,), where="w", **rule)
    records = [{"y": np.array([0, 1]), "w": np.int64(1)}, {"y": np.array([0, 0]), "w": np.int64(0)}]
    (batch,) = guard_batches(records, schema_of(label), batched=False, batch_size=2, on_invalid="raise")
    assert batch["y"].tolist() == [[0, 1], [0, 0]]
    assert batch["y_valid"].tolist() == [[True, True], [False, False]]
    stacked = {"y": np.array([[0, 1], [0, 0]]), "w": np.array([1, 0])}
    (batch,) = guard_batches([stacked], schema_of(label), batched=True, on_invalid="raise")
    assert batch["y_valid"].tolist() == [[True, True], [False, False]]


@pytest.mark.parametrize("policy", ["drop", "mask", "raise", "report"])
@pytest.mark.parametrize(
    "label",
    [
        ClassLabel(num_classes=3, where="w"),
        ClassLabel(num_classes=3, class_ids=(5, 7, 9), emit="uint8", where="w"),
        ClassLabel(num_classes=3, shape=(2,), where="w", ignore=(-1,)),
        RealLabel(minimum=1, where="w"),
        MultiLabel(num_classes=2, where="w", ignore=(-1,)),
        SoftLabel(num_classes=2, where="w"),
    ],
    ids=str,
)
def test_windows_without_a_label(policy: str, label: Label, tmp_path: Path) -> None:
    """Windows of padding records that lack the label leave with a legal value and a mask that is False."""
    value = FillValues(label).record(FillValues(label).dtype())
    assert value is not None
    records = [{"y": value, "w": np.bool_(True)}] * 2 + [{"w": np.bool_(False)}] * 4
    options: dict[str, Any] = {"on_invalid": policy, "quarantine": None if policy == "raise" else str(tmp_path)}
    first, *others = guard_batches(records, schema_of(label), batched=False, batch_size=2, **options)
    emitted = Guard(schema_of(label).emitted())
    for batch in others:
        assert batch["y"].shape == first["y"].shape
        assert batch["y"].dtype == first["y"].dtype
        assert not batch["y_valid"].any()
        assert emitted.check({"y": batch["y"], "w": np.ones(2, bool)}, batched=True).ok


@pytest.mark.parametrize("policy", ["drop", "mask", "raise", "report"])
@pytest.mark.parametrize("size", [None, 1])
@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize(
    ("shape", "where"), [*itertools.product([(), (3,), (4,), (5,), (1, 4)], [(), (3,), (4,), (1, 4)])]
)
def test_a_label_that_where_does_not_fit(
    policy: str, size: int | None, free: bool, shape: Any, where: Any, tmp_path: Path
) -> None:
    """One record whose label and ``where`` differ in shape is bad, whatever the policy; its neighbours are not."""
    label = ClassLabel(num_classes=5, shape=(None if free else 4,), where="w")
    if policy == "mask" and free and size:
        return  # refused when the guard is made: a batch needs a shape to fill
    records = [{"id": k, "y": np.full(4, k), "w": np.ones(4, bool)} for k in range(3)]
    records[1] |= {"y": np.ones(shape, np.int64), "w": np.ones(where, bool)}
    legal = len(shape) == 1 and (free or shape == (4,)) and where in ((), shape)
    options: dict[str, Any] = {"on_invalid": policy, "quarantine": None if policy == "raise" else str(tmp_path)}
    guarded = guard_batches(records, schema_of(label), batched=False, batch_size=size, stop_above=None, **options)
    if policy == "raise" and not legal:
        with pytest.raises(InvalidLabelError, match="LG105"):
            list(guarded)
        return
    found = list(guarded)
    ids = [int(np.ravel(record["id"])[0]) for record in found]
    assert ids == ([0, 2] if policy == "drop" and not legal else [0, 1, 2])
    if policy == "mask":
        assert [bool(np.any(record["y_valid"])) for record in found] == [True, legal, True]
        assert np.shape(found[1]["y_valid"]) == np.shape(found[1]["y"])
    if policy == "report" and size is None:
        assert np.shape(found[1]["y"]) == shape
        assert np.ndim(found[1]["y_valid"]) == 1


def test_nothing_counts_of_a_label_of_another_shape() -> None:
    """A record of padding may have a label of any shape: it leaves as a legal one."""
    label = ClassLabel(num_classes=5, shape=(4,), where="w")
    records = [{"y": np.zeros(4, int), "w": np.ones(4, bool)}, {"y": np.zeros(3, int), "w": np.zeros(4, bool)}]
    (batch,) = guard_batches(records, schema_of(label), batched=False, batch_size=2, on_invalid="mask")
    assert batch["y_valid"].tolist() == [[True] * 4, [False] * 4]


@pytest.mark.parametrize("policy", ["mask", "report"])
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("label", [SoftLabel(num_classes=3, where="w"), MultiLabel(num_classes=3, where="w")])
def test_nothing_counts_of_a_batch_with_another_number_of_classes(label: Label, classes: int, policy: str) -> None:
    """A batch of padding alone goes through with a mask of False and finite values."""
    batch = {"y": np.full((2, classes), np.nan, np.float32), "w": np.zeros(2, bool)}
    (out,) = guard_batches([batch], schema_of(label), batched=True, on_invalid=policy)
    assert not out["y_valid"].any()
    assert np.isfinite(out["y"]).all()


MISFITS: dict[str, tuple[Label, Any]] = {
    "class_label": (ClassLabel(num_classes=5, where="w", emit="int32"), np.int64(9)),
    "class_label of positions": (ClassLabel(num_classes=5, shape=(2,), where="w"), np.array([1, 9])),
    "class_label with gaps": (ClassLabel(num_classes=2, class_ids=(3, 70), where="w"), np.int64(9)),
    "real_label": (RealLabel(minimum=0, maximum=5, where="w"), np.float32(9)),
    "soft_label": (SoftLabel(num_classes=2, where="w"), np.array([1.0, 1.0])),
    "multi_label": (MultiLabel(num_classes=2, where="w"), np.array([1, 9])),
}


@pytest.mark.parametrize("policy", ["drop", "mask", "raise", "report"])
@pytest.mark.parametrize("form", ["single", "records", "batches"])
@pytest.mark.parametrize("name", MISFITS)
@pytest.mark.parametrize("axes", [(1, 1, 1), (2, 3, 1)])
def test_a_where_of_more_axes_that_is_0_throughout(
    name: str, form: str, policy: str, axes: tuple[int, ...], tmp_path: Path
) -> None:
    """Such a record is padding, as one with a ``where`` that fits: its label is not checked, so no mask may be True."""
    label, illegal = MISFITS[name]
    record = {"y": illegal, "w": np.zeros(axes)}
    batch = {key: np.stack([value] * 2) for key, value in record.items()}
    options: dict[str, Any] = {"on_invalid": policy, "quarantine": None if policy == "raise" else str(tmp_path)}
    size = {"batch_size": 2} if form == "records" else {}
    elements = [batch] if form == "batches" else [record] * 2
    guarded = guard_batches(elements, schema_of(label), batched=form == "batches", **size, **options)
    emitted = Guard(schema_of(label).emitted())
    found = list(guarded)
    assert found
    assert (guarded.summary.seen, guarded.summary.padding) == (0, 2)
    for element in found:
        assert not np.any(element["y_valid"])
        assert emitted.check({**element, "w": np.ones_like(element["w"][..., 0, 0, 0])}, batched=form != "single").ok


@pytest.mark.parametrize("policy", ["drop", "mask", "report"])
@pytest.mark.parametrize("form", ["single", "records", "batches"])
@pytest.mark.parametrize(
    ("where", "rule"), [("absent", "LG104"), (None, "LG104"), ("text", "LG104"), (np.ones((2, 1)), "LG105")]
)
def test_a_later_record_without_its_where(policy: str, form: str, where: Any, rule: str, tmp_path: Path) -> None:
    """A record, or a batch, whose ``where`` is not there or no number is bad; the run goes on with the next."""
    label = ClassLabel(num_classes=5, where="w")
    step = (2,) if form == "batches" else ()
    elements: list[dict[str, Any]] = [{"y": np.full(step, k), "w": np.ones(step)} for k in range(3)]
    elements[1]["w"] = where if where is None or not step else [where] * 2
    if isinstance(where, np.ndarray):
        elements[1]["w"] = where[:, :, None]
    if isinstance(where, str) and where == "absent":
        del elements[1]["w"]
    size = {"single": None, "records": 1, "batches": 2}[form]
    options: dict[str, Any] = {"on_invalid": policy, "batch_size": size, "batched": form == "batches"}
    guarded = guard_batches(elements, schema_of(label), quarantine=str(tmp_path), stop_above=None, **options)
    found = list(guarded)
    assert guarded.summary.by_rule == {rule: step[0] if step else 1}
    ids = [int(np.ravel(element["y"])[0]) for element in found]
    assert ids == {"drop": [0, 2], "mask": [0, 0, 2], "report": [0, 1, 2]}[policy]
    if policy == "mask":
        assert [bool(np.any(element["y_valid"])) for element in found] == [True, False, True]


@pytest.mark.parametrize("odd", [{}, {"w": None}, {"w": np.array([True, True, True])}, {"w": "cat"}], ids=str)
@pytest.mark.parametrize("place", [1, 2])
def test_batches_of_records_without_their_where(odd: dict[str, Any], place: int, tmp_path: Path) -> None:
    """Under mask a window with such a record is a full batch: its ``where`` is 0 there, others are unchanged."""
    records: list[dict[str, Any]] = [{"y": np.array([k, k + 1]), "w": np.array([True, k > 1])} for k in range(4)]
    records[place] = {"y": records[place]["y"], **odd}
    options: dict[str, Any] = {"batch_size": 2, "batched": False, "quarantine": tmp_path, "stop_above": None}
    schema = schema_of(ClassLabel(num_classes=5, shape=(2,), where="w"))
    batches = list(guard_batches(records, schema, on_invalid="mask", **options))
    expected = [[k != place, k > 1 and k != place] for k in range(4)]
    for name in ("w", "y_valid"):
        assert np.concatenate([batch[name] for batch in batches]).tolist() == expected
        assert {batch[name].dtype for batch in batches} == {np.dtype(bool)}


@pytest.mark.parametrize(
    ("where", "held"),
    [
        ("cat", "str"),
        (np.array(["a", "b"]), r"str32\[2\]"),
        ({"a": 1}, "object"),
        (np.ma.array(1, mask=False), "a masked array;"),
    ],
)
def test_a_where_without_numbers_from_the_start(where: Any, held: str) -> None:
    """A ``where`` that holds no numbers in the first element is a mistake of the schema: an error at once."""
    label = ClassLabel(num_classes=5, where="w")
    for options in ({"batched": False}, {"batch_size": 2, "batched": False}):
        with pytest.raises(
            UsageError, match=f"where of label 'y' is the feature 'w', which holds {held}.*bool or numbers"
        ):
            list(guard_batches([{"y": np.int64(1), "w": where}] * 4, schema_of(label), on_invalid="raise", **options))


@pytest.mark.parametrize("batched", [True, False])
def test_a_record_without_positions_is_a_record(batched: bool, tmp_path: Path) -> None:
    """An empty label with an empty ``where`` is not padding: it is checked and counted; 0 for all of it is padding."""
    label = ClassLabel(num_classes=5, shape=(None,), where="w", min_length=1)
    records: list[dict[str, Any]] = [
        {"y": np.array([1, 2]), "w": np.array([1, 0])},
        {"y": np.array([], int), "w": np.array([], int)},
        {"y": np.array([9]), "w": np.array([], int)},
        {"y": np.array([], int), "w": np.int64(0)},
    ]
    guard = Guard(schema_of(label))
    batch = {name: [record[name] for record in records] for name in ("y", "w")}
    result = guard.check_batch(batch) if batched else guard.check_records(records)
    assert result.counts == {"LG105": 1, "LG111": 1}
    assert result.padding is not None
    assert result.padding.tolist() == [3]


def test_bool_rows_where_a_number_is_ignored() -> None:
    """A bool row under ``ignore`` is LG103, and bool is not among the dtypes that the message expects."""
    label = MultiLabel(num_classes=2, ignore=(float("nan"), 9))
    for row in (np.array([True, False]), [True, False]):
        (violation,) = Guard(schema_of(label)).check_records([{"y": row}]).violations
        assert (violation.rule, violation.legal) == ("LG103", "dtype integer or floating")


@pytest.mark.parametrize("policy", ["mask", "drop"])
@pytest.mark.parametrize("form", ["batch", "records", "single"])
@pytest.mark.parametrize("class_ids", [(1, 2), (2, 0), (0, 2)])
def test_a_label_counts_by_another_label_as_it_is_stored(
    class_ids: tuple[int, ...], form: str, policy: str, tmp_path: Path
) -> None:
    """Whether the other label is mapped, or bad and replaced: the mask is True only over a value that was checked."""
    flag, label = ClassLabel(num_classes=2, class_ids=class_ids), ClassLabel(num_classes=3, where="flag")
    pairs = list(itertools.product((0, 1, 2), (0, 2, 9)))
    flags, values = map(np.array, zip(*pairs, strict=True))
    for labels in ({"flag": flag, "y": label}, {"y": label, "flag": flag}):
        schema = DatasetSchema(format=1, name="n", version="1.0.0", labels=labels)
        options: dict[str, Any] = {"on_invalid": policy, "stop_above": None, "quarantine": tmp_path}
        records = [{"flag": f, "y": y, "id": np.int64(k)} for k, (f, y) in enumerate(zip(flags, values, strict=True))]
        elements: list[Any] = [{"flag": flags, "y": values, "id": np.arange(len(pairs))}]
        if form == "batch":
            guarded = guard_batches(elements, schema, batched=True, **options)
        else:
            size = len(pairs) if form == "records" else None
            guarded = guard_batches(records, schema, batched=False, batch_size=size, **options)
        found = [
            (int(k), int(y), bool(valid))
            for element in guarded
            for k, y, valid in zip(*map(np.atleast_1d, (element["id"], element["y"], element["y_valid"])), strict=True)
        ]
        for k, y, valid in found:
            own, stored = pairs[k]
            assert valid == (own in class_ids and own != 0 and stored < 3)
            assert not valid or y == stored
            assert y < 3


@pytest.mark.parametrize("policy", ["mask", "drop"])
@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn])
def test_weights_of_jax_dtypes(policy: Any, dtype: Any, tmp_path: Path) -> None:
    """Loss weights of bfloat16 say what counts, and keep their dtype and their values where they are the mask."""
    weights = np.array([[0.5, 1, 0], [1, 0.25, 2]], dtype)
    batch = {"y": np.array([[1, 2, 99], [3, -4, 5]]), "w": weights}
    label = {"y": ClassLabel(num_classes=10, shape=(3,), where="w")}
    (out,) = guard_batches([batch], label, on_invalid=policy, valid_key="w", quarantine=tmp_path, stop_above=None)
    kept = np.array([[0.5, 1, 0], [1, 0, 2]], dtype)
    np.testing.assert_array_equal(out["w"], kept if policy == "mask" else kept[:1])
    assert out["w"].dtype == dtype
    assert out["y"].tolist() == ([[1, 2, 0], [3, 0, 5]] if policy == "mask" else [[1, 2, 0]])


def in_containers(record: dict[str, Any], kind: str) -> dict[str, Any]:
    """``record`` with its ``w`` as Python values in place of an array."""
    values = record["w"].tolist()
    return {**record, "w": tuple(values) if kind == "tuple" else values}


@pytest.mark.parametrize("named", ["where", "existing mask"])
@pytest.mark.parametrize("policy", ["drop", "mask"])
@pytest.mark.parametrize("kind", ["list", "tuple"])
def test_lists_of_what_counts(kind: str, policy: Any, named: str, tmp_path: Path) -> None:
    """A Python list in each record counts position by position as an array does, whatever the size of the batches."""
    rng = np.random.default_rng(0)
    where, mask = ("w", "y_valid") if named == "where" else (None, "w")
    options: dict[str, Any] = {"on_invalid": policy, "stop_above": None, "quarantine": tmp_path, "remainder": "pad"}
    for places, size, dtype in itertools.product((1, 2, 3), (2, 3), (np.int64, np.float64)):
        labels = {"y": ClassLabel(num_classes=4, shape=(places,), where=where)}
        values, weights = rng.choice([0, 1, 2, 3, 3, 3, 99], (8, places)), rng.choice([0, 1, 1], (8, places))
        records = [{"y": values[k], "w": weights[k].astype(dtype), "id": np.int64(k)} for k in range(8)]
        options |= {"batched": False, "batch_size": size, "valid_key": mask}
        arrays = list(guard_batches(records, labels, **options))
        lists = list(guard_batches([in_containers(record, kind) for record in records], labels, **options))
        for expected, found in zip(arrays, lists, strict=True):
            assert expected.keys() == found.keys()
            np.testing.assert_array_equal(found["y"] * (found[mask] != 0), expected["y"] * (expected[mask] != 0))
            for name in expected.keys() - {"y"}:
                np.testing.assert_array_equal(found[name], expected[name])
                assert found[name].dtype == expected[name].dtype


@pytest.mark.parametrize("places", [2, 3])
@pytest.mark.parametrize("kind", ["list", "tuple"])
def test_lists_of_what_counts_after_batch(kind: str, places: int) -> None:
    """Grain makes an array for each place in a list: taken for one of each record, other positions would count."""
    labels = {"y": ClassLabel(num_classes=4, shape=(places,), where="w")}
    records = [in_containers({"y": np.arange(places), "w": np.ones(places, np.int64)}, kind) for _ in range(4)]
    dataset = grain.MapDataset.source(records).to_iter_dataset(grain.ReadOptions(0, 0)).batch(2)
    with pytest.raises(UsageError, match=f"'w', which says what counts in label 'y', is a list of {places} arrays"):
        next(iter(dataset.pipe(guard_labels, labels, on_invalid="mask")))


RAGGED_FORMS: dict[str, Callable[[list[Any]], Any]] = {
    "list of arrays": list,
    "array of arrays": lambda rows: np.array([*rows, None], object)[:-1],
    "lists": lambda rows: [row.tolist() for row in rows],
}


@pytest.mark.parametrize("form", RAGGED_FORMS)
@pytest.mark.parametrize("where", ["w", None])
@pytest.mark.parametrize("policy", ["drop", "report"])
def test_batches_of_records_of_several_lengths(policy: Any, where: str | None, form: str, tmp_path: Path) -> None:
    """Each record has its own where and its own mask, whatever its neighbours hold."""
    label = ClassLabel(num_classes=20, shape=(None,), where=where, ignore=(-100,))
    random = np.random.default_rng(0)
    for trial in range(8):
        lengths = random.integers(1, 5, 4)
        ids = [np.where(random.random(n) < 0.1, -1, random.choice([*range(20), -100], n)) for n in lengths]
        counts = [np.append(random.integers(0, 2, n - 1), 1) for n in lengths]
        counted = [count != 0 if where else np.ones(len(count), np.bool_) for count in counts]
        valid = [not (row[count] == -1).any() for row, count in zip(ids, counted, strict=True)]
        batch = {"y": RAGGED_FORMS[form](ids), "w": RAGGED_FORMS[form](counts), "k": np.arange(4)}
        folder = tmp_path / f"{trial}"
        guarded = guard_batches(
            [batch], {"y": label}, on_invalid=policy, batched=True, stop_above=None, quarantine=folder
        )
        kept = [k for k in range(4) if valid[k] or policy == "report"]
        found = [(k, mask) for out in guarded for k, mask in zip(out["k"], out["y_valid"], strict=True)]
        assert [k for k, _ in found] == kept
        for k, mask in found:
            np.testing.assert_array_equal(mask, counted[k] & (ids[k] != -100))
