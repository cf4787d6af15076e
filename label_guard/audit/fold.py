"""The results of shards, folded into one split in any order and any grouping."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import groupby

from label_guard.audit.bad_places import BadPlaces
from label_guard.audit.baseline import MAX_EXAMPLES
from label_guard.audit.report import ShardReport, SourceReport, SplitReport
from label_guard.audit.shard import MAX_UNREADABLE, ShardResult
from label_guard.core.plural import counted
from label_guard.diagnosis.statistics import LabelStatistics
from label_guard.schema.dataset import DatasetSchema
from label_guard.sources.metadata_problems import split_problems
from label_guard.sources.source import Source


@dataclass(slots=True)
class SplitFold:
    """What is known of one split so far. Adding is commutative, so bundles, retries and order do not show.

    Attributes:
        labels: statistics by label.
        shards: the parts of files added so far: name of the file, number of the part, what was found.
        bad: their invalid records.
        stopped: whether reading one of them was stopped.
        not_quarantined: number of invalid records that are not in the quarantine.
        errors: why; and why labels are not in the label cache.
    """

    labels: dict[str, LabelStatistics] = field(default_factory=dict[str, LabelStatistics])
    shards: list[tuple[str, int, ShardReport]] = field(default_factory=list[tuple[str, int, ShardReport]])
    bad: BadPlaces = field(default_factory=BadPlaces)
    stopped: bool = False
    not_quarantined: int = 0
    errors: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])

    def add(self, found: ShardResult) -> None:
        """Adds one file, or one part of it."""
        shard = ShardReport.model_validate(found, from_attributes=True)
        errors = (("quarantine", found.quarantine_error), ("label cache", found.cache_error))
        self.merge(
            SplitFold(
                found.labels, [(found.name, found.part, shard)], found.bad, found.stopped, found.not_quarantined,
                {error for error in errors if error[1]},
            )
        )  # fmt: skip

    def merge(self, other: SplitFold) -> None:
        """Adds the shards of ``other``."""
        for path, found in other.labels.items():
            if path not in self.labels:
                self.labels[path] = LabelStatistics()
            self.labels[path].update(found)
        self.shards += other.shards
        self.bad.update(other.bad)
        self.stopped |= other.stopped
        self.not_quarantined += other.not_quarantined
        self.errors |= other.errors

    def problems(self) -> list[str]:
        """What could not be written although it was read: one line for each kind."""
        first = dict(sorted(self.errors, reverse=True))
        lost = f"{counted(self.not_quarantined, 'invalid record is', 'invalid records are')} in no quarantine: "
        return [f"{lost if kind == 'quarantine' else ''}{text}" for kind, text in sorted(first.items())]

    def report(
        self,
        schema: DatasetSchema,
        split: str | None,
        source: SourceReport,
        *,
        files: Sequence[ShardReport] | None = None,
        partial: bool = False,
        limited: bool = False,
    ) -> SplitReport:
        """The split of the shards added so far; nothing is added after it.

        Args:
            schema: the schema.
            split: the split.
            source: where it was read from.
            files: the files, where they are not those of the shards.
            partial: whether other shards are audited elsewhere.
            limited: whether records were left out.
        """
        limited |= self.stopped
        bad = self.bad.in_order()
        shards = _whole_files(self.shards) if files is None else files
        for found in self.labels.values():
            found.close_files()
        return SplitReport(
            split=split,
            source=source,
            records=sum(shard.records for shard in shards),
            invalid=sum(shard.invalid for shard in shards),
            unreadable=sum(shard.unreadable for shard in shards),
            declared=schema.splits[split].num_examples if split in schema.splits else None,
            promised=source.expected_records,
            labels={path: self.labels.get(path) or LabelStatistics() for path in sorted(schema.stored(split))},
            shards=tuple(shards),
            bad=bad,
            repeated_keys=bad.repeated(MAX_EXAMPLES),
            counted=not partial and not limited,
            limited=limited,
        )


def merge_splits(schema: DatasetSchema, parts: Sequence[SplitReport]) -> SplitReport:
    """Returns the parts of one split, from several machines, as one."""
    fold = SplitFold()
    for part in parts:
        fold.merge(SplitFold(part.labels, bad=part.bad))
    files = sorted((shard for part in parts for shard in part.shards), key=lambda shard: shard.name)
    limited = any(part.limited for part in parts)
    return fold.report(schema, parts[0].split, parts[0].source, files=files, limited=limited)


def describe_source(schema: DatasetSchema, split: str | None, source: Source) -> SourceReport:
    """Where a split is read from, and where the dataset's own metadata contradict the schema."""
    contradictions = [
        (problem.rule, path, problem.message, problem.fix)
        for path, problem in split_problems(schema, split, source.features, source.expected_records)
        if (path, problem.rule) not in source.quiet
    ]
    return SourceReport(**source.describe(), contradictions=tuple(contradictions))


def _whole_files(parts: Sequence[tuple[str, int, ShardReport]]) -> list[ShardReport]:
    """The files in order of their names, the parts of each put together."""
    ordered = sorted(parts, key=lambda found: found[:2])
    return [
        reduce(_joined, [report for _, _, report in found]) for _, found in groupby(ordered, key=lambda found: found[0])
    ]


def _joined(first: ShardReport, second: ShardReport) -> ShardReport:
    """Two parts of one file that follow each other."""
    return first.model_copy(
        update={
            "records": first.records + second.records,
            "invalid": first.invalid + second.invalid,
            "unreadable": first.unreadable + second.unreadable,
            "error": first.error or second.error,
            "unreadable_examples": (*first.unreadable_examples, *second.unreadable_examples)[:MAX_UNREADABLE],
            "violations": dict(sorted((Counter(first.violations) + Counter(second.violations)).items())),
            "certified": first.certified and second.certified,
            "padding": first.padding + second.padding,
            "blocks": first.blocks.merge(second.blocks) if first.blocks else second.blocks,
        }
    )
