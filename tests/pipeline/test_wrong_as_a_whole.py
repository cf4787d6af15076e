"""Labels that are wrong as a whole: rows with too many ones, empty lists, dtypes of other libraries."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from pydantic import ValidationError

from label_guard import ClassLabel, Guard, MultiLabel, RealLabel, SoftLabel, guard_batches
from label_guard.schema.dataset import DatasetSchema
from label_guard.schema.labels import Label

FREE: dict[str, tuple[Label, list[Any]]] = {
    "class_label": (ClassLabel(num_classes=3, shape=(None,)), [[0], [1, 2], []]),
    "real_label": (RealLabel(minimum=1, shape=(None,)), [[1.5], [2.0, 3.0], []]),
    "multi_label": (MultiLabel(num_classes=2, shape=(None,)), [[[0, 1]], [[1, 1], [0, 0]]]),
    "soft_label": (SoftLabel(num_classes=2, shape=(None,)), [[[0.5, 0.5]], [[1.0, 0.0]] * 2]),
}


def schema_of(label: Label) -> DatasetSchema:
    """A schema of one label."""
    return DatasetSchema(format=1, name="n", version="1.0.0", labels={"y": label})


@pytest.mark.parametrize(
    ("values", "masked"),
    [([1, 0, -1, 1, 0], [0, 1, 2, 3, 4]), ([0, 0, -1, 0, 1], [2]), ([5, 0, -1, 1, 0], [0, 2]), ([5, 0, 0, 1, 1], None)],
)
def test_a_row_with_too_many_ones_is_masked_as_a_whole(values: list[int], masked: list[int] | None) -> None:
    """Which of the ones is wrong is unknown."""
    label = MultiLabel(num_classes=5, ignore=(-1,), max_positive=1)
    batch = {"y": np.array([values, [0, 1, 0, 0, 0]])}
    (out,) = guard_batches([batch], schema_of(label), batched=True, on_invalid="mask", stop_above=None)
    assert np.flatnonzero(~out["y_valid"][0]).tolist() == (list(range(5)) if masked is None else masked)
    assert out["y_valid"][1].all()
    assert Guard(schema_of(label).emitted()).check(out, batched=True).ok


@pytest.mark.parametrize("value", [[], np.array([], object), np.array([], np.int64)], ids=repr)
@pytest.mark.parametrize(
    "label",
    [
        ClassLabel(num_classes=3, shape=(None,), min_length=1),
        MultiLabel(num_classes=3, encoding="ids", min_length=1),
        MultiLabel(num_classes=3, encoding="ids", min_positive=1),
    ],
)
def test_an_empty_label_is_too_short_in_every_container(label: Label, value: Any) -> None:
    """No ids are fewer than one, however an empty list is stored."""
    assert not Guard(schema_of(label)).check({"y": value}, batched=False).ok
    assert not Guard(schema_of(label)).check({"y": [value, value]}, batched=True).ok


@pytest.mark.parametrize("policy", ["mask", "report"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e5m2", "float8_e4m3fn", "int4", "object", "longdouble"])
@pytest.mark.parametrize("name", FREE)
def test_labels_of_a_foreign_dtype_end_in_no_traceback(name: str, dtype: str, policy: str) -> None:
    """Every record is delivered, and masked under ``mask`` where it is not legal."""
    label, values = FREE[name]
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    records = [{"y": np.array(value, float).astype(kind)} for value in values]
    found = list(guard_batches(records, schema_of(label), batched=False, on_invalid=policy, stop_above=None))
    assert len(found) == len(values)


@pytest.mark.parametrize("limits", [{}, {"minimum": 0.0, "maximum": 100.0}])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("value", [-999.0, -999.1, 1e20, 9.96921e36, -1e30, 1e300, 3.4028235e38, 9999.0, -9999.0])
def test_a_float_that_means_not_measured_is_found_as_it_is_stored(value: float, dtype: str, limits: Any) -> None:
    """An ignore value is False in the mask in every dtype that the schema admits, as in ``emit``."""
    try:
        label = RealLabel(dtype=(dtype,), ignore=(value,), **limits)
    except ValidationError:
        with np.errstate(over="ignore"):
            held = np.dtype(dtype).type(value).item()
        assert not np.isfinite(held) or held != value
        return
    batch = {"y": np.array([value, 1], dtype)}
    (out,) = guard_batches([batch], schema_of(label), batched=True, on_invalid="raise")
    assert out["y_valid"].tolist() == [False, True]


@pytest.mark.parametrize("value", [-999.0, 70000, 1e6, 2049.0, 1e20, -999.1])
@pytest.mark.parametrize("emit", ["float16", "float32"])
def test_a_kept_ignore_value_leaves_as_it_is_or_is_refused(value: float, emit: Any) -> None:
    """No schema lets an ignore value leave as infinity, or as another number."""
    try:
        label = RealLabel(dtype=("float64",), emit=emit, ignore=(value,), maximum=1.0, minimum=-1.0)
    except ValidationError:
        assert emit == "float16"
        return
    (out,) = guard_batches([{"y": np.array([value, 1.0])}], schema_of(label), batched=True, on_invalid="raise")
    assert np.isfinite(out["y"]).all()
    assert out["y_valid"].tolist() == [False, True]
    assert Guard(schema_of(label).emitted()).check(out, batched=True).ok


@pytest.mark.parametrize("dtype", ["uint8", "uint64", "int8", "float16"])
def test_rows_with_other_signs_are_reported_in_every_dtype(dtype: str) -> None:
    """A bad row next to sound ones is masked, whatever positive and negative are."""
    label = MultiLabel(num_classes=2, dtype=(dtype,), positive=0, negative=1)
    batch = {"y": np.array([[0, 1], [1, 7]], dtype)}
    (out,) = guard_batches([batch], schema_of(label), batched=True, on_invalid="mask", stop_above=None)
    assert out["y"].tolist()[0] == [1, 0]
    assert out["y_valid"].tolist() == [True, False]


@pytest.mark.parametrize(
    "bad", [np.float64(4), np.int64(2**40), np.uint64(13), np.int8(4), np.int16(7), True], ids=repr
)
@pytest.mark.parametrize("emit", [None, "int32", "uint8"])
@pytest.mark.parametrize("batched", [False, True])
def test_valid_neighbours_under_report(bad: Any, emit: str | None, batched: bool) -> None:
    """Under report a record of a wrong dtype leaves the others what they are: dense ids, in the emitted dtype."""
    raw = [0, 13, 11, 4, 12]
    label = ClassLabel(num_classes=5, class_ids=raw, dtype="int16", emit=emit)
    stored = [np.int16(value) for value in (4, 13, 12, 0, 11)]
    stored.insert(2, bad)
    records = [{"y": value} for value in stored]
    source: list[Any] = [{"y": stored}] if batched else records
    options: dict[str, Any] = {"batched": batched} if batched else {"batched": False, "batch_size": len(records)}
    (batch,) = guard_batches(source, {"y": label}, on_invalid="report", **options)
    found = np.delete(np.asarray(batch["y"]), 2)
    assert found.tolist() == [3, 1, 4, 0, 2]
    assert emit is None or batch["y"].dtype == np.dtype(emit)


NEIGHBOURS: dict[str, tuple[Label, list[Any], Any]] = {
    "class_label": (ClassLabel(num_classes=5, shape=(3,), where="w"), [1, 9, 2], [1, 1, 1]),
    "class_label with gaps": (ClassLabel(num_classes=2, class_ids=(3, 70), shape=(3,), where="w"), [3, 9, 70], [3] * 3),
    "real_label": (RealLabel(maximum=5, shape=(3,), where="w", dtype=("integer", "floating")), [1, 9, 2], [1, 1, 1]),
    "multi_label": (MultiLabel(num_classes=3, where="w"), [1, 9, 0], [1, 1, 1]),
}


@pytest.mark.parametrize("form", ["batches", "records"])
@pytest.mark.parametrize("name", NEIGHBOURS)
@pytest.mark.parametrize("emit", [None, "float32"])
@pytest.mark.parametrize(
    "others",
    [
        ["padding"],
        ["other dtype"],
        ["padding", "valid"],
        ["padding", "bad", "valid"],
        ["other dtype", "bad", "padding"],
    ],
)
def test_what_a_bad_record_keeps_does_not_depend_on_its_neighbours(
    others: list[str], emit: Any, name: str, form: str
) -> None:
    """Under mask its illegal position alone is replaced, next to padding and to records of other dtypes too."""
    if form == "batches" and "other dtype" in others:
        return  # a batch has one dtype
    label, bad, valid = NEIGHBOURS[name]
    label = label.model_copy(update={"emit": emit if isinstance(label, RealLabel) else emit and "int32"})
    made = {
        "padding": {"y": np.array(bad), "w": np.zeros(3, bool)},
        "other dtype": {"y": np.array(bad, np.int32), "w": np.ones(3, bool)},
        "valid": {"y": np.array(valid), "w": np.ones(3, bool)},
        "bad": {"y": np.array(bad), "w": np.ones(3, bool)},
    }
    for order in ([*others, "bad"], ["bad", *others]):
        records = [made[kind] for kind in order]
        elements = [{key: np.stack([record[key] for record in records]) for key in records[0]}]
        size = {"batch_size": len(records)} if form == "records" else {}
        guarded = guard_batches(
            records if size else elements,
            schema_of(label),
            batched=not size,
            on_invalid="mask",
            stop_above=None,
            **size,
        )
        (out,) = guarded
        alone = {"padding": [False] * 3, "valid": [True] * 3}
        expected = [alone.get(kind, [True, False, True]) for kind in order]
        assert out["y_valid"].tolist() == expected
        kept = out["y"][np.array(expected)]
        legal = {3: 0, 70: 1} if "gaps" in name else {}
        stored = np.array([[legal.get(v, v) for v in record["y"].tolist()] for record in records])
        assert kept.tolist() == stored[np.array(expected)].tolist()
        assert Guard(schema_of(label).emitted()).check({**out, "w": np.ones((len(order), 3))}, batched=True).ok
