"""Batches as trees: stack records, take rows, join pieces. Inputs are never written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from label_guard.core import tree
from label_guard.errors import UsageError

Rows = NDArray[np.intp]
Piece = tuple[Any, Rows, int]  # a batch, rows of it, and its number of records


def stack(records: Sequence[Any], *, leave_out: str | None = None) -> Any:
    """Records of one structure as a batch: every leaf gets a leading axis of ``len(records)``.

    Args:
        records: at least one.
        leave_out: a feature of dict records that need not be stacked.

    Raises:
        UsageError: records differ in structure, or a feature in shape.
    """
    first = records[0]
    if type(first) is dict and all(type(r) is dict and r.keys() == first.keys() for r in records):
        features = cast("Mapping[Any, Any]", first)
        return {
            key: _stack_feature([record[key] for record in records], str(key)) for key in features if key != leave_out
        }
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
    stacked = np.stack(values) if isinstance(values[0], np.ndarray) else np.array(values)
    return _as_integers(stacked, values) if stacked.dtype.kind == "f" else stacked


def _as_integers(stacked: NDArray[Any], values: Sequence[Any]) -> NDArray[Any]:
    """NumPy promotes int64 beside uint64 to float64; integers stay integers where int64 holds them."""
    if not all(np.asarray(value).dtype.kind in "iu" for value in values) or stacked.max(initial=0) >= 2.0**63:
        return stacked
    return np.stack([np.asarray(value).astype(np.int64) for value in values])


def row(batch: Any, position: int, size: int) -> Any:
    """Record ``position`` of a batch of ``size``; a leaf without that leading axis is None in it."""
    if is_column(batch, size):
        return batch[position]
    pairs = tree.children(batch)
    if pairs is not None:
        return tree.rebuild(batch, [row(value, position, size) for _, value in pairs])
    array: NDArray[Any] = np.asanyarray(batch)
    return array[position] if array.ndim and array.shape[0] == size else None


def is_column(node: Any, size: int) -> bool:
    """Whether a list holds one value for each of ``size`` records, and is no container of batched features."""
    if not isinstance(node, list) or len(cast("list[Any]", node)) != size:
        return False
    return size <= 1 or not all(np.shape(value)[:1] == (size,) for value in cast("list[Any]", node))


def join(pieces: Sequence[Piece]) -> Any:
    """A new batch of the given rows of each piece, in order; every leaf is copied once.

    Raises:
        UsageError: the pieces differ in structure, or in the shape of a feature.
    """
    try:
        return _join([batch for batch, _, _ in pieces], pieces)
    except (ValueError, TypeError) as error:
        raise UsageError(f"batches cannot be joined: {error}") from error


def _join(nodes: list[Any], pieces: Sequence[Piece]) -> Any:
    if all(is_column(node, size) for node, (_, _, size) in zip(nodes, pieces, strict=True)):
        return [node[position] for node, (_, rows, _) in zip(nodes, pieces, strict=True) for position in rows.tolist()]
    first, *others = [tree.children(node) for node in nodes]
    if first is None:
        return _join_leaves(nodes, pieces)
    names = [name for name, _ in first]
    columns = [dict(pairs or ()) for pairs in others]
    if any(set(column) != set(names) for column in columns):
        raise ValueError(f"their features differ: {names} against {[list(column) for column in columns]}")
    return tree.rebuild(nodes[0], [_join([v, *(c[name] for c in columns)], pieces) for name, v in first])


def _join_leaves(leaves: list[Any], pieces: Sequence[Piece]) -> Any:
    arrays = [np.asarray(leaf) for leaf in leaves]
    if not all(array.ndim for array in arrays):
        return leaves[0]  # belongs to the batch, not to its records
    shape = arrays[0].shape[1:]
    if any(array.shape[1:] != shape for array in arrays):
        raise ValueError(f"a feature has shapes {', '.join(str(list(array.shape[1:])) for array in arrays)}")
    total = sum(len(rows) for _, rows, _ in pieces)
    joined = np.empty((total, *shape), _common({array.dtype for array in arrays}))
    at = 0
    for array, (_, rows, _) in zip(arrays, pieces, strict=True):
        # Any mode but "raise" writes into ``out`` without a buffer of its size; the rows are known to be inside.
        if array.dtype == joined.dtype:
            np.take(array, rows, axis=0, out=joined[at : at + len(rows)], mode="clip")
        else:
            joined[at : at + len(rows)] = array[rows]
        at += len(rows)
    return joined


def _common(dtypes: set[np.dtype[Any]]) -> np.dtype[Any]:
    common = np.result_type(*dtypes)
    integers = all(dtype.kind in "iu" for dtype in dtypes)
    return np.dtype(np.int64) if integers and common.kind == "f" else common


def take(batch: Any, rows: Rows, size: int) -> Any:
    """A batch of copies of ``rows`` of a batch of ``size``."""
    return join([(batch, rows, size)])


def pad(batch: Any, have: int, size: int) -> Any:
    """A batch of ``have`` records filled up to ``size`` with copies of its first."""
    return take(batch, np.concatenate([np.arange(have), np.zeros(size - have, np.intp)]), have)


def without_key(element: Any, key: str) -> Any:
    """``element`` without the top-level feature ``key``."""
    if isinstance(element, Mapping) and key in element:
        features = cast("Mapping[Any, Any]", element)
        return {name: value for name, value in features.items() if name != key}
    return cast("Any", element)
