"""``label-guard report``: an audit rendered once more, without reading data."""

from __future__ import annotations

import click

from label_guard.audit.conclude import read_report
from label_guard.cli.completion import files
from label_guard.cli.given import given
from label_guard.cli.group import epilog
from label_guard.cli.output import print_audit
from label_guard.report.audit_text import AUDIT_FORMATS


@click.command(
    epilog=epilog(
        "label-guard report audit.json --format markdown",
        "0: the audit found nothing. 1: it has findings. 2: it is incomplete, or cannot be read.",
    )
)
@click.argument("audit", type=given, metavar="AUDIT.json", shell_complete=files)
@click.option("--format", "style", type=click.Choice(AUDIT_FORMATS), default="text", show_default=True)
def command(audit: str, style: str) -> int:
    """Render an audit in another format."""
    report = read_report(audit)
    print_audit(report, style)
    return report.exit_code
