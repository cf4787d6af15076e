"""Prints reports: with rich on a terminal, as plain text elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from label_guard.report import render_diagnostics
from label_guard.report.screen import screen, show_diagnostics
from label_guard.rules.diagnostic import DiagnosticReport

if TYPE_CHECKING:
    from label_guard.audit.report import AuditReport


def print_diagnostics(report: DiagnosticReport, style: str) -> None:
    """Prints what a command found, in the format ``style``."""
    console = screen() if style == "text" else None
    if console is None:
        click.echo(render_diagnostics(report, style))
    else:
        show_diagnostics(console, report)


def print_audit(report: AuditReport, style: str = "text") -> None:
    """Prints an audit in the format ``style``."""
    console = screen() if style == "text" else None
    if console is None:
        from label_guard.report.audit_text import render_audit

        click.echo(render_audit(report, style))
    else:
        from label_guard.report.audit_screen import show_audit  # brings NumPy, which lint starts without

        show_audit(console, report)
