"""The files of a git revision by the names that a user gives: folders, globs and links as in the working tree."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from glob import has_magic
from pathlib import PurePosixPath
from typing import NamedTuple

from label_guard.errors import UsageError
from label_guard.schema.discovery import is_schema_name

_LINK, _SUBMODULE = "120000", "160000"
_MAX_LINKS = 40  # as Linux counts
_MAX_STEPS = 20_000_000


class Entry(NamedTuple):
    """What git holds at a path: a mode such as ``100644``, and the name of the object."""

    mode: str
    oid: str


class LinkError(Exception):
    """A path that cannot be followed to a file; the text says why."""


@dataclass(frozen=True)
class Tree:
    """The files of a commit.

    Attributes:
        entries: by path from the root of the repository.
        read: the content of an object.
    """

    entries: Mapping[str, Entry]
    read: Callable[[str], bytes]
    _folders: set[str] = field(init=False, default_factory=set[str])

    def __post_init__(self) -> None:
        for path in self.entries:
            while path := posixpath.dirname(path):
                if path in self._folders:
                    break
                self._folders.add(path)

    def resolve(self, path: str) -> str:
        """Returns the path that ``path`` leads to, links followed.

        Raises:
            LinkError: a link leads out of the repository or in a circle, or a submodule is on the way.
        """
        done: str = ""
        links = 0
        todo: list[str] = path.split("/")
        while todo:
            step = todo.pop(0)
            if step in ("", "."):
                continue
            if step == "..":
                if not done:
                    raise LinkError("a link leads out of the repository")
                done = posixpath.dirname(done)
                continue
            done = posixpath.join(done, step)
            entry = self.entries.get(done)
            if entry is not None and entry.mode == _SUBMODULE:
                raise LinkError(f"{done} is a submodule; compare in its own repository")
            if entry is not None and entry.mode == _LINK:
                links += 1
                target = self.read(entry.oid).decode("utf-8", "surrogateescape")
                if links > _MAX_LINKS:
                    raise LinkError("links lead in a circle")
                if target.startswith("/"):
                    raise LinkError("a link leads out of the repository")
                todo, done = [*target.split("/"), *todo], posixpath.dirname(done)
        return done

    def blob(self, path: str) -> str:
        """Returns the name of the object that ``path`` leads to.

        Raises:
            LinkError: it leads to no file.
        """
        place = self.resolve(path)
        if place not in self.entries:
            raise LinkError("a link leads to a folder" if place in self._folders else "a link leads nowhere")
        return self.entries[place].oid

    def find(self, name: str) -> list[str]:
        """Returns the paths that a file, folder or glob, named from the root, means; sorted."""
        if not has_magic(name) or name in self.entries:
            return sorted(path for path in self._walk(name) if path == name or _is_visible(path, name))
        parts = name.split("/")
        fixed = "/".join(parts[: next(i for i, part in enumerate(parts) if has_magic(part))])
        found: set[str] = set()
        for path in self._walk(fixed):
            if (not name.endswith("**") and _matches(path, name)) or any(
                _is_visible(path, str(up)) and _matches(str(up), name) for up in PurePosixPath(path).parents
            ):  # a last ** means folders alone
                found.add(path)
        return sorted(found)

    def _walk(self, top: str) -> Iterator[str]:
        """The files at and below a path, through links to folders; each folder once."""
        todo, seen, count = [top], set[str](), 0
        while todo:
            logical = todo.pop()
            try:
                place = self.resolve(logical)
            except LinkError:
                yield logical
                continue
            if place in self.entries or (place and place not in self._folders):
                if place in self.entries or logical in self.entries:  # a link that leads nowhere was there, too
                    yield logical
                continue
            if place in seen:
                continue
            seen.add(place)
            prefix = f"{place}/" if place else ""
            for path, entry in self.entries.items():
                count += 1
                if count > _MAX_STEPS:
                    raise UsageError(f"{top} has too many links to folders; name the schema files")
                if not path.startswith(prefix):
                    continue
                inside = posixpath.join(logical, path.removeprefix(prefix))
                if entry.mode == _LINK:
                    todo.append(inside)
                else:
                    yield inside


def _is_visible(path: str, folder: str) -> bool:
    """Whether a folder means a file in it: it ends as a schema does, and nothing on the way is hidden."""
    inside = path[len(folder) :].lstrip("/") if folder not in ("", ".") else path
    return is_schema_name(path) and not any(part.startswith(".") for part in inside.split("/"))


def _matches(path: str, glob: str) -> bool:
    """Whether a glob matches a whole path: ``**`` is any number of folders, ``*`` stays within one.

    >>> _matches("configs/a/b.yaml", "configs/**/*.yaml"), _matches("configs/a/b.yaml", "configs/*.yaml")
    (True, False)
    """
    parts = path.split("/")
    reached = {0}  # how many parts of the path the pattern so far can have used
    for pattern in glob.split("/"):
        if pattern == "**":
            reached = set(range(min(reached), len(parts) + 1)) if reached else reached
        else:
            reached = {i + 1 for i in reached if i < len(parts) and fnmatchcase(parts[i], pattern)}
    return len(parts) in reached
