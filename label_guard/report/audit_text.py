"""An audit for people (text) and programs (JSON); its findings go through the diagnostic renderers for CI."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator

from label_guard.audit.baseline import Comparison
from label_guard.audit.report import AuditReport, Finding, SplitReport
from label_guard.core.escape import json_text, terminal
from label_guard.core.plural import counted
from label_guard.errors import UsageError
from label_guard.report import FORMATS, render_diagnostics
from label_guard.report.common import percent
from label_guard.rules.diagnostic import Diagnostic
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
        return "\n".join(_text(report))
    if format == "json":
        return json_text(json.dumps(report.to_json(), indent=1, allow_nan=False))
    if format == "html":
        return importlib.import_module("label_guard.report.html").render(report)  # jinja2 costs start-up time
    if format not in FORMATS:
        raise UsageError(f"unknown format {format!r}; use one of: {', '.join(AUDIT_FORMATS)}")
    files = sum(len(split.shards) for split in report.splits)
    found = [_diagnostic(report, finding) for finding in report.findings]
    return render_diagnostics(
        found, format, tool="audit", files_checked=files, complete=report.complete, not_checked=report.not_checked
    )


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


def _text(report: AuditReport) -> Iterator[str]:
    yield terminal(f"{report.dataset} {report.schema_version}")
    for split in report.splits:
        yield ""
        yield from _split(report, split)
    if report.duplicates is not None:
        repeated = report.duplicates.repeated
        yield ""
        yield f"repeated within a split under one label: {repeated.records:,} records in {repeated.groups:,} groups"
    if report.not_checked:
        yield ""
        yield "not checked:"
        yield from (terminal(f"  {text}") for text in report.not_checked)
    yield ""
    yield _verdict(report)


def _split(report: AuditReport, split: SplitReport) -> Iterator[str]:
    name = split.split or "(no split)"
    bad = split.invalid + split.unreadable
    share = f" ({percent(bad / split.records)})" if split.records and bad else ""
    yield terminal(f"{name}: {split.records:,} records in {counted(len(split.shards), 'file')}, {bad:,} bad{share}")
    yield terminal(f"  {split.source.uri}")
    yield from _not_read(split)
    if split.repeated_keys:
        keys = ", ".join(split.repeated_keys)
        yield terminal(f"  record_key is not unique: several invalid records have the key {keys}")
    if split.baseline is not None:
        yield from _baseline(split.baseline)
    for finding in report.findings:
        if finding.split == split.split:
            mark = "" if finding.severity == "error" else "[warning] "
            yield terminal(f"  {finding.rule} {RULES[finding.rule].name}: {mark}{finding.message}")
            if finding.fix:
                yield terminal(f"    {finding.fix}")
    for cause in report.diagnoses:
        if cause.split == split.split:
            yield terminal(f"  likely cause: {cause.label}: {cause.text}")
            if cause.patch:
                yield terminal(f"    in the schema: {json.dumps(dict(cause.patch))}")


def _not_read(split: SplitReport) -> Iterator[str]:
    """Records that count as records of the split and were not checked one by one."""
    if split.padding:
        yield f"  {split.padding:,} of them are padding: their where is 0, and they were not checked"
    if split.certified:
        yield (
            f"  {split.certified} of {len(split.shards)} files are legal by their Parquet statistics: "
            "no row of them was read, their classes were not counted"
        )


def _baseline(known: Comparison) -> Iterator[str]:
    yield f"  baseline: {known.new:,} new, {known.known:,} known, {_fixed(known)}"


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
        return f"as promised{done}" if report.complete else f"nothing found in what was read{done}"
    rules = sorted({finding.rule for finding in report.findings})
    found = f"{errors} error{'s' * (errors != 1)}, {warnings} warning{'s' * (warnings != 1)}"
    return f"{found}{done}; explained by: label-guard rule {rules[0]}"
