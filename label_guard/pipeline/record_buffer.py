# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Elements are users' own trees: isinstance narrows Any to Unknown here, which says nothing about this code.
"""Records of a batch, kept while more are read: the loader may fill the same arrays again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import numpy as np

from label_guard.core.types import Array
from label_guard.pipeline.copies import copied
from label_guard.pipeline.record_keys import UNREADABLE

_PYTHON = frozenset({int, float, complex, str, bytes, bool, type(None), np.str_, np.bytes_})  # cannot change
_SCALARS = frozenset(kind for kind in np.sctypeDict.values() if np.dtype(kind).kind in "biufc")

_END = object()


class RecordBuffer:
    """Records in order, with arrays of their own.

    Records of one structure, whose features have the same types, dtypes and shapes, are written into one array for each
    feature, and so are a batch at once. Others are copied one by one.

    Args:
        size: most records that it will keep.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._rows = 0
        self._columns: _Columns | None = None
        self._batch: dict[str, Any] | None = None
        self._records: list[Any] = []  # where they differ

    def __len__(self) -> int:
        return self._rows

    def fill(self, pull: Callable[[], Any]) -> bool:
        """Keeps the records that ``pull`` gives until the buffer is full; False if they ended before."""
        with suppress(StopIteration):
            while self._rows < self._size:
                if self._columns is None:
                    self.keep(pull())
                    continue
                self._rows, other = self._columns.fill(pull, self._rows, self._size)
                if other is _END:
                    break
                if self._rows < self._size:
                    self.keep(other)
        return self._rows == self._size

    def keep(self, record: Any) -> None:
        """Keeps one record."""
        if self._rows == 0:
            self._columns = _columns_of(record, self._size)
        if self._columns is None or not self._columns.keep(record, self._rows):
            self._records = self.records()
            self._records.append(copied(record))
            self._columns = None
        self._rows += 1

    def batch(self) -> dict[str, Any] | None:
        """The records as one batch: arrays ``[batch, ...]``, and lists of Python values; None where they differ."""
        if self._batch is None and self._columns is not None:
            self._batch = self._columns.batch(self._rows)
        return self._batch

    def record(self, row: int) -> Any:
        """The record at ``row``."""
        return self._records[row] if self._columns is None else self._columns.record(row)

    def records(self) -> list[Any]:
        """The records one by one."""
        if self._columns is not None:
            return [self._columns.record(row) for row in range(self._rows)]
        return self._records


class _Columns:
    """The features of records, each in an array ``[size, ...]``, in a list of values, or in columns of its own.

    Args:
        columns: them, empty.
        first: the first record, which the others must be like.
    """

    def __init__(self, columns: dict[str, Any], first: dict[str, Any]) -> None:
        self._columns = columns
        self._length = len(columns)
        self._arrays: list[tuple[str, type, Array, np.dtype[Any], tuple[int, ...]]] = []
        self._lists: list[tuple[str, type, Callable[[Any], None]]] = []
        self._nodes: list[tuple[str, _Columns]] = []
        for name, column in columns.items():
            if isinstance(column, _Columns):
                self._nodes.append((name, column))
            elif isinstance(column, list):
                self._lists.append((name, type(first[name]), cast("list[Any]", column).append))
            else:
                self._arrays.append((name, type(first[name]), column, column.dtype, column.shape[1:]))

    def fill(self, pull: Callable[[], Any], row: int, size: int) -> tuple[int, Any]:
        """Writes records from ``row`` on as long as they are like the first one.

        One loop with few calls: it runs for each record.

        Returns:
            The number of rows that are written; and, if they are fewer than ``size``, the record that differs, or
            ``_END`` if ``pull`` had no more.
        """
        arrays, lists, nodes, length = self._arrays, self._lists, self._nodes, self._length
        for place in range(row, size):
            try:
                record = pull()
            except StopIteration:
                return place, _END
            if type(record) is not dict or len(record) != length:
                return place, record
            try:
                for name, kind, array, dtype, shape in arrays:
                    value = record[name]
                    if (
                        type(value) is not kind
                        or value.shape != shape
                        or (value.dtype is not dtype and value.dtype != dtype)
                    ):
                        return place, record
                    array[place] = value
                for name, kind, add in lists:
                    value = record[name]
                    if type(value) is not kind:
                        return place, record
                    add(value)
                if nodes and not self._keep_nodes(record, place):
                    return place, record
            except KeyError:
                return place, record
        return size, None

    def _keep_nodes(self, record: dict[str, Any], row: int) -> bool:
        return all(node.keep(record[name], row) for name, node in self._nodes)

    def keep(self, record: Any, row: int) -> bool:
        """Writes ``record`` at ``row``; False where it differs from the first one."""
        return self.fill(iter((record,)).__next__, row, row + 1)[0] > row

    def batch(self, rows: int) -> dict[str, Any]:
        """The first ``rows`` records as a batch."""
        batch: dict[str, Any] = {}
        for name, column in self._columns.items():
            if isinstance(column, _Columns):
                batch[name] = column.batch(rows)
            else:
                kind = type(column[0]) if isinstance(column, list) else None
                batch[name] = np.array(column[:rows], kind) if kind in _SCALARS else column[:rows]
        return batch

    def record(self, row: int) -> dict[str, Any]:
        """The record at ``row``."""
        record: dict[str, Any] = {}
        for name, column in self._columns.items():
            record[name] = column.record(row) if isinstance(column, _Columns) else column[row]
        return record


def _columns_of(record: Any, size: int) -> _Columns | None:
    """Empty columns for ``size`` records like ``record``; None where its features are not arrays and scalars."""
    if type(record) is not dict or not record or UNREADABLE in record:
        return None
    columns: dict[str, Any] = {}
    for name, value in record.items():
        column = _column_of(value, size) if type(name) is str else None
        if column is None:
            return None
        columns[name] = column
    return _Columns(columns, cast("dict[str, Any]", record))


def _column_of(value: Any, size: int) -> Any:
    kind = type(value)
    if kind in _PYTHON or kind in _SCALARS:
        return []
    if kind is dict:
        return _columns_of(value, size)
    # A subclass may hold more than it shows: a mask, a unit; that of Grain's workers does not.
    plain = kind is np.ndarray or kind.__module__.startswith("grain.")
    if not plain or not isinstance(value, np.ndarray) or value.dtype.hasobject or not value.dtype.isnative:
        return None
    if value.ndim == 0:  # a row of its column would be a scalar, which a quarantine keeps apart
        return None
    try:
        return np.empty((size, *value.shape), value.dtype)
    except (MemoryError, ValueError):  # the dataset may hold fewer records than a batch of that size
        return None
