"""Batches as trees: stack records, take rows, join pieces. Inputs are never written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from label_guard import tree
from label_guard.errors import UsageError

Rows = NDArray[np.intp]


def stack(records: Sequence[Any]) -> Any:
    """Records of one structure as a batch: every leaf gets a leading axis of ``len(records)``.

    Raises:
        UsageError: records differ in structure, or a feature in shape.
    """
    first = records[0]
    if type(first) is dict and all(type(r) is dict and r.keys() == first.keys() for r in records):
        return {key: _stack_feature([record[key] for record in records], str(key)) for key in first}
    try:
        return tree.map_leaves(lambda *leaves: _stack_leaves(leaves), *records)
    except (ValueError, TypeError) as error:
        raise UsageError(f"records cannot be batched: {error}") from error


def _stack_feature(values: list[Any], name: str) -> Any:
    if tree.children(values[0]) is not None:
        return stack(values)
    try:
        return _stack_leaves(values)
    except (ValueError, TypeError) as error:
        specs = sorted({f"{np.asarray(value).dtype}{list(np.shape(value))}" for value in values})[:4]
        raise UsageError(f"feature {name!r} cannot be batched: records hold {', '.join(specs)}") from error


def _stack_leaves(values: Sequence[Any]) -> Any:
    if any(value is None or value is tree.MISSING for value in values):
        raise ValueError("a record holds None")
    return np.stack(values) if isinstance(values[0], np.ndarray) else np.array(values)


def size_of(batch: Any) -> int:
    """Length of the leading axis of the first leaf that has one; 0 where none has."""
    for _, leaf in tree.leaves(batch):
        shape = np.shape(leaf)
        if shape:
            return int(shape[0])
    return 0


def take(batch: Any, rows: Rows) -> Any:
    """A batch of copies of ``rows``."""
    return tree.map_leaves(lambda leaf: np.asarray(leaf)[rows], batch)


def row(batch: Any, position: int) -> Any:
    """One record of a batch; a leaf without a leading axis is left out of it."""
    return _row(batch, position, size_of(batch))


def _row(node: Any, position: int, size: int) -> Any:
    if isinstance(node, list) and len(node) == size:
        return node[position]
    pairs = tree.children(node)
    if pairs is not None:
        return tree.rebuild(node, [_row(value, position, size) for _, value in pairs])
    array = node if isinstance(node, np.ndarray) else np.asarray(node)
    return array[position] if array.ndim and array.shape[0] > position else None


def join(pieces: Sequence[tuple[Any, Rows]]) -> Any:
    """A new batch of the given rows of each piece, in order.

    Raises:
        UsageError: the pieces differ in structure, or in the shape of a feature.
    """
    try:
        return tree.map_leaves(
            lambda *leaves: np.concatenate([np.asarray(x)[rows] for x, (_, rows) in zip(leaves, pieces, strict=True)]),
            *(batch for batch, _ in pieces),
        )
    except (ValueError, TypeError) as error:
        raise UsageError(f"batches cannot be joined: {error}") from error


def pad(batch: Any, size: int) -> Any:
    """``batch`` filled up to ``size`` records with copies of its first."""
    have = size_of(batch)
    rows = np.concatenate([np.arange(have), np.zeros(size - have, np.intp)])
    return take(batch, rows)


def without_key(element: Any, key: str) -> Any:
    """``element`` without the top-level feature ``key``."""
    if isinstance(element, Mapping) and key in element:
        return {name: value for name, value in element.items() if name != key}
    return element
