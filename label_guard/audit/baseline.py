"""Baselines: which records are known to be bad, which of today's are new, which are fixed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from label_guard.audit.bad_places import BadPlaces, Broken
from label_guard.core.files import open_regular
from label_guard.diagnosis.overflow import Count
from label_guard.errors import UsageError
from label_guard.sources.json_stream import JsonStream

VERSION = 2  # of the file; version 1 is still read
MAX_EXAMPLES = 5
_BUCKETS = 8
Rules = frozenset[str]


@dataclass(frozen=True, slots=True)
class Baseline:
    """Known-bad records. In JSON made to be reviewed and merged: one line a key.

    Attributes:
        dataset: name of the dataset.
        splits: by split (empty where the schema declares none), the records; their places are not kept.
    """

    dataset: str
    splits: Mapping[str, BadPlaces]

    @property
    def records(self) -> int:
        """Number of known-bad records."""
        return sum(map(len, self.splits.values()))

    def write(self, file: BinaryIO) -> None:
        """Writes the JSON text, record by record."""
        file.write(f'{{\n "baseline": {VERSION},\n "dataset": {json.dumps(self.dataset)},\n "splits": {{'.encode())
        for number, (split, places) in enumerate(self.splits.items()):
            file.write(f"{',' if number else ''}\n  {json.dumps(split)}: {{".encode())
            comma = ""
            for key, found in groupby(places, key=lambda place: place.record):  # these are in the order of their keys
                broken = json.dumps([place.broken for place in found])
                file.write(f"{comma}\n   {json.dumps(key)}: {broken}".encode())
                comma = ","
            file.write(b"\n  }")
        file.write(b"\n }\n}\n")


class Comparison(BaseModel):
    """Today's bad records compared with the known ones.

    Attributes:
        new: bad records that are not in the baseline, or broke another rule then.
        known: bad records that are in it.
        fixed: records of the baseline that are not bad any more; None where not all records were read.
        fixed_examples: the first of them by key order.
        new_by_rule: records new under each ``"LABEL RULE"``, and the first by key order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    new: Count
    known: Count
    fixed: Count | None
    fixed_examples: tuple[str, ...] = ()
    new_by_rule: dict[str, tuple[Count, str]] = Field(default_factory=dict[str, tuple[int, str]])


def compare(known: BadPlaces, bad: BadPlaces, *, whole: bool) -> Comparison:
    """What is new, known and fixed. Records of one key are paired so that as few rules as possible are new.

    Args:
        known: the records of the baseline.
        bad: today's bad records, in key order.
        whole: whether all records were read; otherwise nothing can be said to be fixed.

    >>> from label_guard.audit.bad_places import BadPlace
    >>> now = BadPlaces([BadPlace("a__1", "a", 1, ("label LG101",)), BadPlace("a__2", "a", 2, ("label LG102",))])
    >>> then = BadPlaces([BadPlace("a__1", "", 0, ("label LG101",)), BadPlace("a__9", "", 0, ("label LG101",))])
    >>> found = compare(then, now, whole=True)
    >>> found.new, found.known, found.fixed, found.fixed_examples, found.new_by_rule
    (1, 1, 1, ('a__9',), {'label LG102': (1, 'a__2')})
    """
    known = known.in_order()
    new = fixed = 0
    new_by_rule: dict[str, tuple[int, int]] = {}
    examples: list[int] = []
    for bucket in range(_BUCKETS):
        found = _Pairing(known, bad, bucket)
        for fresh, times, place in found.unknown():
            new += times if fresh else 0
            for rule in fresh:
                count, first = new_by_rule.get(rule, (0, place))
                new_by_rule[rule] = (count + times, min(first, place))
        count, places = found.fixed()
        fixed, examples = fixed + count, sorted([*examples, *places])[:MAX_EXAMPLES]
    by_rule = {rule: (count, bad.keys_at([place])[0]) for rule, (count, place) in sorted(new_by_rule.items())}
    names = tuple(known.keys_at(examples)) if whole else ()
    fixed = fixed if whole else None
    return Comparison(new=new, known=len(bad) - new, fixed=fixed, fixed_examples=names, new_by_rule=by_rule)


class _Pairing:
    """Today's records and those of the baseline, by key: arrays, since there may be millions of both.

    Args:
        known: the records of the baseline, in key order.
        bad: today's.
        bucket: which of the ``_BUCKETS`` that the numbers of keys are divided into: less memory at a time.
    """

    def __init__(self, known: BadPlaces, bad: BadPlaces, bucket: int) -> None:
        self._places = [
            np.flatnonzero(places.columns()["number"] % _BUCKETS == bucket).astype(np.int64) for places in (known, bad)
        ]
        then, now = known.columns()[self._places[0]], bad.columns()[self._places[1]]
        self._rules: list[list[Broken]] = [known.values("broken"), bad.values("broken")]
        self._codes: list[NDArray[np.int32]] = [then["broken"], now["broken"]]
        together = {prefix: number for number, prefix in enumerate(bad.values("prefix"))}
        shared = [together.setdefault(prefix, len(together)) for prefix in known.values("prefix")]
        mine = np.array(shared or [0], np.int32)[then["prefix"]]
        groups = _groups(
            np.concatenate([mine, now["prefix"]]),
            np.concatenate([then["number"], now["number"]]),
        )
        self._groups = [groups[: len(then)], groups[len(then) :]]
        self._count = int(groups.max()) + 1 if groups.size else 0
        self._sizes = [np.bincount(found, minlength=self._count) for found in self._groups]

    def unknown(self) -> Iterator[tuple[Rules, int, int]]:
        """Of today's records: rules that no record of the baseline accounts for, of how many, and of which first."""
        single = (self._sizes[0] <= 1) & (self._sizes[1] == 1)
        then = np.full(self._count, -1, np.int64)
        then[self._groups[0]] = self._codes[0]
        places = np.flatnonzero(single[self._groups[1]])
        width = len(self._rules[1])
        kinds = (then[self._groups[1][places]] + 1) * width + self._codes[1][places]
        for kind, first, times in zip(*np.unique(kinds, return_index=True, return_counts=True), strict=True):
            old, new = divmod(int(kind), width)
            before = frozenset(self._rules[0][old - 1]) if old else frozenset[str]()
            yield frozenset(self._rules[1][new]) - before, int(times), int(self._places[1][places[first]])
        many = np.flatnonzero(~single & (self._sizes[1] > 0)).tolist()
        members = [_members(*found) for found in zip(self._groups, self._sizes, strict=True)] if many else []
        for group in many:
            rows = [order[starts[group] : starts[group + 1]] for order, starts in members]
            before, today = (self._broken(place, held) for place, held in enumerate(rows))
            first = int(self._places[1][rows[1][0]])
            yield from ((fresh, times, first) for fresh, times in _unknown(before, today))

    def _broken(self, side: int, rows: NDArray[np.int64]) -> Counter[Rules]:
        codes: list[int] = self._codes[side][rows].tolist()
        return Counter(frozenset(self._rules[side][code]) for code in codes)

    def fixed(self) -> tuple[int, list[int]]:
        """How many records of the baseline are not bad any more, and the first of these, a place for each key."""
        less = self._sizes[0] - self._sizes[1]
        places = np.flatnonzero(less[self._groups[0]] > 0)
        _, first = np.unique(self._groups[0][places], return_index=True)
        return int(less[less > 0].sum()), self._places[0][places[np.sort(first)[:MAX_EXAMPLES]]].tolist()


def _groups(prefixes: NDArray[np.int32], numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number of its key for each record: the same for records of one key, counted from 0."""
    order = np.lexsort((numbers, prefixes))
    fresh = np.zeros(len(order), np.bool_)
    for column in (prefixes, numbers):
        ordered = column[order]
        fresh[1:] |= ordered[1:] != ordered[:-1]
    groups = np.empty(len(order), np.int64)
    groups[order] = np.cumsum(fresh)
    return groups


def _members(groups: NDArray[np.int64], sizes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of each group one after the other, and where each group starts."""
    return np.argsort(groups, kind="stable"), np.concatenate([[0], np.cumsum(sizes)])


def _unknown(known: Counter[Rules], bad: Counter[Rules]) -> Iterator[tuple[Rules, int]]:
    """Of the bad records of one key: the rules that no record of the baseline accounts for, and of how many records."""
    # The best pairs first: most often records that broke the very same rules.
    pairs = sorted(((b, k) for b in bad for k in known), key=lambda pair: _distance(*pair))
    left, paired = Counter(known), Counter(bad)
    for broken, rules in pairs:
        times = min(paired[broken], left[rules])
        if times:
            left[rules] -= times
            paired[broken] -= times
            yield broken - rules, times
    for broken, times in paired.items():
        if times:
            yield broken, times


def _distance(broken: Rules, rules: Rules) -> tuple[int, int, list[str], list[str]]:
    return len(broken - rules), len(rules - broken), sorted(broken), sorted(rules)


def read_baseline(path: str) -> Baseline:
    """The baseline in a file, read record by record.

    Raises:
        UsageError: it is not there, or is not a baseline of this version.
    """
    try:
        with open_regular(path) as file:
            return _parse(JsonStream(file))
    except FileNotFoundError:
        raise UsageError(f"the baseline {path} does not exist; make one with --write-baseline {path}") from None
    except _NotBaselineError as error:
        raise UsageError(f"{path} is not a baseline of version {VERSION}: {error}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"cannot read the baseline {path}: {error}") from None


class _NotBaselineError(Exception):
    """JSON, but not a baseline."""


def _parse(stream: JsonStream) -> Baseline:
    if stream.peek() != "{":
        raise _NotBaselineError("it is not a JSON object")
    found: dict[str, Any] = {}
    splits: dict[str, BadPlaces] = {}
    forms: set[int] = set()
    for name in stream.members():
        if name == "splits" and stream.peek() == "{":
            for split in stream.members():
                splits[split] = BadPlaces()
                _read_records(stream, splits[split], forms, f"splits.{split}")
            found[name] = splits
        else:
            found[name] = stream.value()
    stream.finish()
    if found.get("baseline") not in (1, VERSION) or isinstance(found["baseline"], bool):
        raise _NotBaselineError(f"baseline: it is {found.get('baseline')!r}")
    if set(found) != {"baseline", "dataset", "splits"} or not isinstance(found["dataset"], str):
        raise _NotBaselineError(f"its fields are {', '.join(sorted(found))}; expected baseline, dataset, splits")
    if found["splits"] is not splits or not forms <= {found["baseline"]}:
        raise _NotBaselineError("splits: expected by split and record key what each record broke")
    return Baseline(found["dataset"], splits)


def _read_records(stream: JsonStream, places: BadPlaces, forms: set[int], where: str) -> None:
    """Adds the records of one split, and to ``forms`` the versions that write them so."""
    if stream.peek() != "{":
        raise _NotBaselineError(f"{where}: it is not an object")
    for key in stream.members():
        records: Any = stream.value()
        if records and _are_rules(records):
            forms.add(1)  # which held one record a key
            records = [records]
        elif records:
            forms.add(VERSION)
        if not isinstance(records, list) or not all(map(_are_rules, cast("list[Any]", records))):
            raise _NotBaselineError(f"{where}.{key}: expected lists of what each record broke")
        for broken in cast("list[list[str]]", records):
            places.add([key], "", [0], [tuple(broken)])


def _are_rules(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(rule, str) for rule in cast("list[Any]", value))
