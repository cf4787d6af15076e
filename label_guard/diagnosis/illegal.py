"""Illegal values of one label: how often, in how many records, where, and in which files. Mergeable and bounded."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, NamedTuple, TypeVar

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StrictInt,
    WithJsonSchema,
    field_serializer,
)

from label_guard.core.plural import times
from label_guard.core.types import Array
from label_guard.diagnosis.overflow import Count, Overflow

Value = int | float
RecordPlace = tuple[str, Count, str]  # file, record within it, record key
T = TypeVar("T")


def number(value: Any) -> Value:
    """A number, or the text that ``str`` wrote of it.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return int(value) if value.lstrip("-").isdecimal() else float(value)
    if isinstance(value, int | float) and math.isfinite(value):
        return value
    raise ValueError(f"{value!r} is not a number")


_NUMBER = re.compile(r"-?[0-9]{1,309}(\.[0-9]{1,40})?(e[+-]?[0-9]{1,3})?")
Number = Annotated[Value, PlainValidator(number), WithJsonSchema({"type": "string", "pattern": f"^{_NUMBER.pattern}$"})]

# Distinct illegal values kept for each label: well-known numbers, then the smallest by magnitude. Of the rest the
# frequent ones are known; see overflow.py.
MAX_VALUES = 4096
_NOTABLE = 20  # one of so many of the others
MAX_FILE_VALUES = 16  # of these, how many are counted by file
# Numbers that mean "no value" somewhere. They are always kept, however large.
WELL_KNOWN = (
    255, -1, -100, 254, 65535, 32767, -999, 999, -9999, 9999, 99, -99, -2, 2**31 - 1, -(2**31), -32768, -128, 2**32 - 1,
    2**63 - 1, -(2**63), 2**64 - 1,
)  # fmt: skip
_FIRST = frozenset(WELL_KNOWN)


class IllegalValue(NamedTuple):
    """One illegal value.

    Attributes:
        positions: how often it occurs.
        records: records that hold it at least once.
        first: where it occurs first: file, record within it, record key.
        last: where it occurs last.
    """

    positions: Count
    records: Count
    first: RecordPlace
    last: RecordPlace

    def merge(self, other: IllegalValue) -> IllegalValue:
        """Both together."""
        return IllegalValue(
            self.positions + other.positions,
            self.records + other.records,
            min(self.first, other.first),
            max(self.last, other.last),
        )


class FileCounts(BaseModel):
    """One file that holds illegal values.

    Attributes:
        positions: integer values in it.
        illegal: illegal ones among them.
        low: smallest legal id, None where there is none.
        high: greatest legal id.
        values: positions by illegal value, ``MAX_FILE_VALUES`` of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    positions: Count
    illegal: Count
    low: StrictInt | None
    high: StrictInt | None
    values: dict[Number, Count]

    def merge(self, other: FileCounts) -> FileCounts:
        """Both together: two pieces of one file."""
        values = {v: self.values.get(v, 0) + other.values.get(v, 0) for v in {**self.values, **other.values}}
        return FileCounts(
            positions=self.positions + other.positions,
            illegal=self.illegal + other.illegal,
            low=extreme(min, self.low, other.low),
            high=extreme(max, self.high, other.high),
            values={v: values[v] for v in kept(values, MAX_FILE_VALUES)},
        )

    @field_serializer("values")
    def _in_order(self, values: dict[Value, int]) -> dict[str, int]:
        return by_value(values)


class IllegalValues(BaseModel):
    """All illegal values of one label.

    Attributes:
        values: by value, ``MAX_VALUES`` of them at most.
        overflow: the others: how many, about how many distinct ones, and which are frequent.
        files: by name, the files that hold illegal values.
        clean_files: how many files hold none.
        clean_positions: integer values in those.
        clean_low: smallest legal id in those.
        clean_high: greatest legal id in those.
    """

    model_config = ConfigDict(extra="forbid")

    values: dict[Number, IllegalValue] = Field(default_factory=dict[Value, IllegalValue])
    overflow: Overflow = Field(default_factory=Overflow)
    files: dict[str, FileCounts] = Field(default_factory=dict[str, FileCounts])
    clean_files: Count = 0
    clean_positions: Count = 0
    clean_low: StrictInt | None = None
    clean_high: StrictInt | None = None

    @field_serializer("values")
    def _in_order(self, values: dict[Value, IllegalValue]) -> dict[str, IllegalValue]:
        return by_value(values)

    @field_serializer("files")
    def _by_name(self, files: dict[str, FileCounts]) -> dict[str, FileCounts]:
        return dict(sorted(files.items()))

    @property
    def positions(self) -> int:
        """How many illegal values there are, the overflow included."""
        return sum(found.positions for found in self.values.values()) + self.overflow.positions

    @property
    def distinct(self) -> int:
        """How many distinct illegal values there are; beyond ``MAX_VALUES`` an estimate."""
        return len(self.values) + self.overflow.distinct()

    def often_beyond(self) -> str:
        """The most frequent value of those that are not kept, in words; empty where none of them is notable."""
        found = self.overflow.frequent()
        if not found or found[0][1] * _NOTABLE < self.overflow.positions:
            return ""
        return f", of those far away most often {found[0][0]} (at most {times(found[0][1])})"

    def add(self, values: Array, rows: Array, place_of: Callable[[int], RecordPlace]) -> None:
        """Counts ``values`` that occur in ``rows`` (ascending) of a chunk; ``place_of`` says where a row is."""
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

    def end_of_file(self, name: str, positions: int, low: int | None, high: int | None, *, whole: bool = True) -> None:
        """Closes the counts of one file: these are the illegal values of that file alone.

        Args:
            name: the file.
            positions: integer values in it.
            low: smallest legal id in it, None where there is none.
            high: greatest legal id in it.
            whole: whether of all of it. A part is kept by name until ``close_files``, also where it holds no illegal
                value.
        """
        illegal = self.positions
        counts = {v: found.positions for v, found in self.values.items()}
        counts = {v: counts[v] for v in kept(counts, MAX_FILE_VALUES)}
        self.files = {name: FileCounts(positions=positions, illegal=illegal, low=low, high=high, values=counts)}
        if whole:
            self.close_files()

    def close_files(self) -> None:
        """Counts the files without illegal values together."""
        clean = [name for name, counts in self.files.items() if not counts.illegal]
        for counts in map(self.files.pop, clean):
            if counts.positions:
                self.clean_files += 1
                self.clean_positions += counts.positions
                self.clean_low = extreme(min, self.clean_low, counts.low)
                self.clean_high = extreme(max, self.clean_high, counts.high)

    def update(self, other: IllegalValues) -> None:
        """Adds ``other``, which is not changed."""
        self.overflow.update(other.overflow)
        self.clean_files += other.clean_files
        self.clean_positions += other.clean_positions
        self.clean_low = extreme(min, self.clean_low, other.clean_low)
        self.clean_high = extreme(max, self.clean_high, other.clean_high)
        for value, found in other.values.items():
            mine = self.values.get(value)
            self.values[value] = found if mine is None else mine.merge(found)
        self._bound()
        for name, counts in other.files.items():
            self.files[name] = self.files[name].merge(counts) if name in self.files else counts

    def _bound(self) -> None:
        if len(self.values) > MAX_VALUES:
            chosen = set(kept(self.values, MAX_VALUES))
            self.overflow.add({value: one.positions for value, one in self.values.items() if value not in chosen})
            self.values = {value: one for value, one in self.values.items() if value in chosen}


def by_value(mapping: Mapping[Value, T]) -> dict[str, T]:
    """``mapping`` as a JSON object, in order of the numbers."""
    return {str(value): mapping[value] for value in sorted(mapping)}


def kept(values: Iterable[Value], most: int) -> list[Value]:
    """The first ``most`` of ``values``: well-known numbers, then by magnitude; the same for any order of merging."""
    return sorted(values, key=lambda v: (v not in _FIRST, abs(v), v))[:most]


def extreme(choose: Callable[..., Any], first: Any, second: Any) -> Any:
    """``choose`` of both, where None means "no value"."""
    if first is None or second is None:
        return second if first is None else first
    return choose(first, second)


def whole(value: Value) -> Value:
    """A float without a fraction as an int: 1.0 next to 1 would show in which order shards were merged."""
    return int(value) if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()) else value
