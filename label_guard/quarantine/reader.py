"""Reading a quarantine: entries merged by identity, damaged lines skipped and reported, payloads read on demand.

Lines are foreign bytes. One line costs at most ``MAX_LINE_BYTES`` and ``MAX_VALUES`` (quarantine/line.py); the whole
costs memory in proportion to distinct entries, and time in proportion to bytes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import BinaryIO

from label_guard.core.plural import counted
from label_guard.core.record_key import natural_order
from label_guard.core.similar import listed
from label_guard.errors import QuarantineError
from label_guard.quarantine.line import MAX_LINE_BYTES, LineProblem, Place, QuarantineEntry, parse_line
from label_guard.quarantine.options import folder_url
from label_guard.quarantine.storage import LocalFolder, RemoteFolder, open_folder

# part-<process>-<worker>-<sequence>-<random>.jsonl: sequences order parts by age. ``compact`` merges parts into one of
# process "compact"; while it reads a part, the part's name starts with "compacting-".
_PART = re.compile(r"(?:compacting-)?part-([0-9]+|compact)-([0-9]+)-(?:([0-9]{1,18})-)?[^/]*\.jsonl")


_MAX_PROBLEMS = 1_000


@dataclass(slots=True)
class DamagedLines:
    """The damaged lines of a quarantine: a part may hold one every other byte.

    Attributes:
        problems: the first 1,000 damaged lines.
        num_problems: number of all damaged lines.
        num_torn: those that are only torn.
    """

    problems: list[LineProblem] = field(default_factory=list[LineProblem])
    num_problems: int = 0
    num_torn: int = 0

    def add(self, problem: LineProblem) -> None:
        """Counts a damaged line, and keeps it while there are few."""
        self.num_problems += 1
        self.num_torn += problem.kind == "torn"
        if len(self.problems) < _MAX_PROBLEMS:
            self.problems.append(problem)


@dataclass(frozen=True, slots=True)
class QuarantineContents:
    """What a quarantine holds.

    Attributes:
        url: the folder.
        entries: one for each identity, sorted by record, the newest of a record first.
        problems: the first 1,000 lines that were skipped.
        lines: number of sound lines, repeated ones included.
        parts: number of part files.
        num_problems: number of all skipped lines.
        num_torn: those of them that are only torn.
    """

    url: str
    entries: tuple[QuarantineEntry, ...]
    problems: tuple[LineProblem, ...] = ()
    lines: int = 0
    parts: int = 0
    num_problems: int = 0
    num_torn: int = 0

    @property
    def records(self) -> tuple[tuple[QuarantineEntry, ...], ...]:
        """The entries of each distinct record, newest first; more than one where its labels changed."""
        return tuple(tuple(group) for _, group in groupby(self.entries, key=lambda entry: entry.record_id))


def read_quarantine(url: str | os.PathLike[str]) -> QuarantineContents:
    """Everything in the quarantine at ``url``, each record once. Memory grows with entries, not with payloads.

    Args:
        url: a folder, or any fsspec URL of one; the parts of an object store are fetched 32 at a time.

    Raises:
        QuarantineError: the folder does not exist, or cannot be listed.
        UsageError: ``url`` is neither text nor a path.
    """
    url = folder_url(url)
    folder, parts = open_parts(url)
    merged: dict[tuple[str | None, ...], QuarantineEntry] = {}
    damaged = DamagedLines()
    lines = 0
    for found in scan(folder, url, parts):
        if isinstance(found, LineProblem):
            damaged.add(found)
            continue
        lines += 1
        identity = found.identity
        merged.pop(identity, None)
        merged[identity] = found
    entries = list(reversed(merged.values()))
    entries.sort(key=_by_record)
    problems = tuple(damaged.problems)
    return QuarantineContents(url, tuple(entries), problems, lines, len(parts), damaged.num_problems, damaged.num_torn)


def _by_record(entry: QuarantineEntry) -> tuple[str, str]:
    origin = (entry.dataset, entry.source, entry.split or "", str(entry.record is None), entry.name)
    return natural_order("\n".join(origin)), repr(entry.record_id)


def open_parts(url: str) -> tuple[LocalFolder | RemoteFolder, list[str]]:
    """Opens the quarantine at ``url``.

    Returns:
        The folder, and the names of its part files, oldest first.

    Raises:
        QuarantineError: the folder does not exist, cannot be listed, or holds something else and no part file.
    """
    try:
        folder = open_folder(url)
        names = folder.names()
    except FileNotFoundError:
        raise QuarantineError(f"no quarantine at {url}: no such folder; check the path") from None
    except NotADirectoryError:
        raise QuarantineError(f"{url} is a file, not a quarantine; give the folder that holds the part files") from None
    except Exception as error:  # an fsspec backend may raise anything
        raise QuarantineError(f"cannot list the quarantine at {url}: {error}") from error
    parts, others = _sorted(names), sorted(name for name in names if not name.startswith(".") and "part-" not in name)
    if others and not parts:
        raise QuarantineError(
            f"no quarantine at {url}: it holds no part file (part-*.jsonl), but {listed(others)}; check the path"
        )
    return folder, parts


def _sorted(names: Sequence[str]) -> list[str]:
    matches = [match for name in names if (match := _PART.fullmatch(name))]
    matches.sort(key=lambda match: (int(match[3] or 0), match[1] != "compact", match[1], int(match[2]), match[0]))
    return [match[0] for match in matches]


def own_parts(names: Sequence[str], process_index: int, worker: int) -> list[str]:
    """The part files that writers of this process and worker index made, newest first."""
    return [name for name in reversed(_sorted(names)) if name.startswith(f"part-{process_index}-{worker}-")]


def sequence_of(names: Sequence[str]) -> int:
    """The highest sequence of the part files among ``names``; 0 where there is none."""
    matches = [_PART.fullmatch(name) for name in names]
    return max((int(match[3] or 0) for match in matches if match), default=0)


def scan(folder: LocalFolder | RemoteFolder, url: str, parts: Sequence[str]) -> Iterator[QuarantineEntry | LineProblem]:
    """Entries and problems of the parts, line by line, in order.

    Args:
        folder: the opened quarantine.
        url: where it is, for places.
        parts: names of part files.
    """
    for part, file in folder.open_all(parts):
        try:
            if isinstance(file, Exception):
                raise file
            yield from _scan_part(file, url, part)
        except Exception as error:  # an fsspec backend may raise anything
            yield LineProblem(part, 0, "unreadable", str(getattr(error, "strerror", None) or error))


def _scan_part(file: BinaryIO, url: str, part: str) -> Iterator[QuarantineEntry | LineProblem]:
    offset, number = 0, 0
    while raw := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        place = Place(url, part, number, offset, len(raw))
        offset += len(raw)
        if raw.endswith(b"\n"):
            yield parse_line(raw, place)
        elif len(raw) <= MAX_LINE_BYTES:
            yield LineProblem(part, number, "torn", f"{counted(len(raw), 'byte')} without a line end")
        else:
            yield LineProblem(part, number, "corrupt", f"longer than {MAX_LINE_BYTES >> 20} MiB")
            while raw and not raw.endswith(b"\n"):  # on to the end of the line
                raw = file.readline(1 << 20)
                offset += len(raw)
