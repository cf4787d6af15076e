"""Arrays in memory as a source, so that they are looked at and audited as files are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from label_guard.core.types import Array
from label_guard.sources.base import CHUNK_BYTES, LabelShapes, Piece, RawColumn, Shard, require_fields
from label_guard.sources.source import Source

_NAME = "array"


@dataclass(frozen=True, slots=True)
class ArrayFormat:
    """Arrays ``[records, ...]`` by label path, of one length."""

    columns: Mapping[str, Array]
    name: str = _NAME

    def fields(self, path: str) -> Sequence[str]:
        del path
        return list(self.columns)

    def read(self, path: str, wanted: LabelShapes) -> Iterator[Piece]:
        del path
        count = len(next(iter(self.columns.values())))
        widest = max((self.columns[label].nbytes for label in wanted), default=0)
        step = max(1, CHUNK_BYTES * count // max(1, widest))
        for start in range(0, count, step):
            stop = min(count, start + step)
            yield Piece(range(start, stop), {label: _column(self.columns[label][start:stop]) for label in wanted})


def _column(values: Array) -> RawColumn:
    """Objects as a list, as text formats yield them."""
    return values.tolist() if values.dtype == object else values


def array_source(columns: Mapping[str, Array], labels: LabelShapes, split: str | None) -> Source:
    """The source of ``columns``; keys are row numbers.

    Args:
        columns: arrays ``[n, ...]`` by field.
        labels: paths of the labels, with declared shapes.
        split: name of the split; None where there is none.

    Raises:
        SourceError: a label is not among them; names the near one.
    """
    require_fields(labels, list(columns), _NAME)
    size = sum(columns[label].nbytes for label in labels)
    return Source(_NAME, split, ArrayFormat(columns), (Shard(_NAME, _NAME, 0, size=size),), labels, numbered=True)
