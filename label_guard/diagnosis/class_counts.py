"""Counts by class id in sorted arrays: adding and merging take NumPy, not a loop over the classes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import PlainSerializer, PlainValidator, WithJsonSchema
from typing_extensions import override

Ids = NDArray[Any]  # int64, or Python integers where one is beyond it: no dtype holds these and negative ones
_BEYOND = 1 << 63
_MIN_PENDING = 1 << 12
_ID = re.compile("-?[0-9]{1,20}")
_TABLE = 4  # cells for each value: up to there a table of rows by ids costs less than sorting
_MOST_SPAN = 1 << 24
_DENSE = 8  # times as many places as there are ids: adding in a dense array beats sorting up to there


class ClassCounts(Mapping[int, int]):
    """A counter of integers: 0 for what was never counted, in order of the ids.

    What is added waits until there is twice as much of it as of what is sorted, so that a batch costs what its values
    cost, whatever the number of classes.

    >>> counts = ClassCounts({3: 1})
    >>> counts.add(np.array([3, 7]), np.array([2, 5]))
    >>> counts, counts[4], counts.total()
    (ClassCounts({3: 3, 7: 5}), 0, 8)
    """

    __slots__ = ("_counts", "_ids", "_size", "_table", "_waiting")

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self._ids: Ids = np.empty(0, np.int64)
        self._counts: Ids = np.empty(0, np.int64)
        self._waiting: list[tuple[Ids, Ids]] = []
        self._size = 0
        self._table: dict[int, int] | None = None
        if counts:
            keys = sorted(counts)
            ids = np.array(keys, np.object_ if keys[-1] >= _BEYOND else np.int64)
            self.add(ids, np.array([counts[i] for i in ids.tolist()], np.int64))

    def __reduce__(self) -> tuple[Any, ...]:
        self._settle()
        return _rebuilt, (self._ids, self._counts)

    def add(self, ids: NDArray[Any], counts: NDArray[Any]) -> None:
        """Adds counts.

        Args:
            ids: int[k], ascending and distinct.
            counts: int[k], 0 or more.
        """
        some = np.flatnonzero(counts)
        self._append(exact_ids(ids[some]), counts[some].astype(np.int64))

    def _append(self, ids: Ids, counts: Ids) -> None:
        if ids.size:
            self._table = None
            self._waiting.append((ids, counts))
            self._size += ids.size
            if self._size > max(_MIN_PENDING, 2 * len(self._ids)):
                self._settle()

    def update(self, other: Mapping[int, int]) -> None:
        """Adds the counts of ``other``."""
        self._append(*(other if isinstance(other, ClassCounts) else ClassCounts(other)).arrays())

    def arrays(self) -> tuple[Ids, Ids]:
        """The counts as arrays.

        Returns:
            The ids, ascending, and their counts: int64[k] each, not to be written to.
        """
        self._settle()
        return self._ids, self._counts

    def total(self) -> int:
        """Sum of all counts."""
        return int(self.arrays()[1].sum())

    def _settle(self) -> None:
        if self._waiting:
            parts = [(self._ids, self._counts), *self._waiting]
            self._waiting, self._size = [], 0
            self._ids, self._counts = _sum(parts)

    def table(self) -> dict[int, int]:
        """Counts by id, in order; not to be written to."""
        if self._table is None:
            ids, counts = self.arrays()
            self._table = dict(zip(ids.tolist(), counts.tolist(), strict=True))
        return self._table

    @override
    def __getitem__(self, key: int) -> int:
        return self.table().get(key, 0)

    @override
    def __iter__(self) -> Iterator[int]:
        return iter(self.table())

    @override
    def __len__(self) -> int:
        return len(self.arrays()[0])

    @override
    def __contains__(self, key: object) -> bool:
        return key in self.table()

    def __repr__(self) -> str:
        return f"ClassCounts({self.table()})"


def _rebuilt(ids: Ids, counts: Ids) -> ClassCounts:
    found = ClassCounts()
    found.add(ids, counts)
    return found


def _sum(parts: Iterable[tuple[Ids, Ids]]) -> tuple[Ids, Ids]:
    """The sum of several sorted counters."""
    known = [(ids, counts) for ids, counts in parts if ids.size]
    if len(known) == 1:
        return known[0]
    ids = np.concatenate([ids for ids, _ in known])
    low, high = int(ids.min()), int(ids.max())
    if high - low < _DENSE * ids.size and ids.dtype != np.object_:
        distinct, where = low + np.arange(high - low + 1), ids - low
    else:
        distinct, where = np.unique(ids, return_inverse=True)
    total = np.zeros(distinct.size, np.int64)
    np.add.at(total, where.reshape(-1), np.concatenate([counts for _, counts in known]))
    used = np.flatnonzero(total)
    return distinct[used], total[used]


def exact_ids(values: NDArray[Any]) -> Ids:
    """Whole numbers as int64, or as Python integers where one is beyond it."""
    wide = values.dtype.kind in "Of" or values.dtype.newbyteorder("=") == np.uint64
    if wide and values.size and int(values.max()) >= _BEYOND:  # float16 cannot hold the limit
        return np.array([int(value) for value in values.tolist()], np.object_)
    return values.astype(np.int64, copy=False)


def count_ids(positions: ClassCounts, records: ClassCounts, ids: Ids, rows: Ids | None, low: int, high: int) -> None:
    """Counts legal ids: in ``positions`` each, in ``records`` once for each row.

    Args:
        positions: what each id is added to.
        records: what the distinct ids of each row are added to.
        ids: int64[k] or Python integers, from ``low`` to ``high``.
        rows: int64[k], ascending: the row of each; None where each has a row of its own.
        low: smallest legal id.
        high: greatest legal id.
    """
    if high + 1 >= _BEYOND:
        positions.update(Counter(ids.tolist()))
        held = zip(range(len(ids)) if rows is None else rows.tolist(), ids.tolist(), strict=True)
        records.update(Counter(one for _, one in set(held)))
        return
    if rows is None:
        found = count_values(ids, low, high)
        positions.add(*found)
        records.add(*found)
        return
    span, height = high - low + 1, int(rows[-1]) + 1 if rows.size else 0
    if height * span <= _TABLE * ids.size:
        table = np.bincount(rows * span + (ids - low), minlength=height * span).reshape(height, span)
        legal = np.arange(low, high + 1)
        positions.add(legal, table.sum(axis=0))
        records.add(legal, np.count_nonzero(table, axis=0))
        return
    positions.add(*count_values(ids, low, high))
    if span > _MOST_SPAN:  # a row times the span could be beyond int64
        present = np.unique(np.stack([rows, ids]), axis=1)[1]
    else:
        present = np.unique(rows * span + (ids - low)) % span + low
    records.add(*count_values(present, low, high))


def count_values(values: Ids, low: int, high: int) -> tuple[Ids, Ids]:
    """Distinct values from ``low`` to ``high`` and how often; the cost is that of the values where these are few."""
    if values.size * _TABLE <= high - low:
        return np.unique(values, return_counts=True)
    return np.arange(low, high + 1), np.bincount(values - low if low else values, minlength=high - low + 1)


def read_counts(values: Any) -> ClassCounts:
    """Counts out of the keys and values of a JSON object.

    Raises:
        ValueError: a key is not an integer of 64 bits, or a count is not a number of positions.
    """
    if isinstance(values, ClassCounts):
        return values
    if not isinstance(values, Mapping):
        raise ValueError("expected counts by class id")
    counts: dict[int, int] = {}
    for key, count in cast("Mapping[Any, Any]", values).items():
        if type(count) is not int or not 0 <= count < 1 << 62:
            raise ValueError(f"the count of {key} is {count!r}")
        counts[_id(key)] = count
    return ClassCounts(counts)


def _id(key: Any) -> int:
    if type(key) is not int and not _ID.fullmatch(str(key)):
        raise ValueError(f"{key!r} is not a class id")
    if not -(1 << 63) <= int(key) < 1 << 64:
        raise ValueError(f"{key} does not fit 64 bits")
    return int(key)


def write_counts(counts: ClassCounts) -> dict[str, int]:
    """Counts as a JSON object."""
    return {str(key): count for key, count in counts.table().items()}


JsonCounts = Annotated[
    ClassCounts,
    PlainValidator(read_counts),
    PlainSerializer(write_counts),
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": {"pattern": "^-?[0-9]{1,20}$"},
            "additionalProperties": {"type": "integer", "minimum": 0},
        }
    ),
]
