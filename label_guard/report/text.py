"""Text for a terminal: one line a diagnostic, ``file:line:column: CODE name: message; fix``, then a summary."""

from __future__ import annotations

from label_guard.report.common import summary
from label_guard.rules.diagnostic import DiagnosticReport
from label_guard.schema.reader import one_line


def render(report: DiagnosticReport) -> str:
    """The whole report; text from files cannot break a line or reach the terminal as a control sequence."""
    return "\n".join([*map(one_line, report.diagnostics), summary(report)])
