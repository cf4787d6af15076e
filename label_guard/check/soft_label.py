"""soft_label: probabilities over a last axis of ``num_classes``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from label_guard.check.primitives import Positions
from label_guard.core.types import Array
from label_guard.schema.labels import SoftLabel


class SoftLabelCheck:
    """Checks arrays ``[batch, ..., num_classes]`` of probabilities.

    Args:
        label: the resolved label.
        stored: dtype that Python numbers leave in, in which they are checked; None for arrays, which have their own.
    """

    def __init__(self, label: SoftLabel, stored: str | None = None) -> None:
        self.label = label
        self._stored = None if stored is None else np.dtype(stored)

    def clean(self, array: Array) -> bool:
        """Whether ``array`` (an admitted dtype, the declared shape) breaks no rule."""
        if not array.size:
            return True
        if self.label.one_hot:
            plainly = _is_plainly_one_hot(self._as_stored(array))
            return plainly or not any(len(found.positions) for found in self.find(array))
        array = self._as_stored(array)
        with np.errstate(over="ignore", invalid="ignore"):  # infinity and NaN are refused in the next lines
            sums = np.add.reduce(array, axis=-1, dtype=np.float64)
        # A NaN or infinity anywhere makes the sum differ from 1, so finiteness needs no pass of its own.
        near = bool(np.all(np.abs(sums - 1) <= self.label.tolerance))
        return near and bool(np.minimum.reduce(array, axis=None) >= 0)

    def find(self, array: Array) -> Iterator[Positions]:
        """The offending positions of ``array``: one for each bad value, or the first of a row with a bad sum."""
        rows = self._as_stored(array).reshape(-1, self.label.num_classes)
        finite = np.isfinite(rows)
        yield Positions("LG107", np.flatnonzero(~finite), rows[~finite])
        good: Array = np.logical_and.reduce(finite, axis=1)
        one_hot = self.label.one_hot
        wrong: Array = (~((rows == 0) | (rows == 1)) if one_hot else rows < 0) & good[:, None]
        with np.errstate(over="ignore", invalid="ignore"):  # inf - inf in a row that LG107 already names
            sums = np.add.reduce(rows, axis=1, dtype=np.float64)
        right: Array = sums == 1 if one_hot else np.abs(sums - 1) <= self.label.tolerance
        off = np.flatnonzero(good & ~wrong.any(axis=1) & ~right)
        positions = np.concatenate([np.flatnonzero(wrong), off * self.label.num_classes])
        values = np.concatenate([rows[wrong].astype(np.float64), sums[off]])
        order = np.argsort(positions, kind="stable")
        yield Positions("LG109", positions[order], values[order])

    def _as_stored(self, array: Array) -> Array:
        if self._stored is None or self._stored == array.dtype:
            return array
        with np.errstate(over="ignore"):  # infinity is LG107
            return array.astype(self._stored)


def _is_plainly_one_hot(array: Array) -> bool:
    """Whether each row holds one 1 and otherwise +0.0, compared as bits: a seventh of the time that floats take.

    False where a closer look is needed: -0.0 is legal.
    """
    unsigned = np.dtype(f"u{array.dtype.itemsize}")
    bits, one = array.view(unsigned), np.ones(1, array.dtype).view(unsigned)[0]
    rows: Array = np.maximum.reduce(bits, axis=-1)
    return bool((rows == one).all()) and np.count_nonzero(bits) == rows.size
