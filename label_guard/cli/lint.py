"""``label-guard lint``: check schema files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import click

from label_guard.cli import completion
from label_guard.cli.given import given
from label_guard.cli.group import epilog
from label_guard.cli.output import print_diagnostics
from label_guard.core.escape import terminal
from label_guard.core.plural import counted
from label_guard.errors import SourceError, UsageError
from label_guard.lint.fix import fix_file
from label_guard.lint.linter import chosen_rules, lint_file
from label_guard.report import FORMATS
from label_guard.rules.diagnostic import Diagnostic, DiagnosticReport
from label_guard.schema.discovery import default_names, find_files

_MAX_LISTED = 1_000  # problems of one file
_CODES = "Codes, or beginnings of codes, separated by commas"


@click.command(
    epilog=epilog(
        "label-guard lint configs/voc.yaml --fix", "0: clean, or only warnings. 1: errors. 2: a file could not be read."
    )
)
@click.argument("files", nargs=-1, type=given, metavar="[FILES]...", shell_complete=completion.files)
@click.option("--format", "style", type=click.Choice(FORMATS), default="text", show_default=True)
@click.option(
    "--select",
    metavar="CODES",
    default="",
    shell_complete=completion.rule_codes,
    help=f"{_CODES}, to report; without it all.",
)
@click.option(
    "--ignore", metavar="CODES", default="", shell_complete=completion.rule_codes, help=f"{_CODES}, to leave out."
)
@click.option(
    "--source",
    type=given,
    metavar="URI",
    shell_complete=completion.sources,
    help="Also compare the one file with what a dataset declares of its labels: tfds:FOLDER, coco:FILE, yolo:FILE, "
    "folder:FOLDER (a folder per class), parquet: or arrow: (Hugging Face features).",
)
@click.option("--fix", is_flag=True, help="Fix what has one right answer; report the rest.")
def command(files: tuple[str, ...], style: str, select: str, ignore: str, source: str | None, fix: bool) -> int:
    """Check schema files: files, folders or globs; without FILES what pyproject.toml names, else configs/."""
    rules = chosen_rules(_codes(select), _codes(ignore))
    names, missing = find_files(files or default_names())
    if source is not None and len(names) != 1:
        raise UsageError(f"--source is about one schema file, not {len(names)}; name it")
    metadata = None
    if source is not None:
        from label_guard.sources.open import source_metadata  # brings NumPy, which lint starts without

        try:
            metadata = source_metadata(source)
        except SourceError as error:
            missing.append(Diagnostic("LG200", "error", str(error), file=source))
    for name in names if fix else ():
        if fixed := fix_file(name, rules):
            click.echo(f"{terminal(name)}: fixed {counted(fixed, 'problem')}", err=True)
    found = list(missing)
    for name in names:
        found += _first([one for one in lint_file(name, metadata=metadata) if one.rule in rules])
    code = exit_code(found)
    print_diagnostics(DiagnosticReport(found, "lint", len(names), code < 2), style)
    return code


def _first(diagnostics: list[Diagnostic]) -> list[Diagnostic]:
    """The first problems of one file, errors before others, and how many more there are."""
    if len(diagnostics) <= _MAX_LISTED:
        return diagnostics
    diagnostics.sort(key=lambda one: one.severity != "error")
    more = f"{len(diagnostics):,} problems are in this file, of which {_MAX_LISTED:,} are listed"
    return [
        replace(diagnostics[0], message=more, fix="correct those that are listed first"),
        *diagnostics[:_MAX_LISTED],
    ]


def exit_code(diagnostics: Sequence[Diagnostic]) -> int:
    """0: clean, or only warnings. 1: errors. 2: a file could not be read, so not all of the work was done."""
    if any(diagnostic.rule == "LG200" for diagnostic in diagnostics):
        return 2
    return int(any(diagnostic.severity == "error" for diagnostic in diagnostics))


def _codes(text: str) -> list[str]:
    return [code.strip().upper() for code in text.split(",") if code.strip()]
