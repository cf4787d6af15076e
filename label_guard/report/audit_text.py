"""An audit for people (text) and programs (JSON); its findings go through the diagnostic renderers for CI."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

from label_guard.audit.baseline import Comparison
from label_guard.audit.report import AuditReport, Finding, SplitReport
from label_guard.core.escape import json_text, terminal
from label_guard.core.plural import agreed, counted
from label_guard.errors import UsageError
from label_guard.report import FORMATS, render_diagnostics
from label_guard.report.common import percent
from label_guard.rules.diagnostic import Diagnostic, DiagnosticReport
from label_guard.rules.registry import RULES

AUDIT_FORMATS = (*FORMATS, "html")


def render_audit(report: AuditReport, format: str) -> str:
    """The audit as one text without a newline at its end.

    Args:
        report: the audit.
        format: one of ``AUDIT_FORMATS``.

    Raises:
        UsageError: the format is unknown.
    """
    if format == "text":
        return "\n".join(line.text for line in text_lines(report))
    if format == "json":
        return json_text(json.dumps(report.to_json(), indent=1, allow_nan=False))
    if format == "html":
        return importlib.import_module("label_guard.report.html").render(report)  # jinja2 costs start-up time
    if format not in FORMATS:
        raise UsageError(f"unknown format {format!r}; use one of: {', '.join(AUDIT_FORMATS)}")
    files = sum(len(split.shards) for split in report.splits)
    found = [_diagnostic(report, finding) for finding in report.findings]
    return render_diagnostics(DiagnosticReport(found, "audit", files, report.complete, report.not_checked), format)


def _diagnostic(report: AuditReport, finding: Finding) -> Diagnostic:
    """A finding with dataset, split, place in the schema file and likely causes, for readers who see nothing else."""
    split, place = finding.split or "", report.schema_place
    where = f"{report.dataset}/{split}" if split else report.dataset
    causes = [
        f"likely cause: {cause.text}"
        for cause in report.diagnoses
        if (cause.split, cause.label) == (finding.split, finding.label) and finding.rule.startswith("LG1")
    ]
    return Diagnostic(
        finding.rule,
        finding.severity,
        f"{where}: {finding.message}",
        "; ".join(text for text in (finding.fix, *causes) if text),
        file=place.path if place else "",
        line=place.lines.get(finding.label, 1) if place and finding.label else 0,
        path=(split, finding.label) if finding.label else (split,),
        properties=(("dataset", report.dataset), ("split", finding.split), ("label", finding.label)),
    )


class Line(NamedTuple):
    """A line of the report: escaped text, indented by blanks, and its role, which a terminal shows as a colour."""

    text: str
    role: Literal["", "title", "error", "warning", "good", "cause", "muted"] = ""


def text_lines(
    report: AuditReport, after_split: Callable[[SplitReport], Iterable[Line]] = lambda _: ()
) -> Iterator[Line]:
    """Yields the report line by line.

    Args:
        report: the audit.
        after_split: more lines on a split.
    """
    yield Line(terminal(f"{report.dataset} {report.schema_version}"), "title")
    for split in report.splits:
        yield Line("")
        yield from _split(report, split)
        yield from after_split(split)
    if report.duplicates is not None:
        repeated = report.duplicates.repeated
        yield Line("")
        yield Line(
            f"repeated within a split under one label: {counted(repeated.records, 'record')} in "
            f"{counted(repeated.groups, 'group')}"
        )
    if report.not_checked:
        yield Line("")
        yield Line("not checked:", "title")
        yield from (Line(terminal(f"  {text}"), "muted") for text in report.not_checked)
    yield Line("")
    yield Line(_verdict(report), ("good", "error", "warning")[report.exit_code])


def _split(report: AuditReport, split: SplitReport) -> Iterator[Line]:
    name = split.split or "(no split)"
    bad = split.invalid + split.unreadable
    share = f" ({percent(bad / split.unpadded)})" if bad else ""
    size = f"{counted(split.unpadded, 'record')} in {counted(len(split.shards), 'file')}"
    errors = [shard.error for shard in split.shards if shard.error]
    # Without the reason, "0 bad" would pass for a result.
    nothing = f"; nothing could be read: {errors[0]}" if errors and not split.records else ""
    yield Line(terminal(f"{name}: {size}, {bad:,} bad{share}{nothing}"), "title")
    yield Line(terminal(f"  {split.source.uri}"), "muted")
    yield from _not_read(split)
    if split.repeated_keys:
        keys = ", ".join(split.repeated_keys)
        yield Line(terminal(f"  record_key is not unique: several invalid records have the key {keys}"))
    if split.baseline is not None:
        known = split.baseline
        yield Line(f"  baseline: {known.new:,} new, {known.known:,} known, {_fixed(known)}")
    for finding in report.findings:
        if finding.split == split.split:
            mark = "" if finding.severity == "error" else "[warning] "
            role = "error" if finding.severity == "error" else "warning"
            yield Line(terminal(f"  {finding.rule} {RULES[finding.rule].name}: {mark}{finding.message}"), role)
            if finding.fix:
                yield Line(terminal(f"    {finding.fix}"))
    for cause in report.diagnoses:
        if cause.split == split.split:
            yield Line(terminal(f"  likely cause: {cause.label}: {cause.text}"), "cause")
            if cause.patch:
                yield Line(terminal(f"    in the schema: {json.dumps(dict(cause.patch))}"))


def _not_read(split: SplitReport) -> Iterator[Line]:
    """Records that count as records of the split and were not checked one by one."""
    if split.padding:
        padding = counted(split.padding, "more record is", "more records are")
        yield Line(
            f"  {padding} padding: where is 0 for {agreed(split.padding, 'it', 'them')}, so no label was checked"
        )
    if split.certified:
        yield Line(
            f"  {split.certified:,} of {counted(len(split.shards), 'file')} {agreed(split.certified, 'is', 'are')} "
            "legal by Parquet statistics: no row was read there, and no class counted"
        )


def _fixed(known: Comparison) -> str:
    if known.fixed is None:
        return "fixed ones are not known before all records are read"
    first = ", ".join(known.fixed_examples)
    more = ", ..." if known.fixed > len(known.fixed_examples) else ""
    return terminal(f"{known.fixed:,} fixed" + (f" ({first}{more})" if first else ""))


def _verdict(report: AuditReport) -> str:
    errors = sum(finding.severity == "error" for finding in report.findings)
    warnings = len(report.findings) - errors
    if report.part is not None:
        return f"part {report.part[0]}/{report.part[1]} of an audit: put the parts together with label-guard merge"
    done = "" if report.complete else "; NOT COMPLETE: not all records were read"
    if not report.findings:
        return "nothing found" if report.complete else f"nothing found in what was read{done}"
    rules = sorted({finding.rule for finding in report.findings})
    return (
        f"{counted(errors, 'error')}, {counted(warnings, 'warning')}{done}; explained by: label-guard rule {rules[0]}"
    )
