"""Illegal values of one label: how often, in how many records, where, and in which files. Mergeable and bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Value = int | float
Place = tuple[str, int, str]  # file, record within it, record key

# Distinct illegal values kept for each label: well-known numbers, then the smallest by magnitude. The rest are counted.
MAX_VALUES = 4096
MAX_FILE_VALUES = 16  # of these, how many are counted by file
# Numbers that mean "no value" somewhere. They are always kept, however large.
WELL_KNOWN = (
    255, -1, -100, 254, 65535, 32767, -999, 999, -9999, 9999, 99, -99, -2, 2**31 - 1, -(2**31), -32768, -128, 2**32 - 1,
    2**63 - 1, -(2**63), 2**64 - 1,
)  # fmt: skip
_FIRST = frozenset(WELL_KNOWN)


@dataclass(frozen=True, slots=True)
class IllegalValue:
    """One illegal value.

    Attributes:
        positions: how often it occurs.
        records: records that hold it at least once.
        first: where it occurs first: file, record within it, record key.
        last: where it occurs last.
    """

    positions: int
    records: int
    first: Place
    last: Place

    def merge(self, other: IllegalValue) -> IllegalValue:
        """Both together."""
        return IllegalValue(
            self.positions + other.positions,
            self.records + other.records,
            min(self.first, other.first),
            max(self.last, other.last),
        )

    def to_json(self) -> list[Any]:
        """Plain values."""
        return [self.positions, self.records, list(self.first), list(self.last)]


@dataclass(frozen=True, slots=True)
class FileCounts:
    """One file that holds illegal values.

    Attributes:
        positions: integer values in it.
        illegal: illegal ones among them.
        low: smallest legal id, None where there is none.
        high: greatest legal id.
        values: positions by illegal value, ``MAX_FILE_VALUES`` of them.
    """

    positions: int
    illegal: int
    low: int | None
    high: int | None
    values: Mapping[Value, int]

    def merge(self, other: FileCounts) -> FileCounts:
        """Both together: two pieces of one file."""
        values = {v: self.values.get(v, 0) + other.values.get(v, 0) for v in {**self.values, **other.values}}
        return FileCounts(
            self.positions + other.positions,
            self.illegal + other.illegal,
            extreme(min, self.low, other.low),
            extreme(max, self.high, other.high),
            {v: values[v] for v in kept(values, MAX_FILE_VALUES)},
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values in one order."""
        values = {str(v): self.values[v] for v in sorted(self.values)}
        return {
            "positions": self.positions, "illegal": self.illegal, "low": self.low, "high": self.high, "values": values,
        }  # fmt: skip


@dataclass(slots=True)
class IllegalValues:
    """All illegal values of one label.

    Attributes:
        values: by value, ``MAX_VALUES`` of them at most.
        overflow: positions of the others.
        files: by name, the files that hold illegal values.
        clean_files: how many files hold none.
        clean_positions: integer values in those.
        clean_low: smallest legal id in those.
        clean_high: greatest legal id in those.
    """

    values: dict[Value, IllegalValue] = field(default_factory=dict[Value, IllegalValue])
    overflow: int = 0
    files: dict[str, FileCounts] = field(default_factory=dict[str, FileCounts])
    clean_files: int = 0
    clean_positions: int = 0
    clean_low: int | None = None
    clean_high: int | None = None

    @property
    def positions(self) -> int:
        """How many illegal values there are, the overflow included."""
        return sum(found.positions for found in self.values.values()) + self.overflow

    def add(self, values: Array, rows: Array, place_of: Callable[[int], Place]) -> None:
        """Count ``values`` that occur in ``rows`` (ascending) of a chunk; ``place_of`` says where a row is."""
        numbers, place, counts = np.unique(values, return_inverse=True, return_counts=True)
        order = np.argsort(place.reshape(-1), kind="stable")
        ends = np.cumsum(counts)
        for number, end, count in zip(numbers.tolist(), ends.tolist(), counts.tolist(), strict=True):
            held = rows[order[end - count : end]]
            value = whole(number)
            records = 1 + int(np.count_nonzero(np.diff(held)))
            one = IllegalValue(count, records, place_of(int(held[0])), place_of(int(held[-1])))
            mine = self.values.get(value)
            self.values[value] = one if mine is None else mine.merge(one)
        self._bound()

    def end_of_file(self, name: str, positions: int, ids: Iterable[int]) -> None:
        """Close the counts of one file: these are the illegal values of that file alone.

        Args:
            name: the file.
            positions: integer values in it.
            ids: legal ids in it.
        """
        used = list(ids)
        low, high = (min(used), max(used)) if used else (None, None)
        illegal = self.positions
        if illegal:
            counts = {v: found.positions for v, found in self.values.items()}
            counts = {v: counts[v] for v in kept(counts, MAX_FILE_VALUES)}
            self.files = {name: FileCounts(positions, illegal, low, high, counts)}
        elif positions:
            self.clean_files, self.clean_positions, self.clean_low, self.clean_high = 1, positions, low, high

    def merge(self, other: IllegalValues) -> IllegalValues:
        """Both together; neither is changed."""
        both = IllegalValues(
            dict(self.values), self.overflow + other.overflow, dict(self.files), self.clean_files + other.clean_files,
            self.clean_positions + other.clean_positions, extreme(min, self.clean_low, other.clean_low),
            extreme(max, self.clean_high, other.clean_high),
        )  # fmt: skip
        for value, found in other.values.items():
            mine = both.values.get(value)
            both.values[value] = found if mine is None else mine.merge(found)
        both._bound()
        for name, counts in other.files.items():
            both.files[name] = both.files[name].merge(counts) if name in both.files else counts
        return both

    def _bound(self) -> None:
        if len(self.values) > MAX_VALUES:
            chosen = kept(self.values, MAX_VALUES)
            total = self.positions
            self.values = {value: self.values[value] for value in chosen}
            self.overflow += total - self.positions

    def to_json(self) -> dict[str, Any]:
        """Plain values in one order."""
        return {
            "values": {str(v): self.values[v].to_json() for v in sorted(self.values)},
            "overflow": self.overflow,
            "files": {name: self.files[name].to_json() for name in sorted(self.files)},
            "clean_files": [self.clean_files, self.clean_positions, self.clean_low, self.clean_high],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> IllegalValues:
        """The values that ``to_json`` wrote."""
        values = {number(v): IllegalValue(n, r, _place(a), _place(z)) for v, (n, r, a, z) in data["values"].items()}
        files = {
            str(name): FileCounts(
                f["positions"], f["illegal"], f["low"], f["high"], {number(v): n for v, n in f["values"].items()}
            )
            for name, f in data["files"].items()
        }
        return cls(values, data["overflow"], files, *data["clean_files"])


def _place(data: Sequence[Any]) -> Place:
    return str(data[0]), int(data[1]), str(data[2])


def kept(values: Iterable[Value], most: int) -> list[Value]:
    """The first ``most`` of ``values``: well-known numbers, then by magnitude; the same for any order of merging."""
    return sorted(values, key=lambda v: (v not in _FIRST, abs(v), v))[:most]


def extreme(choose: Callable[..., Any], mine: Any, theirs: Any) -> Any:
    """``choose`` of both, where None stands for "no value"."""
    if mine is None or theirs is None:
        return theirs if mine is None else mine
    return choose(mine, theirs)


def whole(value: Value) -> Value:
    """A float without a fraction as an int: 1.0 beside 1 would show in which order shards were merged."""
    return int(value) if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()) else value


def number(text: str) -> Value:
    """The number that ``str`` wrote."""
    try:
        return int(text)
    except ValueError:
        return float(text)
