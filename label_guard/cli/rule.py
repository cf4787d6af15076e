"""``label-guard rule``: explain a rule."""

from __future__ import annotations

import textwrap

import click

from label_guard.cli.completion import rule_codes
from label_guard.cli.group import epilog
from label_guard.core.similar import closest
from label_guard.errors import UsageError
from label_guard.rules.markdown import markdown, page_text
from label_guard.rules.registry import RULES


@click.command(epilog=epilog("label-guard rule LG101", "0: printed. 2: the rule does not exist."))
@click.argument("code", required=False, shell_complete=rule_codes)
@click.option("--markdown", "as_markdown", is_flag=True, help="Print all pages, as docs/rules.md holds them.")
def command(code: str | None, as_markdown: bool) -> int:
    """Explain the rule CODE (LG101, or its name): why it hurts, examples, how to fix. Without CODE list all rules."""
    if as_markdown:
        click.echo(markdown(), nl=False)
    elif code is None:
        for rule in RULES.values():
            click.echo(f"{rule.code} {rule.severity:7} {rule.name:24} {rule.summary}")
    else:
        found = next((rule for rule in RULES.values() if code.upper() == rule.code or code.lower() == rule.name), None)
        if found is None:
            near = closest(code.lower(), [rule.name for rule in RULES.values()])
            raise UsageError(
                f"no rule {code!r}; " + (f"did you mean {near}?" if near else "label-guard rule lists them")
            )
        click.echo(f"{found.code} {found.name}\n\n{_wrapped(page_text(found))}")
    return 0


def _wrapped(page: str) -> str:
    """A page with its prose wrapped for a terminal; lines of examples stay whole."""
    return "\n".join(textwrap.fill(line, 100) if line.startswith("*") else line for line in page.splitlines())
