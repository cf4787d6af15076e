"""Mergeable distributions of numbers, and of classes that occur together: exact sums, whatever the order of merging."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StrictInt,
    model_serializer,
)

from label_guard.check.columns import Column
from label_guard.check.primitives import member
from label_guard.core.types import Array
from label_guard.diagnosis.class_counts import ClassCounts, JsonCounts, count_values
from label_guard.schema.labels import Label, RealLabel, SoftLabel

MAX_BINS = 512
MAX_PAIR_CLASSES = 64  # pairs grow with the square of the classes
_FINEST = 44  # bits of a double that a bin leaves out: 256 bins between a power of two and the next
_COARSEST = 55  # 511 bins hold every double, and one of them those nearer to 0 than 1e-306
_BLOCK = 1 << 16  # rows of one matrix product: float32 is exact up to 2**24


def _bins(counts: ClassCounts) -> ClassCounts:
    if counts.arrays()[0].dtype != np.int64:
        raise ValueError("a bin does not fit int64")
    return counts


class Histogram(BaseModel):
    """Counts of finite numbers in bins whose width is a fixed share of the number.

    A bin holds the doubles that share all bits but the last ``shift``; bins of negative numbers are negative. Above
    ``MAX_BINS`` bins, ``shift`` grows: it depends on which numbers there were and not on their order. Numbers nearer to
    0 than 1e-306 may count as 0.

    >>> histogram = Histogram()
    >>> histogram.add(np.array([1.0, 1.0, -2.5]))
    >>> list(histogram.bins())
    [(-2.5078125, -2.5, 1), (1.0, 1.00390625, 2)]
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    shift: Annotated[StrictInt, Field(ge=_FINEST, le=_COARSEST)] = _FINEST
    counts: Annotated[JsonCounts, AfterValidator(_bins)] = Field(default_factory=ClassCounts)

    def add(self, values: Array) -> None:
        """Counts ``values``; NaN and infinity are left out."""
        numbers = np.asarray(values, np.float64).reshape(-1)
        numbers = numbers[np.isfinite(numbers)]
        if not numbers.size:
            return
        sizes = np.abs(numbers).view(np.int64) >> self.shift
        bins = np.where(numbers < 0, -sizes, sizes)
        self.counts.add(*count_values(bins, int(bins.min()), int(bins.max())))
        self._shrink()

    def merge(self, other: Histogram) -> Histogram:
        """The histogram of both together; neither is changed."""
        if not len(other.counts):
            return self
        shift = max(self.shift, other.shift)
        both = Histogram(shift=shift, counts=self._at(shift))
        both.counts.update(other._at(shift))
        both._shrink()
        return both

    def bins(self) -> Iterator[tuple[float, float, int]]:
        """Lower and upper edge and count of each bin, in ascending order."""
        ids, counts = self.counts.arrays()
        inner, outer = _edge(np.abs(ids), self.shift), _edge(np.abs(ids) + 1, self.shift)
        lows, highs = np.where(ids < 0, -outer, inner), np.where(ids < 0, -inner, outer)
        yield from zip(lows.tolist(), highs.tolist(), counts.tolist(), strict=True)

    def _at(self, shift: int) -> ClassCounts:
        ids, counts = self.counts.arrays()
        coarse = ClassCounts()
        if ids.size:
            wide: NDArray[np.int64] = np.sign(ids) * (np.abs(ids) >> (shift - self.shift))
            kept, where = np.unique(wide, return_inverse=True)
            coarse.add(kept, np.bincount(where.reshape(-1), counts, len(kept)).astype(np.int64))
        return coarse

    def _shrink(self) -> None:
        while len(self.counts) > MAX_BINS and self.shift < _COARSEST:
            self.counts, self.shift = self._at(self.shift + 1), self.shift + 1


class Distribution(BaseModel):
    """How the values of one label are distributed, where counts of classes do not say it.

    Attributes:
        values: real_label: the finite numbers, without declared sentinels.
        sums: soft_label: the sum of each row.
        entropy: soft_label: the entropy of each row of probabilities in bits, from 0 (one class is certain).
        pairs: multi_label of at most ``MAX_PAIR_CLASSES`` classes: rows that hold both classes ``i < j``, under
            ``i * num_classes + j``.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    values: Histogram = Field(default_factory=Histogram)
    sums: Histogram = Field(default_factory=Histogram)
    entropy: Histogram = Field(default_factory=Histogram)
    pairs: JsonCounts = Field(default_factory=ClassCounts)

    @model_serializer(mode="wrap")
    def _without_empty(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Most labels have none of these: a report is not filled with empty ones."""
        return {name: found for name, found in write(self).items() if found.get("counts", found)}

    def add(self, label: Label, column: Column) -> None:
        """Counts a column of numbers of a real_label or a soft_label; other kinds are counted by class."""
        array, counts = column.array, column.counts
        if isinstance(label, RealLabel):
            values = array if counts is None else array[counts]
            self.values.add(values[~member(values, label.sentinels)])
        elif isinstance(label, SoftLabel) and array.ndim > 1 and array.shape[-1] == label.num_classes:
            self._add_rows(array.reshape(-1, label.num_classes))

    def _add_rows(self, rows: NDArray[Any]) -> None:
        numbers = np.ascontiguousarray(rows, np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            sums: NDArray[np.float64] = numbers.sum(axis=1).round(6)
        self.sums.add(sums)
        sound = np.isfinite(sums) & (sums > 0) & (numbers >= 0).all(axis=1)
        shares: NDArray[np.float64] = numbers[sound] / sums[sound, None]
        logs: NDArray[np.float64] = np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
        bits: NDArray[np.float64] = -(shares * logs).sum(axis=1).round(6)
        self.entropy.add(bits)

    def add_pairs(self, hot: NDArray[np.bool_]) -> None:
        """Counts the classes that rows of ``hot``, ``[n, num_classes]``, hold together."""
        classes = hot.shape[1]
        if classes > MAX_PAIR_CLASSES:
            return
        for start in range(0, len(hot), _BLOCK):
            block = hot[start : start + _BLOCK].astype(np.float32)
            product: NDArray[np.float32] = block.T @ block
            together = np.triu(product, 1).astype(np.int64).reshape(-1)
            self.pairs.add(np.arange(classes * classes, dtype=np.int64), together)

    def update(self, other: Distribution) -> None:
        """Adds ``other``, which is not changed."""
        self.values = self.values.merge(other.values)
        self.sums = self.sums.merge(other.sums)
        self.entropy = self.entropy.merge(other.entropy)
        self.pairs.update(other.pairs)


def _edge(bins: NDArray[np.int64], shift: int) -> NDArray[np.float64]:
    """The least number of a bin; the greatest double in place of infinity."""
    return np.minimum(bins << shift, np.float64(np.finfo(np.float64).max).view(np.int64)).view(np.float64)
