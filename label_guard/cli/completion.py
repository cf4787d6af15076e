"""What a shell completes: rule codes, schemes of sources, formats of reports, files. See docs/cli.md."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from label_guard.rules.registry import RULES


def files(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Files and folders, as the shell finds them."""
    return [CompletionItem(incomplete, type="file")]


def rule_codes(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Codes of rules with their names; of a list separated by commas the last one."""
    before, comma, last = incomplete.rpartition(",")
    found = [rule for rule in RULES.values() if rule.code.startswith(last.upper())]
    return [CompletionItem(f"{before}{comma}{rule.code}", help=rule.name) for rule in found]


def sources(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Schemes of sources, and files."""
    from label_guard.sources.schemes import NAMES  # brings NumPy, which lint starts without

    schemes = [CompletionItem(f"{name}:") for name in NAMES if name.startswith(incomplete)]
    return [*schemes, *files(ctx, param, incomplete)]


def reports(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """``FORMAT=`` of ``--report``."""
    from label_guard.report.audit_text import AUDIT_FORMATS

    return [CompletionItem(f"{name}=") for name in AUDIT_FORMATS if name.startswith(incomplete)]
