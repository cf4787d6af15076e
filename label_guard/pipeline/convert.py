"""Converts legal stored labels to the form in which they leave the guard: dense ids, replaced sentinels, the dtype."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from label_guard.check.columns import Column
from label_guard.check.fill_values import FillValues
from label_guard.check.integer_set import MAX_TABLE
from label_guard.check.primitives import equals, exact, integer_bounds, member
from label_guard.check.reading import checked_label, is_encoded
from label_guard.check.real_label import limits_in
from label_guard.core.types import Array
from label_guard.schema.labels import ClassLabel, Label, MultiLabel, RealLabel
from label_guard.schema.stored_dtypes import admitted_dtypes


class LabelConverter:
    """Converts arrays of one label. Compiled once: a batch costs what its values cost, not what the classes do.

    Args:
        label: the resolved label.

    Attributes:
        label: the label as it is read: names are ids, lists of ids are k-hot rows.
        changes: whether the label leaves the guard in a form different from the stored one.
        is_encoded: whether the array that is checked differs from the one that is stored.
        fill: replacement values for bad positions, as read.
        admitted: dtypes of arrays that are legal, as read.
    """

    def __init__(self, label: Label) -> None:
        self.is_encoded = is_encoded(label)
        self.is_ids = isinstance(label, MultiLabel) and label.encoding == "ids"
        self.label = checked_label(label)
        if isinstance(label, MultiLabel) and self.is_ids:
            as_rows = {"encoding": "k_hot", "dtype": ("int32",), "separator": None, "unique": False}
            as_rows |= {"min_length": None, "max_length": None, "emit": label.emitted_dtype}
            self.label = label.model_copy(update=as_rows)
        self.fill = FillValues(self.label)
        self.admitted = frozenset(map(np.dtype, admitted_dtypes(self.label)))
        self._emit = None if label.emitted_dtype is None else np.dtype(label.emitted_dtype)
        self._dense = DenseIds(label) if isinstance(label, ClassLabel) and label.remaps else None
        kept = label.kept_sentinels if isinstance(label, ClassLabel | MultiLabel | RealLabel) else label.sentinels
        self._replaced = tuple(value for value in label.sentinels if value not in kept)
        self._nan = label.ignores_nan or label.ignores_null
        self._signs = isinstance(label, MultiLabel) and (label.positive, label.negative) != (1, 0)
        self.changes = (
            self.is_encoded
            or self._emit is not None
            or self._dense is not None
            or bool(self._replaced)
            or self._nan
            or self._signs
            or label.where is not None
        )

    def __call__(self, array: Array, *, illegal: bool = False) -> Array:
        """The emitted form of ``array``.

        Args:
            array: labels as read, ``[...]``; never written.
            illegal: whether it may hold illegal values (``on_invalid="report"``). One that the emitted dtype cannot
                hold, or that looks like a dense id, becomes the dtype's least value (unsigned: the greatest).
        """
        if self._dense is not None:
            return self._dense(array, self._emit or array.dtype, self._replaced, illegal=illegal)
        unmeasured = member(array, self._replaced) if self._replaced else None
        if self._nan and array.dtype.kind == "f":
            unmeasured = np.isnan(array) if unmeasured is None else unmeasured | np.isnan(array)
        if self._signs and isinstance(self.label, MultiLabel):  # ignore values stay
            stored, array = array, array.copy()
            array[member(stored, (self.label.negative,))] = 0
            array[member(stored, (self.label.positive,))] = 1
        if unmeasured is not None and unmeasured.any():
            real = isinstance(self.label, RealLabel)
            legal: Any = self.fill.value(array.dtype) if real else array.dtype.type(0)
            array = np.where(unmeasured, legal, array)
        return array if self._emit is None else cast_labels(self.label, array, self._emit, illegal=illegal)

    def admits(self, value: Any) -> bool:
        """Whether an array that passed the check has a legal dtype: where nothing counts, it may have any."""
        if self.label.where is None or not isinstance(value, np.ndarray):
            return True
        return cast(Array, value).dtype in self.admitted

    def fill_uncounted(self, array: Array, counts: NDArray[np.bool_]) -> Array:
        """``array`` with a legal value where it does not count: 0 * NaN would be NaN in a gradient."""
        if counts.all() or array.dtype.kind not in "biuf":
            return array
        record = self.fill.of_position.record(array.dtype)
        if record is None:
            return array
        if array.shape[array.ndim - record.ndim :] != record.shape:  # nothing of a label of another shape counts
            record = array.dtype.type(0)
        if counts.strides[-1]:
            return np.where(counts, array, record)
        filled = array.copy()  # one value for a whole row of the last axis: a quarter of the time
        filled[~counts[..., 0]] = record
        return filled

    def k_hot(self, columns: Sequence[Column]) -> list[Column]:
        """Lists of ids as k-hot rows; a list that holds an illegal id is left out."""
        return [_k_hot(column, self.label) for column in columns] if self.is_ids else list(columns)


def _k_hot(column: Column, label: Label) -> Column:
    lists = column.array
    if lists.ndim < 2 or (lists.dtype.kind not in "iu" and lists.size):  # illegal, and no list of ids
        none = np.empty((0, *(length or 0 for length in label.record_shape)), np.int32)
        return column._replace(rows=column.rows[:0], array=none, typed=True)
    classes = label.record_shape[-1] or 0
    out = np.zeros((math.prod(lists.shape[:-1]), classes), np.int32)
    ids = lists.reshape(len(out), lists.shape[-1])
    where = np.nonzero((ids >= 0) & (ids < classes))
    out[where[0], ids[where].astype(np.intp)] = 1
    return column._replace(array=out.reshape(*lists.shape[:-1], classes), typed=True)


def cast_labels(label: Label, array: Array, dtype: np.dtype[Any], *, illegal: bool = False) -> Array:
    """Casts ``array`` to ``dtype``; a legal number that rounding moves past a limit becomes the nearest legal one.

    A sentinel stays one where ``dtype`` holds it.

    Args:
        label: the label, whose limits bound a real number.
        array: labels ``[batch, ...]`` of the stored dtype.
        dtype: the emitted dtype.
        illegal: whether ``array`` may hold illegal values; those that do not fit become illegal ones that do.
    """
    if array.dtype == dtype:
        return array
    with np.errstate(over="ignore", invalid="ignore"):
        out = array.astype(dtype)
        if array.dtype.kind == dtype.kind == "f":  # the 0.1 of a float32 is not that of a float64
            for sentinel in label.sentinels:
                same, scalar = equals(array, sentinel), exact(dtype, sentinel)
                if same is not None and scalar is not None:
                    out[same] = scalar
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
        self._least = np.array(self._low % 2**64, np.uint64)  # arrays take half the time of scalars in a ufunc
        self._table: Array | None = None
        self._offsets: Array | None = None
        self._order: Array | None = None
        if isinstance(ids, range):
            return
        span = max(ids) - self._low + 1
        if span <= MAX_TABLE:
            self._table = np.full(span + 1, -1, np.int32)
            self._table[[i - self._low for i in ids]] = np.arange(len(ids))
            self._beyond = np.array(span, np.uint64)  # the place of all other values
        else:
            ordered = sorted(range(len(ids)), key=ids.__getitem__)
            self._offsets = np.array([ids[k] - self._low for k in ordered], np.uint64)
            self._order = np.array(ordered, np.int64)

    def __call__(
        self, array: Array, dtype: np.dtype[Any], replaced: tuple[float, ...] = (), *, illegal: bool = False
    ) -> Array:
        """Dense indices of ``dtype``; kept sentinels stay, ``replaced`` ones are 0."""
        dense, known = self._dense(*self._offsets_of(array))
        if known.all():
            return dense.astype(dtype)
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

    def _offsets_of(self, array: Array) -> tuple[Array, NDArray[np.bool_] | bool]:
        """Distance of each value from the least id, modulo 2**64, and which values are integers (True: all)."""
        integral: NDArray[np.bool_] | bool = True
        if array.dtype.kind == "f":
            array = array.astype(np.float64)  # 2**63 is infinite in float16
            integral = np.isfinite(array) & (np.floor(array) == array) & (np.abs(array) < 2.0**63)
            array = np.where(integral, array, 0).astype(np.int64)
        wide = array.astype(np.uint64 if array.dtype.kind in "ub" else np.int64).view(np.uint64)
        return wide - self._least, integral

    def _dense(self, offsets: Array, integral: NDArray[np.bool_] | bool) -> tuple[Array, NDArray[np.bool_]]:
        """The index of each value, and whether it is an id."""
        if self._table is not None:
            index = self._table[np.minimum(offsets, self._beyond).astype(np.intp)]
            return index, (index >= 0) & integral
        if self._offsets is None or self._order is None:
            return offsets.astype(np.int64), (offsets < np.uint64(self._size)) & integral
        nearest = np.minimum(np.searchsorted(self._offsets, offsets), len(self._offsets) - 1)
        return self._order[nearest], (self._offsets[nearest] == offsets) & integral
