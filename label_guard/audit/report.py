"""What an audit found: values, the rules over a whole dataset (LG4xx), the verdict, and its plain form."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from label_guard.audit.baseline import BadPlace, Baseline, Comparison, compare, in_order
from label_guard.audit.duplicates import Duplicates
from label_guard.audit.report_format import VERSION, checked_report
from label_guard.diagnosis.dataset import diagnose_dataset, shuffled_names
from label_guard.diagnosis.label import UNUSED, Diagnosis
from label_guard.diagnosis.statistics import LabelStatistics
from label_guard.errors import UsageError
from label_guard.rules.findings import Diagnostic, Severity
from label_guard.rules.registry import RULES
from label_guard.schema.dataset import DatasetSchema
from label_guard.schema.labels import ClassLabel, Label, MultiLabel

# Total variation distance between two class distributions, 0 to 1: half the sum of absolute differences
# (Levin, Peres and Wilmer, Markov Chains and Mixing Times, 4.1). A fifth of the mass elsewhere is worth a look.
MAX_DEPARTURE = 0.2
# Below this many records a distribution of many classes departs by chance alone.
RECORDS_PER_CLASS = 20


@dataclass(frozen=True, slots=True)
class SplitAudit:
    """One split, folded.

    Attributes:
        split: its name, or None where the schema declares none.
        source: where it was read from.
        records: records read.
        invalid: records that broke a rule.
        unreadable: records that cannot be decoded.
        declared: records the schema promises, or None.
        promised: records the dataset's metadata promise, or None.
        labels: statistics by label.
        shards: one plain entry for each shard, by name.
        bad: bad records by key, where they were kept.
        counted: whether all shards were read without a limit, so that counts can be held against promises.
        limited: whether a limit, or being stopped, left records unread.
        known: how ``bad`` compares with a baseline, where there is one.
    """

    split: str | None
    source: Mapping[str, Any]
    records: int
    invalid: int
    unreadable: int
    declared: int | None
    promised: int | None
    labels: Mapping[str, LabelStatistics]
    shards: Sequence[Mapping[str, Any]]
    bad: Mapping[str, BadPlace] = field(default_factory=dict[str, BadPlace])
    counted: bool = True
    limited: bool = False
    known: Comparison | None = None

    @property
    def certified(self) -> int:
        """Shards that a footer proved legal: their records count, their classes were not counted."""
        return sum("certified" in shard for shard in self.shards)

    def merge(self, other: SplitAudit) -> SplitAudit:
        """Both together: parts of one split, from two machines."""
        limited = self.limited or other.limited
        return SplitAudit(
            self.split, self.source, self.records + other.records, self.invalid + other.invalid,
            self.unreadable + other.unreadable, self.declared, self.promised,
            {path: found.merge(other.labels[path]) for path, found in self.labels.items()},
            sorted([*self.shards, *other.shards], key=lambda shard: shard["name"]),
            in_order([self.bad, other.bad]), counted=not limited, limited=limited,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The whole audit.

    Attributes:
        dataset: name of the dataset.
        version: version of the schema.
        splits: one entry for each split.
        findings: rules broken, over records and over the dataset, errors first within a split.
        diagnoses: likely causes.
        complete: whether all of the work was done; never true for work not done.
        part: ``(i, n)`` where this is a part of an audit over several machines, else None.
        schema: the schema in plain form, for ``merge`` and for rendering again.
        duplicates: records of the same content, where they were looked for.
        thumbnails: by split and record key, a picture of an example as a ``data:`` URI, where they were gathered.
    """

    dataset: str
    version: str
    splits: Sequence[SplitAudit]
    findings: Sequence[Diagnostic]
    diagnoses: Sequence[tuple[str | None, Diagnosis]]
    complete: bool
    part: tuple[int, int] | None = None
    schema: Mapping[str, Any] = field(default_factory=dict[str, Any])
    duplicates: Duplicates | None = None
    thumbnails: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])

    @property
    def exit_code(self) -> int:
        """0 clean, 1 findings, 2 where not all of the work was done."""
        if not self.complete:
            return 2
        return int(any(finding.severity == "error" for finding in self.findings))

    def to_json(self) -> dict[str, Any]:
        """Plain values, the same for any workers, shards or order."""
        return {
            "version": VERSION,
            "dataset": self.dataset,
            "schema_version": self.version,
            "complete": self.complete,
            "part": None if self.part is None else list(self.part),
            "splits": [_split_json(split) for split in self.splits],
            "findings": [_finding_json(finding) for finding in self.findings],
            "diagnoses": [
                {"split": split, "label": d.label, "cause": d.cause, "text": d.text, "patch": dict(d.patch)}
                for split, d in self.diagnoses
            ],
            "schema": dict(self.schema),
            **({} if self.duplicates is None else {"duplicates": self.duplicates.to_json()}),
            **({"thumbnails": {k: dict(v) for k, v in self.thumbnails.items()}} if self.thumbnails else {}),
        }


def _split_json(split: SplitAudit) -> dict[str, Any]:
    plain = {
        "split": split.split, "source": dict(split.source), "records": split.records, "invalid": split.invalid,
        "unreadable": split.unreadable, "declared": split.declared, "promised": split.promised,
        "labels": {path: found.to_json() for path, found in sorted(split.labels.items())},
        "shards": [dict(shard) for shard in split.shards], "counted": split.counted,
        "bad": {key: place.to_json() for key, place in split.bad.items()}, "limited": split.limited,
    }  # fmt: skip
    return plain if split.known is None else {**plain, "baseline": split.known.to_json()}


def _finding_json(finding: Diagnostic) -> dict[str, Any]:
    return {
        "rule": finding.rule, "name": RULES[finding.rule].name, "severity": finding.severity,
        "message": finding.message, "fix": finding.fix, "split": finding.path[0] if finding.path else None,
        "label": finding.path[1] if len(finding.path) > 1 else None,
    }  # fmt: skip


def from_json(data: Any) -> AuditReport:
    """The report that ``to_json`` wrote; findings are judged anew.

    Raises:
        UsageError: another version of the format, or no audit.
    """
    data = checked_report(data)
    schema = DatasetSchema.model_validate(data["schema"])
    splits = [
        SplitAudit(
            s["split"], s["source"], s["records"], s["invalid"], s["unreadable"], s["declared"], s["promised"],
            {path: LabelStatistics.from_json(found, path) for path, found in s["labels"].items()},
            s["shards"], {key: BadPlace.from_json(place) for key, place in s["bad"].items()}, s["counted"],
            s["limited"], Comparison.from_json(s["baseline"]) if "baseline" in s else None,
        )
        for s in data["splits"]
    ]  # fmt: skip
    part = None if data["part"] is None else (int(data["part"][0]), int(data["part"][1]))
    report = conclude(schema, splits, shards=part)
    if "duplicates" in data:
        report = with_duplicates(report, Duplicates.from_json(data["duplicates"]))
    return replace(report, thumbnails=_pictures(data.get("thumbnails", {})))


def _pictures(data: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    return {str(split): {str(key): str(picture) for key, picture in found.items()} for split, found in data.items()}


def merge_reports(parts: Sequence[AuditReport]) -> AuditReport:
    """The report of all parts that ``--shards I/N`` made.

    Raises:
        UsageError: parts of different audits, one twice, or one missing.
    """
    numbers = [part.part for part in parts]
    totals = {number[1] for number in numbers if number is not None}
    if None in numbers or len(totals) != 1 or len({json.dumps(part.schema, sort_keys=True) for part in parts}) > 1:
        raise UsageError("these are not parts of one audit; merge what --shards I/N wrote with one schema")
    total = totals.pop()
    missing = sorted(set(range(total)) - {number[0] for number in numbers if number is not None})
    if missing or len(parts) != total:
        told = f"part {missing[0]}/{total} is missing" if missing else "a part stands twice"
        raise UsageError(f"{told}; merge takes each of the {total} parts once")
    splits = list(parts[0].splits)
    pictures = _pictures(parts[0].thumbnails)
    for part in parts[1:]:
        if [mine.split for mine in splits] != [theirs.split for theirs in part.splits]:
            raise UsageError("the parts are of different splits; merge what --shards I/N wrote with the same --split")
        splits = [mine.merge(theirs) for mine, theirs in zip(splits, part.splits, strict=True)]
        for split, found in _pictures(part.thumbnails).items():
            pictures.setdefault(split, {}).update(found)
    merged = conclude(DatasetSchema.model_validate(dict(parts[0].schema)), splits, shards=None)
    return replace(merged, thumbnails=pictures)


def with_baseline(report: AuditReport, baseline: Baseline) -> AuditReport:
    """The report judged against known-bad records: only new ones are errors, fixed ones are told.

    Args:
        report: an audit that kept which records are bad.
        baseline: what was known.

    Raises:
        UsageError: the baseline is of another dataset.
    """
    if baseline.dataset != report.dataset:
        raise UsageError(f"the baseline is of dataset {baseline.dataset!r}, not of {report.dataset!r}")
    splits = [
        replace(split, known=compare(baseline.splits.get(split.split or "", {}), split.bad, whole=split.counted))
        for split in report.splits
    ]
    judged = conclude(DatasetSchema.model_validate(dict(report.schema)), splits, shards=report.part)
    return judged if report.duplicates is None else with_duplicates(judged, report.duplicates)


def with_duplicates(report: AuditReport, found: Duplicates) -> AuditReport:
    """The report with what ``find_duplicates`` found."""
    findings = list(report.findings)
    words = (
        ("LG406", found.conflicting, "the same content under different labels"),
        ("LG407", found.shared, "the same content in several splits"),
    )
    for rule, groups, what in words:
        if groups.groups:
            first = groups.examples[0]
            told = "; ".join(f"{_in(member.split)}{member.record} {{{member.labels}}}" for member in first)
            message = f"{groups.records:,} records in {groups.groups:,} groups have {what}; first {told}"
            findings.append(_finding(rule, first[0].split, message))
    told = {shard["name"] for split in report.splits for shard in split.shards if shard["error"]}
    for split, shard, why in found.unread:
        if shard not in told:
            message = f"whole records of {shard} could not be read to compare them: {why}"
            findings.append(_finding("LG402", split, message, fix="mend or replace the file and audit again"))
    complete = report.complete and not found.unread and not found.stopped
    return replace(report, findings=findings, duplicates=found, complete=complete)


def _in(split: str) -> str:
    return f"{split}: " if split else ""


def conclude(schema: DatasetSchema, splits: Sequence[SplitAudit], *, shards: tuple[int, int] | None) -> AuditReport:
    """Judge folded splits: findings, likely causes, the verdict."""
    findings: list[Diagnostic] = []
    for split in splits:
        labels = schema.stored(split.split)
        findings += _record_findings(schema, split)
        findings += _dataset_findings(schema, split, labels) if split.counted else ()
        findings += _name_findings(split, labels)
    findings += _departures(schema, splits)
    causes = diagnose_dataset(
        schema, {s.split: s.labels for s in splits}, {s.split: s.source.get("class_names", {}) for s in splits}
    )
    uncounted = {split.split for split in splits if split.certified}
    diagnoses = [told for told in causes if not (told[0] in uncounted and told[1].cause in UNUSED)]
    damaged = any(shard["error"] for split in splits for shard in split.shards)
    complete = not damaged and not any(split.limited for split in splits)
    return AuditReport(
        schema.name,
        schema.version,
        splits,
        findings,
        diagnoses,
        complete,
        shards,
        schema.model_dump(mode="json", exclude_unset=True),
    )


def _finding(
    rule: str, split: str | None, message: str, *, label: str = "", fix: str = "", severity: Severity | None = None
) -> Diagnostic:
    path = (split or "", label) if label else (split or "",)
    return Diagnostic(rule, severity or RULES[rule].severity, message, fix, path=path)


def _record_findings(schema: DatasetSchema, split: SplitAudit) -> Iterator[Diagnostic]:
    """One finding for each label and rule; warnings where the split stays within its limit."""
    known = split.known
    bad = split.invalid + split.unreadable if known is None else known.new
    within = bad <= schema.limits.max_invalid_ratio * split.records
    severity: Severity = "warning" if within else "error"
    for path, found in split.labels.items():
        for rule, (records, positions) in sorted(found.violations.items()):
            key, first = found.examples[rule][0]
            places = "" if positions == records else f" in {positions:,} places"
            message = (
                f"{path}: {records:,} of {split.records:,} records{places}; first {key}: {first.value}, "
                f"expected {first.legal}"
            )
            yield _against(known, f"{path} {rule}", _finding(rule, split.split, message, label=path, severity=severity))
    if split.unreadable:
        key, reason = next(e for shard in split.shards for e in shard["unreadable_examples"])
        message = f"{split.unreadable:,} of {split.records:,} records cannot be decoded; first {key}: {reason}"
        yield _against(known, "LG120", _finding("LG120", split.split, message, severity=severity))
    for shard in split.shards:
        if shard["error"]:
            yield _finding("LG402", split.split, shard["error"], fix="mend or replace the file and audit again")


def _against(known: Comparison | None, broken: str, finding: Diagnostic) -> Diagnostic:
    """The finding as a baseline leaves it: only what is new in it counts."""
    if known is None:
        return finding
    new, first = known.new_by_rule.get(broken, (0, ""))
    if not new:
        return replace(finding, severity="warning", message=f"{finding.message}; all in the baseline")
    return replace(finding, message=f"{finding.message}; not in the baseline: {new:,}, first {first}")


def _dataset_findings(schema: DatasetSchema, split: SplitAudit, labels: Mapping[str, Label]) -> Iterator[Diagnostic]:
    yield from _count_findings(split)
    for path, label in labels.items():
        if isinstance(label, ClassLabel | MultiLabel) and split.records and not split.certified:
            yield from _class_findings(schema, split, path, label)


def _name_findings(split: SplitAudit, labels: Mapping[str, Label]) -> Iterator[Diagnostic]:
    for path, label in labels.items():
        moved = shuffled_names(label, split.source.get("class_names", {}).get(path))
        if moved is not None:
            raw, theirs, ours = moved
            message = (
                f"{path}: the names of the dataset stand in another order: {raw} is {theirs!r} there, {ours!r} here"
            )
            yield _finding("LG232", split.split, message, label=path, fix="take the names of the dataset")


def _count_findings(split: SplitAudit) -> Iterator[Diagnostic]:
    for promise, who in ((split.declared, "the schema's num_examples"), (split.promised, "the dataset's metadata")):
        if promise is not None and promise != split.records:
            message = f"{split.records:,} records are there but {who} promises {promise:,}"
            yield _finding("LG401", split.split, message, fix="find the lost records, or mend the promise")
    for shard in split.shards:
        if shard["expected"] is not None and shard["expected"] != shard["records"] and not shard["error"]:
            message = f"{shard['name']} has {shard['records']:,} records but the metadata promise {shard['expected']:,}"
            yield _finding(
                "LG401", split.split, message, fix="readers that trust the metadata never see the difference"
            )


def _class_findings(
    schema: DatasetSchema, split: SplitAudit, path: str, label: ClassLabel | MultiLabel
) -> Iterator[Diagnostic]:
    found = split.labels[path]
    ids = label.raw_ids if isinstance(label, ClassLabel) else range(label.num_classes)
    if not found.class_counts:
        return
    unused = [i for i in ids if not found.class_records[i]]
    if unused:
        message = f"{path}: {len(unused)} of {label.num_classes} classes are never used: {_some(unused, label)}"
        yield _finding("LG403", split.split, message, label=path)
    least = schema.limits.min_class_count
    rare = [i for i in ids if found.class_records[i] < least]
    if rare:
        message = f"{path}: {len(rare)} classes have fewer than min_class_count {least} records: {_some(rare, label)}"
        yield _finding("LG404", split.split, message, label=path)


def _some(ids: Sequence[int], label: ClassLabel | MultiLabel) -> str:
    names = label.class_names
    raw = list(label.raw_ids) if isinstance(label, ClassLabel) else list(range(label.num_classes))
    told = [f"{i} ({names[raw.index(i)]})" if names else str(i) for i in ids[:8]]
    return ", ".join(told) + (f" and {len(ids) - 8} more" if len(ids) > 8 else "")


def _departures(schema: DatasetSchema, splits: Iterable[SplitAudit]) -> Iterator[Diagnostic]:
    """Splits whose class distribution departs from train's."""
    counted = {split.split: split for split in splits if split.counted and not split.certified}
    train = counted.get("train")
    for name, split in counted.items():
        if train is None or name == "train":
            continue
        for path, label in schema.stored(name).items():
            if not isinstance(label, ClassLabel | MultiLabel):
                continue
            distance = departure(train.labels[path], split.labels[path], label.num_classes)
            if distance is not None and distance > MAX_DEPARTURE:
                message = f"{path}: the classes are spread otherwise than in train: total variation {distance:.2f}"
                yield _finding("LG405", name, message, label=path)


def departure(train: LabelStatistics, other: LabelStatistics, num_classes: int) -> float | None:
    """Total variation distance of two class distributions; None where there are too few records to tell."""
    mine, theirs = sum(train.class_counts.values()), sum(other.class_counts.values())
    if min(mine, theirs) < RECORDS_PER_CLASS * num_classes:
        return None
    ids = sorted({*train.class_counts, *other.class_counts})
    return math.fsum(abs(train.class_counts[i] / mine - other.class_counts[i] / theirs) for i in ids) / 2
