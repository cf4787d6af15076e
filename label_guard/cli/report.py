"""``label-guard report``: an audit rendered once more, without reading data."""

from __future__ import annotations

import click

from label_guard.audit.conclude import read_report
from label_guard.report.audit_text import AUDIT_FORMATS, render_audit


@click.command()
@click.argument("audit", metavar="AUDIT.json")
@click.option("--format", "style", type=click.Choice(AUDIT_FORMATS), default="text", show_default=True)
def command(audit: str, style: str) -> int:
    r"""Render an audit in another format.

    \b
    Example: label-guard report audit.json --format markdown
    Exit 0: the audit found nothing. 1: it has findings. 2: it is incomplete, or cannot be read.
    """
    report = read_report(audit)
    click.echo(render_audit(report, style))
    return report.exit_code
