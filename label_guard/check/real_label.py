"""real_label: finite numbers within optional limits, that stay so when they are emitted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from label_guard.check.primitives import (
    Array,
    Positions,
    blocks,
    greatest_at_or_below,
    integer_bounds,
    is_number,
    least_at_or_above,
    member,
    values_at,
)
from label_guard.schema.labels import Label, RealLabel
from label_guard.schema.stored_dtypes import admitted_dtypes

Limits = tuple[Any, Any]


class RealLabelCheck:
    """Checks arrays ``[batch, ...]`` of regression targets.

    Args:
        label: the resolved label.
        stored: dtype that Python numbers leave in; None for arrays, which have their own.
    """

    def __init__(self, label: RealLabel, stored: str | None = None) -> None:
        self.label = label
        self._targets = [np.dtype(name) for name in (stored, label.emit) if name is not None]
        self._nan = label.ignores_nan or label.ignores_null
        self._limits: dict[np.dtype[Any], Limits | None] = {}

    def _limits_of(self, dtype: np.dtype[Any]) -> Limits | None:
        if dtype not in self._limits:
            self._limits[dtype] = limits_in(self.label, dtype, self._targets)
        return self._limits[dtype]

    def clean(self, array: Array) -> bool:
        """Whether ``array`` (an admitted dtype, the declared shape) breaks no rule."""
        limits = self._limits_of(array.dtype)
        if not array.size:
            return True
        if limits is None:
            return False
        if self.label.sentinels:
            return not any(self._illegal(block, limits).any() for _, block in blocks(array))
        # NaN propagates through both reductions and compares False, unless declared; infinities are beyond limits.
        least, greatest = (np.fmin, np.fmax) if self._nan else (np.minimum, np.maximum)
        return all(
            bool(least.reduce(block) >= limits[0] and greatest.reduce(block) <= limits[1]) or self._all_nan(block)
            for _, block in blocks(array)
        )

    def _all_nan(self, block: Array) -> bool:
        return self._nan and block.dtype.kind == "f" and bool(np.isnan(block).all())

    def _illegal(self, block: Array, limits: Limits | None) -> Array:
        illegal = np.ones(block.shape, np.bool_)
        if limits is not None:
            illegal = ~((block >= limits[0]) & (block <= limits[1]))
        if self.label.sentinels:
            illegal &= ~member(block, self.label.sentinels)
        if self._nan and block.dtype.kind == "f":
            illegal &= ~np.isnan(block)
        return illegal

    def find(self, array: Array) -> Iterator[Positions]:
        """The offending positions of ``array``, one entry for each rule broken."""
        limits = self._limits_of(array.dtype)
        parts = [np.flatnonzero(self._illegal(block, limits)) + start for start, block in blocks(array)]
        positions = np.concatenate(parts) if parts else np.empty(0, np.intp)
        values = values_at(array, positions)
        finite = np.isfinite(values)
        yield Positions("LG107", positions[~finite], values[~finite])
        yield Positions("LG112", positions[finite], values[finite])


def limits_in(label: RealLabel, dtype: np.dtype[Any], targets: list[np.dtype[Any]] | None = None) -> Limits | None:
    """The least and greatest value of ``dtype`` that is legal, inclusive and compared exactly.

    Args:
        label: the resolved label.
        dtype: an integer or float dtype.
        targets: dtypes that the value is converted to later and must be finite in: a float64 of 1e39 is infinite as
            float32.

    Returns:
        Two scalars of ``dtype``; None where no value of it is legal.
    """
    if not is_number(dtype):
        return None
    if dtype.kind == "f":
        low, high = [np.finfo(dtype).min], [np.finfo(dtype).max]
    else:
        low, high = ([dtype.type(limit)] for limit in integer_bounds(dtype))
    if label.minimum is not None:
        low.append(least_at_or_above(dtype, label.minimum))
    if label.maximum is not None:
        high.append(greatest_at_or_below(dtype, label.maximum))
    for target in targets or ():
        below, above = _converted_finite(target)
        low.append(least_at_or_above(dtype, below))
        high.append(greatest_at_or_below(dtype, above))
    if any(limit is None for limit in (*low, *high)):
        return None
    limits = max(low), min(high)
    return limits if limits[0] <= limits[1] else None


def legal_dtypes(label: Label) -> Iterator[np.dtype[Any]]:
    """The dtypes of legal arrays: of a real_label those that hold a legal number, to write where none was measured."""
    targets = [] if label.emit is None else [np.dtype(label.emit)]
    for dtype in map(np.dtype, admitted_dtypes(label)):
        if not isinstance(label, RealLabel) or limits_in(label, dtype, targets) is not None:
            yield dtype


def _converted_finite(target: np.dtype[Any]) -> tuple[float, float]:
    """The numbers that are finite once they are rounded to ``target``."""
    if target.kind != "f":
        return integer_bounds(target)
    greatest = np.finfo(target).max
    if target.itemsize == 8:
        return -greatest.item(), greatest.item()
    # What is at least half a step above the greatest number is rounded to infinity.
    half_step = (greatest.item() - np.nextafter(greatest, target.type(0)).item()) / 2
    most = float(np.nextafter(greatest.item() + half_step, 0.0))
    return -most, most
