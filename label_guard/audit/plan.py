"""The plan of an audit: its units of work, how each is read on any machine, and the report of what they hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from label_guard.audit.conclude import conclude
from label_guard.audit.fold import SplitFold, describe_source
from label_guard.audit.parquet_statistics import require_statistics
from label_guard.audit.report import AuditReport, SchemaPlace, SourceReport
from label_guard.audit.shard import ReadOptions, ShardAuditor, SplitJob
from label_guard.errors import LabelGuardError, MissingDependencyError, UsageError, unexpected
from label_guard.schema.dataset import DatasetSchema
from label_guard.sources.base import Shard
from label_guard.sources.source import Source

Sources = Sequence[tuple[str | None, Source]]
Item = tuple[int, Shard]  # the number of its job, and the shard
NumberedItem = tuple[int, Item]  # its place in the plan, and the item
Folds = dict[str | None, SplitFold]
# A file larger than that is read in parts of about that: a second of reading against one more open of the file.
PART_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class AuditPlan:
    """What an audit reads. Plain and picklable; an item holds its own shard alone, whatever their number.

    Attributes:
        schema: the schema.
        splits: each split and where it is read from.
        jobs: what the shards of each split have in common.
        items: a unit of work each: the number of its job, and a file or a part of a large one.
        count: how many items there are.
        limited: whether records are left out.
        schema_place: where the schema is written; None for a schema made in Python.
        part: ``(i, n)``: only every n-th file from the i-th.
    """

    schema: DatasetSchema
    splits: tuple[tuple[str | None, SourceReport], ...]
    jobs: tuple[SplitJob, ...]
    items: tuple[Item, ...]
    count: int
    limited: bool
    schema_place: SchemaPlace | None = None
    part: tuple[int, int] | None = None

    def without_items(self) -> AuditPlan:
        """Returns the plan without its items: all that a report needs, of one size for any number of files."""
        return replace(self, items=())

    def report(self, folds: Mapping[str | None, SplitFold], problems: Sequence[str] = ()) -> AuditReport:
        """Returns the report.

        Args:
            folds: what was found, by split.
            problems: what could not be written, apart from what ``folds`` know.
        """
        unread = sum(len(fold.shards) for fold in folds.values()) < self.count
        reports = [
            folds.get(split, SplitFold()).report(
                self.schema, split, source, partial=self.part is not None, limited=unread or self.limited
            )
            for split, source in self.splits
        ]
        lost = [text for fold in folds.values() for text in fold.problems()]
        return conclude(
            self.schema, reports, part=self.part, problems=[*lost, *problems], schema_place=self.schema_place
        )


def plan_audit(
    schema: DatasetSchema,
    splits: Sources,
    options: ReadOptions = ReadOptions(),
    schema_place: SchemaPlace | None = None,
    *,
    part: tuple[int, int] | None = None,
) -> AuditPlan:
    """Plans an audit without opening a file.

    Large files are cut into parts, but not with a limit, which is for each file, or with ``trust_statistics``.

    Args:
        schema: the schema.
        splits: the opened source of each split, from ``open_splits``.
        options: how shards are read.
        schema_place: where the schema is written, for reports that name lines of it.
        part: ``(i, n)``: only every n-th file from the i-th, 0-based, of all splits together.

    Raises:
        UsageError: ``trust_statistics`` of files that keep none.
    """
    jobs: list[SplitJob] = []
    items: list[Item] = []
    whole = options.limit is not None or options.trust_statistics
    index, count = part or (0, 1)
    before = 0
    for number, (split, source) in enumerate(splits):
        if options.trust_statistics:
            require_statistics(source)
        mine = replace(source, files=source.files[(index - before) % count :: count])
        before += len(source.files)
        # As a worker needs it: without its files and their metadata.
        slim = replace(source, files=(), metadata={}, features={}, expected_records=None)
        jobs.append(SplitJob(schema, split, slim, options))
        items += [(number, shard) for shard in (mine.shards() if whole else mine.parts(PART_BYTES))]
    described = tuple((split, describe_source(schema, split, source)) for split, source in splits)
    return AuditPlan(
        schema, described, tuple(jobs), tuple(items), len(items), options.limit is not None, schema_place, part
    )


def audit_item(auditor: ShardAuditor, item: Item) -> Folds:
    """Audits one item on an engine: what is wrong with the shard is part of the result.

    Raises:
        UsageError: the run cannot go on.
        MissingDependencyError: a worker lacks a package.
    """
    job, shard = item
    try:
        found = auditor(item)
    except (UsageError, MissingDependencyError):
        raise
    except LabelGuardError as error:
        found = SplitFold.unread(shard, str(error))
    except Exception as error:
        found = SplitFold.unread(shard, f"{shard.name}: {unexpected(error)}")
    return {auditor.jobs[job].split: found}


def fold_items(auditor: ShardAuditor, items: Iterable[Item]) -> tuple[LabelGuardError | None, Folds]:
    """Audits items and folds what they hold. The cost of a fold is that of the classes, not of shards times classes.

    Returns:
        The error that ends the run, or None; and what the items hold.
    """
    folds: Folds = {}
    try:
        for item in items:
            merge_folds(folds, audit_item(auditor, item))
    except LabelGuardError as error:
        return error, {}
    return None, folds


def merge_folds(folds: Folds, others: Folds) -> Folds:
    """Returns ``folds`` with ``others`` added to it; ``others`` is not changed."""
    for split, fold in others.items():
        folds.setdefault(split, SplitFold()).merge(fold)
    return folds
