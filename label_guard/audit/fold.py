"""The results of shards, folded into one split in any order and any grouping."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import groupby

from label_guard.audit.bad_places import BadPlaces
from label_guard.audit.baseline import MAX_EXAMPLES
from label_guard.audit.blocks import Blocks
from label_guard.audit.report import ShardReport, SourceReport, SplitReport
from label_guard.core.plural import counted
from label_guard.diagnosis.statistics import LabelStatistics
from label_guard.schema.dataset import DatasetSchema
from label_guard.sources.base import Shard
from label_guard.sources.metadata_problems import split_problems
from label_guard.sources.source import Source

MAX_UNREADABLE = 5  # examples of unreadable records kept for each split


@dataclass(slots=True)
class ShardCounts:
    """What was counted in a file, or in one part of it: the fields of ``ShardReport``, and the number of the part."""

    name: str
    part: int = 0
    records: int = 0
    invalid: int = 0
    unreadable: int = 0
    expected: int | None = None
    error: str = ""
    unreadable_examples: tuple[tuple[str, str], ...] = ()
    violations: dict[str, int] = field(default_factory=dict[str, int])
    certified: bool = False
    padding: int = 0
    blocks: Blocks | None = None


@dataclass(slots=True)
class SplitFold:
    """What is known of a split, or of a shard. Adding is commutative, so bundles, retries and order do not show.

    Attributes:
        labels: statistics by label.
        shards: the files, or parts of files, added so far.
        bad: their invalid records.
        stopped: whether reading one of them was stopped.
        not_quarantined: number of invalid records that are not in the quarantine.
        errors: why; and why labels are not in the label cache.
    """

    labels: dict[str, LabelStatistics] = field(default_factory=dict[str, LabelStatistics])
    shards: list[ShardCounts] = field(default_factory=list[ShardCounts])
    bad: BadPlaces = field(default_factory=BadPlaces)
    stopped: bool = False
    not_quarantined: int = 0
    errors: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])

    @classmethod
    def unread(cls, shard: Shard, error: str = "") -> SplitFold:
        """Returns what is known of a shard of which nothing was read, and why."""
        part = shard.part.number if shard.part else 0
        return cls(shards=[ShardCounts(shard.name, part, expected=shard.expected_records, error=error)])

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
            found.illegal_values.close_files()
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
    if source.metadata_fault:
        contradictions.append(
            ("LG231", "", source.metadata_fault, "correct the metadata: nothing was compared with them")
        )
    return SourceReport(**source.describe(), contradictions=tuple(contradictions))


def _whole_files(parts: Sequence[ShardCounts]) -> list[ShardReport]:
    """The files in order of their names, the parts of each put together."""
    ordered = sorted(parts, key=lambda found: (found.name, found.part))
    files = (reduce(_joined, found) for _, found in groupby(ordered, key=lambda found: found.name))
    return [ShardReport.model_validate(found, from_attributes=True) for found in files]


def _joined(first: ShardCounts, second: ShardCounts) -> ShardCounts:
    """Two parts of one file that follow each other."""
    return replace(
        first,
        records=first.records + second.records,
        invalid=first.invalid + second.invalid,
        unreadable=first.unreadable + second.unreadable,
        error=first.error or second.error,
        unreadable_examples=(*first.unreadable_examples, *second.unreadable_examples)[:MAX_UNREADABLE],
        violations=dict(sorted((Counter(first.violations) + Counter(second.violations)).items())),
        certified=first.certified and second.certified,
        padding=first.padding + second.padding,
        blocks=first.blocks.merge(second.blocks) if first.blocks else second.blocks,
    )
