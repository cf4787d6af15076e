"""Any value that Python or NumPy can hold in the place of a label: checked, or an error of this package."""

from __future__ import annotations

import contextlib
import enum
import functools
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from label_guard import ClassLabel, DatasetSchema, Guard, MultiLabel, RealLabel, SoftLabel, guard_batches
from label_guard.errors import LabelGuardError


class NotAnArray:
    """Such as a tensor that needs a gradient."""

    shape = (2,)

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("Can't call numpy() on Tensor that requires grad")

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class Color(enum.IntEnum):
    """An integer with a name."""

    RED = 1


def deleted() -> Any:
    """A JAX array without its buffer."""
    array = jnp.arange(2)
    array.delete()
    return array


VALUES = {
    "0-d array": lambda: np.array(1),
    "empty": lambda: np.empty(0, np.int64),
    "F-ordered": lambda: np.asfortranarray(np.ones((2, 3), np.int64)),
    "strided": lambda: np.arange(8)[::4],
    "read-only": lambda: np.broadcast_to(np.int64(1), (2,)),
    "matrix": lambda: np.matrix([[1, 1]]),
    "masked": lambda: np.ma.masked_array([1, 2], [True, False]),
    "structured": lambda: np.zeros(2, "i4,f4"),
    "big-endian": lambda: np.array([1, 2], ">i4"),
    "uint64": lambda: np.array([2**63 + 1, 1], np.uint64),
    "longdouble": lambda: np.array([1, 2], np.longdouble),
    "complex": lambda: np.array([1j, 2]),
    "datetime": lambda: np.array(["2020", "NaT"], "datetime64[D]"),
    "text": lambda: np.array(["a", "b"]),
    "StringDType": lambda: np.array(["a", "b"], np.dtypes.StringDType()),
    "void": lambda: np.zeros(2, "V3"),
    "float8": lambda: np.ones(2, ml_dtypes.float8_e5m2),
    "bfloat16": lambda: np.ones(2, ml_dtypes.bfloat16),
    "int4": lambda: np.ones(2, ml_dtypes.int4),
    "objects": lambda: np.array([None, 1, "x"], object),
    "mixed list": lambda: [np.int64(1), 2.5],
    "int of many digits": lambda: [10**5000, 1],
    "negative of many digits": lambda: -(10**5000),
    "bool": lambda: [True, np.bool_(False)],
    "enum": lambda: Color.RED,
    "bytes": lambda: b"\xff",
    "ragged": lambda: [[1], [1, 2]],
    "deep": lambda: functools.reduce(lambda inner, _: [inner], range(100), 1),
    "dict": lambda: {"a": 1},
    "class": lambda: int,
    "not an array": NotAnArray,
    "list of them": lambda: [NotAnArray(), 1],
    "deleted": deleted,
    "PRNG key": lambda: jax.random.key(0),
    "PRNG keys": lambda: jax.random.split(jax.random.key(0), 2),
    "infinite": lambda: [float("inf"), float("nan")],
    "None": lambda: [None, None],
}
LABELS = {
    "class_label": ClassLabel(num_classes=3, ignore=[-1]),
    "list": ClassLabel(num_classes=3, shape=[2], unique=True, ignore=[9]),
    "remapped": ClassLabel(num_classes=2, class_ids=[0, 200], emit="int32"),
    "names": ClassLabel(num_classes=2, class_names=["a", "b"], dtype="string"),
    "bool": ClassLabel(num_classes=2, dtype="bool"),
    "multi_label": MultiLabel(num_classes=2, ignore=[-1]),
    "ids": MultiLabel(num_classes=3, encoding="ids", separator=" "),
    "soft_label": SoftLabel(num_classes=2),
    "real_label": RealLabel(minimum=0.5, ignore=[None, -999.0], emit="float32"),
}


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("value", VALUES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
def test_no_value_ends_in_a_foreign_error(value: str, kind: str) -> None:
    """As a record, next to a good one, and as a batch; what leaves under mask passes the emitted schema."""
    schema = DatasetSchema(format=1, name="t", version="1.0.0", labels={"y": LABELS[kind]})
    guard, again = Guard(schema), Guard(schema.emitted())
    for element, batched in (({"y": VALUES[value]()}, False), ({"y": VALUES[value]()}, True)):
        with contextlib.suppress(LabelGuardError):
            str(guard.check(element, batched=batched).violations)
        with contextlib.suppress(LabelGuardError):
            options = {"batched": batched, "batch_size": None if batched else 1, "stop_above": None}
            for out in guard_batches([element], schema, on_invalid="mask", **options):
                assert again.check_batch(out).ok, out
