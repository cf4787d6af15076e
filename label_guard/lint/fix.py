"""Fixes for what has one right answer, made in the text itself: every other character stays as it was."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

from label_guard.core.similar import near_name
from label_guard.lint.linter import lint_file
from label_guard.rules.findings import Diagnostic
from label_guard.schema.reader import SchemaFile, read_schema, read_schema_bytes
from label_guard.schema.syntax import Node

_PARTIAL_VERSION = re.compile(r"v?(0|[1-9]\d*)(\.(?:0|[1-9]\d*))?(\.(?:0|[1-9]\d*))?")
_ROUNDS = 5  # a field under its right name is judged for the first time: what is wrong with it shows a round later
_BOM = b"\xef\xbb\xbf"


class Edit(NamedTuple):
    """Put ``new`` in place of the characters from ``start`` to ``end``."""

    start: int
    end: int
    new: str


def fix_file(path: str | os.PathLike[str], rules: Collection[str]) -> int:
    """Fix what has one right answer in a file and write it back; how many problems were fixed.

    Fixed are class names to quote (LG212, LG213) or to strip (LG219), a field name that is a slip of one other
    (LG206), a number in quotes or outside the list it belongs in (LG207), an absent ``format`` (LG208) and a version
    of fewer than three numbers (LG209).
    """
    name = os.fspath(path)
    file = read_schema(name)
    if file.root is None:
        return 0
    fixed = 0
    for _ in range(_ROUNDS):
        edits = _edits(file, rules)
        text = file.text
        for edit in sorted(edits, reverse=True):
            text = text[: edit.start] + edit.new + text[edit.end :]
        after = read_schema_bytes(text.encode(), name)
        if after.root is None or text == file.text:
            break
        file, fixed = after, fixed + len(edits)
    if fixed:
        place = Path(name)
        mark = _BOM if place.read_bytes().startswith(_BOM) else b""
        place.write_bytes(mark + file.text.encode())
    return fixed


def _edits(file: SchemaFile, rules: Collection[str]) -> list[Edit]:
    """One edit for each problem that has one, none of them overlapping."""
    edits: list[Edit] = []
    for diagnostic in lint_file(file):
        fixer = _FIXERS.get(diagnostic.rule) if diagnostic.rule in rules else None
        edit = fixer(file, diagnostic) if fixer is not None else None
        if edit is not None and all(edit.end <= other.start or other.end <= edit.start for other in edits):
            edits.append(edit)
    return edits


def _quote(file: SchemaFile, diagnostic: Diagnostic) -> Edit | None:
    node = _bare(file, diagnostic)
    return Edit(node.start, node.end, f'"{node.plain}"') if node is not None and node.plain else None


def _strip(file: SchemaFile, diagnostic: Diagnostic) -> Edit | None:
    node, names = file.node(diagnostic.path), file.node(diagnostic.path[:-1])
    if node is None or names is None or not isinstance(node.value, str) or not isinstance(names.value, list):
        return None
    name, others = node.value.strip(), [other.value for other in names.value if other is not node]
    source = file.text[node.start : node.end]
    # Only a quoted scalar that stands as it means, without escapes, can be cut.
    if not name or name in others or source[1:-1] != node.value or source[:1] not in "\"'":
        return None
    return Edit(node.start, node.end, f"{source[0]}{name}{source[-1]}")


def _rename(file: SchemaFile, diagnostic: Diagnostic) -> Edit | None:
    parent, name = file.node(diagnostic.path[:-1]), str(diagnostic.path[-1])
    near = re.fullmatch(r"unknown field .*; did you mean (\w+)\?", f"{diagnostic.message}; {diagnostic.fix}")
    key = parent.keys.get(name) if parent is not None else None
    if near is None or parent is None or key is None or near[1] in parent.keys:
        return None
    if [near_name(other, [near[1]]) for other in parent.keys].count(near[1]) > 1:  # two slips of one name
        return None
    source = file.text[key.start : key.end]
    return Edit(key.start, key.end, source.replace(name, near[1], 1)) if source.strip("\"'") == name else None


def _unquote(file: SchemaFile, diagnostic: Diagnostic) -> Edit | None:
    node = file.node(diagnostic.path)
    if node is None:
        return None
    source = file.text[node.start : node.end]
    if diagnostic.fix == "write it without quotes" and source[1:-1] == node.value:
        return Edit(node.start, node.end, str(node.value))
    bare = _bare(file, diagnostic)
    if bare is not None and isinstance(bare.value, int) and diagnostic.fix.endswith(f": [{bare.value}]"):
        return Edit(bare.start, bare.end, f"[{bare.plain}]")
    return None


def _add_format(file: SchemaFile, diagnostic: Diagnostic) -> Edit | None:
    first = next(iter(file.root.keys.values()), None) if file.root is not None else None
    absent = diagnostic.message == "format is missing"
    if not absent or first is None or first.column != 1 or file.text[first.start : first.start + 1] in "{\"'":
        return None
    newline = "\r\n" if "\r\n" in file.text else "\n"
    return Edit(first.start, first.start, f"format: 1{newline}")


def _complete_version(file: SchemaFile, diagnostic: Diagnostic) -> Edit | None:
    node = file.node(diagnostic.path)
    if node is None:
        return None
    source = file.text[node.start : node.end]
    found = _PARTIAL_VERSION.fullmatch(source.strip("\"'"))
    if found is None:
        return None
    version = f"{found[1]}{found[2] or '.0'}{found[3] or '.0'}"
    quote = source[0] if source[0] in "\"'" else '"' if file.path.lower().endswith(".json") else ""
    return Edit(node.start, node.end, f"{quote}{version}{quote}")


def _bare(file: SchemaFile, diagnostic: Diagnostic) -> Node | None:
    """The scalar of a diagnostic, if nothing but its text stands there: no quotes, no anchor."""
    node = file.node(diagnostic.path)
    return node if node is not None and file.text[node.start : node.end] == node.plain else None


_FIXERS: dict[str, Callable[[SchemaFile, Diagnostic], Edit | None]] = {
    "LG206": _rename,
    "LG207": _unquote,
    "LG208": _add_format,
    "LG209": _complete_version,
    "LG212": _quote,
    "LG213": _quote,
    "LG219": _strip,
}
FIXED = tuple(_FIXERS)  # codes of the rules that have fixes
