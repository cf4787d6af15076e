"""Splits by the names of files: train-*.parquet and test-*.parquet."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

_SPLIT_NAME = re.compile(r"(?:^|[/_.-])(train|test|validation|valid|val|dev)(?=[/_.*-]|$)")
_SAME = {"val": "validation", "valid": "validation", "dev": "validation"}
_LAST = re.compile(r"(.*[/:])?([^/:?]*)((?:\?.*)?)", re.DOTALL)  # folder and scheme, file name or pattern, options


@dataclass(frozen=True, slots=True)
class SplitFiles:
    """The files of one split.

    Attributes:
        name: name of the split.
        uri: source that names these files.
        paths: the files.
    """

    name: str
    uri: str
    paths: tuple[str, ...]


def split_files(source: str, paths: Sequence[str]) -> list[SplitFiles]:
    """The splits of a source by the names of its files; one split where they say one, or none (``all``).

    Args:
        source: URI as it was given.
        paths: the files that it names.
    """
    named: dict[str, list[str]] = {}
    for path in paths:
        named.setdefault(split_name(_name(path)) or "", []).append(path)
    patterns = {name: _pattern([_name(path) for path in found]) for name, found in named.items()}
    apart = "" not in named and len(named) > 1 and len({path[: -len(_name(path))] for path in paths}) == 1
    for name, found in named.items():
        others = (_name(path) for path in paths if path not in found)
        apart = apart and not any(fnmatchcase(other, patterns[name]) for other in others)
    if not apart:
        name = split_name(source.partition(":")[2].rpartition("/")[2]) or next(iter(named), "")
        return [SplitFiles(name or "all" if len(named) < 2 else "all", source, tuple(paths))]
    return [SplitFiles(name, _with_name(source, patterns[name]), tuple(found)) for name, found in named.items()]


def split_name(text: str) -> str | None:
    """The split that a file name or pattern says, or None."""
    found = _SPLIT_NAME.search(text)
    return None if found is None else _SAME.get(found[1], found[1])


def _pattern(names: Sequence[str]) -> str:
    """A pattern of what ``names`` have in common."""
    if len(names) == 1:
        return names[0]
    start = _common(names).rstrip("0123456789")
    end = _common([name[len(start) :][::-1] for name in names])[::-1].lstrip("0123456789")
    return f"{start}*{end}"


def _common(names: Sequence[str]) -> str:
    """What all names begin with."""
    first, last = min(names), max(names)
    return first[: next((k for k, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))]


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _with_name(source: str, name: str) -> str:
    found = _LAST.fullmatch(source)
    return source if found is None else f"{found[1] or ''}{name}{found[3]}"


def in_place_of(source: str, other: str, uri: str) -> str:
    """``uri``, made from ``source``, as it reads where ``source`` is written ``other``.

    Args:
        source: the source as it was read.
        other: the same source as the schema is to name it.
        uri: a URI that was made from ``source``.
    """
    mine = _LAST.fullmatch(uri)
    return other if uri == source or mine is None else _with_name(other, mine[2])
