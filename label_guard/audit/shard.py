"""The audit of one shard: the unit of work of every worker, machine and engine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from label_guard.audit.bad_places import BadPlaces
from label_guard.audit.blocks import Blocks
from label_guard.audit.label_cache import CachedFormat, LabelCache
from label_guard.audit.parquet_statistics import certify
from label_guard.check.guard import Guard
from label_guard.check.result import RuleViolations
from label_guard.diagnosis.statistics import LabelStatistics
from label_guard.errors import LabelGuardError, QuarantineError, SourceError, unexpected
from label_guard.quarantine.options import BadRecord, Origin, QuarantineOptions
from label_guard.quarantine.writer import QuarantineWriter
from label_guard.rules.violation import Violation
from label_guard.schema.dataset import DatasetSchema
from label_guard.sources.base import Chunk, Shard
from label_guard.sources.read_ahead import read_chunks
from label_guard.sources.source import Source

MAX_UNREADABLE = 5  # examples of unreadable records kept for each split


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How shards are read.

    Attributes:
        limit: at most so many records of each shard; the report is then incomplete.
        quarantine: where invalid records are written, in the pipeline's format, payload labels.
        keep_bad: keep which records are invalid, and why, for a baseline or an index of good ones.
        trust_statistics: believe Parquet footers where they prove a file legal, and do not read it.
        label_cache: where labels are kept for the next audit.
    """

    limit: int | None = None
    quarantine: QuarantineOptions | None = None
    keep_bad: bool = False
    trust_statistics: bool = False
    label_cache: LabelCache | None = None


@dataclass(frozen=True, slots=True)
class SplitJob:
    """What the shards of one split have in common. Plain and picklable; its size does not depend on their number.

    Attributes:
        schema: the schema.
        split: the split, or None where the schema declares none.
        source: how to read a shard; without the list of shards.
        options: how shards are read.
    """

    schema: DatasetSchema
    split: str | None
    source: Source
    options: ReadOptions = ReadOptions()


@dataclass(slots=True)
class ShardResult:
    """What one shard holds.

    Attributes:
        name: the file's name.
        part: which part of the file was read, from 0.
        records: records read, unreadable ones included.
        invalid: records that broke a rule in any label.
        expected: what the metadata promise, or None.
        unreadable: records that cannot be decoded, counted.
        unreadable_examples: the first of them: key and reason.
        error: why the shard could not be read to its end; empty where it could.
        stopped: whether reading was stopped before the end.
        certified: whether its footer proved it legal, and no row was read.
        labels: statistics by label.
        padding: records of which nothing counts, in any label.
        bad: invalid and unreadable records in order, where they were asked for.
        blocks: where in the shard they are; None where there are none.
        cache_error: why its labels are not in the label cache; empty where they are, or where there is none.
        quarantine_error: why invalid records are not in the quarantine; empty where they all are.
        not_quarantined: number of invalid records that are not in the quarantine.
    """

    name: str
    part: int = 0
    records: int = 0
    invalid: int = 0
    expected: int | None = None
    unreadable: int = 0
    unreadable_examples: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    error: str = ""
    stopped: bool = False
    certified: bool = False
    padding: int = 0
    labels: dict[str, LabelStatistics] = field(default_factory=dict[str, LabelStatistics])
    bad: BadPlaces = field(default_factory=BadPlaces)
    blocks: Blocks | None = None
    cache_error: str = ""
    quarantine_error: str = ""
    not_quarantined: int = 0

    @classmethod
    def unread(cls, shard: Shard, error: str = "") -> ShardResult:
        """Returns the result of a shard of which nothing was read, and why."""
        part = shard.part.number if shard.part else 0
        return cls(shard.name, part, expected=shard.expected_records, error=error)

    @property
    def violations(self) -> dict[str, int]:
        """Records by ``"LABEL RULE"``."""
        return {
            f"{path} {rule}": found.violations[rule][0]
            for path, found in sorted(self.labels.items())
            for rule in sorted(found.violations)
        }


class ShardAuditor:
    """Audits the shards of a run, given as the number of their job and the shard.

    Pickled once for each worker process. What shards have in common is made once there: the compiled schema, and one
    quarantine writer for each split; a writer for each shard would read what those before it wrote.

    Args:
        jobs: one for each split.
    """

    def __init__(self, jobs: Sequence[SplitJob]) -> None:
        self._jobs = tuple(jobs)
        self._made: dict[int, tuple[Guard, QuarantineWriter | None]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return ShardAuditor, (self._jobs,)

    @property
    def jobs(self) -> Sequence[SplitJob]:
        """The jobs, by number."""
        return self._jobs

    def __call__(self, item: tuple[int, Shard], go_on: Callable[[int], bool] | None = None) -> ShardResult:
        """Audits one shard. A fault of the shard is part of the result, and what came before it is counted.

        Args:
            item: the number of the job, and the shard.
            go_on: called with the number of records of each chunk; reading stops where it returns False.
        """
        number, shard = item
        job = self._jobs[number]
        if number not in self._made:
            guard, options = Guard(job.schema, job.split), job.options.quarantine
            writer = None if options is None else QuarantineWriter(options, _origin(job, guard))
            self._made[number] = (guard, writer)
        return _audit(job, shard, *self._made[number], go_on)


def _audit(
    job: SplitJob, shard: Shard, guard: Guard, writer: QuarantineWriter | None, go_on: Callable[[int], bool] | None
) -> ShardResult:
    found = ShardResult.unread(shard)
    found.labels = {path: LabelStatistics() for path in guard.labels}
    if job.options.trust_statistics and _certify(shard, guard, found):
        return found
    limit = sys.maxsize if job.options.limit is None else job.options.limit
    source, cached = job.source, None
    if job.options.label_cache is not None:
        cached = CachedFormat(source.format, job.options.label_cache)
        source = replace(source, format=cached)
    try:
        for chunk in read_chunks(source, shard):
            chunk = chunk.first(limit - found.records)
            _add_chunk(job, guard, writer, chunk, found)
            if found.records >= limit:
                break
            if go_on is not None and not go_on(len(chunk) + len(chunk.unreadable)):
                found.stopped = True
                break
    except SourceError as error:
        found.error = str(error)
    except LabelGuardError:
        raise
    except Exception as error:  # the fault of one shard costs that shard; what was read of it counts
        found.error = f"{shard.name}: {unexpected(error)}"
    for statistics in found.labels.values():
        statistics.end_of_file(found.name, whole=shard.part is None)
    found.cache_error = cached.error if cached is not None else ""
    return found


def _certify(shard: Shard, guard: Guard, found: ShardResult) -> bool:
    """Fills ``found`` from the footer where it proves the shard legal; returns whether it does."""
    try:
        proven = certify(shard, guard.labels)
    except SourceError:
        return False  # reading names the fault
    if proven is not None:
        found.labels, found.certified = proven, True
        found.records = next(iter(proven.values())).records
    return proven is not None


def _quarantine(writer: QuarantineWriter, records: Sequence[BadRecord], found: ShardResult) -> None:
    """Writes invalid records. Once that cannot be done the shard goes on without the quarantine, and counts them."""
    try:
        if not found.quarantine_error:
            writer.append(records)
            return
    except QuarantineError as error:
        found.quarantine_error = str(error)
    found.not_quarantined += len(records)


def _origin(job: SplitJob, guard: Guard) -> Origin:
    return Origin(
        dataset=job.schema.name,
        schema_version=job.schema.version,
        schema_digest=guard.digest,
        split=guard.split,
        view=None,
        source=job.source.uri,
    )


def _add_chunk(job: SplitJob, guard: Guard, writer: QuarantineWriter | None, chunk: Chunk, found: ShardResult) -> None:
    keep_bad = job.options.keep_bad
    size = len(chunk)
    found.records += size + len(chunk.unreadable)
    found.unreadable += len(chunk.unreadable)
    examples = [(u.key, u.reason) for u in chunk.unreadable]
    found.unreadable_examples = (found.unreadable_examples + examples)[:MAX_UNREADABLE]
    if chunk.unreadable:
        found.blocks = Blocks.of(u.row for u in chunk.unreadable).merge(found.blocks)
    if keep_bad:
        keys, places = [str(u.key) for u in chunk.unreadable], [u.row for u in chunk.unreadable]
        found.bad.add(keys, found.name, places, [("LG120",)] * len(keys))
    if not size:
        return
    gathered = guard.gathered(chunk.columns, size, job.source.untyped)
    result = guard.check_columns(gathered, size)
    found.invalid += result.num_invalid
    found.padding += result.num_padding
    for path, label in guard.read_labels.items():
        faults: list[RuleViolations] = [fault for fault in result.faults if fault.label == path]
        found.labels[path].add(label, gathered[path][0], faults, size, chunk.keys, file=found.name, rows=chunk.rows)
    if result.ok:
        return
    rows: list[int] = result.invalid_rows.tolist()
    found.blocks = Blocks.of(int(chunk.rows[row]) for row in rows).merge(found.blocks)
    if keep_bad:
        broken = _broken(result.faults, size)
        keys, places = (str(chunk.keys[row]) for row in rows), (int(chunk.rows[row]) for row in rows)
        found.bad.add(keys, found.name, places, (broken[row] for row in rows))
    if writer is not None:
        _quarantine(writer, [_bad_record(found.name, chunk, row, result.of_row(row)) for row in rows], found)


def _broken(faults: Sequence[RuleViolations], size: int) -> list[tuple[str, ...]]:
    """What each record of a chunk broke: records that broke the same share one tuple, so that a million take little."""
    found: list[tuple[str, ...]] = [()] * size
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}
    rows: list[int]
    for name, fault in sorted(((f"{one.label} {one.rule}", one) for one in faults), key=lambda pair: pair[0]):
        rows = fault.rows.tolist()
        for row in rows:
            both = (*found[row], name) if name not in found[row] else found[row]
            found[row] = shared.setdefault(both, both)
    return found


def _bad_record(shard: str, chunk: Chunk, row: int, violations: Iterable[Violation]) -> BadRecord:
    labels: Mapping[str, Any] = {path: column[row] for path, column in chunk.columns.items()}
    return BadRecord(chunk.keys[row], dict(labels), labels, tuple(violations), position=f"{shard}__{chunk.rows[row]}")
