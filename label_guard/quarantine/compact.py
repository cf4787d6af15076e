"""Merges the part files of a quarantine into few, each entry once. May run while writers write.

Parts are renamed before they are read, so that a writer that still has one open notices it and writes into a new part
(``LocalFolder.append``). A part is deleted only when its lines are on the disk again. A crash at any point leaves lines
twice, which readers merge, and never none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from label_guard.errors import QuarantineError
from label_guard.quarantine.line import MAX_LINE_BYTES, LineProblem, identity_digest
from label_guard.quarantine.options import folder_url
from label_guard.quarantine.reader import DamagedLines, open_parts, scan, sequence_of
from label_guard.quarantine.storage import LocalFolder, RemoteFolder, open_folder

_PART_BYTES = 64 << 20
_CLAIMED = "compacting-"


@dataclass(frozen=True, slots=True)
class Compaction:
    """What ``compact_quarantine`` did.

    Attributes:
        parts_before: number of part files found.
        parts_after: number of part files left, those with damaged lines included.
        lines: sound lines found.
        entries: lines written.
        problems: the first 1,000 damaged lines; the parts with damaged lines were left as they are.
        num_problems: number of all damaged lines.
    """

    parts_before: int
    parts_after: int
    lines: int = 0
    entries: int = 0
    problems: tuple[LineProblem, ...] = ()
    num_problems: int = 0


def compact_quarantine(url: str | os.PathLike[str]) -> Compaction:
    """Merges the parts of the quarantine at ``url``; memory in proportion to the distinct entries.

    Parts with damaged lines are left as they are; a torn last line is dropped with its part.

    Raises:
        QuarantineError: the folder does not exist, or a part could not be read again or written; nothing is lost.
    """
    url = folder_url(url)
    folder, parts = open_parts(url)
    if len(parts) < 2:
        return Compaction(len(parts), len(parts))
    try:
        claimed = _claim(folder, parts)
        newest, problems, damaged, lines = _newest_lines(folder, url, claimed)
        sound = [part for part in claimed if part not in damaged]
        if isinstance(folder, LocalFolder):
            for part in damaged:
                folder.rename(part, part.removeprefix(_CLAIMED))
        written = _write_merged(url, folder, sound, newest)
        folder.remove(sound)
    except FileNotFoundError as error:
        raise QuarantineError(
            f"cannot compact the quarantine {url}: a part was removed meanwhile, perhaps by another compact; no "
            "record was lost; run it again once the other one has ended"
        ) from error
    except Exception as error:  # an fsspec backend may raise anything
        reason = getattr(error, "strerror", None) or error
        raise QuarantineError(f"cannot compact the quarantine {url}: {reason}; no record was lost") from error
    entries = sum(len(newest.get(part, ())) for part in sound)
    found = tuple(problems.problems)
    return Compaction(len(parts), written + len(damaged), lines, entries, found, problems.num_problems)


def _claim(folder: LocalFolder | RemoteFolder, parts: Sequence[str]) -> list[str]:
    """Rename local parts, so that no writer adds to them; objects never grow."""
    if isinstance(folder, RemoteFolder):
        return list(parts)
    for part in parts:
        if not part.startswith(_CLAIMED):
            folder.rename(part, _CLAIMED + part)
    return [part if part.startswith(_CLAIMED) else _CLAIMED + part for part in parts]


def _newest_lines(
    folder: LocalFolder | RemoteFolder, url: str, parts: Sequence[str]
) -> tuple[dict[str, set[int]], DamagedLines, set[str], int]:
    """By part the lines that hold the newest line of an entry; damaged lines; their parts; number of sound lines."""
    places: dict[bytes, tuple[str, int]] = {}
    problems, damaged = DamagedLines(), set[str]()
    lines = 0
    for found in scan(folder, url, parts):
        if isinstance(found, LineProblem):
            if found.kind != "torn":
                problems.add(found)
                damaged.add(found.part)
            continue
        lines += 1
        places[identity_digest(found.identity)] = (found.place.part, found.place.line)
    newest: dict[str, set[int]] = {}
    for part, line in places.values():
        newest.setdefault(part, set()).add(line)
    return newest, problems, damaged, lines


def _write_merged(
    url: str, folder: LocalFolder | RemoteFolder, parts: Sequence[str], newest: dict[str, set[int]]
) -> int:
    """Write the newest lines of ``parts`` into new parts; their number."""
    mode = folder.mode(parts) if isinstance(folder, LocalFolder) else None
    target = open_folder(url, sync=True, mode=mode)
    sequence, number = sequence_of(parts), 0
    for data in _chunks(_kept_lines(folder, parts, newest)):
        # The part sorts where the newest of its lines was.
        target.create(f"part-compact-{number}-{sequence:016d}-{os.urandom(6).hex()}.jsonl", data)
        number += 1
    return number


def _kept_lines(
    folder: LocalFolder | RemoteFolder, parts: Sequence[str], newest: dict[str, set[int]]
) -> Iterator[bytes]:
    for part, file in folder.open_all(parts):
        if isinstance(file, Exception):
            raise file
        wanted, number = newest.get(part, set[int]()), 0
        while raw := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if number in wanted:
                yield raw


def _chunks(lines: Iterator[bytes]) -> Iterator[bytes]:
    waiting: list[bytes] = []
    size = 0
    for line in lines:
        waiting.append(line)
        size += len(line)
        if size >= _PART_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)
