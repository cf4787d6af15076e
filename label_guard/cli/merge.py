"""``label-guard merge``: one report of the parts that ``audit --shards`` made."""

from __future__ import annotations

import click

from label_guard.audit.conclude import merge_reports, read_report
from label_guard.audit.outputs import refuse_doubles, refuse_inputs
from label_guard.cli.completion import files
from label_guard.cli.given import given
from label_guard.cli.group import epilog
from label_guard.cli.output import print_audit
from label_guard.quarantine.storage import whole_file
from label_guard.report.audit_text import render_audit


@click.command(
    epilog=epilog(
        "label-guard merge part-0.json part-1.json --output audit.json",
        "0: the audit found nothing. 1: it has findings. 2: parts are missing, incomplete or of different audits.",
    )
)
@click.argument("parts", nargs=-1, type=given, required=True, metavar="PART.json...", shell_complete=files)
@click.option("--output", type=given, metavar="FILE", help="Write the merged audit as JSON.")
def command(parts: tuple[str, ...], output: str | None) -> int:
    """Merge the parts of one audit."""
    if output is not None:
        refuse_doubles([("--output", output)])
        refuse_inputs([output], parts, [])
    report = merge_reports([read_report(part) for part in parts])
    if output is not None:
        with whole_file(output) as file:
            file.write((render_audit(report, "json") + "\n").encode())
    print_audit(report)
    return report.exit_code
