"""The pages of the rules as Markdown: what ``docs/rules.md`` and ``label-guard rule`` show."""

from __future__ import annotations

from collections.abc import Iterator

from label_guard.rules.registry import RULES
from label_guard.rules.rule import (
    ChangeExample,
    DatasetExample,
    Example,
    RecordExample,
    Rule,
    SchemaExample,
    SourceExample,
)

_GROUPS = {
    "LG1": "A record",
    "LG2": "A schema file",
    "LG3": "A change of a schema file",
    "LG4": "A dataset",
}
_INTRODUCTION = """\
# Rules

Made by `label-guard rule --markdown` from the registry; a test holds both equal and runs every example.
Codes are stable and never reused. Numbers were measured with optax 0.2.8 on jax 0.10.2.
"""


def page_text(rule: Rule) -> str:
    """Returns the page of a rule as Markdown, without a heading."""
    return "\n\n".join(
        (
            f"*{rule.severity}.* {rule.summary}",
            f"**Why it hurts.** {rule.why}",
            f"**Breaks it:**\n\n{_shown(rule.breaks)}",
            f"**Holds:**\n\n{_shown(rule.holds)}",
            f"**How to fix.** {rule.fix}",
        )
    )


def markdown() -> str:
    """Returns the text of docs/rules.md."""
    parts = [_INTRODUCTION, _table()]
    for group, title in _GROUPS.items():
        rules = [rule for rule in RULES.values() if rule.code.startswith(group)]
        parts += [f"## {title}\n", *(f"### {rule.code} {rule.name}\n\n{page_text(rule)}\n" for rule in rules)]
    return "\n".join(parts)


def _table() -> str:
    rows = [
        f"| [{rule.code}](#{rule.code.lower()}-{rule.name}) | {rule.name} | {rule.severity} | {rule.summary} |"
        for rule in RULES.values()
    ]
    return "\n".join(["| code | name | severity | when |", "|---|---|---|---|", *rows]) + "\n"


def _shown(example: Example) -> str:
    """An example as fenced blocks."""
    return "\n\n".join(f"{caption}```{language}\n{text.rstrip()}\n```" for caption, language, text in _blocks(example))


def _blocks(example: Example) -> Iterator[tuple[str, str, str]]:
    match example:
        case SchemaExample(text):
            yield "", "yaml", text
        case RecordExample(schema, record_, split):
            yield "", "yaml", schema
            yield "" if split is None else f"In split `{split}`:\n\n", "python", record_
        case ChangeExample(old, new, moved, fail_on):
            options = "" if fail_on == "undeclared" else f", with `--fail-on {fail_on}`"
            yield "Before:\n\n", "yaml", old or "# no such file"
            yield (
                f"After{', in a file of another name' if moved else ''}{options}:\n\n",
                "yaml",
                new or "# no such file",
            )
        case SourceExample(schema, features, splits):
            yield "", "yaml", schema
            yield "The dataset's features and sizes of splits:\n\n", "json", f"{features}\n{splits}"
        case DatasetExample(schema, train, test):
            yield "", "yaml", schema
            files = {"train_csv": train} if test is None else {"train_csv": train, "test_csv": test}
            yield "The files:\n\n", "python", "\n".join(f"{name} = {text}" for name, text in files.items())
