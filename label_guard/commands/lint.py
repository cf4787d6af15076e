"""``label-guard lint``: check schema files."""

from __future__ import annotations

from collections.abc import Sequence

import click

from label_guard.lint import chosen_rules, lint_paths
from label_guard.lint_fix import fix_file
from label_guard.result import Diagnostic
from label_guard.schema_files import default_names, find_files
from label_guard.schema_io import one_line

_CODES = "Codes, or beginnings of codes, separated by commas"


@click.command()
@click.argument("files", nargs=-1, metavar="[FILES]...")
@click.option("--select", metavar="CODES", default="", help=f"{_CODES}, to report; without it all.")
@click.option("--ignore", metavar="CODES", default="", help=f"{_CODES}, to leave out.")
@click.option("--fix", is_flag=True, help="Fix what has one right answer; report the rest.")
def command(files: tuple[str, ...], select: str, ignore: str, fix: bool) -> int:
    """Check schema files: files, folders or globs; without FILES what pyproject.toml names, else configs/."""
    names = list(files) or default_names()
    rules = chosen_rules(_codes(select), _codes(ignore))
    if fix:
        _fix(names, rules)
    found = lint_paths(names, _codes(select), _codes(ignore))
    for diagnostic in found:
        click.echo(one_line(diagnostic))
    return exit_code(found)


def exit_code(found: Sequence[Diagnostic]) -> int:
    """0: clean, or only warnings. 1: errors. 2: a file could not be read, so not all of the work was done."""
    if any(diagnostic.rule == "LG200" for diagnostic in found):
        return 2
    return int(any(diagnostic.severity == "error" for diagnostic in found))


def _codes(text: str) -> list[str]:
    return [code.strip().upper() for code in text.split(",") if code.strip()]


def _fix(names: Sequence[str], rules: frozenset[str]) -> None:
    for name in find_files(names)[0]:
        fixed = fix_file(name, rules)
        if fixed:
            click.echo(f"{name}: fixed {fixed} problem{'s' if fixed > 1 else ''}", err=True)
