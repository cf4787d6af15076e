"""multi_label: k-hot over a last axis of ``num_classes``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from label_guard.check.integer_set import IntegerSet
from label_guard.check.primitives import Positions, member, values_at
from label_guard.core.plural import counted
from label_guard.core.types import Array
from label_guard.schema.labels import MultiLabel


class MultiLabelCheck:
    """Checks arrays ``[batch, ..., num_classes]`` of the positive, the negative and ignore values."""

    def __init__(self, label: MultiLabel) -> None:
        self.label = label
        self._ids = (label.negative, label.positive)
        self._sets: dict[np.dtype[Any], IntegerSet] = {}
        self._counted = label.min_positive is not None or label.max_positive is not None

    def _set(self, dtype: np.dtype[Any]) -> IntegerSet:
        found = self._sets.get(dtype)
        if found is None:
            found = self._sets[dtype] = IntegerSet(
                dtype, self._ids, tuple(int(v) for v in self.label.sentinels if float(v).is_integer())
            )
        return found

    def clean(self, array: Array) -> bool:
        """Whether ``array`` (an admitted dtype, the declared shape) breaks no rule."""
        if array.dtype.kind in "iu" and not self._set(array.dtype).all_legal(array):
            return False
        if array.dtype.kind in "iub" and not self._counted:
            return True
        return not any(len(found.positions) for found in self.find(array))

    def find(self, array: Array) -> Iterator[Positions]:
        """The offending positions of ``array``, one entry for each rule broken."""
        illegal = self._illegal(array)
        values = values_at(array, illegal)
        if array.dtype.kind == "f":
            finite = np.isfinite(values)
            yield Positions("LG107", illegal[~finite], values[~finite])
            illegal, values = illegal[finite], values[finite]
        if self._counted:
            rows, ones = self._wrong_counts(array)
            taken = np.isin(rows, illegal // self.label.num_classes)  # a bad value already names that row
            merged = np.concatenate([illegal, rows[~taken] * self.label.num_classes])
            order = np.argsort(merged, kind="stable")
            described = np.array([counted(int(n), "one") for n in ones[~taken]], object)
            illegal, values = merged[order], np.concatenate([values, described])[order]
        yield Positions("LG108", illegal, values)

    def _illegal(self, array: Array) -> Array:
        if array.dtype.kind == "b":
            return np.empty(0, np.intp)
        if array.dtype.kind in "iu":
            return self._set(array.dtype).illegal_positions(array)
        flat = array.reshape(-1)
        legal = member(flat, (*self._ids, *self.label.sentinels))
        return np.flatnonzero(~(legal | np.isnan(flat) if self.label.ignores_nan or self.label.ignores_null else legal))

    def _wrong_counts(self, array: Array) -> tuple[Array, Array]:
        """Rows of the class axis with too few or too many ones, and how many they have."""
        ones = np.count_nonzero(array == self.label.positive, axis=-1).reshape(-1)
        low = self.label.min_positive or 0
        high = self.label.num_classes if self.label.max_positive is None else self.label.max_positive
        rows = np.flatnonzero((ones < low) | (ones > high))
        return rows, ones[rows]
