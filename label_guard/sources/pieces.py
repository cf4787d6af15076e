"""Makes pieces of records: groups them into blocks of about one size, and gathers their labels into columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from label_guard.core import tree
from label_guard.sources.base import Piece, RawColumn

Item = TypeVar("Item")


def blocks(items: Iterable[Item], size_of: Callable[[Item], int], enough: int) -> Iterator[list[Item]]:
    """``items`` in lists of a total size of about ``enough``; what precedes a fault is yielded before it is raised.

    Args:
        items: records in order.
        size_of: size of one, in any unit.
        enough: size of a list, in the same unit.
    """
    block: list[Item] = []
    size = 0
    try:
        for item in items:
            block.append(item)
            size += size_of(item)
            if size >= enough:
                yield block
                block, size = [], 0
    except Exception:
        if block:
            yield block
        raise
    if block:
        yield block


def first_items(items: Iterator[Item], most: int) -> list[Item]:
    """The first ``most`` of ``items``, or those before a fault, which reading will report.

    Raises:
        Exception: whatever the fault is, where it precedes all items.
    """
    found: list[Item] = []
    try:
        for item in islice(items, most):
            found.append(item)  # noqa: PERF402 - kept where the next one fails
    except Exception:
        if not found:
            raise
    return found


def values_column(values: list[Any]) -> RawColumn:
    """Arrays or NumPy numbers, one a record, as one array where they share dtype and shape; else the list."""
    first = values[0] if values else None
    if isinstance(first, np.number | np.bool_):
        return np.array(values) if len(set(map(type, values))) == 1 else values
    if type(first) is np.ndarray and first.dtype != object:
        same = all(type(v) is np.ndarray and v.dtype == first.dtype and v.shape == first.shape for v in values)
        return np.stack(values) if same else values
    return values


def records_piece(
    first: int, records: Iterable[Item], labels: Callable[[Item], Mapping[str, Any]], wanted: Iterable[str]
) -> Piece:
    """Makes a piece of records that are read one by one.

    Args:
        first: row of the first record.
        records: the records.
        labels: returns the labels of a record by path; raises ``ValueError``, with the reason, where it is unreadable.
        wanted: paths of the labels.
    """
    rows: list[int] = []
    unreadable: list[tuple[int, str]] = []
    columns: dict[str, list[Any]] = {path: [] for path in wanted}
    for row, record in enumerate(records, first):
        try:
            found = labels(record)
        except ValueError as error:
            unreadable.append((row, str(error)))
            continue
        rows.append(row)
        for path, column in columns.items():
            column.append(found[path])
    return Piece(rows if unreadable else range(first, first + len(rows)), dict(columns), unreadable)


def labels_of(record: Mapping[str, Any], wanted: Iterable[str]) -> dict[str, Any]:
    """The labels of a record that is a tree; None where it has none."""
    found = {path: tree.get(record, path) for path in wanted}
    return {path: None if value is tree.MISSING else value for path, value in found.items()}
