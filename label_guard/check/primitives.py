"""Vectorised tests that the label kinds share: blocks of an array, exact comparisons, positions to rows."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from label_guard.core.types import Array

# 256 KiB blocks stay in the L2 cache: 0.03 ns per label against 0.13 for whole-array temporaries (uint8 masks).
BLOCK_BYTES = 256 * 1024


_ONES = np.ones(64, np.intp)
_ONES.flags.writeable = False


def ones(count: int) -> NDArray[np.intp]:
    """``count`` ones, read-only: few of them are nearly always asked for, and ``np.ones`` takes 30 us uncached."""
    return _ONES[:count] if count <= len(_ONES) else np.ones(count, np.intp)


class Positions(NamedTuple):
    """Positions that break one rule, ascending, and the value at each.

    Attributes:
        rule: rule code.
        positions: int[m], flat positions; row numbers where ``whole``.
        values: the value at each.
        whole: the record as a whole breaks the rule, not one of its positions: it may even be empty.
    """

    rule: str
    positions: NDArray[np.intp]
    values: Array
    whole: bool = False

    def by_row(self, per_record: int) -> tuple[NDArray[np.intp], NDArray[np.intp] | None, NDArray[np.intp]]:
        """Groups the positions by record, for records of ``per_record`` positions.

        Returns:
            The rows, the index of the first position of each row (None where each row has one), and the number of
            positions of each row.
        """
        if self.whole or per_record == 1:
            return self.positions, None, ones(len(self.positions))
        rows = self.positions // per_record  # ascending: no sort is needed
        first = np.flatnonzero(np.diff(rows, prepend=-1))
        return rows[first], first, np.diff(first, append=len(rows))


class Scratch(threading.local):
    """Reused buffers, one set for each thread: Grain maps from 16 threads."""

    def __init__(self) -> None:
        self.buffers: dict[tuple[np.dtype[Any], int], Array] = {}

    def get(self, dtype: np.dtype[Any], size: int, slot: int = 0) -> Array:
        """A buffer of ``size`` items; its content is undefined.

        Args:
            dtype: dtype of the buffer.
            size: number of items.
            slot: which of several buffers of one dtype.
        """
        key = (dtype, slot)
        buffer = self.buffers.get(key)
        if buffer is None or buffer.size < size:
            buffer = self.buffers[key] = np.empty(max(size, BLOCK_BYTES // dtype.itemsize), dtype)
        return buffer[:size]


def blocks(array: Array) -> Iterator[tuple[int, Array]]:
    """Flat offset and flat block of at most 256 KiB, in order; a strided array is copied block by block."""
    step = max(1, BLOCK_BYTES // array.itemsize)
    if array.flags.c_contiguous:
        flat = array.reshape(-1)
        for start in range(0, flat.size, step):
            yield start, flat[start : start + step]
    elif array.ndim <= 1:
        for start in range(0, array.size, step):
            yield start, np.ascontiguousarray(array[start : start + step])
    else:
        per = array.size // max(1, array.shape[0])
        for row in range(array.shape[0]):
            for start, block in blocks(array[row]):
                yield row * per + start, block


def values_at(array: Array, positions: NDArray[np.intp]) -> Array:
    """The values of ``array`` at flat ``positions``."""
    if array.ndim == 1:
        return array[positions]
    return array.reshape(-1)[positions] if array.flags.c_contiguous else array.flat[positions]


def least(array: Array) -> int:
    """The least of the integers of an array, which is not empty: in 0.3 us where ``np.min``, a ufunc, takes 1.0."""
    # Of an array in pieces argmin makes a copy.
    return array.item(array.argmin()) if array.flags.c_contiguous else np.minimum.reduce(array, axis=None).item()


def greatest(array: Array) -> int:
    """As ``least``, the greatest."""
    return array.item(array.argmax()) if array.flags.c_contiguous else np.maximum.reduce(array, axis=None).item()


def is_number(dtype: np.dtype[Any]) -> bool:
    """Whether ``dtype`` is one of NumPy's own numbers; those of ml_dtypes pass for kinds ``f`` and ``V``."""
    return dtype.kind in "biu" or np.issubdtype(dtype, np.floating)


def is_foreign_float(dtype: np.dtype[Any], legal: Sequence[str]) -> bool:
    """Whether a float is none that labels can have, though ``floating`` would say so to its users."""
    return dtype.kind in "fV" and (not is_number(dtype) or (dtype.itemsize > 8 and "floating" in legal))


def integer_bounds(dtype: np.dtype[Any]) -> tuple[int, int]:
    """Range of an integer or bool dtype.

    Returns:
        The least and the greatest value, both inclusive.
    """
    if dtype.kind == "b":
        return 0, 1
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


def exact(dtype: np.dtype[Any], number: float) -> Any | None:
    """``number`` as a scalar to compare arrays of ``dtype`` with; None where ``dtype`` cannot hold it.

    An integer is compared exactly: 70000 is not a float16, 2**53 + 1 is not a float64. A float that is a fraction, such
    as 0.1, or beyond 2**53, such as netCDF's 9.96921e36, is the number of ``dtype`` next to it, as it was when it was
    stored.
    """
    if not is_number(dtype):
        return None
    if isinstance(number, float):
        if dtype.kind == "f" and (not number.is_integer() or abs(number) >= 2**53):
            with np.errstate(over="ignore"):
                nearest = dtype.type(number)
            return nearest if np.isfinite(nearest) else None
        if not number.is_integer():
            return None
        number = int(number)
    if dtype.kind == "f":
        if abs(number) > np.finfo(dtype).max.item():
            return None
        scalar = dtype.type(number)
        return scalar if int(scalar) == number else None
    low, high = integer_bounds(dtype)
    return dtype.type(number) if low <= number <= high else None


def equals(values: Array, number: float) -> NDArray[np.bool_] | None:
    """Bool like ``values``: where one equals ``number``; None where the dtype cannot hold it."""
    scalar = exact(values.dtype, number)
    return None if scalar is None else np.asarray(values == scalar)


def member(values: Array, numbers: Iterable[float]) -> NDArray[np.bool_]:
    """Bool like ``values``: where one equals one of ``numbers`` (np.isin would cast int64 with uint64 to float)."""
    hit = np.zeros(values.shape, np.bool_)
    for number in numbers:
        same = equals(values, number)
        if same is not None:
            hit |= same
    return hit


def least_at_or_above(dtype: np.dtype[Any], number: float) -> Any | None:
    """The least finite value of ``dtype`` that is >= ``number``, compared exactly; None where there is none.

    >>> float(least_at_or_above(np.dtype("float16"), 0.1)), int(least_at_or_above(np.dtype("uint8"), 0.1))
    (0.10003662109375, 1)
    """
    if dtype.kind != "f":
        low, high = integer_bounds(dtype)
        least = max(low, math.ceil(number))
        return dtype.type(least) if least <= high else None
    limit = np.finfo(dtype).max
    if number > limit.item():
        return None
    if number <= -limit.item():
        return -limit
    with np.errstate(over="ignore"):
        rounded = dtype.type(number)
    return rounded if rounded.item() >= number else np.nextafter(rounded, dtype.type(np.inf))


def greatest_at_or_below(dtype: np.dtype[Any], number: float) -> Any | None:
    """The greatest finite value of ``dtype`` that is <= ``number``, compared exactly; None where there is none."""
    if dtype.kind != "f":
        low, high = integer_bounds(dtype)
        greatest = min(high, math.floor(number))
        return dtype.type(greatest) if greatest >= low else None
    mirrored = least_at_or_above(dtype, -number)
    return None if mirrored is None else -mirrored
