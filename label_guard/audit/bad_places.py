"""Invalid records by the million: their keys, places and broken rules in columns, about 30 bytes a record."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, cast, overload

import numpy as np
from numpy.typing import NDArray
from pydantic import PlainSerializer, PlainValidator, TypeAdapter, WithJsonSchema

from label_guard.core.record_key import natural_order
from label_guard.diagnosis.overflow import Count

Broken = tuple[str, ...]
# A key is what precedes its last digits, and these as a number: without leading zeros, so that both give the key again.
_KEY = re.compile(r"(.*?)(0|[1-9][0-9]{0,17})?", re.DOTALL)
_NO_NUMBER = -1
_COLUMNS = np.dtype([("prefix", "<i4"), ("number", "<i8"), ("shard", "<i4"), ("row", "<i8"), ("broken", "<i4")])
_BLOCK = 1 << 12


class BadPlace(NamedTuple):
    """An invalid record: its name, where it is, and what it broke. The place identifies it: names may repeat.

    Attributes:
        record: its key.
        shard: name of its shard.
        row: its position there.
        broken: ``"LABEL RULE"`` of each rule it broke; ``"LG120"`` for a record that cannot be decoded.
    """

    record: str
    shard: str
    row: Count
    broken: Broken


class BadPlaces(Sequence[BadPlace]):
    """Invalid records in the order in which they were added, or after ``in_order`` in that of their keys.

    >>> places = BadPlaces([BadPlace("f__10", "f", 10, ("label LG101",)), BadPlace("f__9", "f", 9, ("LG120",))])
    >>> [place.record for place in places.in_order()]
    ['f__9', 'f__10']
    """

    def __init__(self, places: Iterable[BadPlace] = ()) -> None:
        # Numbers of what the columns of these names hold: what keys begin with, shards, and what records broke.
        self._numbers: dict[str, dict[Any, int]] = {"prefix": {}, "shard": {}, "broken": {}}
        self._blocks: list[NDArray[Any]] = []
        self._pending: list[tuple[int, ...]] = []
        for place in places:
            self.add([place.record], place.shard, [place.row], [place.broken])

    def add(self, keys: Iterable[str], shard: str, rows: Iterable[int], broken: Iterable[Broken]) -> None:
        """Adds records of one shard.

        Args:
            keys: record keys of the invalid records.
            shard: the file that holds them.
            rows: their positions in the file, from 0, as many as keys.
            broken: the rules that each breaks, as many as keys.
        """
        number, kinds = _number(self._numbers["shard"], shard), self._numbers["broken"]
        self._pending += [
            (*self._split(key), number, row, _number(kinds, rules))
            for key, row, rules in zip(keys, rows, broken, strict=True)
        ]
        if len(self._pending) >= _BLOCK:
            self._flush()

    def update(self, other: BadPlaces) -> None:
        """Adds the records of ``other``, which is not changed."""
        if not len(other):
            return
        self._flush()
        columns = other.columns().copy()
        for name, known in self._numbers.items():
            columns[name] = np.array([_number(known, value) for value in other._numbers[name]])[columns[name]]
        self._append(columns)

    def _flush(self) -> None:
        if self._pending:
            block, self._pending = np.array(self._pending, _COLUMNS), []
            self._append(block)

    def _append(self, block: NDArray[Any]) -> None:
        while self._blocks and len(self._blocks[-1]) <= len(block):  # a record is copied as often as a number has bits
            block = np.concatenate([self._blocks.pop(), block])
        self._blocks.append(block)

    def _split(self, key: str) -> tuple[int, int]:
        prefix, digits = cast("re.Match[str]", _KEY.fullmatch(key)).groups()
        return _number(self._numbers["prefix"], prefix), _NO_NUMBER if digits is None else int(digits)

    def columns(self) -> NDArray[Any]:
        """All records: ``prefix``, ``number``, ``shard``, ``row`` and ``broken`` of each, as numbers of this object."""
        self._flush()
        if len(self._blocks) != 1:
            self._blocks = [np.concatenate(self._blocks) if self._blocks else np.empty(0, _COLUMNS)]
        return self._blocks[0]

    def in_order(self) -> BadPlaces:
        """Returns the records in the order of their keys, those of one key in that of their places."""
        if len(self) < 2:
            return self
        columns = self.columns()
        prefixes, shards = _ranks(self.values("prefix"), natural_order), _ranks(self.values("shard"), str)
        numbers: NDArray[np.int64] = columns["number"]
        order = np.lexsort((columns["row"], shards[columns["shard"]], numbers, prefixes[columns["prefix"]]))
        if bool((np.diff(order) > 0).all()):
            return self
        found = BadPlaces()
        found._numbers = self._numbers
        found._blocks = [columns[order]]
        return found

    def positions(self, starts: Mapping[str, int]) -> NDArray[np.int64]:
        """int64[k]: the position of each record in the source, from where each shard starts in it."""
        columns = self.columns()
        begins = np.array([starts[name] for name in self._numbers["shard"]] or [0], np.int64)
        return begins[columns["shard"]] + columns["row"]

    def values(self, column: str) -> list[Any]:
        """What the numbers of the column ``prefix``, ``shard`` or ``broken`` are for: starts of keys, shards, rules."""
        return list(self._numbers[column])

    def keys_at(self, indices: Sequence[int]) -> list[str]:
        """The keys of some records."""
        return [place.record for place in self._places(self.columns()[np.array(indices, np.int64)])]

    def repeated(self, most: int) -> tuple[str, ...]:
        """The first keys that several records have; these are in order."""
        if len(self) < 2:
            return ()
        columns = self.columns()
        same = (columns["prefix"][1:] == columns["prefix"][:-1]) & (columns["number"][1:] == columns["number"][:-1])
        first = same.copy()
        first[1:] &= ~same[:-1]
        return tuple(self.keys_at(np.flatnonzero(first)[:most].tolist()))

    def __len__(self) -> int:
        return sum(map(len, self._blocks)) + len(self._pending)

    def _places(self, columns: NDArray[Any]) -> Iterator[BadPlace]:
        prefixes, shards, rules = map(self.values, self._numbers)
        for start in range(0, len(columns), _BLOCK):
            block: list[tuple[int, int, int, int, int]] = columns[start : start + _BLOCK].tolist()
            for prefix, number, shard, row, broken in block:
                key = prefixes[prefix] if number == _NO_NUMBER else f"{prefixes[prefix]}{number}"
                yield BadPlace(key, shards[shard], row, rules[broken])

    def __iter__(self) -> Iterator[BadPlace]:
        return self._places(self.columns())

    @overload
    def __getitem__(self, index: int) -> BadPlace: ...
    @overload
    def __getitem__(self, index: slice) -> BadPlaces: ...
    def __getitem__(self, index: int | slice) -> BadPlace | BadPlaces:
        if isinstance(index, slice):
            return BadPlaces(list(self)[index])
        return next(self._places(self.columns()[[index]]))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BadPlaces) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"BadPlaces({list(self)})"


def _number(known: dict[Any, int], value: Any) -> int:
    return known.setdefault(value, len(known))


def _ranks(names: list[str], key: Callable[[str], str]) -> NDArray[np.int64]:
    """The place of each name among all in order."""
    ranks = np.empty(max(1, len(names)), np.int64)
    ranks[sorted(range(len(names)), key=lambda place: (key(names[place]), names[place]))] = np.arange(len(names))
    return ranks


_PLACES: TypeAdapter[list[BadPlace]] = TypeAdapter(list[BadPlace])


def _read(value: Any) -> BadPlaces:
    return value if isinstance(value, BadPlaces) else BadPlaces(_PLACES.validate_python(value))


JsonPlaces = Annotated[
    BadPlaces,
    PlainValidator(_read),
    PlainSerializer(lambda places: [list(place) for place in places]),
    WithJsonSchema({"items": TypeAdapter(BadPlace).json_schema(), "type": "array"}),
]
