"""Illegal values beyond those that are kept: how many distinct ones there are, and which are frequent. Mergeable.

Both are sums or maxima over the values, so the result is the same for any cut and any order of merging:

- values fall into ``_BUCKETS`` by their hash, and each bucket counts the positions in which each bit of the value is
  set: a value with more than half of the positions of its bucket can be read off, and occurs at most so often as its
  rarest bit (Cormode and Muthukrishnan, What's hot and what's not, 2003).
- the number of distinct values is estimated to about 6 % (Flajolet et al., HyperLogLog, 2007).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from label_guard.core.types import Array

Count = Annotated[int, Field(strict=True, ge=0)]

_BUCKETS, _SHIFT = 64, 58
_WIDTH = 64  # bits of a value; one more bit is its sign
_REGISTERS, _REGISTER_BITS = 256, 8
_HASH, _MIX = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9
_WORD = 1 << 64
_AT_ONCE = 4096

Row = Annotated[list[Count], Field(min_length=_WIDTH + 2, max_length=_WIDTH + 2)]
Bucket = Annotated[int, Field(ge=0, lt=_BUCKETS)]


class Overflow(BaseModel):
    """Values that are counted and not kept.

    Attributes:
        positions: how often they occur in all.
        buckets: by hash, positions, then positions with each bit set, the sign last.
        registers: by another hash, the greatest number of leading zeros and one; empty without values.
    """

    model_config = ConfigDict(extra="forbid")

    positions: Count = 0
    buckets: dict[Bucket, Row] = Field(default_factory=dict[int, list[int]])
    registers: Annotated[list[Count], Field(max_length=_REGISTERS)] = Field(default_factory=list[int])

    def add(self, counts: Mapping[int | float, int]) -> None:
        """Adds values that occur so often. Those beyond 64 bits are in ``positions`` alone."""
        self.positions += sum(counts.values())
        values = [value for value in counts if isinstance(value, int) and -_WORD // 2 <= value < _WORD]
        for first in range(0, len(values), _AT_ONCE):
            part = values[first : first + _AT_ONCE]
            self._add_buckets(_sums(part, [counts[value] for value in part]))
        if values:
            self._add_registers(_ranks(values))

    def update(self, other: Overflow) -> None:
        """Adds ``other``, which is not changed."""
        self.positions += other.positions
        self._add_buckets(other.buckets)
        if other.registers:
            self._add_registers(other.registers)

    def _add_buckets(self, other: Mapping[int, list[int]]) -> None:
        for bucket, row in other.items():
            mine = self.buckets.get(bucket)
            self.buckets[bucket] = row if mine is None else [a + b for a, b in zip(mine, row, strict=True)]
        self.buckets = dict(sorted(self.buckets.items()))

    def _add_registers(self, other: list[int]) -> None:
        mine = self.registers or [0] * _REGISTERS
        self.registers = [max(a, b) for a, b in zip(mine, other, strict=True)]

    def distinct(self) -> int:
        """About how many distinct values there are."""
        if not self.registers:
            return 0
        size = len(self.registers)
        empty = self.registers.count(0)
        raw = 0.7213 / (1 + 1.079 / size) * size**2 / math.fsum(2.0**-rank for rank in self.registers)
        return round(size * math.log(size / empty) if raw <= 2.5 * size and empty else raw)

    def frequent(self) -> list[tuple[int, int]]:
        """Values that hold more than half of their bucket, with how often they occur at most; most frequent first."""
        found: list[tuple[int, int]] = []
        for bucket, (count, *ones) in self.buckets.items():
            bits = [2 * number > count for number in ones]
            most = min(number if bit else count - number for number, bit in zip(ones, bits, strict=True))
            value = sum(1 << place for place, bit in enumerate(bits[:_WIDTH]) if bit) - (_WORD if bits[_WIDTH] else 0)
            if 2 * most > count and _bucket(value) == bucket:
                found.append((value, most))
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))


def _bucket(value: int) -> int:
    return (value * _HASH % _WORD) >> _SHIFT


def _sums(values: list[int], counts: list[int]) -> dict[int, list[int]]:
    """Positions by bucket, in all and with each bit set."""
    words = np.array([value % _WORD for value in values], np.uint64)
    bits = (words[:, np.newaxis] >> np.arange(_WIDTH, dtype=np.uint64)) & np.uint64(1)
    negative = np.array([[value < 0] for value in values])
    rows: Array = np.hstack([np.ones((len(values), 1), np.int64), bits.astype(np.int64), negative])
    sums = np.zeros((_BUCKETS, _WIDTH + 2), np.int64)
    np.add.at(sums, [_bucket(value) for value in values], rows * np.array(counts, np.int64)[:, np.newaxis])
    return {bucket: sums[bucket].tolist() for bucket in np.flatnonzero(sums[:, 0]).tolist()}


def _ranks(values: Iterable[int]) -> list[int]:
    """By register, the greatest number of leading zeros of a hash, and one."""
    ranks = [0] * _REGISTERS
    for value in values:
        word = value * _HASH % _WORD
        word = (word ^ (word >> 30)) * _MIX % _WORD
        word ^= word >> 27
        register, rest = word % _REGISTERS, word >> _REGISTER_BITS
        ranks[register] = max(ranks[register], _WIDTH - _REGISTER_BITS - rest.bit_length() + 1)
    return ranks
