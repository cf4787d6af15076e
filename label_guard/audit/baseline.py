"""Living with dirty data: which records are known to be bad, which of today's are new, which have fixed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

from label_guard.diagnosis.statistics import key_order
from label_guard.errors import UsageError

VERSION = 1  # of the file
MAX_EXAMPLES = 5


class BadPlace(NamedTuple):
    """Where a bad record stands and what it broke.

    Attributes:
        shard: name of its shard.
        row: its position there.
        broken: ``"LABEL RULE"`` of each rule it broke; ``"LG120"`` for a record that cannot be decoded.
    """

    shard: str
    row: int
    broken: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"shard": self.shard, "row": self.row, "broken": list(self.broken)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> BadPlace:
        """The place that ``to_json`` wrote."""
        return cls(data["shard"], data["row"], tuple(data["broken"]))


def in_order(found: Iterable[Mapping[str, BadPlace]]) -> dict[str, BadPlace]:
    """Bad records of several parts, in key order."""
    together = {key: place for part in found for key, place in part.items()}
    return {key: together[key] for key in sorted(together, key=key_order)}


@dataclass(frozen=True, slots=True)
class Baseline:
    """Known-bad records.

    Attributes:
        dataset: name of the dataset.
        splits: by split (empty where the schema declares none), what each known-bad record broke, by key.
    """

    dataset: str
    splits: Mapping[str, Mapping[str, Sequence[str]]]

    def to_json(self) -> dict[str, Any]:
        """Plain values, one record a line when indented: made to be reviewed and merged."""
        return {"baseline": VERSION, "dataset": self.dataset, "splits": self.splits}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Today's bad records beside the known ones.

    Attributes:
        new: bad records that are not in the baseline, or broke another rule then.
        known: bad records that are in it.
        fixed: records of the baseline that are bad no more; None where not all records were read.
        healed_examples: the first of them by key order.
        new_by_rule: records new under each ``"LABEL RULE"``, and the first by key order.
    """

    new: int
    known: int
    fixed: int | None
    healed_examples: Sequence[str] = ()
    new_by_rule: Mapping[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "new": self.new,
            "known": self.known,
            "fixed": self.fixed,
            "healed_examples": list(self.healed_examples),
            "new_by_rule": {rule: list(found) for rule, found in sorted(self.new_by_rule.items())},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Comparison:
        """The comparison that ``to_json`` wrote."""
        by_rule = {rule: (int(count), str(first)) for rule, (count, first) in data["new_by_rule"].items()}
        return cls(data["new"], data["known"], data["fixed"], data["healed_examples"], by_rule)


def compare(known: Mapping[str, Sequence[str]], bad: Mapping[str, BadPlace], *, whole: bool) -> Comparison:
    """What is new, known and fixed.

    Args:
        known: what the records of the baseline broke, by key.
        bad: today's bad records, in key order.
        whole: whether all records were read; otherwise nothing can be said to be fixed.

    >>> now = {"a__1": BadPlace("a", 1, ("label LG101",)), "a__2": BadPlace("a", 2, ("label LG102",))}
    >>> compare({"a__1": ["label LG101"], "a__9": ["label LG101"]}, now, whole=True)
    Comparison(new=1, known=1, fixed=1, healed_examples=('a__9',), new_by_rule={'label LG102': (1, 'a__2')})
    """
    new_by_rule: dict[str, tuple[int, str]] = {}
    new = 0
    for key, place in bad.items():
        fresh = set(place.broken).difference(known.get(key, ()))
        new += bool(fresh)
        for rule in sorted(fresh):
            count, first = new_by_rule.get(rule, (0, key))
            new_by_rule[rule] = (count + 1, first)
    fixed = sorted((key for key in known if key not in bad), key=key_order)
    if not whole:
        return Comparison(new, len(bad) - new, None, (), new_by_rule)
    return Comparison(new, len(bad) - new, len(fixed), tuple(fixed[:MAX_EXAMPLES]), new_by_rule)


def read_baseline(path: str) -> Baseline:
    """The baseline in a file.

    Raises:
        UsageError: it is not there, or is no baseline of this version.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"there is no baseline {path}; make one with --write-baseline {path}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"cannot read the baseline {path}: {error}") from None
    try:
        return _parsed(data)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UsageError(f"{path} is no baseline of version {VERSION}: {error or type(error).__name__}") from None


def _parsed(data: Any) -> Baseline:
    if data["baseline"] != VERSION:
        raise ValueError(f"it says version {data['baseline']!r}")
    splits: dict[str, dict[str, list[str]]] = {}
    for split, records in cast("Mapping[str, Mapping[str, Any]]", data["splits"]).items():
        splits[split] = {str(key): [str(rule) for rule in broken] for key, broken in records.items()}
    return Baseline(str(data["dataset"]), splits)
