"""The last line of a report, and the words that several formats share."""

from __future__ import annotations

from collections import Counter
from pathlib import PurePath
from typing import get_args

from label_guard.core.escape import terminal
from label_guard.core.plural import counted
from label_guard.rules.diagnostic import Diagnostic, DiagnosticReport, Severity
from label_guard.rules.registry import RULES


def counts(report: DiagnosticReport) -> dict[str, int]:
    """Number of diagnostics by severity, zeros included."""
    found = Counter(diagnostic.severity for diagnostic in report.diagnostics)
    return {severity: found[severity] for severity in get_args(Severity)}


def summary(report: DiagnosticReport) -> str:
    """One line: what was looked at, what was found, and whether that is all of it.

    >>> summary(DiagnosticReport([], "lint", 11))
    'label-guard lint: 11 files checked, nothing found'
    """
    found = [counted(number, severity) for severity, number in counts(report).items() if number]
    files = counted(report.files_checked, "file")
    text = f"label-guard {report.tool}: {files} checked, {', '.join(found) or 'nothing found'}"
    text = text if report.complete else f"{text}; not everything could be checked"
    return terminal(f"{text}; not checked: {'; '.join(report.not_checked)}" if report.not_checked else text)


def title(diagnostic: Diagnostic) -> str:
    """Code and name of the rule, such as ``LG201 class-count-mismatch``."""
    return f"{diagnostic.rule} {RULES[diagnostic.rule].name}"


def forward_slashes(file: str) -> str:
    """A file name as forges want it: ``configs/voc.yaml``, without ``./`` and back-slashes."""
    return PurePath(file).as_posix() if file else ""


def percent(share: float) -> str:
    """A share of something, never rounded to none of it.

    >>> percent(0.5), percent(1e-6)
    ('50.00%', 'under 0.01%')
    """
    return f"{share:.2%}" if not 0 < share < 0.0001 else "under 0.01%"
