"""Values that are not measured, in batches of records of several dtypes: never delivered as a measured one."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from label_guard import DatasetSchema, Guard, guard_batches
from label_guard.schema import ClassLabel, Label, MultiLabel, RealLabel

NAN = math.nan
LABELS: list[tuple[Label, list[float]]] = [
    (MultiLabel(num_classes=1, ignore=[NAN, None]), [NAN]),
    (MultiLabel(num_classes=1, ignore=[70_000, None], dtype=["int32", "float16"]), [70_000, NAN]),
    (RealLabel(maximum=1, ignore=[NAN, None], dtype=["integer", "floating"], shape=[1]), [NAN]),
    (RealLabel(maximum=1, ignore=[1e6, NAN], dtype=["int8", "float16", "int64"], shape=[1]), [1e6, NAN]),
    (
        RealLabel(maximum=1, ignore=[1.7, 2**53 + 1], on_ignore="replace", dtype=["integer", "floating"], shape=[1]),
        [1.7, 2**53 + 1],
    ),
    (RealLabel(maximum=1, ignore=[1.7, 1e38], shape=[1], emit="float64"), [1.7, 1e38]),
]


def forms(number: float) -> list[Any]:
    """The number as each dtype that holds it, as a Python float and int, and as None for NaN."""
    stored: list[Any] = [[number]] + ([[None]] if math.isnan(number) else [])
    if not math.isnan(number) and number == int(number):
        stored += [
            [int(number)],
            *(np.array([number], dtype) for dtype in ("int8", "int32", "int64") if fits(number, dtype)),
        ]
    with np.errstate(over="ignore"):
        floats = [np.array([number]).astype(dtype) for dtype in ("float16", "float32", "float64")]
    return stored + [array for array in floats if not np.isinf(array).any()]


def fits(number: float, dtype: str) -> bool:
    """Whether an integer dtype holds ``number``."""
    return np.iinfo(dtype).min <= number <= np.iinfo(dtype).max


@pytest.mark.parametrize("form", ["records", "batch", "single"])
@pytest.mark.parametrize(("label", "ignored"), LABELS, ids=str)
def test_is_false_in_the_mask(label: Label, ignored: list[float], form: str) -> None:
    """Whatever is stored next to it: a sentinel or NaN that the joined dtype cannot hold is replaced and masked."""
    schema = DatasetSchema(format=1, name="t", version="1.0.0", labels={"y": label})
    checked, emitted = Guard(schema), Guard(schema.emitted())
    values = [(value, number in ignored or math.isnan(number)) for number in [0, *ignored] for value in forms(number)]
    stored = [(value, unmeasured) for value, unmeasured in values if checked.check_records([{"y": value}]).ok]
    for pair in itertools.product(stored, stored):
        values = [value for value, _ in pair]
        elements: list[Any] = [{"y": values}] if form == "batch" else [{"y": value} for value in values]
        options = {"batch_size": 2} if form == "records" else {}
        delivered = list(guard_batches(elements, schema, on_invalid="mask", batched=form == "batch", **options))
        masks = [mask for out in delivered for mask in np.ravel(out["y_valid"])]
        assert masks == [not unmeasured for _, unmeasured in pair], (values, delivered)
        for out in delivered:
            result = emitted.check(out, batched=form != "single")
            assert result.ok, (values, delivered)


@pytest.mark.parametrize("values", [np.array([NAN, 1], "float16"), np.array([2, 2**53], "uint64")], ids=str)
def test_a_dtype_without_a_legal_number_is_illegal(values: np.ndarray) -> None:
    """What is not measured is replaced by a legal number: a dtype without one is LG103, as narrow class ids are."""
    label = RealLabel(
        minimum=1e38, maximum=1.5e38, ignore=[NAN, 2**53], on_ignore="replace", dtype=["integer", "floating"]
    )
    schema = DatasetSchema(format=1, name="t", version="1.0.0", labels={"y": label})
    assert Guard(schema).check_batch({"y": values}).counts == {"LG103": 2}
    (out,) = guard_batches([{"y": values}], schema, on_invalid="mask", stop_above=None)
    assert Guard(schema.emitted()).check_batch(out).ok
    assert not out["y_valid"].any()


@pytest.mark.parametrize("batched", [False, True])
def test_report_delivers_one_array_where_a_list_does_not_count(batched: bool) -> None:
    """Under ``report`` a label that does not count has a place in the array, also where labels are lists."""
    label = ClassLabel(num_classes=2, shape=[3], where="w")
    records: list[dict[str, Any]] = [{"y": [0, 1, 9], "w": 1}, {"y": [0, 1, 1], "w": 0}]
    elements = [{name: [record[name] for record in records] for name in ("y", "w")}] if batched else records
    schema = DatasetSchema(format=1, name="t", version="1.0.0", labels={"y": label})
    (out,) = guard_batches(elements, schema, on_invalid="report", batched=batched, batch_size=2)
    assert out["y"].tolist() == [[0, 1, 9], [0, 0, 0]]
    assert out["y_valid"].tolist() == [[True, True, True], [False, False, False]]
