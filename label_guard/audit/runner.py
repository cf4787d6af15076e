"""The audit: every label of a dataset folded into one report, whatever the order, the workers or the machines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from label_guard.audit.baseline import BadPlace, in_order
from label_guard.audit.duplicates import find_duplicates
from label_guard.audit.label_cache import LabelCache, open_label_cache, through_label_cache
from label_guard.audit.parquet_statistics import certify, require_statistics
from label_guard.audit.report import AuditReport, SplitAudit, conclude, with_duplicates
from label_guard.audit.workers import Progress, run_shards
from label_guard.check.columns import Column, Rows, as_array, gather
from label_guard.check.guard import Guard
from label_guard.check.result import RuleViolations
from label_guard.diagnosis.statistics import LabelStatistics
from label_guard.errors import SourceError, UsageError
from label_guard.quarantine.options import BadRecord, Origin, QuarantineOptions
from label_guard.quarantine.writer import QuarantineWriter
from label_guard.rules.findings import Violation
from label_guard.schema.dataset import DatasetSchema
from label_guard.schema.reader import load_schema
from label_guard.sources.open import Chunk, Shard, Source, open_source

MAX_UNREADABLE = 5  # examples of unreadable records kept for each split


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How shards are read.

    Attributes:
        limit: at most so many records of each shard; the report is then incomplete.
        quarantine: where bad records are written, in the pipeline's format, payload labels.
        keep_bad: keep which records are bad, and why, for a baseline or an index of good ones.
        trust_statistics: believe Parquet footers where they prove a file legal, and do not read it.
    """

    limit: int | None = None
    quarantine: QuarantineOptions | None = None
    keep_bad: bool = False
    trust_statistics: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """One shard to audit: plain and picklable, for worker processes and other machines."""

    schema: DatasetSchema
    split: str | None
    source: Source
    shard: Shard
    options: ReadOptions = ReadOptions()


@dataclass(slots=True)
class ShardAudit:
    """What one shard holds.

    Attributes:
        name: the shard's name.
        records: records read, unreadable ones included.
        invalid: records that broke a rule in any label.
        expected: what the metadata promise, or None.
        unreadable: records that cannot be decoded, counted.
        unreadable_examples: the first of them: key and reason.
        error: why the shard could not be read to its end; empty where it could.
        stopped: whether reading was stopped before the end.
        certified: whether its footer proved it legal, and no row was read.
        labels: statistics by label.
        bad: bad and unreadable records by key, where asked for.
    """

    name: str
    records: int = 0
    invalid: int = 0
    expected: int | None = None
    unreadable: int = 0
    unreadable_examples: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    error: str = ""
    stopped: bool = False
    certified: bool = False
    labels: dict[str, LabelStatistics] = field(default_factory=dict[str, LabelStatistics])
    bad: dict[str, BadPlace] = field(default_factory=dict[str, BadPlace])


def audit(
    schema: DatasetSchema | str | Path,
    *,
    source: str | None = None,
    splits: Sequence[str] = (),
    workers: int = 0,
    shards: tuple[int, int] | None = None,
    limit: int | None = None,
    quarantine: QuarantineOptions | None = None,
    keep_bad: bool = False,
    label_cache: str | None = None,
    trust_statistics: bool = False,
    duplicates: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> AuditReport:
    """Audit the splits of a dataset.

    Args:
        schema: a ``DatasetSchema`` or the path of a schema file; its sources are relative to that file.
        source: URI in place of the schema's own sources.
        splits: splits to audit; all that the schema declares, where empty.
        workers: processes beside this one; 0: none.
        shards: ``(i, n)``: only every n-th shard from the i-th, 0-based, for ``merge`` on another machine.
        limit: at most so many records of each shard; the report is then incomplete.
        quarantine: where bad records are written, in the pipeline's format, payload labels.
        keep_bad: keep which records are bad, for a baseline or an index of good ones.
        label_cache: file that keeps the labels, for the next audit.
        trust_statistics: believe Parquet footers where they prove a file legal, and do not read it; classes of such
            files are not counted.
        duplicates: look for records of the same content as well, which reads whole records.
        on_progress: called a few times a second with how far the audit has come.
        stop: asked as often; once it says True the audit ends, and its report is incomplete.

    Raises:
        SchemaError: the schema file is unsound.
        UsageError: no source, or an unknown split.
        SourceError: a source cannot be opened at all.
    """
    loaded = load_schema(schema)
    if duplicates and (shards is not None or limit is not None):
        raise UsageError("duplicates are looked for among all records: not with a limit, nor in a part of the files")
    options = ReadOptions(limit, quarantine, keep_bad, trust_statistics)
    with nullcontext() if label_cache is None else open_label_cache(label_cache) as kept:
        tasks, plans = plan_tasks(loaded, source, splits, base_of(schema), shards, options, kept)
        report = _audit(loaded, tasks, plans, workers, shards, on_progress, stop)
    if duplicates:
        _, plans = plan_tasks(
            loaded, source, splits, base_of(schema), None
        )  # whole records do not go into a label cache
        report = with_duplicates(report, find_duplicates(loaded, plans, workers=workers, stop=stop))
    return report


def _audit(
    schema: DatasetSchema,
    tasks: Sequence[Task],
    plans: Sequence[tuple[str | None, Source]],
    workers: int,
    shards: tuple[int, int] | None,
    on_progress: Callable[[Progress], None] | None,
    stop: Callable[[], bool] | None,
) -> AuditReport:
    parts: dict[str, list[ShardAudit]] = {split or "": [] for split, _ in plans}
    tell = None if on_progress is None else _promising(on_progress, tasks)
    for task, found in run_shards(tasks, audit_shard, workers, tell, stop):
        lost = found if isinstance(found, ShardAudit) else ShardAudit(task.shard.name, error=found)
        parts[task.split or ""].append(_with_labels(lost, task))
    limited = sum(map(len, parts.values())) < len(tasks) or any(task.options.limit is not None for task in tasks)
    limited |= any(shard.stopped for found in parts.values() for shard in found)
    audited = [
        fold_split(schema, split, opened, parts[split or ""], partial=shards is not None, limited=limited)
        for split, opened in plans
    ]
    return conclude(schema, audited, shards=shards)


def _promising(on_progress: Callable[[Progress], None], tasks: Sequence[Task]) -> Callable[[Progress], None]:
    """``on_progress``, told how many records are promised where all shards promise some."""
    promises = [task.shard.expected_records for task in tasks]
    total = sum(n for n in promises if n is not None)
    return on_progress if None in promises else lambda progress: on_progress(replace(progress, promised=total))


def base_of(schema: DatasetSchema | str | Path) -> str | None:
    """The folder that the sources of a schema are relative to: that of its file."""
    return None if isinstance(schema, DatasetSchema) else str(Path(schema).resolve().parent)


def plan_tasks(
    schema: DatasetSchema,
    source: str | None,
    splits: Sequence[str],
    base: str | None,
    shards: tuple[int, int] | None,
    options: ReadOptions = ReadOptions(),
    label_cache: LabelCache | None = None,
) -> tuple[list[Task], list[tuple[str | None, Source]]]:
    """The shards to audit, and the opened source of each split.

    Args:
        schema: the promise.
        source: URI in place of the schema's own.
        splits: splits to audit; all declared ones, where empty.
        base: folder that the schema's own relative paths start from.
        shards: ``(i, n)`` for every n-th task from the i-th.
        options: how they are read.
        label_cache: where their labels are kept.

    Raises:
        UsageError: a split without a source, or one source of several splits that cannot tell them apart.
        SourceError: a source cannot be opened at all.
    """
    names: Sequence[str | None] = splits or list(schema.splits) or [None]
    if source is not None and len(names) > 1 and not source.startswith(("tfds:", "python:")):
        raise UsageError(f"{source} does not tell the splits {', '.join(map(str, names))} apart; pass --split NAME")
    plans: list[tuple[str | None, Source]] = []
    tasks: list[Task] = []
    for split in names:
        labels = schema.stored(split)
        declared = schema.splits[split].source if split in schema.splits else None
        uri = source or declared
        if uri is None:
            raise UsageError(f"split {split!r} of schema {schema.name} has no source; pass --source URI")
        wanted = {path: label.record_shape for path, label in labels.items()}
        opened = open_source(
            uri, split=split, labels=wanted, record_key=schema.record_key, base_dir=None if source else base
        )
        if options.trust_statistics:
            require_statistics(opened)
        if label_cache is not None:
            opened = through_label_cache(opened, label_cache)
        plans.append((split, opened))
        tasks += [Task(schema, split, opened, shard, options) for shard in opened.shards()]
    if shards is not None:
        tasks = tasks[shards[0] :: shards[1]]
    return tasks, plans


def audit_shard(task: Task, go_on: Callable[[int], bool] | None = None) -> ShardAudit:
    """Audit one shard; a fault of the shard is told in the result, what came before it is counted.

    Args:
        task: the shard.
        go_on: told how many records each chunk held; reading stops where it says False.
    """
    options, guard = task.options, Guard(task.schema, task.split)
    found = ShardAudit(task.shard.name, expected=task.shard.expected_records)
    found.labels = {path: LabelStatistics() for path in guard.labels}
    if options.trust_statistics and _certify(task, guard, found):
        return found
    writer = None if options.quarantine is None else QuarantineWriter(options.quarantine, _origin(task, guard))
    try:
        for chunk in task.source.read(task.shard):
            chunk = _limited(chunk, options.limit, found.records)
            _add_chunk(guard, chunk, found, writer, keep_bad=options.keep_bad)
            if options.limit is not None and found.records >= options.limit:
                break
            if go_on is not None and not go_on(len(chunk) + len(chunk.unreadable)):
                found.stopped = True
                break
    except SourceError as error:
        found.error = str(error)
    finally:
        if writer is not None:
            writer.close()
    return found


def _certify(task: Task, guard: Guard, found: ShardAudit) -> bool:
    """Fill ``found`` from the footer where it proves the shard legal; whether it does."""
    try:
        proven = certify(task.shard, guard.labels)
    except SourceError:
        return False  # reading tells what is wrong
    if proven is not None:
        found.labels, found.certified = proven, True
        found.records = next(iter(proven.values())).records
    return proven is not None


def _with_labels(found: ShardAudit, task: Task) -> ShardAudit:
    """Statistics for every label, of a shard that was lost as well."""
    for path in task.schema.stored(task.split):
        found.labels.setdefault(path, LabelStatistics())
    return found


def _origin(task: Task, guard: Guard) -> Origin:
    return Origin(
        dataset=task.schema.name,
        schema_version=task.schema.version,
        schema_digest=guard.digest,
        split=guard.split,
        view=None,
        source=task.source.uri,
    )


def _limited(chunk: Chunk, limit: int | None, read: int) -> Chunk:
    if limit is None or read + len(chunk) <= limit:
        return chunk
    left = limit - read
    columns = {path: column[:left] for path, column in chunk.columns.items()}
    last = chunk.rows[left - 1] if left else -1
    unreadable = tuple(u for u in chunk.unreadable if u.row <= last)
    return Chunk(chunk.rows[:left], list(chunk.keys[:left]), columns, unreadable)


def _add_chunk(
    guard: Guard, chunk: Chunk, found: ShardAudit, writer: QuarantineWriter | None, *, keep_bad: bool
) -> None:
    size = len(chunk)
    found.records += size + len(chunk.unreadable)
    found.unreadable += len(chunk.unreadable)
    examples = [(u.key, u.reason) for u in chunk.unreadable]
    found.unreadable_examples = (found.unreadable_examples + examples)[:MAX_UNREADABLE]
    if keep_bad:
        found.bad |= {str(u.key): BadPlace(found.name, u.row, ("LG120",)) for u in chunk.unreadable}
    if not size:
        return
    gathered = {path: _columns(column, size) for path, column in chunk.columns.items()}
    result = guard.check_columns(gathered, size)
    found.invalid += result.num_invalid
    for path, label in guard.labels.items():
        faults: list[RuleViolations] = [fault for fault in result.faults if fault.label == path]
        found.labels[path].add(label, gathered[path][0], faults, size, chunk.keys)
    if result.ok:
        return
    rows: list[int] = result.invalid_rows.tolist()
    if keep_bad:
        for row in rows:
            broken = sorted({f"{violation.label} {violation.rule}" for violation in result.of_row(row)})
            found.bad[str(chunk.keys[row])] = BadPlace(found.name, int(chunk.rows[row]), tuple(broken))
    if writer is not None:
        writer.append([_bad_record(found.name, chunk, row, result.of_row(row)) for row in rows])


def _columns(column: Any, size: int) -> tuple[list[Column], Rows]:
    """Columns of one dtype and shape, and the rows that lack a value."""
    if not isinstance(column, np.ndarray):
        return gather(column)
    array, typed = as_array(column)
    return [Column(np.arange(size), array, typed)], np.empty(0, np.intp)


def _bad_record(shard: str, chunk: Chunk, row: int, violations: Iterable[Violation]) -> BadRecord:
    labels: Mapping[str, Any] = {path: column[row] for path, column in chunk.columns.items()}
    return BadRecord(chunk.keys[row], dict(labels), labels, tuple(violations), position=f"{shard}__{chunk.rows[row]}")


def fold_split(
    schema: DatasetSchema,
    split: str | None,
    source: Source,
    shards: Sequence[ShardAudit],
    *,
    partial: bool,
    limited: bool,
) -> SplitAudit:
    """One split of the shards it was audited by, in any order."""
    labels = {path: LabelStatistics() for path in schema.stored(split)}
    for shard in shards:
        labels = {path: found.merge(shard.labels[path]) for path, found in labels.items()}
    declared = schema.splits[split].num_examples if split in schema.splits else None
    return SplitAudit(
        split=split,
        source=source.describe(),
        records=sum(shard.records for shard in shards),
        invalid=sum(shard.invalid for shard in shards),
        unreadable=sum(shard.unreadable for shard in shards),
        declared=declared,
        promised=source.expected_records,
        labels=labels,
        shards=sorted(
            (
                {
                    "name": s.name, "records": s.records, "invalid": s.invalid, "unreadable": s.unreadable,
                    "expected": s.expected, "error": s.error, "unreadable_examples": s.unreadable_examples,
                    "violations": {
                        f"{path} {rule}": records
                        for path, found in sorted(s.labels.items())
                        for rule, (records, _) in sorted(found.violations.items())
                    },
                    **({"certified": True} if s.certified else {}),
                }
                for s in shards
            ),
            key=lambda shard: shard["name"],
        ),
        bad=in_order(shard.bad for shard in shards),
        counted=not partial and not limited,
        limited=limited,
    )  # fmt: skip
