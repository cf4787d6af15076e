"""What a git revision holds: its files, and how they differ from the working tree. Git is asked, never changed."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from label_guard.core.escape import terminal
from label_guard.diff.tree import Entry, LinkError, Tree
from label_guard.errors import UsageError
from label_guard.schema.discovery import SUFFIXES, default_names, schemas_in

_HASH = re.compile(r"[0-9a-f]{7,64}")
_TWO_FILES = "label-guard diff OLD NEW compares two files without git"


class FileChange(NamedTuple):
    """A file that differs: its old and its new path from the root of the repository; None where it is not."""

    old: str | None
    new: str | None


@dataclass(frozen=True)
class Revision:
    """A commit of the repository around the current folder.

    Attributes:
        ref: the revision as the user named it.
        commit: hash of the commit to compare with.
        root: the folder of the working tree.
    """

    ref: str
    commit: str
    root: Path

    def __str__(self) -> str:
        return f"{terminal(self.ref)} ({self.commit[:9]})"

    @cached_property
    def tree(self) -> Tree:
        """The files of the commit."""
        entries: dict[str, Entry] = {}
        for line in _split(_git("ls-tree", "-r", "-z", "--full-tree", self.commit, folder=self.root)):
            about, _, path = line.partition("\t")
            mode, _, oid = about.split(" ")
            entries[path] = Entry(mode, oid)
        return Tree(entries, lambda oid: _git("cat-file", "blob", oid, folder=self.root))

    def read(self, path: str) -> bytes:
        """Returns the content of a file, named from the root of the repository, links followed.

        Raises:
            LinkError: the path leads to no file of the repository.
        """
        return _git("cat-file", "blob", self.tree.blob(path), folder=self.root)

    def holds(self, path: str, file: str) -> bool:
        """Whether the file at ``path`` is there and has the content of ``file`` in the working tree."""
        try:
            if not Path(file).is_file():
                return False
            oid, data = self.tree.blob(path), Path(file).read_bytes()
        except (LinkError, OSError):
            return False
        digest = hashlib.new("sha256" if len(oid) == 64 else "sha1", usedforsecurity=False)
        digest.update(b"blob %d\0" % len(data) + data)
        return digest.hexdigest() == oid

    def path_of(self, name: str | os.PathLike[str]) -> str:
        """Returns the path of a file from the root of the repository, as it is named: links are not followed.

        Raises:
            UsageError: the file lies elsewhere.
        """
        here = os.path.normpath(Path.cwd().resolve() / name)
        for absolute in (Path(here), Path(here).parent.resolve() / Path(here).name):
            if absolute.is_relative_to(self.root):
                return absolute.relative_to(self.root).as_posix()
        raise UsageError(f"{name} is not in the git repository {self.root}; {_TWO_FILES}")

    def leaves(self, name: str) -> bool:
        """Whether a file of the working tree lies nowhere or outside the repository once links are followed."""
        return not Path(name).exists() or not Path(name).resolve().is_relative_to(self.root)

    def default_names(self) -> list[str]:
        """Returns what ``schema.discovery.default_names`` gave in this revision, from the current folder."""
        return default_names(Path.cwd().resolve(), self._configured)

    def _configured(self, project: Path) -> list[str] | None:
        path = project.relative_to(self.root).as_posix() if project.is_relative_to(self.root) else ""
        if path not in self.tree.entries:
            return None
        try:
            return schemas_in(self.read(path).decode(), path)
        except (LinkError, UnicodeDecodeError, UsageError):  # what could not be read then named nothing
            return []

    def name_of(self, path: str) -> str:
        """A path from the root of the repository as one from the current folder."""
        return os.path.relpath(self.root / path, Path.cwd().resolve())

    def differences(self, names: Sequence[str]) -> list[FileChange]:
        """The files that differ from the working tree and could be schemas; untracked ones are new.

        The whole repository is looked at, for a file may have been moved into or out of ``names``.
        """
        endings = {*SUFFIXES, *(Path(name).suffix for name in names if Path(name).suffix)}
        kinds = [f":(top,glob)**/*{ending}" for ending in sorted(endings)]
        kinds += [f":(top,literal){self.path_of(name)}" for name in names if Path(name).is_file()]
        listed = _git("diff", "--name-status", "-z", "-M", *_PLAIN, self.commit, "--", *kinds, folder=self.root)
        found = list(_moves(iter(_split(listed))))
        untracked = _split(_git("ls-files", "--others", "-z", "--", *kinds, folder=self.root))
        return [*found, *(FileChange(None, path) for path in untracked)]


# Programs that the configuration of a repository names for diffs are not run.
_PLAIN = ("--no-ext-diff", "--no-textconv", "--ignore-submodules")


def open_revision(ref: str, *, exact: bool = False) -> Revision:
    """The revision to compare the working tree with.

    Args:
        ref: a branch, tag or commit.
        exact: take ``ref`` itself, not the merge base of it and ``HEAD``.

    Raises:
        UsageError: no git, no repository, no such revision, or no common history; the message says what to run.
    """
    if not ref or ref.startswith("-"):
        raise UsageError(f"--against {terminal(ref)!r} is not a git revision; name a branch, tag or commit")
    root = Path(_git("rev-parse", "--show-toplevel").decode("utf-8", "surrogateescape").rstrip("\n"))
    try:
        commit = _line("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
    except _GitError:
        raise UsageError(_unknown(ref)) from None
    if not exact:
        try:
            commit = _line("merge-base", commit, "HEAD")
        except _GitError:
            raise UsageError(_no_merge_base(ref)) from None
    return Revision(ref, commit, root)


class _GitError(UsageError):
    """Git ended with an error."""


def _git(*arguments: str, folder: Path | None = None) -> bytes:
    program = shutil.which("git")
    if program is None:
        raise UsageError(f"git is not installed, and --against needs it; {_TWO_FILES}")
    settings = {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    try:
        command, env = [program, *arguments], {**os.environ, **settings}
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, check=False)  # noqa: S603 - no shell
    except (OSError, ValueError) as error:  # ValueError: a NUL in a name
        raise UsageError(f"git cannot be run: {error}") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip()
        if "not a git repository" in said:
            raise _GitError(f"this folder is not in a git repository; run in a checkout; {_TWO_FILES}")
        raise _GitError(f"git says: {terminal(said) or 'nothing, but it failed'}")
    return done.stdout


def _line(*arguments: str) -> str:
    return _git(*arguments).decode("utf-8", "replace").strip()


def _split(listed: bytes) -> list[str]:
    return [os.fsdecode(entry) for entry in listed.split(b"\0") if entry]


def _moves(entries: Iterator[str]) -> Iterator[FileChange]:
    """The entries of ``git diff --name-status -z``: a letter, then one path, or two of a rename."""
    for status in entries:
        path = next(entries)
        if status[0] == "R":
            yield FileChange(path, next(entries))
        else:
            yield FileChange(None if status[0] == "A" else path, None if status[0] == "D" else path)


def _is_shallow() -> bool:
    return _line("rev-parse", "--is-shallow-repository") == "true"


def _remote_and_branch(ref: str) -> tuple[str, str] | None:
    """Where to fetch ``ref`` from; None in a repository without remotes."""
    remotes = _line("remote").split()
    if not remotes:
        return None
    named = next((remote for remote in remotes if ref.startswith(f"{remote}/")), None)
    if named is not None:
        return named, ref.removeprefix(f"{named}/")
    return ("origin" if "origin" in remotes else remotes[0]), ref


def _unknown(ref: str) -> str:
    shown = terminal(ref)
    found = _remote_and_branch(ref)
    if found is not None and re.search(r"[~^]", ref) and _is_shallow():
        return _too_shallow(f"to {shown}", found[0])
    if found is None or not re.fullmatch(r"[\w./@+-]+", ref):
        return f"no branch, tag or commit {shown!r} exists here; git branch --all and git tag list those that do"
    remote, branch = found
    clone = "this shallow clone" if _is_shallow() else "this clone"
    if _HASH.fullmatch(branch):
        fetch = f"git fetch {remote} {branch}"
    else:
        fetch = f"git fetch {remote} +{branch}:refs/remotes/{remote}/{branch}"
    use = "" if ref != branch or _HASH.fullmatch(branch) else f" and use --against {remote}/{branch}"
    return f"{shown!r} is not in {clone}; run: {fetch}{use}{_IN_ACTIONS}"


_IN_ACTIONS = " (on GitHub: actions/checkout with fetch-depth: 0; on GitLab: GIT_DEPTH: 0)"


def _no_merge_base(ref: str) -> str:
    found = _remote_and_branch(ref)
    if found is not None and _is_shallow():
        return _too_shallow(f"to where HEAD left {terminal(ref)}", found[0])
    return f"HEAD and {terminal(ref)} have no common commit; --exact compares with {terminal(ref)} itself"


def _too_shallow(where: str, remote: str) -> str:
    fetch = shlex.join(["git", "fetch", "--unshallow", remote])
    return f"this shallow clone does not reach back {where}; run: {fetch}{_IN_ACTIONS}"
