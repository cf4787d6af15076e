"""``quarantine:DIR``: the labels of quarantined records, each once with its newest labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from label_guard.core.plural import counted
from label_guard.core.similar import listed
from label_guard.errors import QuarantineError, SourceError
from label_guard.quarantine.line import QuarantineEntry
from label_guard.quarantine.reader import QuarantineContents, read_quarantine
from label_guard.quarantine.replay_source import is_split, may_be_of
from label_guard.schema.split_spec import split_bases
from label_guard.sources.base import LabelShapes, Piece
from label_guard.sources.pieces import labels_of, records_piece, values_column

_MAX_RECORDS = 1024


@dataclass(frozen=True, slots=True)
class QuarantineFormat:
    """A quarantine folder. A record whose labels were not kept is unreadable; damaged lines are an error.

    Attributes:
        split: only records of this split; None: all.
    """

    split: str | None
    name: str = "quarantine"

    def fields(self, path: str) -> Sequence[str]:
        entries = self._entries(_contents(path))
        first = next((list(entry.payload) for entry in entries if entry.payload_kind == "full"), list[str]())
        return sorted({*first, *(label for entry in entries for label in entry.labels)})

    def read(self, path: str, wanted: LabelShapes) -> Iterator[Piece]:
        contents = _contents(path)
        entries = self._entries(contents)
        datasets = sorted({entry.dataset for entry in entries})
        if len(datasets) > 1:
            raise SourceError(
                f"{path} holds records of the datasets {listed(datasets)}, and a schema describes one; check those of "
                "one with: label-guard quarantine recheck"
            )
        for start in range(0, len(entries), _MAX_RECORDS):
            yield _piece(start, entries[start : start + _MAX_RECORDS], wanted)
        if unknown := sum(self._is_unclear(group[0].split) for group in contents.records):
            found = counted(unknown, "record was left out, which", "records were left out, which")
            raise SourceError(f"{path}: {found} may be of split {self.split} or not: it is not in their lines")
        if damaged := contents.num_problems - contents.num_torn:
            shown = [str(problem) for problem in contents.problems if problem.kind != "torn"]
            first = f", the first is {shown[0]}" if shown else ""
            raise SourceError(f"{path}: {counted(damaged, 'damaged line was', 'damaged lines were')} skipped{first}")

    def _entries(self, contents: QuarantineContents) -> list[QuarantineEntry]:
        if self.split is not None:
            split_bases(self.split)
        newest = [group[0] for group in contents.records]
        return [entry for entry in newest if self.split is None or is_split(entry.split, self.split)]

    def _is_unclear(self, split: str | None) -> bool:
        return self.split is not None and not is_split(split, self.split) and may_be_of(split, self.split)


def _contents(path: str) -> QuarantineContents:
    try:
        return read_quarantine(path)
    except QuarantineError as error:
        raise SourceError(str(error)) from error


def _piece(start: int, entries: Sequence[QuarantineEntry], wanted: LabelShapes) -> Piece:
    piece = records_piece(start, entries, lambda entry: _labels(entry, wanted), wanted)
    columns = {path: values_column(list(column)) for path, column in piece.columns.items()}
    return piece._replace(columns=columns, names={row: entry.name for row, entry in enumerate(entries, start)})


def _labels(entry: QuarantineEntry, wanted: LabelShapes) -> dict[str, Any]:
    if entry.payload_kind == "none":
        raise ValueError(f"the labels of record {entry.name} are not kept (payload none)")
    lacking = [
        path for path in wanted if entry.payload_kind == "labels" and path not in {*entry.labels, *entry.payload}
    ]
    if lacking:
        raise ValueError(f"{lacking[0]} of record {entry.name} is not kept (payload labels)")
    return labels_of(entry.payload, wanted)
