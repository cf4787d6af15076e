"""Whether the numbers of a report fit together. A report is a file: it may be edited, cut, or of another audit."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np

from label_guard.audit.report import AuditReport, ShardReport, SplitReport
from label_guard.core.plural import counted
from label_guard.diagnosis.statistics import MAX_EXAMPLES, LabelStatistics
from label_guard.schema.labels import ClassLabel, Label

_NUMBERS = ("int", "uint", "float", "bool", "Python int", "Python float", "Python bool")


def find_contradictions(report: AuditReport) -> Iterator[str]:
    """Yields what cannot be true of an audit, each with its place.

    Counts of records are exact sums; where a file could not be read to its end, or a limit left records unread, the
    sums are upper bounds.
    """
    schema = report.schema_file
    if (report.dataset, report.schema_version) != (schema.name, schema.version):
        yield f"it is of {report.dataset} {report.schema_version}, its schema of {schema.name} {schema.version}"
    names = [split.split for split in report.splits]
    if not names:
        yield "splits: there are none"
    if len(set(names)) < len(names):
        yield f"splits: {names} has a split twice"
    yield from _missing_files(report)
    for split in report.splits:
        for problem in _of_split(report, split):
            yield f"split {split.split}: {problem}"


def _missing_files(report: AuditReport) -> Iterator[str]:
    """Yields splits with another number of files than their source has. Part I of N has every N-th of all files."""
    index, parts = report.part or (0, 1)
    if not 0 <= index < parts:
        yield f"part: {index}/{parts}"
        return
    first = 0
    for split in report.splits:
        files = split.source.shards
        expected = len(range((index - first) % parts, files, parts))
        first += files
        found = len(split.shards)
        if found > expected or (found < expected and not split.limited):
            of_all = f" of {files}" if report.part else ""
            yield f"split {split.split}: {counted(found, 'file is', 'files are')} there, expected {expected}{of_all}"


def _of_split(report: AuditReport, split: SplitReport) -> Iterator[str]:
    schema = report.schema_file
    twice = [name for name, number in Counter(shard.name for shard in split.shards).items() if number > 1]
    if twice:
        yield f"file {twice[0]} occurs twice"
    for field in ("records", "invalid", "unreadable"):
        whole, total = getattr(split, field), sum(getattr(shard, field) for shard in split.shards)
        if whole != total:
            yield f"{field} is {whole}, its files have {total}"
    declared = schema.splits[split.split].num_examples if split.split in schema.splits else None
    if (split.declared, split.promised) != (declared, split.source.expected_records):
        yield (
            f"declared {split.declared} and promised {split.promised}; the schema says {declared}, the source "
            f"{split.source.expected_records}"
        )
    if split.counted != (report.part is None and not split.limited):
        yield f"counted is {split.counted} with part {report.part} and limited {split.limited}"
    for shard in split.shards:
        for problem in _of_shard(shard):
            yield f"file {shard.name}: {problem}"
    yield from _of_labels(split, schema.stored(split.split))
    yield from _of_places(split)


def _of_shard(shard: ShardReport) -> Iterator[str]:
    if shard.invalid + shard.unreadable > shard.records:
        yield f"{shard.invalid} invalid and {shard.unreadable} unreadable of {counted(shard.records, 'record')}"
    if bool(shard.unreadable) != bool(shard.unreadable_examples) or len(shard.unreadable_examples) > shard.unreadable:
        yield (
            f"{counted(len(shard.unreadable_examples), 'example')} of {counted(shard.unreadable, 'unreadable record')}"
        )
    broken = shard.violations.values()
    if not max(broken, default=0) <= shard.invalid or (not shard.error and shard.invalid > sum(broken)):
        yield f"{counted(shard.invalid, 'invalid record')}, and violations {dict(shard.violations)}"
    if shard.certified and (shard.error or shard.invalid or shard.unreadable):
        yield "certified in spite of an error or an invalid record"


def _of_labels(split: SplitReport, labels: Mapping[str, Label]) -> Iterator[str]:
    whole = not any(shard.error for shard in split.shards)
    if set(split.labels) != set(labels):
        yield f"labels are {sorted(split.labels)}, the schema has {sorted(labels)}"
        return
    read = split.records - split.unreadable
    broken: Counter[str] = Counter()
    for shard in split.shards:
        broken.update(shard.violations)
    for path, found in split.labels.items():
        if found.records > read or (whole and found.records != read):
            yield f"label {path}: records is {found.records}, expected {read}"
        for rule in {*found.violations, *(name.rpartition(" ")[2] for name in broken if name.startswith(f"{path} "))}:
            number = found.violations.get(rule, [0])[0]
            if number != broken.pop(f"{path} {rule}", 0):
                yield f"label {path}: {rule} is broken by {counted(number, 'record')}, by another number in its files"
        for problem in _of_label(labels[path], found, whole=not split.certified):
            yield f"label {path}: {problem}"
    if broken:
        yield f"violations of {min(broken)!r}, which the schema does not have"
    invalid = [found.invalid for found in split.labels.values()]
    if max(invalid) > split.invalid or (whole and sum(invalid) < split.invalid):
        yield f"invalid is {split.invalid}, its labels have {invalid}"


def _of_label(label: Label, stats: LabelStatistics, *, whole: bool) -> Iterator[str]:
    records = [counts[0] for counts in stats.violations.values()]
    if max(records, default=0) > stats.invalid or stats.invalid > sum(records) or stats.invalid > stats.records:
        yield f"{stats.invalid} invalid of {counted(stats.records, 'record')}, violations {stats.violations}"
    for rule, (number, positions) in stats.violations.items():
        examples = stats.examples.get(rule, [])
        if not 1 <= number <= positions or not 1 <= len(examples) <= min(number, MAX_EXAMPLES):
            numbers = counted(number, "record"), counted(positions, "position"), counted(len(examples), "example")
            yield f"{rule}: {', '.join(numbers)}"
    if set(stats.examples) != set(stats.violations):
        yield f"examples of {sorted(stats.examples)}, violations of {sorted(stats.violations)}"
    if stats.illegal_values.positions and not stats.invalid:
        yield f"{counted(stats.illegal_values.positions, 'illegal value')}, and no invalid record"
    typed = stats.dtypes.total()
    if typed > stats.records or typed != sum(stats.shapes.values()):
        yield f"{counted(stats.records, 'record')}, {typed} by dtype, {sum(stats.shapes.values())} by shape"
    for name in ("normalized", "one_hot", "nothing_left"):
        if getattr(stats, name) > stats.records:
            yield f"{name} is {getattr(stats, name)} of {counted(stats.records, 'record')}"
    unknown = set(stats.sentinels) - set(label.sentinels)
    if unknown:
        yield f"sentinels {sorted(unknown)} are not declared"
    yield from _of_classes(label, stats, whole=whole)


def _of_classes(label: Label, stats: LabelStatistics, *, whole: bool) -> Iterator[str]:
    """Yields where values are not those of the records; of files that a footer proved legal none were counted."""
    ids, counts = stats.class_counts.arrays()
    holders, records = stats.class_records.arrays()
    if not np.array_equal(ids, holders) or (records > counts).any() or (records > stats.records).any():
        yield "class_records are not those of class_counts"
    known = label.id_set
    strange = next((i for i in ids.tolist() if i not in known), None)
    if strange is not None:
        yield f"class_counts has {strange}, which is not a class id"
    cells = _cells(stats)
    if not isinstance(label, ClassLabel) or cells is None or label.where is not None:
        return
    seen = stats.positions + stats.fractional + stats.not_finite
    if seen > cells or (whole and seen < cells):
        yield f"{counted(seen, 'value is', 'values are')} counted, expected {cells} by shape"


def _cells(stats: LabelStatistics) -> int | None:
    """Number of values by shape; None where some are not numbers, or have too many shapes to be listed."""
    if "..." in stats.shapes or not all(name.rstrip("0123456789") in _NUMBERS for name in stats.dtypes):
        return None
    return sum(math.prod(json.loads(shape)) * records for shape, records in stats.shapes.items())


def _of_places(split: SplitReport) -> Iterator[str]:
    """Yields where the invalid records, or how they compare with a baseline, are not those that were counted."""
    bad = split.invalid + split.unreadable
    whole = not any(shard.error for shard in split.shards)
    sizes = {shard.name: shard.records for shard in split.shards}
    lost = next((place for place in split.bad if place.shard not in sizes), None)
    if lost is not None:
        yield f"bad: {lost.record} is in {lost.shard}, which is not one of its files"
    if split.bad and whole and len(split.bad) != bad:
        yield f"bad has {counted(len(split.bad), 'record')}, expected {bad}: all that are invalid or unreadable"
    found = split.baseline
    if found is None:
        return
    most = max((number for number, _ in found.new_by_rule.values()), default=0)
    if (whole and found.new + found.known != bad) or most > found.new or bool(found.new) != bool(found.new_by_rule):
        yield f"baseline: {found.new} new and {found.known} known of {bad}, new by rule {found.new_by_rule}"
