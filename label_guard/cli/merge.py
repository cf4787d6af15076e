"""``label-guard merge``: one report of the parts that ``audit --shards`` made."""

from __future__ import annotations

import click

from label_guard.audit.conclude import merge_reports, read_report
from label_guard.audit.outputs import refuse_doubles, refuse_inputs
from label_guard.cli.given import given
from label_guard.quarantine.storage import whole_file
from label_guard.report.audit_text import render_audit


@click.command()
@click.argument("parts", nargs=-1, required=True, metavar="PART.json...")
@click.option("--output", type=given, metavar="FILE", help="Write the merged audit as JSON.")
def command(parts: tuple[str, ...], output: str | None) -> int:
    """Put the parts of one audit together."""
    if output is not None:
        refuse_doubles([("--output", output)])
        refuse_inputs([output], parts, [])
    report = merge_reports([read_report(part) for part in parts])
    if output is not None:
        with whole_file(output) as file:
            file.write((render_audit(report, "json") + "\n").encode())
    click.echo(render_audit(report, "text"))
    return report.exit_code
