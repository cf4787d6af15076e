"""Any value that Python or NumPy can hold in the place of a label: checked, or an error of this package."""

from __future__ import annotations

import array
import collections
import contextlib
import enum
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from label_guard import ClassLabel, DatasetSchema, Guard, MultiLabel, RealLabel, SoftLabel, guard_batches
from label_guard.audit import audit_dataset
from label_guard.errors import InvalidLabelError, LabelGuardError


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
    "StringDType": lambda: np.array(["a", "b"], getattr(np.dtypes, "StringDType", lambda: "U9")()),
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


OF_OTHER_TYPES = {
    "bytearray": lambda: bytearray(b"\1\2"),
    "deque": lambda: collections.deque([1, 2]),
    "dict_values": lambda: {0: 1, 1: 2}.values(),
    "frozenset": lambda: frozenset({1, 2}),
    "generator": lambda: (number for number in (1, 2)),
    "map": lambda: map(int, "12"),
    "range": lambda: range(1, 3),
    "set": lambda: {1, 2},
    "UserList": lambda: collections.UserList([1, 2]),
    "bfloat16": lambda: np.ones(2, ml_dtypes.bfloat16),
    "float8_e4m3fn": lambda: np.ones(2, ml_dtypes.float8_e4m3fn),
    "int4": lambda: np.ones(2, ml_dtypes.int4),
}
DTYPES = {
    "scalar": (ClassLabel(num_classes=3, dtype="int64"), "dtype int64"),
    "list": (ClassLabel(num_classes=3, shape=[2], dtype=["uint8", "int32"]), "dtype uint8 or int32"),
    "free": (ClassLabel(num_classes=3, shape=[None], dtype="int64"), "dtype int64"),
    "real_label": (RealLabel(shape=[2]), "dtype float"),
    "multi_label": (MultiLabel(num_classes=2, dtype="int8"), "dtype int8"),
}


@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("name", OF_OTHER_TYPES)
def test_a_label_of_another_type_is_called_by_its_type(name: str, kind: str) -> None:
    """LG103 with the real type and the dtypes that are legal: in a record, in a batch, and as a whole batch."""
    label, legal = DTYPES[kind]
    schema = DatasetSchema(format=1, name="t", version="1.0.0", labels={"y": label})
    make = OF_OTHER_TYPES[name]
    own = {"batched": False, "batch_size": 1}
    for element, batched in (({"y": make()}, False), ({"y": [make(), make()]}, True), ({"y": make()}, True)):
        found = Guard(schema).check(element, batched=batched).violations
        assert found, (element, batched)
        assert {violation.rule for violation in found} == {"LG103"}
        assert all(str(violation.value).startswith(name) for violation in found)
        assert all(violation.legal.startswith(legal) for violation in found)
    for element, options in (({"y": make()}, own), ({"y": make()}, {"batched": True})):
        with pytest.raises(InvalidLabelError, match=f"LG103.*{name}.*expected {legal}"):
            list(guard_batches([element], schema, on_invalid="raise", **options))


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e5m2"])
def test_floats_that_a_schema_cannot_declare_are_compared_by_name(dtype: str) -> None:
    """``expected dtype floating`` would be no answer to a bfloat16."""
    schema = DatasetSchema(format=1, name="t", version="1.0.0", labels={"y": RealLabel()})
    [found] = Guard(schema).check_batch({"y": np.ones(1, dtype)}).violations
    assert (found.value, found.legal) == (dtype, "dtype float16 or float32 or float64")


@pytest.mark.parametrize("name", DTYPES)
def test_a_foreign_byte_order_is_named(name: str) -> None:
    """``>i8, expected dtype integer`` would be no answer: ``>i8`` holds integers."""
    label, legal = DTYPES[name]
    schema = DatasetSchema(format=1, name="t", version="1.0.0", labels={"y": label})
    stored = ">f8" if name == "real_label" else ">i8"
    [found] = Guard(schema).check_batch({"y": np.ones((1,) if name == "scalar" else (1, 2), stored)}).violations
    assert str(found.value).startswith(stored)
    assert found.legal.startswith(legal)
    assert found.legal.endswith("in the byte order of this machine")


@pytest.mark.parametrize("make", [memoryview, lambda numbers: array.array("q", numbers.tolist())])
def test_buffers_are_read_as_arrays(make: Callable[[Any], Any]) -> None:
    """A memoryview and an array.array have a dtype and a shape: their numbers are checked, and leave as arrays."""
    scalar, pair = ClassLabel(num_classes=3, dtype="int64"), ClassLabel(num_classes=3, shape=[2], dtype="int64")
    good, bad = (make(np.array(numbers)) for numbers in ([1, 2], [1, 77]))
    schemas = [DatasetSchema(format=1, name="t", version="1.0.0", labels={"y": label}) for label in (scalar, pair)]
    of_scalars, of_pairs = map(Guard, schemas)
    assert of_pairs.check({"y": bad}, batched=False).counts == {"LG101": 1}
    assert of_scalars.check({"y": bad}, batched=True).invalid_rows.tolist() == [1]
    [row] = guard_batches([{"y": good}], {"y": pair}, on_invalid="raise", batched=False, batch_size=1)
    [batch] = guard_batches([{"y": good}], {"y": scalar}, on_invalid="raise", batched=True)
    assert [type(out["y"]) for out in (row, batch)] == [np.ndarray, np.ndarray]
    assert (row["y"].tolist(), batch["y"].tolist()) == ([[1, 2]], [1, 2])
    [found] = of_scalars.check({"y": good}, batched=False).violations
    assert (found.rule, found.value) == ("LG105", "int64[2]")


def test_a_ragged_list_breaks_the_shape() -> None:
    """Lists of several lengths are named; ``object`` says nothing to a user."""
    schema = DatasetSchema(format=1, name="t", version="1.0.0", labels={"y": ClassLabel(num_classes=3, shape=[2, 2])})
    [found] = Guard(schema).check({"y": [[1], [1, 2]]}, batched=False).violations
    assert (found.rule, found.value, found.legal) == ("LG105", "ragged list", "shape [2, 2]")


@pytest.mark.parametrize("form", [list, lambda names: np.array(names, object)], ids=["list", "objects"])
@pytest.mark.parametrize("encoded", [False, True], ids=["str", "bytes"])
def test_a_name_that_ends_in_nul_is_not_the_name(form: Callable[[list[Any]], Any], encoded: bool) -> None:
    """NumPy's own texts drop a NUL at their end, so two names would be one."""
    texts = ["cat", "dog\0", "\0", "cat\0\0", "cat"]
    names: list[Any] = [text.encode() for text in texts] if encoded else list(texts)
    label = ClassLabel(num_classes=2, class_names=("cat", "dog"), dtype=("string",))
    guard = Guard(DatasetSchema(format=1, name="x", version="1.0.0", labels={"label": label}))
    assert guard.check({"label": form(names)}, batched=True).invalid_rows.tolist() == [1, 2, 3]
    assert [guard.check({"label": name}, batched=False).num_invalid for name in names] == [0, 1, 1, 1, 0]
    lists = label.model_copy(update={"shape": (None,)})
    guard = Guard(DatasetSchema(format=1, name="x", version="1.0.0", labels={"label": lists}))
    assert guard.check({"label": [[name] for name in names]}, batched=True).invalid_rows.tolist() == [1, 2, 3]
    numbers = Guard(DatasetSchema(format=1, name="x", version="1.0.0", labels={"label": ClassLabel(num_classes=2)}))
    assert numbers.check({"label": form(names)}, batched=True).counts == {"LG103": 5}


@pytest.mark.parametrize("row", [[1e308, 1e308], [-1e308, -1e308], [np.inf, -np.inf], [1.7e308, np.nan]], ids=str)
@pytest.mark.parametrize("one_hot", [False, True])
def test_a_sum_beyond_float64_is_a_verdict_without_a_warning(row: list[float], one_hot: bool, tmp_path: Path) -> None:
    """A program whose warnings are errors goes on; so does an audit."""
    label = SoftLabel(num_classes=2, one_hot=one_hot)
    schema = DatasetSchema(format=1, name="t", version="1.0.0", labels={"y": label})
    assert Guard(schema).check({"y": np.array([row])}, batched=True).num_invalid == 1
    assert Guard(schema).check({"y": row}, batched=False).num_invalid == 1
    np.savez(tmp_path / "y.npz", y=np.array([row]))
    assert audit_dataset(schema, source=f"npz:{tmp_path}/y.npz").splits[0].invalid == 1
