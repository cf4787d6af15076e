"""Which earlier schema file belongs to which later one, and the diff of them all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from label_guard.diff.git import Moved, Revision, open_revision
from label_guard.diff.schemas import FailOn, diff_files
from label_guard.errors import UsageError
from label_guard.rules.findings import Diagnostic, Severity
from label_guard.schema.discovery import find_files
from label_guard.schema.reader import SchemaFile, one_line, read_schema, read_schema_bytes


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of comparing schema files.

    Attributes:
        diagnostics: the changes, file by file.
        files_checked: number of later files that were looked at.
        complete: whether every file could be compared.
    """

    diagnostics: list[Diagnostic]
    files_checked: int
    complete: bool


@dataclass(frozen=True, slots=True)
class _Pair:
    """An earlier and a later file; None where there is none."""

    old: SchemaFile | None
    new: SchemaFile | None


def compare_paths(old: str, new: str, fail_on: FailOn = "undeclared") -> Comparison:
    """Two schema files, or two folders of them, matched by the name of the schema, then by that of the file.

    Raises:
        UsageError: one of the two is not there, or one is a file and the other a folder.
    """
    for path in (old, new):
        if not Path(path).exists():
            raise UsageError(f"there is no file or folder {path}")
    if Path(old).is_dir() != Path(new).is_dir():
        raise UsageError(f"{old} and {new} are not both files or both folders")
    if not Path(old).is_dir():
        return _gathered([_told(_Pair(read_schema(old), read_schema(new)), fail_on)], 1)
    before, after = ([read_schema(name) for name in find_files([folder])[0]] for folder in (old, new))
    if not before and not after:
        raise UsageError(f"there is no schema file in {old} or {new}")

    def same_place(one: SchemaFile, other: SchemaFile) -> bool:
        return os.path.relpath(one.path, old) == os.path.relpath(other.path, new)

    return _gathered([_told(pair, fail_on) for pair in _in_order(_pairs(before, after, same_place))], len(after))


def compare_with_revision(
    ref: str, names: Sequence[str], *, exact: bool = False, fail_on: FailOn = "undeclared"
) -> Comparison:
    """The schema files of the working tree with those of a git revision.

    Args:
        ref: a branch, tag or commit; what is compared with is the merge base of it and ``HEAD``.
        names: files, folders and globs, as ``schema_files.find_files`` takes them.
        exact: compare with ``ref`` itself.
        fail_on: which changes are errors.

    Raises:
        UsageError: git or the revision is not there, or a name stands for no file, now or then.
    """
    revision = open_revision(ref, exact=exact)
    gone = revision.gone(names)  # first: it refuses names outside the repository, before they are walked
    files, missing = find_files(names)
    now = {revision.path_of(file): file for file in files if Path(file).exists()}
    _refuse_unknown(revision, missing, [file for file in files if not Path(file).exists()], gone)
    differing = [moved for moved in revision.differences(names) if moved.old in gone or moved.new in now]
    found = [_told(pair, fail_on, revision) for pair in _in_order(_revision_pairs(revision, differing, now))]
    return _gathered(found, len(now))


def _refuse_unknown(revision: Revision, missing: list[Diagnostic], absent: list[str], gone: set[str]) -> None:
    for name in [*(diagnostic.file for diagnostic in missing), *absent]:
        if not revision.gone([name]) & gone:
            raise UsageError(f"{name} stands for no schema file, neither here nor at {revision}")


def _revision_pairs(revision: Revision, differing: list[Moved], now: dict[str, str]) -> list[_Pair]:
    """The differing files, by their path; then by the name of the schema; then as git finds renames."""

    def read_old(path: str) -> SchemaFile:
        return read_schema_bytes(revision.read(path), revision.name_of(path))

    def read_new(path: str) -> SchemaFile:
        return read_schema(now.get(path) or revision.name_of(path))

    before = {moved.old: read_old(moved.old) for moved in differing if moved.old is not None}
    after = {moved.new: read_new(moved.new) for moved in differing if moved.new is not None}
    stayed = [_Pair(before.pop(path), after.pop(path)) for path in [*before] if path in after]
    renames = {(revision.name_of(old), after[new].path) for old, new in differing if old in before and new in after}
    return [*stayed, *_pairs([*before.values()], [*after.values()], lambda old, new: (old.path, new.path) in renames)]


def _pairs(
    old: Sequence[SchemaFile], new: Sequence[SchemaFile], belong: Callable[[SchemaFile, SchemaFile], bool]
) -> list[_Pair]:
    """Files of one schema name, where only one on each side bears it, then those that ``belong`` together."""
    left, right = list(old), list(new)
    pairs: list[_Pair] = []
    for same in (_same_name, belong):
        for before in [*left]:
            found = [after for after in right if same(before, after)]
            if len(found) == 1 and sum(same(other, found[0]) for other in left) == 1:
                pairs.append(_Pair(before, found[0]))
                left.remove(before)
                right.remove(found[0])
    return [*pairs, *(_Pair(before, None) for before in left), *(_Pair(None, after) for after in right)]


def _same_name(old: SchemaFile, new: SchemaFile) -> bool:
    """Whether both files name the same schema, sound or not."""
    names = [node.value if (node := file.node(("name",))) is not None else None for file in (old, new)]
    return names[0] is not None and names[0] == names[1]


def _in_order(pairs: Iterable[_Pair]) -> list[_Pair]:
    return sorted(pairs, key=lambda pair: next(file.path for file in (pair.new, pair.old) if file is not None))


def _gathered(told: Iterable[tuple[list[Diagnostic], bool]], files_checked: int) -> Comparison:
    pairs = list(told)
    found = [diagnostic for diagnostics, _ in pairs for diagnostic in diagnostics]
    return Comparison(found, files_checked, all(complete for _, complete in pairs))


def _told(pair: _Pair, fail_on: FailOn, revision: Revision | None = None) -> tuple[list[Diagnostic], bool]:
    """The diagnostics of a pair, and whether it could be compared."""
    old, new = pair.old, pair.new
    severity: Severity = "error" if fail_on == "any" else "note"
    if new is None:
        return ([_removed(old)] if old is not None else []), True
    if new.schema is None:
        return [*new.diagnostics], False
    if old is None:
        message = f"schema {new.schema.name!r} {new.schema.version} is new (compatible)"
        return [Diagnostic("LG341", severity, message, file=new.path)], True
    if old.schema is None:
        return [_unreadable(old, new, revision)], False
    found = diff_files(old, new, fail_on)
    if revision is not None and os.path.normpath(old.path) != os.path.normpath(new.path):
        message = f"the file was {old.path} (compatible): where it lies is no promise"
        found.insert(0, Diagnostic("LG342", severity, message, file=new.path))
    return found, True


def _removed(old: SchemaFile) -> Diagnostic:
    name = f" {old.schema.name!r} {old.schema.version}" if old.schema is not None else ""
    message = f"schema{name} was removed (breaks trained models and training pipelines): nothing checks its labels"
    fix = "restore it; where it is meant to go, leave it out of the files to compare"
    return Diagnostic("LG340", "error", message, fix, old.path)


def _unreadable(old: SchemaFile, new: SchemaFile, revision: Revision | None) -> Diagnostic:
    where = f" at {revision}" if revision is not None else ""
    more = len(old.diagnostics) - 1
    first = f"{one_line(old.diagnostics[0])}{f' (and {more} more)' if more else ''}"
    message = f"nothing was compared: the earlier file{where} is no schema that this release reads: {first}"
    fix = "compare with a revision whose file is sound: --against REF --exact"
    return Diagnostic("LG343", "error", message, fix if revision is not None else "mend it", new.path)
