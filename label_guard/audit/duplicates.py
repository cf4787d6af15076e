"""Records of the same content: what a report knows of them, and how groups are made of their digests.

Content is everything a record holds but its labels and its key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StrictBool, model_validator

from label_guard.core.record_key import natural_order
from label_guard.diagnosis.overflow import Count

DigestRows = NDArray[Any]
MAX_EXAMPLES = 5  # groups kept for each finding, and members of each
_KEPT_ROWS = 16  # of one content, label and split: the rest are counted, so blank pictures take no memory
TEXT, KEY = 48, 80  # characters kept of the labels and of the key of a record, for the report
ROW = np.dtype(
    [
        ("high", "<u8"), ("low", "<u8"), ("label", "<u8"), ("split", "<u2"), ("shard", "<u4"), ("row", "<u8"),
        ("count", "<u8"), ("text", f"S{TEXT}"), ("key", f"S{KEY}"),
    ]
)  # fmt: skip
NO_LABEL = 0  # digest of a record that is declared to have none


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Member(_Model):
    """A record of a group: its split, its name, its labels in short."""

    split: str
    record: str
    labels: str


class Groups(_Model):
    """Groups of records of the same content.

    Attributes:
        groups: how many.
        records: records in them.
        examples: the first by key order, and of each the first members.
    """

    groups: Count = 0
    records: Count = 0
    examples: list[list[Member]] = Field(default_factory=list[list[Member]])

    @model_validator(mode="after")
    def _has_an_example(self) -> Groups:
        if self.groups and not (self.examples and all(self.examples)):
            raise ValueError("groups without an example")
        return self


class Duplicates(_Model):
    """What was found of the same content.

    Attributes:
        conflicting: under different labels.
        shared: in more than one split.
        repeated: several times in one split under one label.
        unread: split, shard and why, of shards whose records could not all be read as wholes.
        stopped: whether it was stopped before all records were read.
    """

    conflicting: Groups = Groups()
    shared: Groups = Groups()
    repeated: Groups = Groups()
    unread: list[tuple[str, str, str]] = Field(default_factory=list[tuple[str, str, str]])
    stopped: StrictBool = False


_Example = tuple[Any, list[Member]]  # by what it is ordered, and the members that are shown


# Rows of one content --------------------------------------------------------------------------------------------------


def thinned(rows: DigestRows) -> DigestRows:
    """The rows in order of their digests; of many alike the first, which the last of these counts for."""
    rows = rows[np.lexsort([rows[name] for name in ("row", "shard", "split", "label", "low", "high")])]
    alike = np.ones(len(rows), np.bool_)
    for name in ("high", "low", "label", "split"):
        alike[1:] &= rows[name][1:] == rows[name][:-1]
    alike[0] = False
    starts = np.flatnonzero(~alike)
    sizes = np.diff(np.append(starts, len(rows)))
    rank = np.arange(len(rows)) - np.repeat(starts, sizes)
    keep = rank < _KEPT_ROWS
    rows["count"][starts + np.minimum(sizes, _KEPT_ROWS) - 1] += np.maximum(sizes - _KEPT_ROWS, 0).astype(np.uint64)
    return rows[keep]


def reported_places(group: DigestRows) -> list[int]:
    """The places of the rows of one content, in order of their files, that decide what a report says of it.

    At most 19, and those of several parts of a group hold those of the whole: statistics of an engine stay small.
    """
    classes, first = np.unique(group[["label", "split"]], return_index=True)
    labelled = first[classes["label"] != NO_LABEL]
    ends = [first[-1], *labelled[:1], group["split"].argmin(), group["split"].argmax()]
    return sorted({*range(min(len(group), 2 * MAX_EXAMPLES)), *map(int, [*first[:MAX_EXAMPLES], *ends])})


class FoundGroups:
    """Groups by what is wrong with them: exact counts, and the first groups by key order. The order does not show.

    Args:
        splits: their names, by number.
    """

    def __init__(self, splits: Sequence[str]) -> None:
        self._splits = splits
        self._kept = {name: _Kept() for name in ("conflicting", "shared", "repeated")}

    def add(self, group: DigestRows, prefixes: Mapping[int, str] | Sequence[str]) -> None:
        """Adds all rows of one content, two or more, in order of their files.

        Args:
            group: the rows.
            prefixes: by number of the file, what precedes a position in the name of a record.
        """
        labels = set(group["label"].tolist()) - {NO_LABEL}
        found = {"conflicting": len(labels) > 1, "shared": len(set(group["split"].tolist())) > 1}
        kept = _Kept(1, int(group["count"].sum()), [self._example(group, prefixes)])
        for name in [name for name, holds in found.items() if holds] or ["repeated"]:
            self._kept[name].merge(kept)

    def _example(self, group: DigestRows, prefixes: Mapping[int, str] | Sequence[str]) -> _Example:
        """A group, shown by a member for each of its labels and splits before others."""
        first = np.unique(group[["label", "split"]], return_index=True)[1][:MAX_EXAMPLES].tolist()
        others = [place for place in range(min(len(group), 2 * MAX_EXAMPLES)) if place not in first]
        members = [self._member(group[place], prefixes) for place in [*first, *others][:MAX_EXAMPLES]]
        shown = sorted(members, key=_order)
        return (_order(shown[0]), int(group["high"][0]), int(group["low"][0])), shown

    def _member(self, row: Any, prefixes: Mapping[int, str] | Sequence[str]) -> Member:
        key = bytes(row["key"]).decode("ascii") or f"{prefixes[int(row['shard'])]}{int(row['row'])}"
        return Member(split=self._splits[int(row["split"])], record=key, labels=bytes(row["text"]).decode("ascii"))

    def merge(self, other: FoundGroups) -> FoundGroups:
        """Adds the groups of ``other``, which has other contents; returns this object."""
        for name, kept in self._kept.items():
            kept.merge(other._kept[name])
        return self

    def result(self, unread: Sequence[tuple[str, str, str]], *, stopped: bool = False) -> Duplicates:
        """Returns what was found; arguments are the fields of ``Duplicates``."""
        found = {
            name: Groups(groups=kept.groups, records=kept.records, examples=[shown for _, shown in kept.examples])
            for name, kept in self._kept.items()
        }
        return Duplicates(**found, unread=sorted(set(unread)), stopped=stopped)


@dataclass(slots=True)
class _Kept:
    """Exact counts, and the first groups by key order, those of one name by their digest."""

    groups: int = 0
    records: int = 0
    examples: list[_Example] = field(default_factory=list[_Example])

    def merge(self, other: _Kept) -> None:
        self.groups += other.groups
        self.records += other.records
        self.examples = sorted([*self.examples, *other.examples], key=lambda example: example[0])[:MAX_EXAMPLES]


def _order(member: Member) -> tuple[Any, ...]:
    return (natural_order(member.record), member.record, member.split)
