"""GitHub workflow commands: each diagnostic becomes an annotation on its line of a pull request."""

from __future__ import annotations

from label_guard.core.escape import within_line
from label_guard.report.common import forward_slashes, summary, title
from label_guard.rules.diagnostic import Diagnostic, DiagnosticReport

_COMMANDS = {"error": "error", "warning": "warning", "note": "notice"}


def render(report: DiagnosticReport) -> str:
    """The whole report; the summary is an ordinary line of the log."""
    return "\n".join([*map(_command, report.diagnostics), summary(report)])


def _command(diagnostic: Diagnostic) -> str:
    properties = {"title": title(diagnostic), "file": forward_slashes(diagnostic.file)}
    if diagnostic.line:
        properties["line"] = str(diagnostic.line)
    if diagnostic.line and diagnostic.column:
        properties["col"] = str(diagnostic.column)
    named = ",".join(f"{name}={_property(value)}" for name, value in properties.items() if value)
    text = "\n".join(within_line(part) for part in (diagnostic.message, diagnostic.fix) if part)
    return f"::{_COMMANDS[diagnostic.severity]} {named}::{_data(text)}"


def _data(text: str) -> str:
    # As @actions/core escapes: % first, or the escapes would be escaped again.
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(within_line(text)).replace(":", "%3A").replace(",", "%2C")
