"""Which positions of a label count: what the feature that ``where`` names says of each."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from label_guard.check.columns import as_array, spec_text
from label_guard.core import tree
from label_guard.core.types import Array
from label_guard.errors import UsageError


def where_array(value: Any) -> Array:
    """What ``where`` names, as numbers: weights such as ``[1, 0.5]`` and those of bfloat16 as floats."""
    array, _ = as_array(value)
    if array.dtype == object and all(isinstance(item, int | float) for item in array.reshape(-1).tolist()):
        return array.astype(np.bool_).astype(np.float64)  # a whole number may be too large for a float
    extension = array.dtype.kind == "V" and np.can_cast(array.dtype, np.float32)  # of ml_dtypes
    return array.astype(np.float32) if extension else array


def counted_positions(where: str, value: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which positions of a label of ``shape`` count, by the feature at ``where``, broadcast from the left.

    Args:
        where: path of the feature.
        value: the feature.
        shape: shape of the label, batch axis included.

    Raises:
        UsageError: the feature is missing, does not hold numbers, or does not fit the label.
    """
    if value is tree.MISSING or value is None:
        raise UsageError(f"the feature {where!r} is missing: it says which positions of a label count")
    array = where_array(value)
    if not fits(array, shape):
        spec = spec_text(array.dtype, array.shape)
        raise UsageError(
            f"the feature {where!r} says which positions of a label count, but is {spec}; "
            f"expected bool or numbers that broadcast from the left over the label's {list(shape)}"
        )
    counts = (array != 0).reshape(array.shape + (1,) * (len(shape) - array.ndim))
    return np.broadcast_to(counts, shape)


def fits(where: Any, shape: tuple[int, ...]) -> bool:
    """Whether a feature is an array of numbers that broadcasts from the left over a label of ``shape``."""
    if not isinstance(where, np.ndarray):
        return False
    array = cast(Array, where)
    return array.dtype.kind in "biuf" and broadcasts(array.shape, shape)


def broadcasts(feature: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether a feature of the shape ``feature`` broadcasts from the left over a label of ``shape``."""
    return len(feature) <= len(shape) and all(n in (1, m) for n, m in zip(feature, shape, strict=False))
