"""Counts over a quarantine of any size: memory in proportion to the distinct entries, 24 bytes each."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from label_guard.core.strict_json import to_json
from label_guard.quarantine.line import LineProblem, QuarantineEntry, Written
from label_guard.quarantine.options import folder_url
from label_guard.quarantine.reader import DamagedLines, open_parts, scan

_FIRST_MERGE = 1 << 16  # entries after which repeated ones are looked for


@dataclass(slots=True)
class WriterSummary:
    """What one writer wrote.

    Attributes:
        lines: number of lines, repeated ones included.
        first: time of the earliest.
        last: time of the latest.
        steps: lowest and highest step; None where no step is known.
    """

    lines: int
    first: str
    last: str
    steps: tuple[int, int] | None = None

    def add(self, written: Written) -> None:
        """Counts one more line."""
        self.lines += 1
        self.first, self.last = min(self.first, written.time), max(self.last, written.time)
        if written.step is not None:
            low, high = self.steps or (written.step, written.step)
            self.steps = min(low, written.step), max(high, written.step)


@dataclass(slots=True)
class QuarantineSummary(DamagedLines):
    """Counts of distinct records, each by its newest entry.

    Attributes are those of ``DamagedLines``, and:
        records: records with a key.
        contents: distinct contents of records without one.
        changed: records that came with several labels.
        lines: sound lines, repeated ones included.
        parts: part files.
        rules: records by the rule they broke; one that broke two counts under both.
        labels: records by label.
        splits: records by dataset and split.
        sources: records by source.
        payloads: records by what is kept of them.
        writers: lines by writer: (host, process, worker).
    """

    records: int = 0
    contents: int = 0
    changed: int = 0
    lines: int = 0
    parts: int = 0
    rules: Counter[str] = field(default_factory=Counter[str])
    labels: Counter[str] = field(default_factory=Counter[str])
    splits: Counter[str] = field(default_factory=Counter[str])
    sources: Counter[str] = field(default_factory=Counter[str])
    payloads: Counter[str] = field(default_factory=Counter[str])
    writers: dict[tuple[str, int, int], WriterSummary] = field(
        default_factory=dict[tuple[str, int, int], WriterSummary]
    )


def summarize_quarantine(url: str | os.PathLike[str]) -> QuarantineSummary:
    """Counts the records of the quarantine at ``url`` line by line, without keeping entries in memory.

    Raises:
        QuarantineError: the folder does not exist, or cannot be listed.
    """
    url = folder_url(url)
    folder, parts = open_parts(url)
    summary, newest = QuarantineSummary(parts=len(parts)), _Newest()
    for found in scan(folder, url, parts):
        if isinstance(found, LineProblem):
            summary.add(found)
            continue
        summary.lines += 1
        newest.add(found)
        if (written := found.written) is not None:
            key = (written.host, written.process, written.worker)
            if key not in summary.writers:
                summary.writers[key] = WriterSummary(0, written.time, written.time)
            summary.writers[key].add(written)
    newest.count(summary)
    return summary


@dataclass(frozen=True, slots=True)
class _Kind:
    """What is counted of an entry; entries of one kind share it."""

    rules: frozenset[str]
    labels: frozenset[str]
    split: str
    source: str
    payload: str
    keyed: bool


class _Newest:
    """The newest entry of each record, as three numbers: 64-bit hashes of record and identity, and the kind."""

    def __init__(self) -> None:
        self._numbers = array("Q")
        self._kinds: dict[_Kind, int] = {}
        self._limit = 3 * _FIRST_MERGE

    def add(self, entry: QuarantineEntry) -> None:
        """Counts an entry."""
        kind = _Kind(
            frozenset(found.rule for found in entry.violations),
            frozenset(found.label for found in entry.violations),
            f"{entry.dataset} {entry.split or '(no split)'}",
            entry.source,
            entry.payload_kind + (f" ({entry.payload_limit})" if entry.payload_limit else ""),
            entry.record is not None,
        )
        number = self._kinds.setdefault(kind, len(self._kinds))
        self._numbers.extend((_hash(entry.record_id), _hash(entry.identity), number))
        if len(self._numbers) >= self._limit:
            self._numbers = array("Q", self._distinct().tobytes())
            self._limit = max(self._limit, 2 * len(self._numbers))

    def _distinct(self) -> np.ndarray[Any, np.dtype[np.uint64]]:
        """The last of each identity, in order: ``[entries, 3]``."""
        numbers = np.frombuffer(self._numbers, np.uint64).reshape(-1, 3)
        return numbers[_last(numbers[:, 1])]

    def count(self, summary: QuarantineSummary) -> None:
        """Adds the counts of the newest entries to ``summary``."""
        records, _, kinds = self._distinct().T
        summary.changed = int(np.count_nonzero(np.unique(records, return_counts=True)[1] > 1))
        counts = np.bincount(kinds[_last(records)].astype(np.int64), minlength=len(self._kinds))
        for kind, number in zip(self._kinds, counts.tolist(), strict=True):
            if not number:
                continue
            summary.records += number if kind.keyed else 0
            summary.contents += 0 if kind.keyed else number
            summary.splits[kind.split] += number
            summary.sources[kind.source] += number
            summary.payloads[kind.payload] += number
            summary.rules.update(dict.fromkeys(kind.rules, number))
            summary.labels.update(dict.fromkeys(kind.labels, number))


def _last(values: np.ndarray[Any, np.dtype[np.uint64]]) -> Any:
    """Rows of the last occurrence of each value, ascending."""
    reverse = np.unique(values[::-1], return_index=True)[1]
    return np.sort(len(values) - 1 - reverse)


def _hash(identity: tuple[str | None, ...]) -> int:
    return int.from_bytes(hashlib.blake2b(to_json(identity), digest_size=8).digest(), "little")
