"""Rows of a number for each class: one-hot, k-hot or probabilities, and how many of them are so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from label_guard.core.plural import agreed, counted
from label_guard.core.types import Array
from label_guard.infer.classes import Drafted

STRAYS = 0.01  # share of rows, or of values, up to which another form is that of strays
_MOST = 20  # rows of another form that may be damage; more have a meaning
_TOLERANCE = 1e-3  # of the sum of a row of probabilities; that of soft_label by default


@dataclass(slots=True)
class RowProperties:
    """What holds for rows of the last axis.

    Attributes:
        count: number of rows.
        zeros_and_ones: rows whose values are all 0 or 1, or NaN.
        sums: rows without a negative value that sum to 1.
        one_hot: rows for which both holds.
        percent: whether no value is negative, and every row sums to 100.
        totals: sum of each place of the row; None where rows differ in length.
    """

    count: int = 0
    zeros_and_ones: int = 0
    sums: int = 0
    one_hot: int = 0
    percent: bool = True
    totals: list[float] | None = field(default_factory=list[float])

    def add(self, numbers: Array) -> None:
        """Looks at ``numbers``, ``[records, ..., classes]``."""
        sums, positive = numbers.sum(axis=-1, dtype=np.float64), np.asarray(numbers >= 0).all(axis=-1)
        binary = (np.isin(numbers, (0, 1)) | (numbers != numbers)).all(axis=-1)
        normalized = positive & (np.abs(sums - 1) <= _TOLERANCE)
        self.count += sums.size
        self.zeros_and_ones += int(np.count_nonzero(binary))
        self.sums += int(np.count_nonzero(normalized))
        self.one_hot += int(np.count_nonzero(binary & normalized))
        self._add_totals(numbers.reshape(-1, numbers.shape[-1]).sum(axis=0, dtype=np.float64).tolist())
        self.percent &= bool((positive & (np.abs(sums - 100) <= 100 * _TOLERANCE)).all())

    def _add_totals(self, totals: list[float]) -> None:
        if self.totals is None or (self.totals and len(self.totals) != len(totals)):
            self.totals = None
        else:
            self.totals = [a + b for a, b in zip(self.totals, totals, strict=True)] if self.totals else totals


def nearly_rows(rows: RowProperties, fields: Mapping[str, Any], *, whole: bool) -> Drafted | None:
    """Rows of probabilities, one-hot or k-hot but for a few, which are left illegal; None where they are none of these.

    Args:
        rows: what holds for them.
        fields: fields of the label other than its kind.
        whole: whether all values are whole numbers.
    """
    forms = [
        (rows.one_hot, whole, {"kind": "soft_label", "one_hot": True}, "one 1 and zeros"),
        (rows.zeros_and_ones, whole, {"kind": "multi_label"}, "zeros and ones: taken for k-hot"),
        (rows.sums, not whole, {"kind": "soft_label"}, "numbers that sum to 1"),
    ]
    for good, fits, kind, what in forms:
        bad = rows.count - good
        if fits and bad <= min(_MOST, STRAYS * rows.count):
            drafted = Drafted({**kind, **fields})
            drafted.mark(
                "kind",
                f"{good:,} of {counted(rows.count, 'row')} {agreed(good, 'is', 'are')} {what}; the others are left "
                "illegal",
            )
            return drafted
    return None
