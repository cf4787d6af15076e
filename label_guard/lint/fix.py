"""Fixes for what has one right answer, made in the text itself: every other character stays as it was."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from label_guard.core.files import atomic_write
from label_guard.lint.linter import lint_file
from label_guard.rules.diagnostic import Diagnostic
from label_guard.schema.reader import SchemaFile, read_schema, read_schema_bytes
from label_guard.schema.syntax import Node

_PARTIAL_VERSION = re.compile(r"v?(0|[1-9]\d*)(\.(?:0|[1-9]\d*))?(\.(?:0|[1-9]\d*))?")
_ROUNDS = 5  # a field under its right name is checked for the first time: what is wrong with it shows a round later
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
        after = read_schema_bytes(_applied(edits, file.text).encode(), name)
        if after.root is None or after.text == file.text:
            break
        file, fixed = after, fixed + len(edits)
    if fixed:
        mark = _BOM if Path(name).read_bytes().startswith(_BOM) else b""
        with atomic_write(name) as out:
            out.write(mark + file.text.encode())
    return fixed


def _applied(edits: list[Edit], text: str) -> str:
    """``text`` with edits made, which are in order and do not overlap."""
    parts: list[str] = []
    done = 0
    for edit in edits:
        parts += [text[done : edit.start], edit.new]
        done = edit.end
    return "".join([*parts, text[done:]])


def _edits(file: SchemaFile, rules: Collection[str]) -> list[Edit]:
    """One edit for each problem that has one, in order, none of them overlapping."""
    found = [diagnostic for diagnostic in lint_file(file) if diagnostic.kind and diagnostic.rule in rules]
    meant = Counter((*d.path[:-1], d.replacement) for d in found if d.kind == "rename")
    wanted = [d for d in found if d.kind != "rename" or meant[*d.path[:-1], d.replacement] == 1]  # not two of one name
    made = (_edit(file, diagnostic) for diagnostic in wanted)
    edits: list[Edit] = []
    for edit in sorted(edit for edit in made if edit is not None):
        if not edits or edits[-1].end <= edit.start:
            edits.append(edit)
    return edits


def _edit(file: SchemaFile, diagnostic: Diagnostic) -> Edit | None:
    """The edit that fixes a problem; None where the text is not written as expected."""
    if diagnostic.kind == "missing":
        return _added_format(file, diagnostic)
    parent = file.node(diagnostic.path[:-1]) or Node(None)
    name = str(diagnostic.path[-1])
    node = parent.keys.get(name) if diagnostic.kind == "rename" else file.node(diagnostic.path)
    if node is None:
        return None
    source = file.text[node.start : node.end]
    new: str | None = None
    match diagnostic.kind:
        case "quote" if source and source == node.plain:
            new = f'"{source}"'
        case "enclose" if source == node.plain and isinstance(node.value, int):
            new = f"[{source}]"
        case "unquote" if source[1:-1] == node.value:
            new = str(node.value)
        case "strip" if source[1:-1] == node.value and source[:1] in "\"'":  # one with escapes cannot be cut
            new = _stripped(source, node, parent)
        case "rename" if source.strip("\"'") == name and diagnostic.replacement not in parent.keys:
            new = source.replace(name, diagnostic.replacement, 1)
        case "version":
            new = _completed(source, is_json=file.path.lower().endswith(".json"))
        case _:
            pass
    return None if new is None else Edit(node.start, node.end, new)


def _stripped(source: str, node: Node, names: Node) -> str | None:
    """A class name in quotes without white space around it; None where it is then empty or that of another class."""
    others = [other.value for other in names.value if other is not node] if isinstance(names.value, list) else []
    name = str(node.value).strip()
    return f"{source[0]}{name}{source[-1]}" if name and name not in others else None


def _completed(source: str, *, is_json: bool) -> str | None:
    """A version of one or two numbers as one of three."""
    found = _PARTIAL_VERSION.fullmatch(source.strip("\"'"))
    quote = source[:1] if source[:1] in ("'", '"') else '"' if is_json else ""
    return None if found is None else f"{quote}{found[1]}{found[2] or '.0'}{found[3] or '.0'}{quote}"


def _added_format(file: SchemaFile, diagnostic: Diagnostic) -> Edit | None:
    first = next(iter(file.root.keys.values()), None) if file.root is not None else None
    if (
        diagnostic.path != ("format",)
        or first is None
        or first.column != 1
        or file.text[first.start : first.start + 1] in "{\"'"
    ):
        return None
    newline = "\r\n" if "\r\n" in file.text else "\n"
    return Edit(first.start, first.start, f"format: 1{newline}")
