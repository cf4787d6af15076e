"""The counts of a guard, of constant shape, which are in an iterator's state; and their summary."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from label_guard.core.html_table import html_table
from label_guard.core.plural import counted
from label_guard.rules.registry import RULES

RULE_CODES = tuple(code for code in RULES if code.startswith("LG1"))
_FIELDS = ("seen", "delivered", "quarantined", "skipped", "remainder", "masked", "invalid", "padding", "written")
_NUMBERS = (*_FIELDS, "refused", "pending", "workers")
_PARTS = ("delivered", "quarantined", "skipped", "remainder", "refused", "pending")  # of the records seen
STORED = (*_FIELDS, "window_seen", "window_invalid", "consecutive_rejected", "earlier_seen", "earlier_invalid")
_numbers: Callable[[object], tuple[int, ...]] = attrgetter(*STORED)


@dataclass(slots=True)
class Counts:
    """Running counts of records.

    Attributes:
        seen: records read from upstream.
        delivered: records handed on, bad ones under ``mask`` and ``report`` included.
        quarantined: bad records taken out of the stream.
        skipped: unlabeled records left out by ``on_unlabeled: skip``.
        remainder: records of an incomplete last batch that ``remainder="drop"`` left out.
        masked: bad records among the delivered.
        invalid: records that broke a rule, under every policy.
        padding: rows that only fill a batch (``where``, or a mask that is there, is 0 throughout); in no other count.
        written: invalid records that were given to the quarantine.
        window_seen: records of the current window of ``stop_above``.
        window_invalid: bad ones among them.
        consecutive_rejected: records since the last batch from which one stayed.
        earlier_seen: records seen under earlier label rules, which ``stop_above`` leaves out.
        earlier_invalid: bad ones among them.
        by_rule: bad records by the rule they broke.
    """

    seen: int = 0
    delivered: int = 0
    quarantined: int = 0
    skipped: int = 0
    remainder: int = 0
    masked: int = 0
    invalid: int = 0
    padding: int = 0
    written: int = 0
    window_seen: int = 0
    window_invalid: int = 0
    consecutive_rejected: int = 0
    earlier_seen: int = 0
    earlier_invalid: int = 0
    by_rule: dict[str, int] = field(default_factory=lambda: dict.fromkeys(RULE_CODES, 0))

    @property
    def limited(self) -> tuple[int, int]:
        """The counts that ``stop_above`` compares.

        Returns:
            The invalid records, and all records, since label rules last changed.
        """
        return self.invalid - self.earlier_invalid, self.seen - self.earlier_seen

    def begin_limits(self) -> None:
        """Leaves what was counted so far out of ``stop_above``: the label rules have changed."""
        self.earlier_seen, self.earlier_invalid = self.seen, self.invalid
        self.window_seen = self.window_invalid = self.consecutive_rejected = 0

    def copy(self, delivered: int = 0) -> Counts:
        """The counts as they are now, or before the last ``delivered`` records, which are valid."""
        counts = Counts(*_numbers(self), by_rule=dict(self.by_rule))
        counts.seen -= delivered
        counts.window_seen -= delivered
        counts.delivered -= delivered
        return counts

    def to_state(self) -> dict[str, int]:
        """The counts by name, zeros included: frameworks want states of constant shape."""
        return {**dict(zip(STORED, _numbers(self), strict=True)), **self.by_rule}

    @classmethod
    def from_state(cls, state: Mapping[str, int]) -> Counts:
        """The counts that ``to_state`` wrote, here or in a release that knew other rules."""
        totals = {name: int(state.get(name, 0)) for name in STORED}
        return cls(**totals, by_rule={code: int(state.get(code, 0)) for code in RULE_CODES})


@dataclass(frozen=True, slots=True, repr=False)
class Summary:
    """Counts of records; ``str()`` is the conservation line.

    Attributes are those of ``Counts``, and:
        pending: records read ahead to fill the next batch.
        refused: records of a batch that an error kept from being delivered.
        workers: Grain worker processes whose counts are added up here, 0 for a guard in the main process. What a worker
            read after its last batch is not known outside it: the counts may be short of it at the end of a stream.
    """

    seen: int = 0
    delivered: int = 0
    quarantined: int = 0
    skipped: int = 0
    remainder: int = 0
    refused: int = 0
    pending: int = 0
    masked: int = 0
    invalid: int = 0
    padding: int = 0
    written: int = 0
    by_rule: Mapping[str, int] = field(default_factory=dict[str, int])
    workers: int = 0

    @property
    def is_conserved(self) -> bool:
        """Whether every record seen is accounted for."""
        return self.seen == sum(getattr(self, name) for name in _PARTS)

    def as_metrics(self, prefix: str = "labels/") -> dict[str, float]:
        """The counts as a flat dict of numbers for a metrics writer, with the same keys at every step.

        Args:
            prefix: put before each key.

        Returns:
            Each count, ``invalid_ratio`` (of the records seen, 0 to 1), and the bad records by rule: ``labels/LG101``.

        >>> metrics = Summary(seen=8, delivered=7, quarantined=1, invalid=1, by_rule={"LG101": 1}).as_metrics()
        >>> metrics["labels/seen"], metrics["labels/invalid_ratio"], metrics["labels/LG101"], metrics["labels/LG102"]
        (8, 0.125, 1, 0)
        """
        numbers: dict[str, float] = {name: getattr(self, name) for name in (*_FIELDS, "refused", "pending")}
        numbers["invalid_ratio"] = self.invalid / self.seen if self.seen else 0.0
        numbers |= {code: self.by_rule.get(code, 0) for code in RULE_CODES}
        return {f"{prefix}{name}": number for name, number in numbers.items()}

    def to_numbers(self) -> list[int]:
        """The counts in a fixed order, for a collective."""
        return [getattr(self, name) for name in _NUMBERS] + [self.by_rule.get(code, 0) for code in RULE_CODES]

    @classmethod
    def from_numbers(cls, numbers: Sequence[int]) -> Summary:
        """The summary that ``to_numbers`` made a list of."""
        rules = dict(zip(RULE_CODES, numbers[len(_NUMBERS) :], strict=True))
        totals = dict(zip(_NUMBERS, numbers, strict=False))
        return cls(**totals, by_rule={code: count for code, count in rules.items() if count})

    def __add__(self, other: Summary) -> Summary:
        return Summary.from_numbers([a + b for a, b in zip(self.to_numbers(), other.to_numbers(), strict=True)])

    def __str__(self) -> str:
        line = (
            f"seen {self.seen:,} = delivered {self.delivered:,} + quarantined {self.quarantined:,} + "
            f"skipped {self.skipped:,} + remainder {self.remainder:,} + pending {self.pending:,}"
        )
        if self.refused:
            line += f" + refused {self.refused:,}"
        if self.masked:
            delivered = counted(self.masked, "delivered record is", "delivered records are")
            line += f"; {delivered} bad; {self.written:,} written to the quarantine"
        if self.padding:
            line += f"; and {counted(self.padding, 'row')} of padding"
        rules = ", ".join(f"{code} {RULES[code].name} {count:,}" for code, count in self.by_rule.items() if count)
        if rules:
            line += f"; {rules}"
        if self.workers:
            line += f"; in {counted(self.workers, 'worker')}, without what each read after its last batch"
        return line

    def __repr__(self) -> str:
        return f"Summary({self})"

    def _repr_html_(self) -> str:
        """A table for notebooks: the counts that are not zero, and the bad records by rule."""
        return html_table("Labels", self.rows())

    def rows(self) -> list[tuple[str, int]]:
        """The counts that are not zero, and the bad records by rule: name and number."""
        counts = {name: getattr(self, name) for name in ("seen", *_PARTS, "masked", "written", "padding")}
        rows = [(name, count) for name, count in counts.items() if count or name in ("seen", "delivered")]
        return rows + [(f"{code} {RULES[code].name}", count) for code, count in self.by_rule.items() if count]


def summary_of(counts: Counts, pending: int = 0, refused: int = 0, workers: int = 0) -> Summary:
    """The public summary of running counts.

    Args:
        counts: as of the last batch delivered.
        pending: records read ahead.
        refused: records read since, by a batch that an error ended.
        workers: number of worker processes that the counts are of, 0 in the main process.
    """
    totals: dict[str, int] = {name: getattr(counts, name) for name in _FIELDS}
    totals["seen"] += refused
    by_rule = {code: count for code, count in counts.by_rule.items() if count}
    return Summary(**totals, pending=pending, refused=refused, by_rule=by_rule, workers=workers)
