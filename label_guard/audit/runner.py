"""The audit: every label of a dataset folded into one report, whatever the order, the workers or the machines."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TypedDict, cast

from typing_extensions import Unpack

from label_guard.audit.conclude import with_duplicates
from label_guard.audit.duplicate_search import find_content, find_duplicates
from label_guard.audit.fold import SplitFold
from label_guard.audit.label_cache import open_label_cache, require_files
from label_guard.audit.outputs import refuse_own_source
from label_guard.audit.plan import AuditPlan, Folds, Item, Sources, merge_folds, plan_audit
from label_guard.audit.quieted import with_comments
from label_guard.audit.report import AuditReport, SchemaPlace
from label_guard.audit.shard import ReadOptions, ShardAuditor
from label_guard.audit.workers import AuditControl, Progress, run_shards
from label_guard.check.reading import stored_features
from label_guard.core.documented_options import shows_options, unknown_option
from label_guard.errors import UsageError
from label_guard.quarantine.options import QuarantineOptions, options_of
from label_guard.schema.dataset import DatasetSchema
from label_guard.schema.labels import Label
from label_guard.schema.reader import load_schema, read_schema, sound_schema
from label_guard.sources.csv import CsvFormat
from label_guard.sources.open import open_source
from label_guard.sources.source import Source
from label_guard.sources.uris import separates_splits
from label_guard.sources.webdataset import WebDatasetFormat


class AuditOptions(TypedDict, total=False):
    """Options of every audit, local or on an engine; all are optional."""

    source: str | None
    """URI in place of the schema's own sources. Workers must reach it under the same path."""

    splits: Sequence[str]
    """Splits to audit; all that the schema declares, where empty."""

    limit: int | None
    """At most so many records of each shard; the report is then incomplete."""

    quarantine: QuarantineOptions | str | os.PathLike[str] | None
    """Where invalid records are written, in the pipeline's format, payload labels. Each process writes files of its
    own."""

    keep_bad: bool
    """Keep which records are invalid, for a baseline or an index of good ones."""

    trust_statistics: bool
    """Believe Parquet footers where they prove a file legal, and do not read it; classes of such files are not
    counted."""

    allow_python: bool
    """Run the function of a `python:` source that the schema itself names."""


Prepared = tuple[DatasetSchema, Sources, ReadOptions, SchemaPlace | None]


def prepare_audit(schema: DatasetSchema | str | Path, options: AuditOptions, caller: str) -> Prepared:
    """Loads the schema and opens the sources of an audit.

    Args:
        schema: the schema, or the path of its file.
        options: the keyword arguments of ``plan_audit``.
        caller: name of the function the user called, for errors.

    Returns:
        The schema; the split names with their sources; what to read of them; and the place of the schema in its file,
        None where it is not from a file.

    Raises:
        UsageError: an option is unknown, a source is missing, or a split is unknown.
        SourceError: a source cannot be opened at all.
        SchemaError: the schema file is invalid.
    """
    message = unknown_option(options, AuditOptions, caller)
    if message is not None:
        raise UsageError(message)
    source = cast("object", options.get("source"))
    splits, limit = options.get("splits", ()), options.get("limit")
    if source is not None and not isinstance(source, str):
        raise UsageError(f"source is {source!r}; give a path or URI as text")
    if isinstance(splits, str):
        raise UsageError(f"splits is {splits!r}; give a list of names, such as [{splits!r}]")
    if limit is not None and (type(limit) is not int or limit < 1):
        raise UsageError(f"limit is {limit!r}; give a number of records, 1 or more, or None")
    file = None if isinstance(schema, DatasetSchema) else read_schema(schema)
    loaded = load_schema(schema) if file is None else sound_schema(file)
    base = None if file is None else str(Path(file.path).resolve().parent)  # what its sources are relative to
    opened = open_splits(loaded, source, splits, base, allow_python=options.get("allow_python", False))
    reading = ReadOptions(
        limit, options_of(options.get("quarantine")), options.get("keep_bad", False),
        options.get("trust_statistics", False),
    )  # fmt: skip
    refuse_own_source(reading.quarantine, opened)
    return loaded, with_comments(file, opened), reading, None if file is None else SchemaPlace.of(file)


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
    return audit_prepared(
        prepare_audit(schema, options, "audit_dataset"), workers=workers, executor=executor, shards=shards,
        label_cache=label_cache, duplicates=duplicates, control=control,
    )  # fmt: skip


def audit_prepared(
    prepared: Prepared,
    *,
    workers: int = 0,
    executor: Executor | None = None,
    shards: tuple[int, int] | None = None,
    label_cache: str | None = None,
    duplicates: bool = False,
    control: AuditControl = AuditControl(),
) -> AuditReport:
    """Checks every label of sources that were opened, and folds them into one report.

    Args:
        prepared: what ``prepare_audit`` returns.
        workers: processes; 0 reads in this one.
        executor: where files are read in place of processes of this machine; excludes workers, label_cache and
            duplicates.
        shards: ``(i, n)``: only every n-th file from the i-th on.
        label_cache: path of a file that keeps labels between audits.
        duplicates: whether to look for records of the same content.
        control: progress, and whether to stop.
    """
    if executor is not None and (workers or label_cache or duplicates):
        raise UsageError("executor= may run on other machines: not with workers=, label_cache= or duplicates=")
    if type(workers) is not int or workers < 0:
        raise UsageError(f"workers is {workers!r}; give a number of processes, 0 or more")
    if shards is not None and not _is_part(shards):
        raise UsageError(f"shards is {shards!r}; give (i, n), the i-th of n parts, with 0 <= i < n")
    schema, splits, options, place = prepared
    if label_cache is not None:
        for _, source in splits:
            require_files(source)
    problems: list[str] = []
    with nullcontext() if label_cache is None else open_label_cache(label_cache, problems) as cache:
        plan = plan_audit(schema, splits, replace(options, label_cache=cache), place, part=shards)
        content = find_content(plan) if duplicates else None
        folds = _run(plan, workers, executor, control)
        problems += cache.save() if cache is not None else []
    report = plan.report(folds, problems)
    if duplicates:
        found = find_duplicates(plan, content, workers=workers, control=control)
        report = with_duplicates(report, found)
    return report


def _is_part(shards: object) -> bool:
    match shards:
        case (int(index), int(count)):
            return 0 <= index < count
        case _:
            return False


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
        if split is not None and split not in schema.splits:
            raise UsageError(
                f"split {split!r} is a part of a split; an audit reads whole splits: {schema.split_name(split)}"
            )
        uri = source or _declared_source(schema, split, allow_python=allow_python)
        wanted = stored_features(labels)
        base_dir = None if source else base
        found = open_source(uri, split=split, labels=wanted, record_key=schema.record_key, base_dir=base_dir)
        opened.append((split, _with_names_as_text(found, labels)))
    return opened


def _with_names_as_text(source: Source, labels: Mapping[str, Label]) -> Source:
    """``source``; of CSV and WebDataset, whose texts have no type, names that look like numbers stay text."""
    kept = source.format
    if not isinstance(kept, CsvFormat | WebDatasetFormat):
        return source
    texts = [path for path, label in labels.items() if label.stores_names]
    return replace(source, format=replace(kept, texts=tuple(sorted(texts))))


def _declared_source(schema: DatasetSchema, split: str | None, *, allow_python: bool) -> str:
    """The source that the schema itself names for a split."""
    uri = schema.splits[split].source if split in schema.splits else None
    if uri is None:
        raise UsageError(f"split {split!r} of schema {schema.name} has no source; pass --source URI")
    if uri.startswith("python:") and not allow_python:
        raise UsageError(
            f"split {split!r} of schema {schema.name} has the source {uri}, which runs code; pass --allow-python "
            "(allow_python=True) if you trust the schema file"
        )
    return uri


def _run(plan: AuditPlan, workers: int, executor: Executor | None, control: AuditControl) -> Folds:
    """What the items hold; those that a stop left out are missing."""
    control = replace(control, progress=_described(control.progress, plan.items))
    runs = run_shards(plan.items, ShardAuditor(plan.jobs), workers=workers, executor=executor, control=control)
    folds: Folds = {}
    with closing(runs) as results:
        for (job, shard), found in results:
            fold = SplitFold.unread(shard, found) if isinstance(found, str) else found
            merge_folds(folds, {plan.jobs[job].split: fold})
    return folds


def _described(progress: Callable[[Progress], None], items: Sequence[Item]) -> Callable[[Progress], None]:
    """``progress``, with the name of the shard being read, and the records promised where all shards promise some."""
    promises = [shard.expected_records for _, shard in items if not shard.part or not shard.part.number]
    total = None if None in promises else sum(n for n in promises if n is not None)

    def describe(now: Progress) -> None:
        reading = "" if now.task is None else items[now.task][1].name
        progress(replace(now, promised=total, reading=reading))

    return describe
