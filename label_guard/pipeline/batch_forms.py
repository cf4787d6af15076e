"""What a feature of a batch holds: something of each record, other features, or one value of the batch as a whole."""

from __future__ import annotations

from datetime import date, time, timedelta
from enum import Enum
from numbers import Number
from pathlib import PurePath
from types import FunctionType
from typing import Any, cast

import numpy as np

from label_guard.core import tree
from label_guard.core.plural import counted
from label_guard.core.types import Array

_VALUES = (type(None), Number, str, bytes, Enum, date, time, timedelta, PurePath, type, FunctionType)


def holds_rows(node: Any, size: int) -> bool | None:
    """Whether a list holds one value for each of ``size`` records: False where it is a container of batched features.

    None where both fit: ``size`` arrays or tuples of length ``size``, alike in dtype and shape. Lists of Python values
    are rows, as in JSON and Hugging Face datasets; containers hold arrays, as Grain and PyTorch make them, or tuples.
    A tuple is a container as soon as one item is a feature; PyTorch makes one of the texts of a batch, too.
    """
    if type(node) is tuple:
        return len(cast("tuple[Any, ...]", node)) == size and _are_values(cast("tuple[Any, ...]", node), size)
    if not isinstance(node, list) or len(cast("list[Any]", node)) != size:
        return False
    values = cast("list[Any]", node)
    if not all(_shape(value)[:1] == (size,) for value in values):
        return True
    if any(isinstance(value, list) for value in values):
        return True
    alike = {(_shape(value), str(getattr(value, "dtype", None))) for value in values}
    return None if len(alike) == 1 else False


def _shape(value: Any) -> tuple[int, ...]:
    """Shape of a value; of lists or tuples that differ in length the length, and of what gives no shape none."""
    try:
        return np.shape(value)
    except Exception:  # whatever a foreign array raises
        return (len(cast("list[Any]", value)),) if isinstance(value, list | tuple) else ()


def _are_values(items: tuple[Any, ...], size: int) -> bool | None:
    """Whether no item of a tuple is a feature of ``size`` records, or holds features; None for lists of that length."""
    lists = [isinstance(item, list | tuple) for item in items]
    lengths = [len(i) if is_list else next(iter(_shape(i)), None) for i, is_list in zip(items, lists, strict=True)]
    if all(lists) and set(lengths) == {size}:
        return None
    holds_features = any(not is_list and tree.children(i) is not None for i, is_list in zip(items, lists, strict=True))
    return size not in lengths and not holds_features


def belongs_to_batch(array: Array, path: str, size: int) -> bool:
    """Whether a feature is one value of a batch: a number, a text or None, that says nothing of single records.

    An object of a class that NumPy cannot read may hold something of every record (DETR's pictures with their masks,
    ragged and sparse tensors): the rows of a batch would be cut everywhere but inside of it.

    Args:
        array: the feature, as NumPy reads it.
        path: path of the feature.
        size: number of records in the batch.

    Raises:
        ValueError: the feature is such an object.
    """
    if array.ndim:
        return False
    value = cast(Any, array).item() if array.dtype == object else None
    if not isinstance(value, _VALUES):
        raise ValueError(
            f"feature {path!r} is a {type(value).__name__} object in a batch of {counted(size, 'record')}, which may "
            "hold something of each of them, so records cannot be taken out of it or added. Make it a dict of arrays "
            'with a leading axis of records, or add it after the guard; or pass on_invalid="mask"'
        )
    return True
