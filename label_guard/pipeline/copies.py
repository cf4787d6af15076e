# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# Elements are users' own trees: isinstance narrows Any to Unknown here, which says nothing about this code.
"""Copies of elements that are kept while the loader goes on: it may fill the same arrays again."""

from __future__ import annotations

from collections import deque
from copy import copy
from typing import Any, cast

import numpy as np

from label_guard.check.columns import BUFFERS, column_items
from label_guard.core import tree

_IMMUTABLE = (int, float, complex, str, bytes, bool, np.generic, type(None))
_MUTABLE = (bytearray, deque, set)


def copied(element: Any) -> Any:
    """``element`` with containers and arrays of its own; values that cannot change stay the same objects.

    A check result is valid only for the bytes that were checked, so whatever is kept across another ``next`` of the
    loader is copied first.

    >>> shared = np.arange(2)
    >>> kept = copied({"label": shared, "id": 7})
    >>> shared[:] = 9
    >>> kept
    {'label': array([0, 1]), 'id': 7}
    """
    if type(element) is dict:  # nearly every element; this runs for each record
        features = cast("dict[Any, Any]", element)
        return {name: _copied_leaf(value) for name, value in features.items()}
    return _copied_leaf(element)


def _copied_leaf(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.copy() if isinstance(value, np.ma.MaskedArray) else np.array(value, subok=False)
    if isinstance(value, _IMMUTABLE):
        return value
    pairs = tree.children(value)
    if pairs is not None:
        values = [copied(child) for _, child in pairs]
        return tree.rebuild(value, values)
    return _copied_foreign(value)


def _copied_foreign(value: Any) -> Any:
    """A copy of a tensor of another library, an array where it has no copy of its own kind.

    An immutable JAX array, or what is not an array, stays as it is.
    """
    if hasattr(value, "is_deleted"):  # JAX: immutable, and a clone of a deleted array ends the process
        return value
    clone = getattr(value, "clone", None)  # PyTorch
    if callable(clone):
        return clone()
    if isinstance(value, _MUTABLE):
        return copy(value)
    if hasattr(value, "take") and column_items(value) is not None:  # as an array, nulls would be NaN
        return value.take(list(range(len(value))))
    if isinstance(value, BUFFERS) or hasattr(value, "__array__"):
        try:
            return np.array(np.asarray(value))  # np.array(value) alone trusts __array__ to have copied
        except Exception:  # whatever a foreign __array__ raises: the check reports such a label
            return value
    return value
