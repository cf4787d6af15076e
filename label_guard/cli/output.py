"""Prints reports: with rich on a terminal, as plain text elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from label_guard.report import render_diagnostics
from label_guard.report.common import summary
from label_guard.report.screen import screen, show_diagnostics
from label_guard.rules.diagnostic import Diagnostic

if TYPE_CHECKING:
    from label_guard.audit.report import AuditReport


def print_diagnostics(
    diagnostics: Sequence[Diagnostic], style: str, *, tool: str, files_checked: int, complete: bool
) -> None:
    """Prints what ``tool`` found, in the format ``style``."""
    console = screen() if style == "text" else None
    if console is None:
        click.echo(render_diagnostics(diagnostics, style, tool=tool, files_checked=files_checked, complete=complete))
    else:
        show_diagnostics(console, diagnostics, summary(diagnostics, tool, files_checked, complete))


def print_audit(report: AuditReport, style: str = "text") -> None:
    """Prints an audit in the format ``style``."""
    console = screen() if style == "text" else None
    if console is None:
        from label_guard.report.audit_text import render_audit

        click.echo(render_audit(report, style))
    else:
        from label_guard.report.audit_screen import show_audit  # brings NumPy, which lint starts without

        show_audit(console, report)
