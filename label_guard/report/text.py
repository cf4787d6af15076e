"""Text for a terminal: one line a diagnostic, ``file:line:column: CODE name: message; fix``, then a summary."""

from __future__ import annotations

from collections.abc import Sequence

from label_guard.core.escape import terminal
from label_guard.report.common import summary, title
from label_guard.rules.diagnostic import Diagnostic


def render(
    diagnostics: Sequence[Diagnostic], tool: str, files_checked: int, complete: bool, not_checked: Sequence[str]
) -> str:
    """The whole report; text from files cannot break a line or reach the terminal as a control sequence."""
    return "\n".join([*map(_line, diagnostics), summary(diagnostics, tool, files_checked, complete, not_checked)])


def _line(diagnostic: Diagnostic) -> str:
    d = diagnostic
    place = f"{d.file}:{d.line}:{d.column}" if d.line else d.file
    where = f"{place}: " if place else ""
    # An error needs no mark: it is what one looks for in this list.
    mark = "" if d.severity == "error" else f"[{d.severity}] "
    fix = f"; {d.fix}" if d.fix else ""
    return terminal(f"{where}{title(d)}: {mark}{d.message}{fix}")
