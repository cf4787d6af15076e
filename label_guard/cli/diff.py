"""``label-guard diff``: compare schema files, or the working tree with a git revision."""

from __future__ import annotations

from typing import cast

import click

from label_guard.cli.completion import files
from label_guard.cli.given import given
from label_guard.cli.group import epilog
from label_guard.cli.output import print_diagnostics
from label_guard.diff.files import compare_paths, compare_with_revision
from label_guard.diff.schemas import FailOn
from label_guard.report import FORMATS
from label_guard.rules.diagnostic import DiagnosticReport


@click.command(
    epilog=epilog(
        "label-guard diff --against origin/main configs",
        "0: no change that fails. 1: such a change. 2: a file could not be compared.",
    )
)
@click.argument("paths", nargs=-1, type=given, metavar="OLD NEW | [PATHS]...", shell_complete=files)
@click.option("--against", "ref", type=given, metavar="REF", help="Compare PATHS with this git revision.")
@click.option("--exact", is_flag=True, help="Compare with REF itself, not with its merge base with HEAD.")
@click.option(
    "--fail-on",
    type=click.Choice(["undeclared", "breaking", "any"]),
    default="undeclared",
    show_default=True,
    help="Changes that fail: those that the version does not declare, all breaking ones too, or all.",
)
@click.option("--format", "format_name", type=click.Choice(FORMATS), default="text", show_default=True)
def command(paths: tuple[str, ...], ref: str | None, exact: bool, fail_on: str, format_name: str) -> int:
    """Report which changes of schema files break trained models or training pipelines, and what the version must be.

    OLD and NEW are two files or two folders. PATHS are files, folders or globs; without them what pyproject.toml
    names, else configs/.
    """
    found = _compare(paths, ref, exact, cast("FailOn", fail_on))
    print_diagnostics(found, format_name)
    if not found.complete:
        return 2
    return int(any(diagnostic.severity == "error" for diagnostic in found.diagnostics))


def _compare(paths: tuple[str, ...], ref: str | None, exact: bool, fail_on: FailOn) -> DiagnosticReport:
    if ref is not None:
        return compare_with_revision(ref, paths, exact=exact, fail_on=fail_on)
    if exact:
        raise click.UsageError("--exact goes with --against REF")
    if len(paths) != 2:
        raise click.UsageError("name OLD and NEW, or a git revision: label-guard diff --against REF [PATHS]...")
    return compare_paths(*paths, fail_on)
