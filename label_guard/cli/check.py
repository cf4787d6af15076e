"""``label-guard check``: what the labels of a dataset are, and what looks wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import click

from label_guard.cli.completion import sources
from label_guard.cli.given import given
from label_guard.cli.group import epilog
from label_guard.core.escape import json_text
from label_guard.core.files import read_bounded
from label_guard.errors import UsageError
from label_guard.infer.check import check_labels
from label_guard.infer.check_text import render
from label_guard.report.screen import screen, show_lines

_MAX_BYTES = 64 << 20


@click.command(
    epilog=epilog(
        "label-guard check labels.csv --num-classes 10",
        "0: clean, or nothing was expected. 1: violations. 2: not all records could be read.",
    )
)
@click.argument("data", type=given, shell_complete=sources)
@click.option("--num-classes", type=click.IntRange(min=1), metavar="N", help="Labels must be classes 0 to N-1.")
@click.option("--class-names", type=given, metavar="FILE", help="The classes, one name a line, in order of the ids.")
@click.option("--label", "labels", multiple=True, type=given, metavar="PATH", help="This field is a label; may repeat.")
@click.option("--split", type=given, metavar="NAME", help="Check this split; without it all that DATA holds.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Read at most N records of each file.")
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(
    data: str,
    num_classes: int | None,
    class_names: str | None,
    labels: tuple[str, ...],
    split: str | None,
    limit: int | None,
    style: str,
) -> int:
    """Show what the labels of DATA are and what looks wrong: a path or URI of any format that audit reads.

    Without options it reads as many records as it can in a few seconds, and exits 0 unless some cannot be read. With
    --num-classes, --class-names or --label it validates all records and exits 1 on violations.
    """
    names = None if class_names is None else _names(class_names)
    report = check_labels(data, num_classes=num_classes, class_names=names, label=labels, split=split, limit=limit)
    console = screen() if style == "text" else None
    if console is None:
        click.echo(json_text(json.dumps(report.to_json(), indent=1)) if style == "json" else str(report))
    else:
        show_lines(console, render(report))
    return report.exit_code


def _names(file: str) -> list[str]:
    """The lines of a file of class names; blank ones at its end are left out."""
    try:
        names = read_bounded(Path(file), _MAX_BYTES).decode("utf-8-sig").rstrip().splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {file}: {getattr(error, 'strerror', None) or error}") from None
    blank = next((number for number, name in enumerate(names, 1) if not name.strip()), None)
    if blank is not None or not names:
        raise UsageError(f"{file}: line {blank or 1} is empty; expected one class name a line")
    return names
