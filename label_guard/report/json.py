"""JSON for programs. ``version`` is that of this format: it moves when a field goes or changes its meaning."""

from __future__ import annotations

import json
from typing import Any

from label_guard.core.escape import json_text
from label_guard.report.common import counts
from label_guard.rules.diagnostic import Diagnostic, DiagnosticReport
from label_guard.rules.registry import RULES

VERSION = 1


def render(report: DiagnosticReport) -> str:
    """The whole report, ASCII only, so that no terminal and no log can be harmed by what a file holds."""
    values = {
        "version": VERSION,
        "tool": report.tool,
        "complete": report.complete,
        **({"not_checked": list(report.not_checked)} if report.not_checked else {}),
        "files_checked": report.files_checked,
        "counts": counts(report),
        "diagnostics": [_plain(diagnostic) for diagnostic in report.diagnostics],
    }
    return json_text(json.dumps(values, indent=2, ensure_ascii=True, allow_nan=False))


def _plain(diagnostic: Diagnostic) -> dict[str, Any]:
    return {
        "rule": diagnostic.rule,
        "name": RULES[diagnostic.rule].name,
        "severity": diagnostic.severity,
        "message": diagnostic.message,
        "fix": diagnostic.fix or None,
        "file": diagnostic.file or None,
        "line": diagnostic.line or None,
        "column": diagnostic.column or None,
        "path": list(diagnostic.path),
        "properties": dict(diagnostic.properties),
    }
