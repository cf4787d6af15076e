"""Fixes for what has one right answer, made in the text itself: every other character stays as it was."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Collection
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
        with Path(name).open("rb") as stream:
            mark = _BOM if stream.read(len(_BOM)) == _BOM else b""
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
    made = (fixer(file, d) for d in wanted if (fixer := _FIXERS.get(d.kind)) is not None)
    edits: list[Edit] = []
    for edit in sorted(edit for edit in made if edit is not None):
        if not edits or edits[-1].end <= edit.start:
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
    # Only a quoted scalar without escapes can be cut.
    if not name or name in others or source[1:-1] != node.value or source[:1] not in "\"'":
        return None
    return Edit(node.start, node.end, f"{source[0]}{name}{source[-1]}")


def _rename(file: SchemaFile, diagnostic: Diagnostic) -> Edit | None:
    parent, name = file.node(diagnostic.path[:-1]), str(diagnostic.path[-1])
    key = parent.keys.get(name) if parent is not None else None
    if parent is None or key is None or diagnostic.replacement in parent.keys:
        return None
    source = file.text[key.start : key.end]
    if source.strip("\"'") != name:
        return None
    return Edit(key.start, key.end, source.replace(name, diagnostic.replacement, 1))


def _unquote(file: SchemaFile, diagnostic: Diagnostic) -> Edit | None:
    node = file.node(diagnostic.path)
    is_quoted = node is not None and file.text[node.start : node.end][1:-1] == node.value
    return Edit(node.start, node.end, str(node.value)) if node is not None and is_quoted else None


def _enclose(file: SchemaFile, diagnostic: Diagnostic) -> Edit | None:
    node = _bare(file, diagnostic)
    return Edit(node.start, node.end, f"[{node.plain}]") if node is not None and isinstance(node.value, int) else None


def _add_format(file: SchemaFile, diagnostic: Diagnostic) -> Edit | None:
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
    """The scalar of a diagnostic, if its text is written plainly: no quotes, no anchor."""
    node = file.node(diagnostic.path)
    return node if node is not None and file.text[node.start : node.end] == node.plain else None


_FIXERS: dict[str, Callable[[SchemaFile, Diagnostic], Edit | None]] = {
    "rename": _rename,
    "unquote": _unquote,
    "enclose": _enclose,
    "missing": _add_format,
    "version": _complete_version,
    "quote": _quote,
    "strip": _strip,
}
FIXED = ("LG206", "LG207", "LG208", "LG209", "LG212", "LG213", "LG219")  # rules that have fixes
