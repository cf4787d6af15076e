"""Living with dirty data: which records are known to be bad, which of today's are new, which are fixed."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from label_guard.core.files import read_text
from label_guard.core.record_key import natural_order
from label_guard.errors import UsageError

VERSION = 2  # of the file; version 1 is still read
MAX_EXAMPLES = 5
Count = Annotated[int, Field(strict=True, ge=0)]
Broken = frozenset[str]


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
    broken: tuple[str, ...]


def in_order(found: Iterable[Iterable[BadPlace]]) -> tuple[BadPlace, ...]:
    """Invalid records of several parts, in key order."""
    together = [place for part in found for place in part]
    return tuple(sorted(together, key=lambda place: (natural_order(place.record), place.shard, place.row)))


def repeated_keys(bad: Sequence[BadPlace]) -> tuple[str, ...]:
    """The first keys that several records of ``bad``, which is in order, have."""
    found = dict.fromkeys(a.record for a, b in itertools.pairwise(bad) if a.record == b.record)
    return tuple(found)[:MAX_EXAMPLES]


class Baseline(BaseModel):
    """Known-bad records. In JSON made to be reviewed and merged.

    Attributes:
        version: of this format; in JSON ``baseline``.
        dataset: name of the dataset.
        splits: by split (empty where the schema declares none) and record key, what each record of that key broke.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True, serialize_by_alias=True
    )

    version: Literal[2] = Field(default=VERSION, validation_alias="baseline", serialization_alias="baseline")
    dataset: str
    splits: dict[str, dict[str, list[tuple[str, ...]]]]

    @classmethod
    def of(cls, dataset: str, splits: Mapping[str, Iterable[BadPlace]]) -> Baseline:
        """The baseline of today's bad records, by split."""
        found: dict[str, dict[str, list[tuple[str, ...]]]] = {}
        alone: dict[tuple[str, ...], list[tuple[str, ...]]] = {}  # most keys have one record: these share a list
        for split, places in splits.items():
            records = found.setdefault(split, {})
            for place in places:
                known = records.get(place.record)
                if known is None:
                    records[place.record] = alone.setdefault(place.broken, [place.broken])
                elif len(known) == 1:
                    records[place.record] = [*known, place.broken]
                else:
                    known.append(place.broken)
        return cls.model_construct(dataset=dataset, splits=found)  # as it was made here: nothing to check, nor to copy

    @property
    def records(self) -> int:
        """Number of known-bad records."""
        return sum(len(broken) for records in self.splits.values() for broken in records.values())

    @model_validator(mode="before")
    @classmethod
    def _from_version_1(cls, data: Any) -> Any:
        """Version 1 held one record a key."""
        known = cast("dict[str, Any]", data) if isinstance(data, dict) else {}
        if known.get("baseline") != 1:
            return cast("Any", data)
        try:
            splits = {
                split: {key: [broken] for key, broken in records.items()} for split, records in known["splits"].items()
            }
        except (KeyError, AttributeError) as error:
            raise ValueError(f"splits: {error or type(error).__name__}") from None
        return {**known, "baseline": VERSION, "splits": splits}


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


def compare(known: Mapping[str, Sequence[Sequence[str]]], bad: Sequence[BadPlace], *, whole: bool) -> Comparison:
    """What is new, known and fixed. Records of one key are paired so that as few rules as possible are new.

    Args:
        known: what each record of the baseline broke, by key.
        bad: today's bad records, in key order.
        whole: whether all records were read; otherwise nothing can be said to be fixed.

    >>> now = [BadPlace("a__1", "a", 1, ("label LG101",)), BadPlace("a__2", "a", 2, ("label LG102",))]
    >>> found = compare({"a__1": [["label LG101"]], "a__9": [["label LG101"]]}, now, whole=True)
    >>> found.new, found.known, found.fixed, found.fixed_examples, found.new_by_rule
    (1, 1, 1, ('a__9',), {'label LG102': (1, 'a__2')})
    """
    new_by_rule: dict[str, tuple[int, str]] = {}
    today: dict[str, int] = {}
    new = 0
    for key, places in itertools.groupby(bad, lambda place: place.record):
        records = Counter(frozenset(place.broken) for place in places)
        today[key] = records.total()
        for fresh, times in _unknown(Counter(map(frozenset, known.get(key, ()))), records):
            new += times if fresh else 0
            for rule in sorted(fresh):
                count, first = new_by_rule.get(rule, (0, key))
                new_by_rule[rule] = (count + times, first)
    by_rule = dict(sorted(new_by_rule.items()))
    if not whole:
        return Comparison(new=new, known=len(bad) - new, fixed=None, new_by_rule=by_rule)
    fixed = {
        key: len(records) - today.get(key, 0) for key, records in known.items() if len(records) > today.get(key, 0)
    }
    names = sorted(fixed, key=natural_order)
    return Comparison(
        new=new,
        known=len(bad) - new,
        fixed=sum(fixed.values()),
        fixed_examples=tuple(names[:MAX_EXAMPLES]),
        new_by_rule=by_rule,
    )


def _unknown(known: Counter[Broken], bad: Counter[Broken]) -> Iterator[tuple[Broken, int]]:
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


def _distance(broken: Broken, rules: Broken) -> tuple[int, int, list[str], list[str]]:
    return len(broken - rules), len(rules - broken), sorted(broken), sorted(rules)


def read_baseline(path: str) -> Baseline:
    """The baseline in a file.

    Raises:
        UsageError: it is not there, or is not a baseline of this version.
    """
    try:
        data = json.loads(read_text(path))
    except FileNotFoundError:
        raise UsageError(f"the baseline {path} does not exist; make one with --write-baseline {path}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"cannot read the baseline {path}: {error}") from None
    try:
        return Baseline.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UsageError(f"{path} is not a baseline of version {VERSION}: {place}: {first['msg']}") from None
