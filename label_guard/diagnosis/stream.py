"""What a guarded stream held so far, in bounded memory, for the likely cause in the error that stops it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from label_guard.check.columns import Column
from label_guard.check.result import CheckResult, RuleViolations
from label_guard.diagnosis.label import diagnose
from label_guard.diagnosis.statistics import LabelStatistics
from label_guard.diagnosis.unused import LEGAL_CAUSES
from label_guard.schema.labels import ClassLabel, Label

_BATCHES = 256  # clean batches kept; of a longer stream, evenly spaced ones
_POSITIONS = 1024  # values kept of each, evenly spaced
_MOST_BYTES = 1 << 16  # of the labels of a dirty batch that is kept as it is; larger ones are counted at once
_DIRTY = 64  # dirty batches that are counted in full; after that, each second, fourth, ...

Columns = Mapping[str, list[Column]]


class StreamSample:
    """Counts of dirty batches, and a sample of the clean ones.

    A clean batch costs an addition and a comparison; one of ``stride`` is sampled, and the stride doubles whenever
    ``_BATCHES`` are kept. Values are copied, because a loader may fill the same arrays again.

    Args:
        start: records of the run before the first of these.
    """

    def __init__(self, start: int = 0) -> None:
        self._start = start
        self._dirty: dict[str, LabelStatistics] = {}
        # small ones, with the number of their first record: counted when asked
        self._uncounted: list[tuple[Mapping[str, Label], Columns, Sequence[RuleViolations], int, int]] = []
        self._dirty_seen = self._dirty_counted = 0
        self._counted_to = start  # records of the run, up to the end of the last dirty batch that is counted
        self._clean: list[dict[str, tuple[Any, float]]] = []  # values, and how often each counts
        self._clean_seen = 0
        self._stride = 1

    def wants_clean(self) -> bool:
        """Counts a clean batch; whether it is one to sample."""
        self._clean_seen += 1
        return self._clean_seen % self._stride == 0

    def add_clean(self, labels: Mapping[str, Any], times: int = 1) -> None:
        """Samples a clean batch or record.

        Args:
            labels: by path, the arrays or NumPy scalars, of which every position counts.
            times: number of batches or records that it represents.
        """
        kept: dict[str, tuple[Any, float]] = {}
        for path, value in labels.items():
            kept[path] = (value.copy(), times) if value.size <= _POSITIONS else _thinned(value, times)
        self._clean.append(kept)
        if len(self._clean) > _BATCHES:
            self._clean = self._clean[1::2]
            self._stride *= 2

    def wants_dirty(self) -> bool:
        """Counts a dirty batch; whether its labels are to be counted."""
        self._dirty_seen += 1
        return self._dirty_seen <= _DIRTY or self._dirty_seen & (self._dirty_seen - 1) == 0

    def add_dirty(self, labels: Mapping[str, Label], result: CheckResult, seen: int) -> None:
        """Counts the labels of a batch with invalid records.

        Args:
            labels: the labels by path.
            result: check of the batch, with its columns.
            seen: records of the run, this batch included.
        """
        self._dirty_counted += 1
        self._counted_to = seen
        first = max(0, seen - self._start - result.num_records)
        columns = result.columns or {}
        size = 0
        for found in columns.values():
            for column in found:
                size += column.array.nbytes
        if size <= _MOST_BYTES:
            columns = {
                path: [column._replace(array=column.array.copy()) for column in found]
                for path, found in columns.items()
            }
            self._uncounted.append((labels, columns, result.faults, result.num_records, first))
        else:
            self._count(labels, columns, result.faults, result.num_records, first)

    def _count(
        self, labels: Mapping[str, Label], columns: Columns, faults: Sequence[RuleViolations], size: int, first: int
    ) -> None:
        rows, keys = range(first, first + size), [""] * size
        for path, label in labels.items():
            found = self._dirty.setdefault(path, LabelStatistics())
            found.add(label, columns[path], [fault for fault in faults if fault.label == path], size, keys, rows=rows)

    @property
    def is_estimate(self) -> bool:
        """Whether counts are estimated, because not all values were counted."""
        thinned = any(weight > 1 for sample in self._clean for _, weight in sample.values())
        return thinned or self._clean_seen > len(self._clean) or self._dirty_seen > self._dirty_counted

    def diagnosis(self, labels: Mapping[str, Label], seen: int) -> str:
        """The likely causes in words, or nothing; ``seen``: records of the run so far."""
        for kept in self._uncounted:
            self._count(*kept)
        self._uncounted.clear()
        run = (seen if self._dirty_counted == self._dirty_seen else self._counted_to) - self._start
        return "; ".join(
            f"{path}: {cause.text}{f' {json.dumps(dict(cause.patch))}' if cause.patch else ''}"
            for path in self._dirty
            for cause in diagnose(
                path, labels[path], self._estimate(path, labels[path]), only_label=len(labels) == 1, run=run
            )
            if cause.cause not in LEGAL_CAUSES
        )

    def _estimate(self, path: str, label: Label) -> LabelStatistics:
        """Dirty batches with the class ids of clean ones, in the proportion in which the stream had them."""
        whole = self._dirty[path].merge(LabelStatistics())
        if not isinstance(label, ClassLabel):
            return whole
        share = self._dirty_counted / self._dirty_seen * self._clean_seen / max(1, len(self._clean))
        for sample in self._clean:
            values, weight = np.ravel(sample[path][0]), sample[path][1]
            if values.size and values.dtype.kind in "iuf":
                clean = LabelStatistics()
                clean.add_legal_ids(label, values)
                for mine, found in ((whole.class_counts, clean.class_counts), (whole.sentinels, clean.sentinels)):
                    mine.update({value: max(1, round(n * weight * share)) for value, n in found.items()})
        return whole


def counted_values(columns: list[Column]) -> NDArray[Any]:
    """The values of a batch that count; none where it has several dtypes or shapes, or is text."""
    if len(columns) != 1 or columns[0].array.dtype.kind not in "iuf":
        return np.empty(0, np.int64)
    array, counts = columns[0].array, columns[0].counts
    return array if counts is None or counts.shape != array.shape else array[counts]


def _thinned(array: NDArray[Any], times: int) -> tuple[NDArray[Any], float]:
    """Some values of a batch, evenly spaced, and how many each represents."""
    if array.dtype.kind not in "iuf" or not array.size:
        return np.empty(0, np.int64), 0.0
    flat = array.reshape(-1)
    kept = flat[:: -(-flat.size // _POSITIONS)].copy()
    return kept, times * flat.size / kept.size
