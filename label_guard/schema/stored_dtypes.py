"""Which dtypes a label may be stored in, and which one records of several dtypes are joined in. No NumPy."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from label_guard.core import dtypes
from label_guard.schema.labels import ClassLabel, Label, MultiLabel, RealLabel, SoftLabel

Kind = Literal["b", "i", "f"]


def admitted_dtypes(label: Label) -> tuple[str, ...]:
    """NumPy names of the dtypes that a guard admits for ``label``, families expanded.

    Ids of a dtype that JAX would index wrongly with are not admitted, unless ``emit`` widens them.
    """
    if not isinstance(label, ClassLabel) or label.emitted_dtype is not None:
        return label.stored_dtypes
    return _indexing(label.stored_dtypes, label.num_classes)


@lru_cache(maxsize=256)  # asked a dozen times for each guard that is built
def _indexing(names: tuple[str, ...], num_classes: int) -> tuple[str, ...]:
    return tuple(name for name in names if not dtypes.is_integer(name) or dtypes.can_index(name, num_classes))


def joined_dtype(label: Label, kind: Kind) -> str | None:
    """The dtype of a batch made of Python numbers, or of records of several dtypes.

    It does not depend on the values, so that every batch has the same one: int64, float64 or bool where these are
    admitted, else the narrowest admitted integer that holds all legal values (int64 where none does), or the widest
    admitted float.

    Args:
        label: the resolved label.
        kind: ``b``, ``i`` or ``f``: the widest kind of number among the records.

    Returns:
        A NumPy name; None where no dtype of that kind is admitted.

    >>> joined_dtype(ClassLabel(kind="class_label", num_classes=200, dtype=("int16", "uint8")), "i")
    'uint8'
    """
    admitted = admitted_dtypes(label)
    if kind == "b":
        return "bool" if "bool" in admitted else None
    if kind == "f":
        return next((name for name in reversed(dtypes.FLOATING) if name in admitted), None)
    integers = [name for name in admitted if dtypes.is_integer(name)]
    if len(integers) <= 1:
        return integers[0] if integers else None
    low, high = _legal_range(label)
    ranges = {name: dtypes.integer_range(name) for name in integers}
    fitting = [name for name, (least, most) in ranges.items() if least <= low and high <= most]
    if "int64" in fitting or not fitting:
        return "int64"
    return min(fitting, key=dtypes.bits)


def emitted_dtypes(label: Label) -> tuple[str, ...] | None:
    """The dtypes that ``label`` may leave the guard in; None where these are the defaults of its kind.

    One that only joined records have (int64, where no declared integer holds all legal values) is added.
    """
    if label.emitted_dtype is not None:
        return (label.emitted_dtype,)
    admitted = admitted_dtypes(label)
    joined = [name for kind in ("i", "f") if (name := joined_dtype(label, kind)) and name not in admitted]
    declared = label.dtype if not isinstance(label, ClassLabel) else None
    return declared if not joined and not isinstance(label, ClassLabel) else (*admitted, *joined)


_BITS = {"float16": (2.0**-11, 2.0**-25), "float32": (2.0**-24, 2.0**-150)}


def rounding_of_sums(label: SoftLabel) -> float:
    """How far ``emit`` can move the sum of a legal row: each value is rounded by itself."""
    narrows = label.emit in _BITS and any(not dtypes.holds(label.emit, name) for name in label.stored_dtypes)
    if label.one_hot or not narrows or label.emit is None:
        return 0.0
    relative, least = _BITS[label.emit]
    return relative * (1 + label.tolerance) + label.num_classes * (least + 2.0**-50)


def _legal_range(label: Label) -> tuple[float, float]:
    """Least and greatest legal value."""
    if isinstance(label, RealLabel):
        low = float("-inf") if label.minimum is None else label.minimum
        return low, float("inf") if label.maximum is None else label.maximum
    if isinstance(label, ClassLabel):
        return min((*label.id_range, *label.sentinels)), max((*label.id_range, *label.sentinels))
    values = (label.positive, label.negative, *label.sentinels) if isinstance(label, MultiLabel) else (0, 1)
    return min(values), max(values)
