"""From folded splits to a report: findings, causes, baseline, duplicates; parts merged; a report read from its JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from label_guard.audit.bad_places import BadPlaces
from label_guard.audit.baseline import Baseline, compare
from label_guard.audit.consistency import find_contradictions
from label_guard.audit.dataset_rules import REPLACE, find_all, find_causes, finding_of, list_not_checked
from label_guard.audit.duplicates import Duplicates
from label_guard.audit.fold import merge_splits
from label_guard.audit.report import AuditReport, SchemaPlace, SplitReport
from label_guard.core.files import read_text
from label_guard.core.plural import counted
from label_guard.core.strict_json import refuse_constant, unique_pairs
from label_guard.errors import LabelGuardError, UsageError
from label_guard.schema.dataset import DatasetSchema


def conclude(
    schema: DatasetSchema,
    splits: Sequence[SplitReport],
    *,
    part: tuple[int, int] | None = None,
    problems: Sequence[str] = (),
    schema_place: SchemaPlace | None = None,
) -> AuditReport:
    """Returns the report of folded splits.

    Args:
        schema: the schema.
        splits: one for each split.
        part: ``(i, n)`` where these are a part of an audit over several machines.
        problems: what could not be written.
        schema_place: where the schema is written.
    """
    damaged = any(shard.error for split in splits for shard in split.shards)
    return AuditReport(
        dataset=schema.name,
        schema_version=schema.version,
        complete=not damaged and not any(split.limited for split in splits),
        part=part,
        splits=list(splits),
        findings=find_all(schema, splits),
        diagnoses=find_causes(schema, splits),
        not_checked=list_not_checked(schema, splits),
        problems=list(problems),
        schema_file=schema,
        schema_place=schema_place,
    )


def _with_splits(report: AuditReport, splits: Sequence[SplitReport]) -> AuditReport:
    """``report`` with other splits, and what follows from them."""
    found = conclude(
        report.schema_file, splits, part=report.part, problems=report.problems, schema_place=report.schema_place
    )
    if report.duplicates is not None:
        found = with_duplicates(found, report.duplicates)
    return found.model_copy(update={"thumbnails": report.thumbnails})


def with_baseline(report: AuditReport, baseline: Baseline) -> AuditReport:
    """Returns the report compared with known-bad records: only new ones are errors.

    Args:
        report: an audit that kept which records are bad.
        baseline: what was known.

    Raises:
        UsageError: the baseline is of another dataset.
    """
    if baseline.dataset != report.dataset:
        raise UsageError(f"the baseline is of dataset {baseline.dataset!r}, not of {report.dataset!r}")
    known = [baseline.splits.get(split.split or "", BadPlaces()) for split in report.splits]
    splits = [
        split.model_copy(update={"baseline": compare(before, split.bad, whole=split.counted)})
        for split, before in zip(report.splits, known, strict=True)
    ]
    return _with_splits(report, splits)


def with_duplicates(report: AuditReport, duplicates: Duplicates) -> AuditReport:
    """Returns the report with what ``find_duplicates`` found."""
    findings = list(report.findings)
    words = (
        ("LG406", duplicates.conflicting, "the same content under different labels"),
        ("LG407", duplicates.shared, "the same content in several splits"),
    )
    for rule, groups, what in words:
        if groups.groups:
            first = groups.examples[0]
            shown = "; ".join(f"{_split_prefix(member.split)}{member.record} {{{member.labels}}}" for member in first)
            number = f"{counted(groups.records, 'record')} in {counted(groups.groups, 'group')}"
            message = f"{number} have {what}; first {shown}"
            findings.append(finding_of(rule, first[0].split or None, message))
    known = {shard.name for split in report.splits for shard in split.shards if shard.error}
    for split, shard, why in duplicates.unread:
        if shard not in known:
            message = f"whole records of {shard} could not be read to compare them: {why}"
            findings.append(finding_of("LG402", split or None, message, fix=REPLACE))
    complete = report.complete and not duplicates.unread and not duplicates.stopped
    return report.model_copy(update={"findings": findings, "duplicates": duplicates, "complete": complete})


def _split_prefix(split: str) -> str:
    return f"{split}: " if split else ""


def merge_reports(parts: Sequence[AuditReport]) -> AuditReport:
    """Returns the report of all parts that ``--shards I/N`` made.

    Raises:
        UsageError: parts of different audits or data, one twice, or one missing; or a file twice, or missing.
    """
    numbers = [part.part for part in parts]
    totals = {number[1] for number in numbers if number is not None}
    schemas = {part.schema_file.model_dump_json(exclude_unset=True) for part in parts}
    if None in numbers or len(totals) != 1 or len(schemas) > 1:
        raise UsageError("these are not parts of one audit; merge what --shards I/N wrote with one schema")
    total = totals.pop()
    missing = sorted(set(range(total)) - {number[0] for number in numbers if number is not None})
    if missing or len(parts) != total:
        what = f"part {missing[0]}/{total} is missing" if missing else "a part occurs twice"
        raise UsageError(f"{what}; merge takes each of the {total} parts once")
    splits, pictures = list(parts[0].splits), {split: dict(found) for split, found in parts[0].thumbnails.items()}
    for part in parts[1:]:
        if [mine.split for mine in splits] != [theirs.split for theirs in part.splits]:
            raise UsageError("the parts are of different splits; merge what --shards I/N wrote with the same --split")
        for mine, theirs in zip(splits, part.splits, strict=True):
            _require_same_source(mine, theirs)
        for split, found in part.thumbnails.items():
            pictures.setdefault(split, {}).update(found)
    schema = parts[0].schema_file
    splits = [merge_splits(schema, [part.splits[place] for part in parts]) for place in range(len(splits))]
    problems = [text for part in parts for text in part.problems]
    merged = conclude(schema, splits, problems=problems, schema_place=parts[0].schema_place)
    problem = next(find_contradictions(merged), None)
    if problem is not None:
        raise UsageError(f"the parts are not of one audit: {problem}")
    return merged.model_copy(update={"thumbnails": pictures})


def _require_same_source(first: SplitReport, second: SplitReport) -> None:
    for name in type(first.source).model_fields:
        values = getattr(first.source, name), getattr(second.source, name)
        if values[0] != values[1]:
            raise UsageError(
                f"the parts were read from different data: split {first.split}, {name} {values[0]!r} and "
                f"{values[1]!r}; merge what --shards I/N wrote of the same files"
            )


# Reading --------------------------------------------------------------------------------------------------------------


def read_report(path: str | Path) -> AuditReport:
    """Returns the report in a JSON file, of this version of the format or an earlier one.

    Raises:
        UsageError: it cannot be read, or is not an audit report; the message names the field.
    """
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the audit report {path}: {error}") from None
    try:
        return parse_report(text)
    except UsageError as error:
        raise UsageError(f"{path} is not an audit report: {error}") from None


def parse_report(text: str) -> AuditReport:
    """Returns the report that JSON ``text`` holds. Findings and causes follow from the counts, and are made again.

    Raises:
        UsageError: it is not JSON, or does not have the form of a report.
    """
    try:
        data = json.loads(text, parse_constant=refuse_constant, object_pairs_hook=unique_pairs)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"it is not JSON: {error}") from None
    if not isinstance(data, dict) or "splits" not in data:
        raise UsageError("it has no splits; write one with --report json=FILE")
    try:
        report = AuditReport.model_validate(data)
        problem = next(find_contradictions(report), None)
        if problem is not None:
            reason = f"its numbers contradict each other: {problem}"
            raise UsageError(f"{reason}; make it again with audit --report json=FILE")
        return _with_splits(report, report.splits)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except LabelGuardError as error:
        raise UsageError(str(error)) from None
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RuntimeError) as error:
        raise UsageError(f"its parts do not fit together: {type(error).__name__}: {error}") from None
