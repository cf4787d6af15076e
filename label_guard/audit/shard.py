"""The audit of one shard: the unit of work of every worker, machine and engine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from label_guard.audit.blocks import Blocks
from label_guard.audit.fold import MAX_UNREADABLE, SplitFold
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

    def __call__(self, item: tuple[int, Shard], go_on: Callable[[int], bool] | None = None) -> SplitFold:
        """Audits one shard. A fault of the shard is part of the result, and what came before it is counted.

        Args:
            item: the number of the job, and the shard.
            go_on: called with the number of records of each chunk; reading stops where it returns False.
        """
        number, shard = item
        job = self._jobs[number]
        if number not in self._made:
            guard, writer = Guard(job.schema, job.split), None
            if job.options.quarantine is not None:
                origin = Origin(
                    dataset=job.schema.name, schema_version=job.schema.version, schema_digest=guard.digest,
                    split=guard.split, view=None, source=job.source.uri,
                )  # fmt: skip
                writer = QuarantineWriter(job.options.quarantine, origin)
            self._made[number] = (guard, writer)
        return _audit(job, shard, *self._made[number], go_on)


def _audit(
    job: SplitJob, shard: Shard, guard: Guard, writer: QuarantineWriter | None, go_on: Callable[[int], bool] | None
) -> SplitFold:
    found = SplitFold.unread(shard)
    found.labels = {path: LabelStatistics() for path in guard.labels}
    counts = found.shards[0]
    if job.options.trust_statistics and _certify(shard, guard, found):
        return found
    limit = sys.maxsize if job.options.limit is None else job.options.limit
    source, cached = job.source, None
    if job.options.label_cache is not None:
        cached = CachedFormat(source.format, job.options.label_cache)
        source = replace(source, format=cached)
    try:
        for chunk in read_chunks(source, shard):
            chunk = chunk.first(limit - counts.records)
            _add_chunk(job, guard, writer, chunk, found)
            if counts.records >= limit:
                break
            if go_on is not None and not go_on(len(chunk) + len(chunk.unreadable)):
                found.stopped = True
                break
    except SourceError as error:
        counts.error = str(error)
    except LabelGuardError:
        raise
    except Exception as error:  # the fault of one shard costs that shard; what was read of it counts
        counts.error = f"{shard.name}: {unexpected(error)}"
    for statistics in found.labels.values():
        statistics.end_of_file(shard.name, whole=shard.part is None)
    counts.violations = _violations(found.labels)
    found.errors.update([("label cache", cached.error)] if cached is not None and cached.error else [])
    return found


def _violations(labels: Mapping[str, LabelStatistics]) -> dict[str, int]:
    """Records by ``"LABEL RULE"``."""
    return {
        f"{path} {rule}": found.violations[rule][0]
        for path, found in sorted(labels.items())
        for rule in sorted(found.violations)
    }


def _certify(shard: Shard, guard: Guard, fold: SplitFold) -> bool:
    """Fills ``fold`` from the footer where it proves the shard legal; returns whether it does."""
    try:
        proven = certify(shard, guard.labels)
    except SourceError:
        return False  # reading names the fault
    if proven is not None:
        fold.labels, fold.shards[0].certified = proven, True
        fold.shards[0].records = next(iter(proven.values())).records
    return proven is not None


def _quarantine(writer: QuarantineWriter, records: Sequence[BadRecord], fold: SplitFold) -> None:
    """Writes invalid records. Once that cannot be done the shard goes on without the quarantine, and counts them."""
    try:
        if not fold.not_quarantined:
            writer.append(records)
            return
    except QuarantineError as error:
        fold.errors.add(("quarantine", str(error)))
    fold.not_quarantined += len(records)


def _add_chunk(job: SplitJob, guard: Guard, writer: QuarantineWriter | None, chunk: Chunk, fold: SplitFold) -> None:
    counts, keep_bad = fold.shards[0], job.options.keep_bad
    size = len(chunk)
    counts.records += size + len(chunk.unreadable)
    counts.unreadable += len(chunk.unreadable)
    examples = ((u.key, u.reason) for u in chunk.unreadable)
    counts.unreadable_examples = (*counts.unreadable_examples, *examples)[:MAX_UNREADABLE]
    if chunk.unreadable:
        counts.blocks = Blocks.of(u.row for u in chunk.unreadable).merge(counts.blocks)
    if keep_bad:
        keys, places = [str(u.key) for u in chunk.unreadable], [u.row for u in chunk.unreadable]
        fold.bad.add(keys, counts.name, places, [("LG120",)] * len(keys))
    if not size:
        return
    gathered = guard.gathered(chunk.columns, size, job.source.untyped)
    result = guard.check_columns(gathered, size)
    counts.invalid += result.num_invalid
    counts.padding += result.num_padding
    for path, label in guard.read_labels.items():
        faults: list[RuleViolations] = [fault for fault in result.faults if fault.label == path]
        fold.labels[path].add(label, gathered[path][0], faults, size, chunk.keys, file=counts.name, rows=chunk.rows)
    if result.ok:
        return
    rows: list[int] = result.invalid_rows.tolist()
    counts.blocks = Blocks.of(int(chunk.rows[row]) for row in rows).merge(counts.blocks)
    if keep_bad:
        broken = _broken(result.faults, size)
        keys, places = (str(chunk.keys[row]) for row in rows), (int(chunk.rows[row]) for row in rows)
        fold.bad.add(keys, counts.name, places, (broken[row] for row in rows))
    if writer is not None:
        _quarantine(writer, [_bad_record(counts.name, chunk, row, result.of_row(row)) for row in rows], fold)


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
