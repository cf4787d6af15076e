"""``label-guard report``: an audit rendered once more, without reading data."""

from __future__ import annotations

import click

from label_guard.audit.conclude import read_report
from label_guard.report.audit_text import AUDIT_FORMATS, render_audit


@click.command()
@click.argument("audit", metavar="AUDIT.json")
@click.option("--format", "style", type=click.Choice(AUDIT_FORMATS), default="text", show_default=True)
def command(audit: str, style: str) -> int:
    """Render an audit in another format."""
    click.echo(render_audit(read_report(audit), style))
    return 0
