"""Vectorised tests that the label kinds share: integer sets, cache-sized pieces, positions to rows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# 256 KiB pieces stay in the L2 cache: 0.03 ns a label against 0.13 for whole-array temporaries (uint8 masks).
PIECE_BYTES = 256 * 1024
# A lookup table for ids with gaps up to 1 MiB; sparser ids are searched.
MAX_TABLE = 1 << 20

Array = NDArray[Any]


class Positions(NamedTuple):
    """Offending places of one rule, ascending, and the value at each.

    Attributes:
        rule: rule code.
        positions: flat positions; or rows, where ``whole``.
        values: the value at each.
        whole: the record is at fault, not one of its positions: it may even be empty.
    """

    rule: str
    positions: NDArray[np.intp]
    values: Array
    whole: bool = False

    def by_row(self, per_record: int) -> tuple[NDArray[np.intp], NDArray[np.intp] | None, NDArray[np.intp]]:
        """For records of ``per_record`` positions: the rows at fault, the first place of each, its number of places.

        The first place is None where each row has but one.
        """
        if self.whole or per_record == 1:
            return self.positions, None, np.ones(len(self.positions), np.intp)
        rows = self.positions // per_record  # ascending: no sort is needed
        first = np.flatnonzero(np.diff(rows, prepend=-1))
        return rows[first], first, np.diff(first, append=len(rows))


class _Scratch(threading.local):
    """Reused buffers, one set for each thread: Grain maps from 16 threads."""

    def __init__(self) -> None:
        self.buffers: dict[tuple[np.dtype[Any], int], Array] = {}

    def get(self, dtype: np.dtype[Any], size: int, slot: int = 0) -> Array:
        key = (dtype, slot)
        buffer = self.buffers.get(key)
        if buffer is None or buffer.size < size:
            buffer = self.buffers[key] = np.empty(max(size, PIECE_BYTES // dtype.itemsize), dtype)
        return buffer[:size]


_SCRATCH = _Scratch()


def pieces(array: Array) -> Iterator[tuple[int, Array]]:
    """Flat offset and flat piece of at most 256 KiB, in order; a strided array is copied piece by piece."""
    step = max(1, PIECE_BYTES // array.itemsize)
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
            for start, piece in pieces(array[row]):
                yield row * per + start, piece


class IntegerSet:
    """Legal integers of one dtype, compiled to the cheapest test: an interval, sentinels, ids with gaps.

    A sentinel next to the interval folds into it, wrapping around (255 in uint8 stands before 0), so that one
    subtraction and one unsigned maximum judge both.
    """

    def __init__(self, dtype: np.dtype[Any], ids: range | tuple[int, ...], sentinels: tuple[int, ...]) -> None:
        self.unsigned = np.dtype(f"u{dtype.itemsize}")
        modulus = 1 << (8 * dtype.itemsize)
        info = np.iinfo(dtype)
        held = [i for i in (range(0) if isinstance(ids, range) else ids) if info.min <= i <= info.max]
        if isinstance(ids, range):
            low, high = max(ids.start, int(info.min)), min(ids.stop, int(info.max) + 1)
        else:
            low, high = min(held, default=0), max(held, default=-1) + 1
        extras = {s % modulus for s in sentinels if info.min <= s <= info.max}
        self.gaps = not isinstance(ids, range) and len(held) != high - low
        size = max(0, high - low)
        if self.gaps:
            extras |= {i % modulus for i in held} if size > MAX_TABLE else set()
            size = 0 if size > MAX_TABLE else size
        while not self.gaps and extras and size < modulus:
            if (low - 1) % modulus in extras:
                low -= 1
                extras.discard(low % modulus)
            elif (low + size) % modulus in extras:
                extras.discard((low + size) % modulus)
            else:
                break
            size += 1
        self.offset = self.unsigned.type(low % modulus)
        self.size = size
        self.everything = size >= modulus
        self.extras = np.array(sorted(extras), self.unsigned)
        self.table = np.zeros(size, np.bool_) if self.gaps and size else None
        if self.table is not None:
            self.table[[i - low for i in held]] = True
        self.plain = not self.offset and not len(self.extras) and self.table is None

    def all_legal(self, array: Array) -> bool:
        """Whether every value of ``array`` is legal; allocates nothing in proportion to it."""
        if self.everything or not array.size:
            return True
        if self.plain:
            return bool(np.maximum.reduce(array.view(self.unsigned), axis=None) < self.size)
        return not any(self._piece_has_illegal(piece.view(self.unsigned)) for _, piece in pieces(array))

    def _shifted(self, piece: Array) -> Array:
        if not self.offset:
            return piece
        return np.subtract(piece, self.offset, out=_SCRATCH.get(self.unsigned, piece.size))

    def _piece_has_illegal(self, piece: Array) -> bool:
        if self.table is None and not len(self.extras):
            return bool(np.maximum.reduce(self._shifted(piece)) >= self.size)
        if self.table is None and self.size and np.maximum.reduce(self._shifted(piece)) < self.size:
            return False
        return bool(self._illegal(piece).any())

    def _illegal(self, piece: Array) -> NDArray[np.bool_]:
        shifted = self._shifted(piece)
        illegal = np.greater_equal(shifted, self.size, out=_SCRATCH.get(np.dtype(np.bool_), piece.size))
        if self.table is not None:
            inside = ~illegal
            illegal[inside] = ~self.table[shifted[inside]]
        if len(self.extras) > 4:
            illegal &= ~np.isin(piece, self.extras)
        else:
            other = _SCRATCH.get(np.dtype(np.bool_), piece.size, slot=1)
            for extra in self.extras:
                illegal &= np.not_equal(piece, extra, out=other)
        return illegal

    def illegal_positions(self, array: Array) -> NDArray[np.intp]:
        """int[m]: flat positions of illegal values; memory in proportion to these alone."""
        if self.everything:
            return np.empty(0, np.intp)
        found: list[NDArray[np.intp]] = []
        for start, piece in pieces(array):
            seen = piece.view(self.unsigned)
            # A maximum costs a third of a comparison, and most pieces are clean; but who asks has seen one that is not.
            if len(piece) == array.size or self._piece_has_illegal(seen):
                found.append(np.flatnonzero(self._illegal(seen)) + start)
        return np.concatenate(found) if found else np.empty(0, np.intp)


def integer_values(array: Array, positions: NDArray[np.intp]) -> Array:
    """The values of ``array`` at flat ``positions``."""
    return array.reshape(-1)[positions] if array.flags.c_contiguous else array.flat[positions]


def equals(values: Array, number: int) -> NDArray[np.bool_] | None:
    """Bool like ``values``: where one equals ``number``, exact at any width; None where the dtype cannot hold it.

    Floats are compared as float64: 70000 would become infinity in float16, and so equal to it.
    """
    if values.dtype.kind == "f":
        return np.asarray(values == np.float64(number))
    info = np.iinfo(values.dtype)
    return np.asarray(values == values.dtype.type(number)) if info.min <= number <= info.max else None


def member(values: Array, numbers: frozenset[int] | tuple[int, ...]) -> NDArray[np.bool_]:
    """Bool like ``values``: where one equals one of ``numbers`` (np.isin would cast int64 with uint64 to float)."""
    hit = np.zeros(values.shape, np.bool_)
    for number in numbers:
        same = equals(values, number)
        if same is not None:
            hit |= same
    return hit
