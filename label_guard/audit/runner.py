"""The audit: every label of a dataset folded into one report, whatever the order, the workers or the machines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

from typing_extensions import Unpack

from label_guard.audit.conclude import conclude, with_duplicates, with_schema_place
from label_guard.audit.duplicates import find_content, find_duplicates
from label_guard.audit.fold import SplitFold
from label_guard.audit.label_cache import open_label_cache, require_files
from label_guard.audit.parquet_statistics import require_statistics
from label_guard.audit.quieted import with_comments
from label_guard.audit.report import AuditReport
from label_guard.audit.shard import ReadOptions, ShardAuditor, ShardResult, SplitJob, Task, unread_shard
from label_guard.audit.workers import AuditControl, Progress, run_shards
from label_guard.check.reading import stored_features
from label_guard.core.documented_options import shows_options, unknown_option
from label_guard.errors import UsageError
from label_guard.quarantine.options import QuarantineOptions
from label_guard.schema.dataset import DatasetSchema
from label_guard.schema.reader import load_schema
from label_guard.sources.open import Shard, Source, open_source, separates_splits

# A file larger than that is read in parts of about that: a second of reading, beside a file opened once more.
PART_BYTES = 64 << 20
Sources = Sequence[tuple[str | None, Source]]


class AuditOptions(TypedDict, total=False):
    """Options of every audit, local or on an engine; all are optional."""

    source: str | None
    """URI in place of the schema's own sources. Workers must reach it under the same path."""

    splits: Sequence[str]
    """Splits to audit; all that the schema declares, where empty."""

    limit: int | None
    """At most so many records of each shard; the report is then incomplete."""

    quarantine: QuarantineOptions | None
    """Where invalid records are written, in the pipeline's format, payload labels. Each process writes files of its
    own."""

    keep_bad: bool
    """Keep which records are invalid, for a baseline or an index of good ones."""

    trust_statistics: bool
    """Believe Parquet footers where they prove a file legal, and do not read it; classes of such files are not
    counted."""

    allow_python: bool
    """Run the function of a `python:` source that the schema itself names."""


def prepare_audit(
    schema: DatasetSchema | str | Path, options: AuditOptions, caller: str
) -> tuple[DatasetSchema, Sources, ReadOptions]:
    """Loads the schema and opens the sources.

    Raises:
        UsageError: an option is unknown, a source is missing, or a split is unknown.
        SourceError: a source cannot be opened at all.
        SchemaError: the schema file is invalid.
    """
    message = unknown_option(options, AuditOptions, caller)
    if message is not None:
        raise UsageError(message)
    loaded = load_schema(schema)
    opened = open_splits(
        loaded, options.get("source"), options.get("splits", ()), base_of(schema),
        allow_python=options.get("allow_python", False),
    )  # fmt: skip
    reading = ReadOptions(
        options.get("limit"), options.get("quarantine"), options.get("keep_bad", False),
        options.get("trust_statistics", False),
    )  # fmt: skip
    return loaded, with_comments(schema, opened), reading


@shows_options(AuditOptions)
def audit_dataset(
    schema: DatasetSchema | str | Path,
    *,
    workers: int = 0,
    executor: Executor | None = None,
    shards: tuple[int, int] | None = None,
    label_cache: str | None = None,
    duplicates: bool = False,
    control: AuditControl = AuditControl(),
    **options: Unpack[AuditOptions],
) -> AuditReport:
    """Checks every label of a dataset.

    The report is the same, byte for byte, for any number of workers, any executor and any order.

    Args:
        schema: a ``DatasetSchema`` or the path of a schema file; its sources are relative to that file.
        workers: worker processes, 0 or more; with 0 this process reads. A script that passes more calls this under
            ``if __name__ == "__main__":``.
        executor: any ``concurrent.futures.Executor`` (a Dask client's ``get_executor()``, an MPI pool), in place of
            ``workers``.
        shards: ``(i, n)``: only every n-th shard from the i-th, 0-based, for ``merge_reports`` on another machine.
        label_cache: file that keeps the labels, for the next audit.
        duplicates: look for records of the same content as well, which reads whole records.
        control: reports progress, and stops the audit; its report is then incomplete.
        **options: see ``AuditOptions``.

    Returns:
        The report. ``report.exit_code`` is 0 for a clean dataset, 1 for findings, 2 where not all could be done.

    Raises:
        SchemaError: the schema file is invalid.
        UsageError: a source is missing, a split or an option is unknown, or options contradict each other.
        SourceError: a source cannot be opened at all.
    """
    loaded, opened, reading = prepare_audit(schema, options, "audit_dataset")
    report = audit_splits(
        loaded, opened, reading, workers=workers, executor=executor, shards=shards, label_cache=label_cache,
        duplicates=duplicates, control=control,
    )  # fmt: skip
    return with_schema_place(report, schema)


def audit_splits(
    schema: DatasetSchema,
    splits: Sources,
    options: ReadOptions = ReadOptions(),
    *,
    workers: int = 0,
    executor: Executor | None = None,
    shards: tuple[int, int] | None = None,
    label_cache: str | None = None,
    duplicates: bool = False,
    control: AuditControl = AuditControl(),
) -> AuditReport:
    """Checks every label of sources that ``open_splits`` opened; the arguments are those of ``audit_dataset``."""
    if duplicates and (shards is not None or options.limit is not None):
        raise UsageError("duplicates are looked for among all records: not with a limit, nor in a part of the files")
    if executor is not None and (workers or label_cache or duplicates):
        raise UsageError("executor= may run on other machines: not with workers=, label_cache= or duplicates=")
    for _, source in splits:
        _require(source, options, label_cache)
    content = find_content(schema, splits) if duplicates else None
    with open_label_cache(label_cache) as cache:
        tasks = make_tasks(schema, splits, replace(options, label_cache=cache.cache), shards)
        folds = {split: SplitFold() for split, _ in splits}
        for job, found in _run(tasks, workers, executor, control):
            folds[job.split].add(found)
        cache.save()
    unread = sum(len(fold.shards) for fold in folds.values()) < len(tasks)
    reports = [
        folds[split].report(
            schema, split, source, partial=shards is not None, limited=unread or options.limit is not None
        )
        for split, source in splits
    ]
    problems = [text for fold in folds.values() for text in fold.problems()]
    report = conclude(schema, reports, part=shards, problems=[*problems, *([cache.error] if cache.error else [])])
    if duplicates:
        found = find_duplicates(schema, splits, content=content, workers=workers, control=control)
        report = with_duplicates(report, found)
    return report


def _require(source: Source, options: ReadOptions, label_cache: str | None) -> None:
    if options.trust_statistics:
        require_statistics(source)
    if label_cache is not None:
        require_files(source)


def base_of(schema: DatasetSchema | str | Path) -> str | None:
    """The folder that the sources of a schema are relative to: that of its file."""
    return None if isinstance(schema, DatasetSchema) else str(Path(schema).resolve().parent)


def open_splits(
    schema: DatasetSchema,
    source: str | None = None,
    splits: Sequence[str] = (),
    base: str | None = None,
    *,
    allow_python: bool = False,
) -> list[tuple[str | None, Source]]:
    """Opens the source of each split; lists files, and reads metadata but not records.

    Args:
        schema: the schema.
        source: URI in place of the schema's own sources.
        splits: splits to open; all that the schema declares, where empty.
        base: folder that the schema's own relative paths start from.
        allow_python: run the function of a ``python:`` source that the schema itself names.

    Raises:
        UsageError: a split without a source, one source for several splits that it does not separate, or a ``python:``
            source of the schema that is not allowed.
        SourceError: a source cannot be opened at all.
    """
    names: Sequence[str | None] = splits or list(schema.splits) or [None]
    if source is not None and len(names) > 1 and not separates_splits(source):
        raise UsageError(f"{source} does not separate the splits {', '.join(map(str, names))}; pass --split NAME")
    opened: list[tuple[str | None, Source]] = []
    for split in names:
        labels = schema.stored(split)
        declared = schema.splits[split].source if split in schema.splits else None
        uri = source or declared
        if uri is None:
            raise UsageError(f"split {split!r} of schema {schema.name} has no source; pass --source URI")
        if source is None and uri.startswith("python:") and not allow_python:
            raise UsageError(
                f"split {split!r} of schema {schema.name} has the source {uri}, which runs code; pass --allow-python "
                "(allow_python=True) if you trust the schema file"
            )
        wanted = stored_features(labels)
        base_dir = None if source else base
        found = open_source(uri, split=split, labels=wanted, record_key=schema.record_key, base_dir=base_dir)
        opened.append((split, found))
    return opened


def make_tasks(
    schema: DatasetSchema,
    splits: Sources,
    options: ReadOptions = ReadOptions(),
    shards: tuple[int, int] | None = None,
) -> list[Task]:
    """One task for each file or part of a large one. What a task holds does not grow with their number.

    With a limit, which is for each file, and with ``trust_statistics``, files are not cut.

    Args:
        schema: the schema.
        splits: the opened source of each split, from ``open_splits``.
        options: how shards are read.
        shards: ``(i, n)``: only every n-th file from the i-th, 0-based, of all splits together.
    """
    tasks: list[Task] = []
    before = 0
    for split, source in splits:
        job = SplitJob(schema, split, slim(source), options)
        index, count = shards or (0, 1)
        mine = replace(source, files=source.files[(index - before) % count :: count])
        before += len(source.files)
        whole = options.limit is not None or options.trust_statistics
        tasks += [Task(job, shard) for shard in (mine.shards() if whole else mine.parts(PART_BYTES))]
    return tasks


def slim(source: Source) -> Source:
    """``source`` as a worker needs it: without its shards and their metadata."""
    return replace(source, files=(), metadata={}, features={}, expected_records=None)


def numbered(tasks: Sequence[Task]) -> tuple[list[SplitJob], list[tuple[int, Shard]]]:
    """The jobs of ``tasks``, and each task as the number of its job and its shard: as ``ShardAuditor`` takes them."""
    jobs = list({id(task.job): task.job for task in tasks}.values())
    places = {id(job): place for place, job in enumerate(jobs)}
    return jobs, [(places[id(task.job)], task.shard) for task in tasks]


def _run(
    tasks: Sequence[Task], workers: int, executor: Executor | None, control: AuditControl
) -> Iterator[tuple[SplitJob, ShardResult]]:
    """The job and the result of every shard; those that a stop left out are missing."""
    jobs, items = numbered(tasks)
    control = replace(control, progress=_with_promise(control.progress, tasks))
    runs = run_shards(items, ShardAuditor(jobs), workers=workers, executor=executor, control=control)
    with closing(runs) as results:
        for (job, shard), found in results:
            yield jobs[job], found if isinstance(found, ShardResult) else unread_shard(shard, found)


def _with_promise(progress: Callable[[Progress], None], tasks: Sequence[Task]) -> Callable[[Progress], None]:
    """``progress``, called with how many records are promised where all shards promise some."""
    promises = [task.shard.expected_records for task in tasks if not task.shard.part or not task.shard.part.number]
    total = sum(n for n in promises if n is not None)
    return progress if None in promises else lambda now: progress(replace(now, promised=total))
