"""Where in a file its invalid records are: counts of blocks of records, mergeable and bounded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field

from label_guard.diagnosis.overflow import Count

MAX_BLOCKS = 64


class Blocks(BaseModel):
    """Invalid records by block of ``size`` records of a file.

    ``size`` is the least power of two for which the last invalid record is in one of the first ``MAX_BLOCKS`` blocks:
    it does not depend on how the file was cut.

    >>> Blocks.of([3, 70]).merge(Blocks.of([71]))
    Blocks(size=2, counts={1: 1, 35: 2})
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Count = 1
    counts: dict[int, Count] = Field(default_factory=dict[int, int])

    @classmethod
    def of(cls, rows: Iterable[int]) -> Blocks:
        """Counts records by their numbers in the file, 0-based."""
        return cls(counts=dict(Counter(rows)))._bounded()

    def merge(self, other: Blocks | None) -> Blocks:
        """The counts of both together; neither is changed."""
        if other is None:
            return self
        size = max(self.size, other.size)
        counts = Counter(self._at(size)) + Counter(other._at(size))
        return Blocks(size=size, counts=dict(counts))._bounded()

    def _at(self, size: int) -> dict[int, int]:
        counts: Counter[int] = Counter()
        for block, count in self.counts.items():
            counts[block * self.size // size] += count
        return counts

    def _bounded(self) -> Blocks:
        size = self.size
        while self.counts and max(self.counts) * self.size // size >= MAX_BLOCKS:
            size *= 2
        return Blocks(size=size, counts=dict(sorted(self._at(size).items())))
