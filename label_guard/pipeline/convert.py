"""Converts legal stored labels to the form in which they leave the guard: dense ids, replaced sentinels, the dtype."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from label_guard.check.integer_set import MAX_TABLE
from label_guard.check.primitives import integer_bounds, member
from label_guard.check.real_label import limits_in
from label_guard.pipeline.fill_values import FillValues
from label_guard.schema.labels import ClassLabel, Label, MultiLabel, RealLabel

Array = NDArray[Any]


def replaced_sentinels(label: Label) -> tuple[float, ...]:
    """Sentinels that leave the guard as class 0, or 0."""
    if not isinstance(label, ClassLabel | MultiLabel):
        return ()
    kept = label.kept_sentinels
    return tuple(value for value in label.sentinels if value not in kept)


class LabelConverter:
    """Converts arrays of one label. Compiled once: a batch costs what its values cost, not what the classes do.

    Args:
        label: the resolved label.

    Attributes:
        changes: whether the label leaves the guard in a form different from the stored one.
        fill: replacement values for bad positions, as stored.
    """

    def __init__(self, label: Label) -> None:
        self.label = label
        self.fill = FillValues(label)
        self._emit = None if label.emit is None else np.dtype(label.emit)
        self._dense = DenseIds(label) if isinstance(label, ClassLabel) and label.remaps else None
        self._replaced = replaced_sentinels(label)
        self.changes = self._emit is not None or self._dense is not None or bool(self._replaced)

    def __call__(self, array: Array, *, illegal: bool = False) -> Array:
        """The emitted form of ``array``.

        Args:
            array: labels as stored, ``[...]``; never written.
            illegal: whether it may hold illegal values (``on_invalid="report"``). One that the emitted dtype cannot
                hold, or that looks like a dense id, becomes the dtype's least value (unsigned: the greatest).
        """
        if self._dense is not None:
            return self._dense(array, self._emit or array.dtype, self._replaced, illegal=illegal)
        where = member(array, self._replaced) if self._replaced else None
        if where is not None and where.any():
            array = np.where(where, array.dtype.type(0), array)
        return array if self._emit is None else cast_labels(self.label, array, self._emit, illegal=illegal)


def cast_labels(label: Label, array: Array, dtype: np.dtype[Any], *, illegal: bool = False) -> Array:
    """``array`` in ``dtype``; a legal number that rounding moves past a limit becomes the nearest legal one."""
    if array.dtype == dtype:
        return array
    with np.errstate(over="ignore", invalid="ignore"):
        out = array.astype(dtype)
        if isinstance(label, RealLabel):
            return _inside(label, array, out)
        if illegal and dtype.kind in "iu":
            low, high = integer_bounds(dtype)
            out[out.astype(array.dtype) != array] = low or high
    return out


def _inside(label: RealLabel, array: Array, out: Array) -> Array:
    limits, stored = limits_in(label, out.dtype), limits_in(label, array.dtype)
    if limits is None or stored is None:
        return out
    crossed = ((out < limits[0]) | (out > limits[1])) & (array >= stored[0]) & (array <= stored[1])
    if crossed.any():
        out[crossed] = np.clip(out[crossed], *limits)
    return out


class DenseIds:
    """Maps raw ids to dense indices: by subtraction, by a table, or by a search where ids are sparse.

    Args:
        label: a class_label whose raw ids are not 0..num_classes-1.
    """

    def __init__(self, label: ClassLabel) -> None:
        ids = label.raw_ids
        self._size = label.num_classes
        self._low = min(ids[0], ids[-1]) if isinstance(ids, range) else min(ids)
        self._table: Array | None = None
        self._offsets: Array | None = None
        self._order: Array | None = None
        if isinstance(ids, range):
            return
        span = max(ids) - self._low + 1
        if span <= MAX_TABLE:
            self._table = np.full(span + 1, -1, np.int32)
            self._table[[i - self._low for i in ids]] = np.arange(len(ids))
        else:
            ordered = sorted(range(len(ids)), key=ids.__getitem__)
            self._offsets = np.array([ids[k] - self._low for k in ordered], np.uint64)
            self._order = np.array(ordered, np.int64)

    def __call__(
        self, array: Array, dtype: np.dtype[Any], replaced: tuple[float, ...] = (), *, illegal: bool = False
    ) -> Array:
        """Dense indices of ``dtype``; kept sentinels stay, ``replaced`` ones are 0."""
        offsets, known = self._offsets_of(array)
        dense = self._dense(offsets, known)
        with np.errstate(invalid="ignore", over="ignore"):
            out = np.where(known, 0, array).astype(dtype)
        out[known] = dense[known]
        if illegal and dtype.kind in "iu":
            low, high = integer_bounds(dtype)
            with np.errstate(invalid="ignore", over="ignore"):
                lost = ~known & ((out.astype(array.dtype) != array) | ((out >= 0) & (out < self._size)))
            out[lost] = low or high
        if replaced:
            out[member(array, replaced)] = 0
        return out

    def _offsets_of(self, array: Array) -> tuple[Array, NDArray[np.bool_]]:
        """Distance of each value from the least id, modulo 2**64, and which values are integers."""
        integral = np.ones(array.shape, np.bool_)
        if array.dtype.kind == "f":
            array = array.astype(np.float64)  # 2**63 is infinite in float16
            integral = np.isfinite(array) & (np.floor(array) == array) & (np.abs(array) < 2.0**63)
            array = np.where(integral, array, 0).astype(np.int64)
        wide = array.astype(np.uint64 if array.dtype.kind in "ub" else np.int64).view(np.uint64)
        return wide - np.uint64(self._low % 2**64), integral

    def _dense(self, offsets: Array, known: NDArray[np.bool_]) -> Array:
        """The index of each value; ``known`` is cleared where it is not an id."""
        if self._table is not None:
            index = self._table[np.minimum(offsets, np.uint64(len(self._table) - 1)).astype(np.intp)]
            known &= index >= 0
            return index
        if self._offsets is None or self._order is None:
            known &= offsets < np.uint64(self._size)
            return offsets.astype(np.int64)
        nearest = np.minimum(np.searchsorted(self._offsets, offsets), len(self._offsets) - 1)
        known &= self._offsets[nearest] == offsets
        return self._order[nearest]
