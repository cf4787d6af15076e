"""A set of legal integers of one dtype, compiled to the cheapest exact test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from label_guard.check.primitives import BLOCK_BYTES, Scratch, blocks, greatest, integer_bounds, least
from label_guard.core.types import Array

# A lookup table for ids with gaps up to 1 MiB; sparser ids are searched.
MAX_TABLE = 1 << 20
_SMALL = 4096  # values of a block
_SHORT = 64  # values of a block that are looked up one by one: 1.5 us, where the table takes 4 us
_MOST_IDS = 4096  # that are kept for it
_FEW = 4  # as many values are compared one after another, more are searched

_SCRATCH = Scratch()
_BOOL = np.dtype(np.bool_)


class IntegerSet:
    """Legal integers of one dtype: an interval, values outside of it, or a table of ids with gaps.

    Numbers wrap around, so that 255 is next to 0 in uint8 and becomes a part of the interval. An interval that wraps in
    unsigned order does not in signed order, and two reductions test it::

        uint8, ids 0..20, ignore 255                   read as int8

        0 1 2 ... 20 | 21 ... 254 | 255                128 ... 254 | 255 0 1 2 ... 20 | 21 ... 127
        ids            illegal      ignore             illegal       -1 <= value <= 20  illegal

    A negative value outside of the interval takes a third one: what is at least -100 in signed order and at most
    2**32 - 100 in unsigned order is -100, or not negative::

        int32, ids 0..9, ignore -100:    signed maximum <= 9, signed minimum >= -100, unsigned maximum <= 2**32 - 100

    An interval that holds every value of the dtype needs no test; ids whose least and greatest are the ends of the
    dtype (0 and 255) are not such an interval, but ids with a gap.

    Args:
        dtype: integer or bool.
        ids: the legal ids.
        sentinels: more legal values. Ids and sentinels that the dtype cannot hold are left out.
    """

    def __init__(self, dtype: np.dtype[Any], ids: range | tuple[int, ...], sentinels: tuple[int, ...] = ()) -> None:
        self.unsigned = np.dtype(f"u{dtype.itemsize}")
        self._signed = np.dtype(f"i{dtype.itemsize}")
        self._modulus = 1 << (8 * dtype.itemsize)
        low, high = integer_bounds(dtype)
        held = [i for i in ids if low <= i <= high] if isinstance(ids, tuple) else []
        extras = {s % self._modulus for s in sentinels if low <= s <= high}
        legal = frozenset({i % self._modulus for i in held} | extras)
        self._table: NDArray[np.bool_] | None = None
        start, size = _span(ids, held, low, high)
        if isinstance(ids, tuple) and len(set(held)) != size:
            if size <= MAX_TABLE:
                self._table = np.zeros(size + 1, np.bool_)  # the last is for values beyond
                self._table[[i - start for i in held]] = True
            else:
                extras |= {i % self._modulus for i in held}
                size = 0
        else:
            extras = {e for e in extras if (e - start) % self._modulus >= size}
            start, size = self._widen(start, size, extras)
        self.offset = np.array(start % self._modulus, self.unsigned)  # arrays take half the time of scalars in a ufunc
        self._is_shifted = bool(self.offset)
        self.size = size
        self._beyond = None if size >= self._modulus else np.array(size, self.unsigned)
        self.everything = self._table is None and size >= self._modulus
        self._extras = np.array(sorted(extras), self.unsigned)
        self._interval = None if self._table is not None or not 0 < size < self._modulus else self._ordered(start)
        listed = isinstance(ids, tuple) and self._interval is None and len(held) <= _MOST_IDS
        self._legal = legal if listed else None
        # One reduction, of which blocks would save nothing.
        self._has_one_end = not len(self._extras) and self._interval is not None and None in self._interval[1:]
        ordered, _, last = self._interval or (dtype, None, None)
        self._most = (ordered, last) if self._has_one_end and last is not None else None
        # The negative value that is legal alone with ids from 0, such as -100, as unsigned.
        half = self._modulus // 2
        from_zero = self._interval is not None and start == 0 and self.size <= half
        self._lone = int(self._extras[0]) if from_zero and (self._extras >= half).tolist() == [True] else None

    def _widen(self, start: int, size: int, extras: set[int]) -> tuple[int, int]:
        """The interval with the extras that are next to it, which are taken out of ``extras``."""
        while extras and 0 < size < self._modulus:
            if (start - 1) % self._modulus in extras:
                start -= 1
                extras.discard(start % self._modulus)
            elif (start + size) % self._modulus in extras:
                extras.discard((start + size) % self._modulus)
            else:
                break
            size += 1
        return start, size

    def _ordered(self, start: int) -> tuple[np.dtype[Any], int | None, int | None] | None:
        """The order in which the interval does not wrap, and its first and last value (None: the dtype's own)."""
        for dtype in (self.unsigned, self._signed):
            low, high = integer_bounds(dtype)
            first = low + (start - low) % self._modulus
            last = first + self.size - 1
            if last <= high:
                return dtype, None if first == low else first, None if last == high else last
        return None

    def all_legal(self, array: Array) -> bool:
        """Whether every value of ``array`` is legal; allocates nothing in proportion to it."""
        if self.everything or not array.size:
            return True
        if self._has_one_end:
            return self._is_inside(array)
        if array.nbytes <= BLOCK_BYTES and array.flags.c_contiguous:
            return self._block_is_legal(array.reshape(-1).view(self.unsigned))
        return all(self._block_is_legal(block.view(self.unsigned)) for _, block in blocks(array))

    def test(self) -> Callable[[Array], bool]:
        """``all_legal``, in fewer calls where the test is one comparison."""
        if self._most is None:
            return self.all_legal
        dtype, last = self._most

        def has_no_greater(array: Array) -> bool:
            return not array.size or greatest(array.view(dtype)) <= last

        return has_no_greater

    def illegal_positions(self, array: Array) -> NDArray[np.intp]:
        """int[m]: flat positions of illegal values; memory in proportion to these alone."""
        if self.everything:
            return np.empty(0, np.intp)
        if array.nbytes <= BLOCK_BYTES:  # a lone block, which is known not to be clean
            flat = array if array.ndim == 1 else array.reshape(-1)
            return self._illegal(flat.view(self.unsigned)).nonzero()[0]
        found: list[NDArray[np.intp]] = []
        for start, block in blocks(array):
            numbers = block.view(self.unsigned)
            # A maximum costs a third of a comparison, and most blocks are clean.
            if not self._block_is_legal(numbers):
                found.append(self._illegal(numbers).nonzero()[0] + start)
        return np.concatenate(found) if found else np.empty(0, np.intp)

    def _is_inside(self, array: Array) -> bool:
        """Whether every value is in the interval, or in the table."""
        if self._table is not None:
            return bool(np.logical_and.reduce(self._table[self._places(array)]))
        if self._interval is None:
            return False
        dtype, first, last = self._interval
        ordered = array.view(dtype)
        return (last is None or greatest(ordered) <= last) and (first is None or least(ordered) >= first)

    def _block_is_legal(self, block: Array) -> bool:
        if self._legal is not None and block.size <= _SHORT:
            return self._legal.issuperset(block.tolist())
        if self._lone is not None:
            return self._is_inside_or(self._lone, block)
        if self._is_inside(block):
            return True
        inside_only = self._interval is not None or self._table is not None
        return not (inside_only and not len(self._extras)) and not self._illegal(block).any()

    def _is_inside_or(self, lone: int, block: Array) -> bool:
        most = greatest(block)
        if most < self.size:
            return True
        signed = block.view(self._signed)
        return most <= lone and greatest(signed) < self.size and least(signed) >= lone - self._modulus

    def _places(self, block: Array) -> Array:
        """The place of each value in the table."""
        shifted = self._shifted(block)
        return shifted if self._beyond is None else np.minimum(shifted, self._beyond)

    def _shifted(self, block: Array) -> Array:
        if not self._is_shifted:
            return block
        return np.subtract(block, self.offset, out=_SCRATCH.get(self.unsigned, block.size))

    def _illegal(self, block: Array) -> NDArray[np.bool_]:
        if self._table is not None:
            illegal: NDArray[np.bool_] = ~self._table[self._places(block)]
        else:
            # A small result costs less than the look at what belongs to this thread.
            out = None if block.size <= _SMALL else _SCRATCH.get(_BOOL, block.size)
            illegal = np.greater_equal(
                self._shifted(block), self.size if self._beyond is None else self._beyond, out=out
            )
        if len(self._extras) > _FEW:
            nearest = np.minimum(np.searchsorted(self._extras, block), len(self._extras) - 1)
            illegal &= self._extras[nearest] != block
        elif len(self._extras):
            other = _SCRATCH.get(_BOOL, block.size, slot=1)
            for extra in self._extras:
                illegal &= np.not_equal(block, extra, out=other)
        return illegal


def _span(ids: range | tuple[int, ...], held: list[int], low: int, high: int) -> tuple[int, int]:
    """Least legal id that the dtype holds, and the number of values from it to the greatest."""
    if isinstance(ids, range):
        start, stop = max(ids.start, low), min(ids.stop, high + 1)
    else:
        start, stop = min(held, default=0), max(held, default=-1) + 1
    return start, max(0, stop - start)
