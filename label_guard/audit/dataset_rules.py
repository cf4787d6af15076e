"""From folded splits to findings (those of records, and LG4xx), causes, and what was not checked."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from label_guard.audit.baseline import Comparison
from label_guard.audit.report import Cause, Finding, SplitReport
from label_guard.core.plural import agreed, counted, number, times
from label_guard.diagnosis.dataset import diagnose_dataset
from label_guard.diagnosis.statistics import LabelStatistics
from label_guard.diagnosis.unused import LEGAL_CAUSES
from label_guard.rules.diagnostic import Severity
from label_guard.rules.registry import RULES
from label_guard.schema.dataset import DatasetSchema
from label_guard.schema.labels import ClassLabel, Label, MultiLabel
from label_guard.schema.split_spec import is_training

# Total variation distance between two class distributions, 0 to 1: half the sum of absolute differences
# (Levin, Peres and Wilmer, Markov Chains and Mixing Times, 4.1). A fifth of the mass elsewhere is worth a look.
MAX_TOTAL_VARIATION = 0.2
# Below this many records a distribution of many classes departs by chance alone.
RECORDS_PER_CLASS = 20
_RAREST = 3  # illegal values named after the first
_SHOWN = 8  # classes that a finding names
_VOCABULARY = 1_000  # classes from which lists of ids are of a vocabulary, which is never used up
REPLACE = "repair or replace the file and audit again"


def find_all(schema: DatasetSchema, splits: Sequence[SplitReport]) -> list[Finding]:
    """Returns the rules that the data broke, in the order of the splits."""
    found: list[Finding] = []
    for split in splits:
        labels = schema.stored(split.split)
        found += _record_findings(schema, split, labels)
        found += _empty_findings(split, labels)
        if split.whole:
            found += _count_findings(split)
            found += _class_findings(schema, split, labels, splits)
        for rule, path, message, fix in split.source.contradictions:
            found.append(finding_of(rule, split.split, f"{path}: {message}" if path else message, label=path, fix=fix))
    return [*found, *_distribution_shifts(schema, splits), *_nothing_quarantined(splits)]


def find_causes(schema: DatasetSchema, splits: Sequence[SplitReport]) -> list[Cause]:
    """Returns the likely causes of what is wrong with labels."""
    found = diagnose_dataset(
        schema, {s.split: dict(s.labels) for s in splits}, {s.split: s.source.class_names for s in splits}
    )
    uncounted = {split.split for split in splits if split.certified}
    return [
        Cause(
            split=split,
            label=path,
            cause=one.cause,
            text=one.text,
            patch=dict(one.patch),
            alternatives=tuple(one.alternatives),
        )
        for split, path, one in found
        if not (split in uncounted and one.cause in LEGAL_CAUSES)
    ]


def list_not_checked(schema: DatasetSchema, splits: Sequence[SplitReport]) -> list[str]:
    """Returns what an audit could not check, in one line each."""
    found: list[str] = []
    for split in splits:
        name = split.split or "(no split)"
        unread = sum(bool(shard.error) for shard in split.shards)
        if unread:
            found.append(f"{name}: {unread:,} of {counted(len(split.shards), 'file')} could not be read to the end")
        if split.limited:
            found.append(
                f"{name}: a limit, or a stop, left records unread; counts were not compared with what is declared"
            )
        if split.certified:
            found.append(
                f"{name}: {counted(split.certified, 'file is', 'files are')} legal by Parquet statistics; no class was "
                "counted"
            )
        if split.source.format == "quarantine":
            rules = "LG401, LG403, LG404, LG405"
            found.append(f"{name}: rules about a split as a whole ({rules}): a quarantine holds some of its records")
            continue
        for path, label in schema.stored(split.split).items():
            if not isinstance(label, ClassLabel | MultiLabel):
                continue
            if split.labels[path].class_counts and is_vocabulary(label, split, path):
                found.append(
                    f"{name}: {path}: whether every class is used (LG403): too few values, or the ids of a vocabulary"
                )
    found += [
        f"{split.split}: {path}: whether its classes are distributed as in train (LG405), which takes "
        f"{RECORDS_PER_CLASS} records per class in both"
        for split, path, distance in _distances(schema, [one for one in splits if one.source.format != "quarantine"])
        if distance is None
    ]
    return found


def finding_of(
    rule: str, split: str | None, message: str, *, label: str = "", fix: str = "", severity: Severity | None = None
) -> Finding:
    """Returns a finding of the severity of its rule, unless another one is given.

    Args:
        rule: its code.
        split: name of the split; None for the whole dataset.
        message: what was found.
        label: path of the label.
        fix: what to do.
        severity: in place of the rule's own.
    """
    known = RULES[rule]
    return Finding(
        rule=rule, name=known.name, severity=severity or known.severity, message=message, fix=fix, split=split,
        label=label or None,
    )  # fmt: skip


# Records --------------------------------------------------------------------------------------------------------------


def _record_findings(schema: DatasetSchema, split: SplitReport, labels: Mapping[str, Label]) -> Iterator[Finding]:
    """Yields one finding for each label and rule; warnings where the split stays within its limit."""
    known = split.baseline
    bad = split.invalid + split.unreadable if known is None else known.new
    within = bad <= schema.limits_of(split.split).max_invalid_ratio * split.unpadded
    severity: Severity = "warning" if within else "error"
    for path in labels:
        found = split.labels[path]
        for rule, (records, positions) in sorted(found.violations.items()):
            first = found.examples[rule][0]
            places = "" if positions == records else f" in {counted(positions, 'place')}"
            value = f"{number(first.value)} at {list(first.place)}" if first.place else number(first.value)
            message = (
                f"{path}: {records:,} of {counted(split.unpadded, 'record')}{places}; first {first.record}: {value}, "
                f"expected {first.legal}"
            )
            message += _rarest(found, rule, first.value)
            yield _against(
                known, f"{path} {rule}", finding_of(rule, split.split, message, label=path, severity=severity)
            )
    if split.unreadable:
        key, reason = next(e for shard in split.shards for e in shard.unreadable_examples)
        message = (
            f"{split.unreadable:,} of {counted(split.unpadded, 'record')} cannot be decoded; first {key}: {reason}"
        )
        yield _against(known, "LG120", finding_of("LG120", split.split, message, severity=severity))
    for shard in split.shards:
        if shard.error:
            yield finding_of("LG402", split.split, shard.error, fix=REPLACE)


def _rarest(stats: LabelStatistics, rule: str, first: Any) -> str:
    """The rarest illegal values of a rule with their places, so that one odd value shows among a million others."""
    if rule not in ("LG101", "LG102"):
        return ""
    values = {v: one for v, one in stats.illegal_values.values.items() if (v < 0) == (rule == "LG102") and v != first}
    ranked = sorted(values.items(), key=lambda pair: (pair[1].positions, pair[0]))[:_RAREST]
    shown = [f"{value} ({times(one.positions)}, first {one.first[2] or one.first[0]})" for value, one in ranked]
    return f"; rarest: {', '.join(shown)}" if shown else ""


def _empty_findings(split: SplitReport, labels: Mapping[str, Label]) -> Iterator[Finding]:
    """Yields labels of which some records hold nothing to learn, padding apart; an error where all of a split do."""
    for path, label in labels.items():
        found, padding = split.labels[path], split.padding
        if found.nothing_left == found.records:
            padding = 0  # a split of nothing but padding has nothing to learn either
        empty, records = found.nothing_left - padding, found.records - padding
        trains = split.split in (None, "all") or is_training(split.split)  # those of others may be withheld
        declared = getattr(label, "unlabeled", None) is not None and not (trains and empty == records)
        if empty and not declared:
            share = f"{empty:,} of {counted(records, 'record')} {agreed(empty, 'holds', 'hold')}"
            message = f"{path}: {share} nothing to learn: no position is labeled"
            every = empty == records and split.source.format != "quarantine"
            severity: Severity = "error" if every else "warning"
            yield finding_of("LG408", split.split, message, label=path, severity=severity)


def _against(known: Comparison | None, broken: str, finding: Finding) -> Finding:
    """The finding as a baseline leaves it: only what is new in it counts."""
    if known is None:
        return finding
    new, first = known.new_by_rule.get(broken, (0, ""))
    if not new:
        return finding.model_copy(update={"severity": "warning", "message": f"{finding.message}; all in the baseline"})
    return finding.model_copy(update={"message": f"{finding.message}; not in the baseline: {new:,}, first {first}"})


# The dataset ----------------------------------------------------------------------------------------------------------


def _count_findings(split: SplitReport) -> Iterator[Finding]:
    damaged = any(shard.error for shard in split.shards)
    if not split.records and split.declared is None and split.promised is None and not damaged:
        fix = "find the lost records; where a split is empty, declare num_examples: 0"
        yield finding_of("LG401", split.split, "the split has no records", fix=fix)
    for promise, who in ((split.declared, "the schema's num_examples"), (split.promised, "the dataset's metadata")):
        if promise is not None and promise != split.records:
            padding = f", {split.padding:,} of them padding," if split.padding else ""
            found = f"{counted(split.records, 'record is', 'records are')} there{padding}"
            message = f"{found} but {who} promises {promise:,}"
            yield finding_of("LG401", split.split, message, fix="find the lost records, or correct the promise")
    for shard in split.shards:
        if shard.expected is not None and shard.expected != shard.records and not shard.error:
            message = f"{shard.name} has {counted(shard.records, 'record')} but the metadata promise {shard.expected:,}"
            fix = "readers that trust the metadata never see the difference"
            yield finding_of("LG401", split.split, message, fix=fix)


def _nothing_quarantined(splits: Sequence[SplitReport]) -> Iterator[Finding]:
    """Yields a finding where a quarantine holds no record of any split: the wrong folder, or other splits."""
    empty = [one.source.format == "quarantine" and one.counted and not one.records for one in splits]
    if empty and all(empty):
        fix = "check the folder, and the names of the splits"
        yield finding_of("LG401", splits[0].split, "the quarantine holds no record of these splits", fix=fix)


def _class_findings(
    schema: DatasetSchema, split: SplitReport, labels: Mapping[str, Label], splits: Sequence[SplitReport]
) -> Iterator[Finding]:
    least = schema.limits_of(split.split).min_class_count
    for path, label in labels.items():
        found = split.labels[path]
        if not isinstance(label, ClassLabel | MultiLabel) or not found.class_counts or split.certified:
            continue
        others = [one for one in splits if one is not split and one.whole and path in one.labels]
        ids = label.raw_ids
        used = found.class_records.table()
        count, unused = _classes_below(1, label, used)
        if count and not is_vocabulary(label, split, path):
            share = f"{count} of {counted(label.num_classes, 'class')} {agreed(count, 'is', 'are')} never used"
            message = f"{path}: {share}: {_class_list(count, unused, ids, label)}"
            elsewhere = [one.split for one in others if all(one.labels[path].class_counts[ids[p]] for p in unused)]
            if elsewhere:
                message += f"; they are used in {elsewhere[0]}"
            yield finding_of("LG403", split.split, message, label=path)
        count, rare = _classes_below(least, label, used)
        if count:
            names = _class_list(count, rare, ids, label)
            message = (
                f"{path}: {counted(count, 'class has', 'classes have')} fewer than min_class_count "
                f"{counted(least, 'record')}: {names}"
            )
            yield finding_of("LG404", split.split, message, label=path)


def is_vocabulary(label: ClassLabel | MultiLabel, split: SplitReport, path: str) -> bool:
    """Whether classes are expected to be unused: fewer values than classes, or tokens of 1,000 classes or more.

    Tokens are lists of ids, or the bare numbers of a ``raw:`` file.
    """
    tokens = isinstance(label, ClassLabel) and (label.rank > 0 or split.source.format == "raw")
    return (tokens and label.num_classes >= _VOCABULARY) or split.labels[path].class_counts.total() < label.num_classes


def _classes_below(least: int, label: ClassLabel | MultiLabel, records: Mapping[int, int]) -> tuple[int, list[int]]:
    """How many classes have fewer than ``least`` records, and the indices of the first of them.

    In time that grows with the classes in use: a schema may declare two thousand million.
    """
    ids, known = label.raw_ids, label.id_set
    enough = sum(count >= least and raw in known for raw, count in records.items()) if least else len(ids)
    fewer = (place for place, raw in enumerate(ids) if records.get(raw, 0) < least)
    count = len(ids) - enough
    return count, list(islice(fewer, min(count, _SHOWN)))


def _class_list(count: int, indices: Sequence[int], ids: Sequence[int], label: ClassLabel | MultiLabel) -> str:
    names = label.class_names
    shown = [f"{ids[place]} ({names[place]})" if names else str(ids[place]) for place in indices]
    return ", ".join(shown) + (f" and {count - len(indices):,} more" if count > len(indices) else "")


def _distribution_shifts(schema: DatasetSchema, splits: Sequence[SplitReport]) -> Iterator[Finding]:
    """Splits whose classes are distributed differently from train's."""
    known = [split for split in splits if split.whole and not split.certified]
    for split, path, distance in _distances(schema, known):
        if distance is not None and distance > MAX_TOTAL_VARIATION:
            message = f"{path}: the classes are distributed differently from train: total variation {distance:.2f}"
            yield finding_of("LG405", split.split, message, label=path)


def _distances(schema: DatasetSchema, splits: Sequence[SplitReport]) -> Iterator[tuple[SplitReport, str, float | None]]:
    """Yields how far the classes of each label of a split are from train's; None where there are too few records."""
    train = next((one for one in splits if one.split == "train"), None)
    if train is None:
        return
    for split in splits:
        for path, label in schema.stored(split.split).items():
            if split is not train and isinstance(label, ClassLabel | MultiLabel):
                ours, theirs = train.labels[path].class_counts, split.labels[path].class_counts
                enough = min(ours.total(), theirs.total()) >= RECORDS_PER_CLASS * label.num_classes
                yield split, path, total_variation(ours.table(), theirs.table()) if enough else None


def total_variation(first: Mapping[int, int], second: Mapping[int, int]) -> float:
    """Total variation distance of two class distributions, 0 to 1: half the sum of absolute differences of shares.

    >>> total_variation({0: 1, 1: 1}, {0: 2})
    0.5
    """
    ours, theirs = sum(first.values()), sum(second.values())
    return math.fsum(abs(first.get(i, 0) / ours - second.get(i, 0) / theirs) for i in {*first, *second}) / 2
