"""What a feature of a batch holds: something of each record, other features, or one value of the batch as a whole."""

from __future__ import annotations

from collections.abc import Sequence
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
_ARRAY = "array"


def holds_rows(node: Any, size: int) -> bool | None:
    """Whether a list holds one value for each of ``size`` records: False where it is a container of batched features.

    None where both fit: ``size`` features of ``size`` records that are alike in dtype and shape, or are lists of
    arrays. Lists of Python values are rows, as in JSON and Hugging Face datasets; containers hold arrays, as Grain and
    PyTorch make them, or tuples. A tuple is a container as soon as one item is a feature; PyTorch makes one of the
    texts of a batch, too.
    """
    if not isinstance(node, list) and type(node) is not tuple:
        return False
    values = cast("Sequence[Any]", node)
    if len(values) != size:
        return False
    return _are_rows(values, size) if isinstance(node, list) else _are_values(values, size)


def _are_rows(items: Sequence[Any], size: int) -> bool | None:
    forms: list[str | None] = []
    for item in items:
        forms.append(_form(item, size))
        if forms[-1] is None and not _is_column(item, size):
            return True  # mostly the first
    if any(isinstance(item, list) for item in items):
        return None if any(forms) else True
    alike = {form or str(_shape(item)) for form, item in zip(forms, items, strict=True)}
    return None if len(alike) == 1 or not all(form and _ARRAY in form for form in forms) else False


def _are_values(items: Sequence[Any], size: int) -> bool | None:
    """Whether no item of a tuple is a feature, or holds features; None for lists that may be either."""
    lists = [isinstance(item, list | tuple) for item in items]
    some = any(_is_column(item, size) or _form(item, size) for item in items)
    if all(lists):
        return None if some else True
    return not some and all(is_list or tree.children(i) is None for i, is_list in zip(items, lists, strict=True))


def _is_column(value: Any, size: int) -> bool:
    return isinstance(value, list | tuple) and len(cast("list[Any]", value)) == size


def _form(value: Any, size: int) -> str | None:
    """What a value is as a feature of ``size`` records: its dtypes and shapes; None where it cannot be one.

    A container is one if each item is an array of that length, or a list (of texts, say) inside of the container.
    """
    is_list = isinstance(value, list | tuple)
    pairs = enumerate(cast("Sequence[Any]", value)) if is_list else tree.children(value)
    if pairs is None:
        shape = _shape(value)
        return f"{_ARRAY} {getattr(value, 'dtype', None)}{shape}" if shape[:1] == (size,) else None
    found: list[str] = []
    for name, child in pairs:
        form = _form(child, size) or ("list" if _is_column(child, size) else None)
        if form is None:
            return None
        found.append(f"{name}: {form}")
    form = f"{type(value).__name__}({', '.join(found)})"
    return form if _ARRAY in form or (found and not is_list) else None  # lists of lists are values, as in JSON


def _shape(value: Any) -> tuple[int, ...]:
    """Shape of a value; of lists or tuples that differ in length the length, and of what gives no shape none."""
    try:
        return np.shape(value)
    except Exception:  # whatever a foreign array raises
        return (len(cast("list[Any]", value)),) if isinstance(value, list | tuple) else ()


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
