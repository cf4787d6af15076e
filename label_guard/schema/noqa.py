"""``# noqa: LG2xx`` comments in schema files: what they suppress, and what is wrong with them."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from label_guard.rules.diagnostic import Diagnostic
from label_guard.rules.registry import RULES
from label_guard.schema.reader import SchemaFile

_CODES = r"[ \t]*:[ \t]*[a-z0-9]+(?:[ \t,]+[a-z]+[0-9]+)*"
_COMMENT = re.compile(rf"(?:^|(?<=[ \t]))#[ \t]*noqa(?![\w-])({_CODES})?", re.MULTILINE | re.IGNORECASE)


class _Comment(NamedTuple):
    line: int
    column: int
    codes: tuple[str, ...]


def apply_noqa(file: SchemaFile, diagnostics: Sequence[Diagnostic], *, with_source: bool = False) -> list[Diagnostic]:
    """``diagnostics`` without what a comment of its line quiets, and with what is wrong with the comments.

    What keeps a file from loading cannot be quieted, and is not in ``diagnostics``: a pipeline would refuse the file
    all the same.

    Args:
        file: the schema file, with its comments.
        diagnostics: diagnostics of its content.
        with_source: whether the file was compared with a source (LG23x).
    """
    quiet = quieted_lines(file)
    used = {(diagnostic.line, diagnostic.rule) for diagnostic in diagnostics}
    kept = [diagnostic for diagnostic in diagnostics if (diagnostic.line, diagnostic.rule) not in quiet]
    errors = {(diagnostic.line, diagnostic.rule) for diagnostic in file.diagnostics}
    for comment in _comments(file):
        for rule, message, fix in _problems(comment, used, errors, with_source):
            kept.append(Diagnostic(rule, "warning", message, fix, file.path, comment.line, comment.column))
    return kept


def quieted_lines(file: SchemaFile) -> frozenset[tuple[int, str]]:
    """Returns the lines that have comments, with the rules that these name."""
    return frozenset((comment.line, code) for comment in _comments(file) for code in comment.codes)


def _comments(file: SchemaFile) -> Iterator[_Comment]:
    if file.root is None or "noqa" not in file.text.lower() or file.path.lower().endswith(".json"):
        return
    nodes = [node for holder in file.root.walk() for node in (holder, *holder.keys.values())]
    texts = sorted((node.start, node.end) for node in nodes if not isinstance(node.value, dict | list))
    starts = [start for start, _ in texts]
    line = before = 0  # line breaks before the comment, and the place up to which they were counted
    for found in _COMMENT.finditer(file.text):
        line += file.text.count("\n", before, found.start())
        before = found.start()
        last = bisect.bisect_right(starts, before) - 1
        if last >= 0 and before < texts[last][1]:  # the # is part of a string
            continue
        codes = re.findall(r"[A-Za-z0-9]+", found[1] or "")
        column = before - file.text.rfind("\n", 0, before)
        yield _Comment(line + 1, column, tuple(code.upper() for code in codes))


def _problems(
    comment: _Comment, used: set[tuple[int, str]], errors: set[tuple[int, str]], with_source: bool
) -> Iterator[tuple[str, str, str]]:
    """What is wrong with a comment: rules, messages and fixes."""
    if not comment.codes:
        yield "LG220", "this noqa names no rule and quiets nothing", "write # noqa: LG2xx"
    for code in comment.codes:
        if (comment.line, code) in errors:
            yield "LG221", f"{code} keeps the file from loading and cannot be quieted", "correct it"
        elif code not in RULES:
            yield "LG221", f"no rule has the code {code}", "label-guard rule lists them all"
        elif (comment.line, code) not in used and code.startswith("LG2") and (with_source or code[:4] != "LG23"):
            yield "LG221", f"nothing in this line breaks {code}", "remove the comment"
