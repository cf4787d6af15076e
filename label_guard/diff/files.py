"""Which earlier schema file belongs to which later one, and the diff of them all."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable, Sequence, Set
from pathlib import Path

from label_guard.diff.git import Revision, open_revision
from label_guard.diff.schemas import FailOn, diff_files
from label_guard.diff.tree import LinkError
from label_guard.errors import UsageError
from label_guard.rules.diagnostic import Diagnostic, DiagnosticReport, Severity
from label_guard.schema.discovery import default_names, find_files
from label_guard.schema.reader import SchemaFile, one_line, read_schema, read_schema_bytes

_Key = Callable[[SchemaFile], Hashable]
_Pair = tuple[SchemaFile | None, SchemaFile | None]  # an earlier and a later file; None where there is none


def compare_paths(old: str, new: str, fail_on: FailOn = "undeclared") -> DiagnosticReport:
    """Two schema files, or two folders of them, matched by the name of the schema, then by that of the file.

    Args:
        old: the earlier file or folder.
        new: the later one, of the same kind.
        fail_on: which changes are errors, as ``--fail-on`` of ``label-guard diff``.

    Raises:
        UsageError: one of the two is not there, or one is a file and the other a folder.
    """
    for path in (old, new):
        if not Path(path).exists():
            raise UsageError(f"there is no file or folder {path}")
    if Path(old).is_dir() != Path(new).is_dir():
        raise UsageError(f"{old} and {new} are not both files or both folders")
    if not Path(old).is_dir():
        return _report(_diagnostics([(read_schema(old), read_schema(new))], fail_on), 1)
    before, after = ([read_schema(name) for name in find_files([folder])[0]] for folder in (old, new))
    if not before and not after:
        raise UsageError(f"there is no schema file in {old} or {new}")

    pairs = _pairs(
        before, after, lambda file: os.path.relpath(file.path, old), lambda file: os.path.relpath(file.path, new)
    )
    return _report(_diagnostics(pairs, fail_on), len(after))


def compare_with_revision(
    ref: str, names: Sequence[str] = (), *, exact: bool = False, fail_on: FailOn = "undeclared"
) -> DiagnosticReport:
    """The schema files of the working tree with those of a git revision.

    Args:
        ref: a branch, tag or commit; what is compared with is the merge base of it and ``HEAD``.
        names: files, folders and globs, as ``discovery.find_files`` takes them; without them those that pyproject.toml
            names, now or in the revision.
        exact: compare with ``ref`` itself.
        fail_on: which changes are errors.

    Raises:
        UsageError: git or the revision is not there, or a name means no file, now or then.
    """
    revision = open_revision(ref, exact=exact)
    listed = list(names) or default_names()
    every: list[str] = [*listed, *([] if names else revision.default_names())]
    then = {path for name in every for path in revision.tree.find(revision.path_of(name))}
    files = {revision.path_of(file): file for file in find_files(every)[0] if os.path.lexists(file)}
    _refuse_unknown(revision, listed, set(files))
    astray = {path: file for path, file in files.items() if revision.leaves(file)}
    now = {path: file for path, file in files.items() if path not in astray}
    pairs = _revision_pairs(revision, every, then, now, astray.keys())
    found = _diagnostics(pairs, fail_on, revision)
    found += [_unfollowed(file) for file in astray.values()]
    if not names:
        kept = {revision.path_of(file) for file in find_files(listed)[0]}
        moved = {revision.path_of(new.path) for old, new in pairs if old is not None and new is not None}
        unlisted = sorted((moved | (then & now.keys())) - kept)
        message = "schemas of [tool.label_guard] no longer names this file: nothing checks its labels"
        fix = "name it again; where it is meant to go, name the files to compare"
        found += [Diagnostic("LG340", "error", message, fix, revision.name_of(path)) for path in unlisted]
    return _report(found, len(files))


def _refuse_unknown(revision: Revision, names: Sequence[str], now: set[str]) -> None:
    for name in names:
        path = revision.path_of(name)
        here = any(revision.path_of(file) in now for file in find_files([name])[0])
        if not here and not revision.tree.find(path):
            raise UsageError(f"{name} is not a schema file, neither here nor at {revision}")


def _unfollowed(file: str) -> Diagnostic:
    where = "out of the repository, where git keeps no earlier version" if Path(file).exists() else "nowhere"
    return Diagnostic("LG200", "error", f"the link leads {where}", "put the file in its place", file)


def _revision_pairs(
    revision: Revision, names: Sequence[str], then: set[str], now: dict[str, str], astray: Set[str]
) -> list[_Pair]:
    """The differing files, by their path; then by the name of the schema; then as git finds renames."""
    stayed = [path for path in now if path in then and not revision.holds(path, now[path])]
    pairs: list[_Pair] = [(_read_old(revision, path), read_schema(now[path])) for path in stayed]
    before = {path: _read_old(revision, path) for path in sorted(then - now.keys())}
    after = {path: read_schema(file) for path, file in now.items() if path not in then}
    moves = [move for move in revision.differences(names) if move.old in before or move.new in after]
    # What was moved into or out of the names; alone it is of no concern.
    old_elsewhere = {m.old: _read_old(revision, m.old) for m in moves if m.old is not None and m.old not in before}
    new_elsewhere = {
        m.new: read_schema(revision.name_of(m.new))
        for m in moves
        if m.new is not None and m.new not in after and m.new not in astray
    }
    every_old, every_new = {**before, **old_elsewhere}, {**after, **new_elsewhere}
    renamed = {
        every_new[new].path: revision.name_of(old) for old, new in moves if old in every_old and new in every_new
    }
    every = ([*every_old.values()], [*every_new.values()])
    found = _pairs(*every, lambda file: file.path, lambda file: renamed.get(file.path))
    aside = {id(file) for file in (*old_elsewhere.values(), *new_elsewhere.values())}
    return pairs + [pair for pair in found if {id(file) for file in pair if file is not None} - aside]


def _read_old(revision: Revision, path: str) -> SchemaFile:
    name = revision.name_of(path)
    try:
        return read_schema_bytes(revision.read(path), name)
    except LinkError as error:
        return SchemaFile(name, diagnostics=(Diagnostic("LG200", "error", f"at {revision}: {error}", file=name),))


def _pairs(old: Sequence[SchemaFile], new: Sequence[SchemaFile], old_place: _Key, new_place: _Key) -> list[_Pair]:
    """Pairs files by the name of the schema, then by place, each where it means one file on each side."""
    left, right = list(old), list(new)
    pairs: list[_Pair] = []
    for old_key, new_key in ((_schema_name, _schema_name), (old_place, new_place)):
        before, after = _by_key(left, old_key), _by_key(right, new_key)
        found = [(before[key], after[key]) for key in before if key in after]
        paired = {id(file) for pair in found for file in pair}
        left, right = ([file for file in files if id(file) not in paired] for files in (left, right))
        pairs += found
    return [*pairs, *((before, None) for before in left), *((None, after) for after in right)]


def _by_key(files: Iterable[SchemaFile], key: _Key) -> dict[Hashable, SchemaFile]:
    """The files by their key, without those that have none or share it."""
    groups: dict[Hashable, list[SchemaFile]] = {}
    for file in files:
        groups.setdefault(key(file), []).append(file)
    return {name: group[0] for name, group in groups.items() if name is not None and len(group) == 1}


def _schema_name(file: SchemaFile) -> Hashable:
    """The name of the schema, valid or not; None where the file has none."""
    node = file.node(("name",))
    return node.value if node is not None and isinstance(node.value, str | int | float) else None


def _diagnostics(pairs: list[_Pair], fail_on: FailOn, revision: Revision | None = None) -> list[Diagnostic]:
    in_order = sorted(pairs, key=lambda pair: next(file.path for file in reversed(pair) if file is not None))
    return [found for pair in in_order for found in _pair_diagnostics(*pair, fail_on, revision)]


def _report(diagnostics: list[Diagnostic], files_checked: int) -> DiagnosticReport:
    """The report; rules of schema files and LG343 say that a pair could not be compared."""
    complete = not any(diagnostic.rule.startswith(("LG2", "LG343")) for diagnostic in diagnostics)
    return DiagnosticReport(diagnostics, "diff", files_checked, complete)


def _pair_diagnostics(
    old: SchemaFile | None, new: SchemaFile | None, fail_on: FailOn, revision: Revision | None
) -> list[Diagnostic]:
    severity: Severity = "error" if fail_on == "any" else "note"
    if new is None:
        return [_removed(old)] if old is not None else []
    if new.schema is None:
        return [*new.diagnostics]
    if old is None:
        message = f"schema {new.schema.name!r} {new.schema.version} is new (compatible)"
        return [Diagnostic("LG341", severity, message, file=new.path)]
    if old.schema is None:
        return [_unreadable(old, new, revision)]
    found = diff_files(old, new, fail_on)
    if revision is not None and revision.path_of(old.path) != revision.path_of(new.path):
        message = f"the file was {old.path} (compatible): its path is not part of the rules"
        found.insert(0, Diagnostic("LG342", severity, message, file=new.path))
    return found


def _removed(old: SchemaFile) -> Diagnostic:
    name = f" {old.schema.name!r} {old.schema.version}" if old.schema is not None else ""
    message = f"schema{name} was removed (breaks trained models and training pipelines): nothing checks its labels"
    fix = "restore it; where it is meant to go, leave it out of the files to compare"
    return Diagnostic("LG340", "error", message, fix, old.path)


def _unreadable(old: SchemaFile, new: SchemaFile, revision: Revision | None) -> Diagnostic:
    where = f" at {revision}" if revision is not None else ""
    more = len(old.diagnostics) - 1
    first = f"{one_line(old.diagnostics[0])}{f' (and {more} more)' if more else ''}"
    message = f"nothing was compared: the earlier file{where} is not a schema that this release reads: {first}"
    fix = "compare with a revision whose file is sound: --against REF --exact"
    return Diagnostic("LG343", "error", message, fix if revision is not None else "fix it", new.path)
