"""Markdown for a comment on a pull request or merge request."""

from __future__ import annotations

import re
from dataclasses import replace

from label_guard.core.escape import terminal
from label_guard.core.plural import counted
from label_guard.report.common import forward_slashes, summary, title
from label_guard.rules.diagnostic import Diagnostic, DiagnosticReport

# GitHub refuses a comment of more than 65,536 characters; GitLab allows a million.
_MAX_CHARACTERS = 60_000
_MAX_LINES = 56  # with the last two and a link to the whole report 60, which are read at a glance
_MAX_NOT_CHECKED = 10
_MARKS = {"error": ":x: error", "warning": ":warning: warning", "note": ":memo: note"}
# Markdown makes a link of what begins so, in the HTML element too.
_ADDRESS = re.compile(r"(?i)(?<=www)\.")
_SPECIAL = frozenset("&<>\"'`*_[]()|~#@\\!$:")


def render(report: DiagnosticReport) -> str:
    """The report as a heading and a table of at most 58 lines in all, 60 with a link after them."""
    diagnostics, not_checked = report.diagnostics, report.not_checked
    head, _, rest = summary(replace(report, not_checked=())).partition(":")
    lines = [f"### {head}", "", rest.strip()]
    if not_checked:
        lines += ["", "Not checked:", "", *(f"- {_code(text)}" for text in not_checked[:_MAX_NOT_CHECKED])]
        if len(not_checked) > _MAX_NOT_CHECKED:
            lines.append(f"- and {len(not_checked) - _MAX_NOT_CHECKED} more")
    if diagnostics:
        lines += ["", "| | Where | Rule | What |", "|---|---|---|---|"]
    room = _MAX_CHARACTERS
    for position, diagnostic in enumerate(diagnostics):
        row = _row(diagnostic)
        room -= len(row) + 1
        if room < 0 or len(lines) >= _MAX_LINES:
            lines += ["", f"and {counted(len(diagnostics) - position, 'finding')} more"]
            break
        lines.append(row)
    return "\n".join(lines)


def _row(diagnostic: Diagnostic) -> str:
    file = forward_slashes(diagnostic.file)
    place = f"{file}:{diagnostic.line}" if diagnostic.line else file
    what = "<br>".join(_code(part) for part in (diagnostic.message, diagnostic.fix) if part)
    return f"| {_MARKS[diagnostic.severity]} | {_code(place) if place else ''} | {title(diagnostic)} | {what} |"


def _code(text: str) -> str:
    """``text`` as inline code: in code no forge looks for mentions, issue numbers or links."""
    shown = "".join(f"&#{ord(c)};" if c in _SPECIAL else c for c in terminal(text))
    return f"<code>{_ADDRESS.sub('&#46;', shown)}</code>"
