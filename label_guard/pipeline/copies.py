# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# Elements are users' own trees: isinstance narrows Any to Unknown here, which says nothing about this code.
"""Copies of elements that are kept while the loader goes on: it may fill the same arrays again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from label_guard.core import tree
from label_guard.core.types import Array
from label_guard.pipeline.batching import BatchRows

_IMMUTABLE = (int, float, complex, str, bytes, bool, np.generic, type(None))
_PLAIN = frozenset({int, float, complex, str, bytes, bool, type(None), *np.sctypeDict.values()})


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
        return np.array(value, subok=False)
    if isinstance(value, _IMMUTABLE):
        return value
    pairs = tree.children(value)
    if pairs is not None:
        values = [copied(child) for _, child in pairs]
        return dict(zip(value, values, strict=True)) if isinstance(value, Mapping) else tree.rebuild(value, values)
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
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if hasattr(value, "__array__"):
        try:
            return np.array(np.asarray(value))  # np.array(value) alone trusts __array__ to have copied
        except Exception:  # whatever a foreign __array__ raises: the check reports such a label
            return value
    return value


def copied_rows(part: BatchRows) -> BatchRows:
    """Rows of a batch that upstream cannot write."""
    batch, rows, size = part
    return copied(batch), rows, size


class RecordBuffer:
    """Keeps records of a batch while more are read: their arrays are written into one array for each feature.

    Where all records stay, these arrays are the batch: nothing is copied twice.

    Args:
        size: most records that are written into arrays; others are copied one by one.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept = 0
        self._columns: dict[Any, _Column] = {}

    def keep(self, record: Any) -> Any:
        """``record`` with arrays that the loader cannot write."""
        row = self._kept
        self._kept = row + 1
        if type(record) is not dict or row >= self._size:
            return copied(record)
        features = cast("dict[Any, Any]", record)
        kept = features.copy()
        for name, value in features.items():  # runs for each feature of each record
            if type(value) in _PLAIN:
                continue
            if isinstance(value, np.ndarray):
                kept[name] = self._write(name, row, cast("Array", value))
            else:
                kept[name] = copied(value)
        return kept

    def _write(self, name: Any, row: int, value: Array) -> Array:
        if row == 0 and type(name) is str and not value.dtype.hasobject:
            self._columns[name] = _Column(np.empty((self._size, *value.shape), value.dtype))
        column = self._columns.get(name)
        if column is None or value.dtype != column.dtype or value.shape != column.shape:
            return np.array(value, subok=False)
        written = column.array[row, ...]
        written[...] = value
        column.written += 1
        return written

    def stacked(self, records: list[Any]) -> dict[str, Array]:
        """The features of ``records`` that are stacked already: none where a record was left out."""
        if len(records) != self._kept or self._kept > self._size:
            return {}
        whole = {name: column for name, column in self._columns.items() if column.written == self._kept}
        return {name: column.array[: self._kept] for name, column in whole.items()}


class _Column:
    """One feature of the records in a buffer, and how many of them wrote it."""

    __slots__ = ("array", "dtype", "shape", "written")

    def __init__(self, array: Array) -> None:
        self.array, self.dtype, self.shape, self.written = array, array.dtype, array.shape[1:], 0
