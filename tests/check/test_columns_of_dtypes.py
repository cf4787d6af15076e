"""A multi_label whose classes have a feature each: each feature may have any of the admitted dtypes."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from label_guard import DatasetSchema, Guard, MultiLabel, guard_batches

KINDS: dict[str, Any] = {
    **{name: np.dtype(name).type for name in ("bool", "int8", "int64", "uint64", "float32", "float64")},
    "Python bool": bool,
    "Python int": int,
    "Python float": float,
}
FAMILY = {  # a Python int has no width: it is a float where floats are declared
    "Python bool": {"bool"},
    "Python int": {"int8", "int64", "uint64", "float32", "float64"},
    "Python float": {"float32", "float64"},
}
DECLARED: dict[str, Any] = {
    "nothing": (None, {"bool", "int8", "int64", "uint64", "float32", "float64"}),
    "floating": ("floating", {"float32", "float64"}),
    "int64 and float64": (["int64", "float64"], {"int64", "float64"}),
    "int8": ("int8", {"int8"}),
}


def _label(dtype: Any, **fields: Any) -> MultiLabel:
    return MultiLabel(num_classes=2, columns=("a", "b"), dtype=dtype, **fields)


@pytest.mark.parametrize("declared", DECLARED)
@pytest.mark.parametrize("batched", [False, True])
def test_every_pair_of_dtypes(declared: str, batched: bool) -> None:
    """A record is legal just where the dtype of each feature is; what leaves is legal as emitted."""
    dtype, admitted = DECLARED[declared]
    schema = DatasetSchema(format=1, name="n", version="1.0.0", labels={"y": _label(dtype)})
    guard, emitted = Guard(schema), Guard(schema.emitted())
    for first, second in itertools.product(KINDS, KINDS):
        record = {"a": KINDS[first](0), "b": KINDS[second](1)}
        element = {
            name: np.array([value]) if isinstance(value, np.generic) else [value] for name, value in record.items()
        }
        legal = all(FAMILY.get(kind, {kind}) & admitted for kind in (first, second))
        assert guard.check(element if batched else record, batched=batched).ok == legal, (first, second)
        if legal:
            source = [element] if batched else [record]
            (batch,) = guard_batches(source, schema, batched=batched, on_invalid="raise", batch_size=1)
            assert batch["y"].tolist() == [[0, 1]]
            assert emitted.check(batch, batched=True).ok


def test_values_are_still_checked() -> None:
    """Values of features that differ in dtype are checked as any: 2, NaN, an integer that no float holds."""
    guard = Guard(DatasetSchema(format=1, name="n", version="1.0.0", labels={"y": _label(None, ignore=(-1, None))}))
    for value, legal in [(np.int64(1), True), (-1, True), (None, True), (np.int64(2), False), (2**53 + 1, False)]:
        assert guard.check({"a": value, "b": np.float64(1)}, batched=False).ok == legal, value
    assert not guard.check({"a": np.int64(1), "b": np.float64("nan")}, batched=False).ok
    assert not guard.check({"a": np.int64(1), "b": "1"}, batched=False).ok


def test_columns_of_several_shapes() -> None:
    """A feature of a column with an axis of its own makes every record bad, and raises nothing."""
    guard = Guard(DatasetSchema(format=1, name="n", version="1.0.0", labels={"y": _label("int64")}))
    for first, second in [((2, 1), (2,)), ((2,), (2, 1)), ((2, 1), (2, 1)), ((2, 2), (2,)), ((2, 0), (2,))]:
        batch = {"a": np.zeros(first, np.int64), "b": np.zeros(second, np.int64)}
        assert guard.check(batch, batched=True).valid.tolist() == [False, False], (first, second)


@pytest.mark.parametrize("other", [np.zeros(3, np.int64), [0, 1, 1], np.zeros((5, 1), np.int64), np.int64(1), "name"])
def test_a_column_of_another_length_is_named(other: Any) -> None:
    """A feature without one value per record is LG105 and names the column; one that is not there is LG104."""
    guard = Guard(DatasetSchema(format=1, name="n", version="1.0.0", labels={"y": _label(None)}))
    good = np.zeros(4, np.int64)
    result = guard.check({"a": good, "b": other}, batched=True)
    assert result.counts == {"LG105": 4}
    assert str(result.violations[0].value).endswith(" of 'b'")
    assert guard.check({"a": good}, batched=True).counts == {"LG104": 4}
    assert guard.check({"a": good, "b": None}, batched=True).counts == {"LG104": 4}
