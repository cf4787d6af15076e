"""Result of a check: violations per record, with exact counts. Plain arrays, no schema, no I/O."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from label_guard.check.columns import Column
from label_guard.core.plural import counted
from label_guard.core.types import Rows
from label_guard.rules.violation import Value, Violation

EXAMPLES_PER_RULE = 5
_MOST_BITS = 1024
_MOST_TEXT = 120
_NO_ROWS: Rows = np.empty(0, np.intp)


@dataclass(frozen=True, slots=True)
class RuleViolations:
    """One rule that some records of a batch broke in one label.

    Attributes:
        label: path of the label.
        rule: rule code.
        legal: description of the legal set.
        rows: int[k], ascending and unique: the records that broke it.
        counts: int[k], offending positions in each of these records.
        values: the first offending value of each of these records; one text where it is the same for all.
        positions: int[m], flat positions in the batch's label array; None where the label is bad as a whole.
        first: int[k], the first offending position within each of these records, flat; None where it is not known, and
            where a record has one position.
        shape: of one record's label, to which ``first`` refers.
    """

    label: str
    rule: str
    legal: str
    rows: Rows
    counts: Rows
    values: NDArray[Any] | list[Value] | str
    positions: Rows | None = None
    first: Rows | None = None
    shape: tuple[int, ...] = ()

    def violation(self, index: int) -> Violation:
        """The violation of the record at ``rows[index]``."""
        value = self.values if isinstance(self.values, str) else plain(self.values[index])
        place: tuple[int, ...] = ()
        if self.first is not None and self.shape:
            place = tuple(map(int, np.unravel_index(int(self.first[index]), self.shape)))
        return Violation(
            self.label, self.rule, value, self.legal, self.rows.item(index), None, self.counts.item(index), place
        )


def merged(faults: list[RuleViolations]) -> list[RuleViolations]:
    """Faults of one label with one entry for each rule, rows ascending."""
    if len(faults) < 2:
        return faults
    by_rule: dict[tuple[str, str], list[RuleViolations]] = {}
    for fault in faults:
        by_rule.setdefault((fault.rule, fault.legal), []).append(fault)
    return [same[0] if len(same) == 1 else _join(same) for same in by_rule.values()]


def _join(faults: list[RuleViolations]) -> RuleViolations:
    rows = np.concatenate([fault.rows for fault in faults])
    order = np.argsort(rows, kind="stable")
    values = [v for f in faults for v in ([f.values] * len(f.rows) if isinstance(f.values, str) else list(f.values))]
    counts = np.concatenate([fault.counts for fault in faults])[order]
    one = faults[0]
    first, shape = _places(faults)
    places = [fault.positions for fault in faults if fault.positions is not None]
    return RuleViolations(
        one.label, one.rule, one.legal, rows[order], counts, [values[k] for k in order],
        positions=np.sort(np.concatenate(places)) if len(places) == len(faults) else None,
        first=None if first is None else first[order], shape=shape,
    )  # fmt: skip


def _places(faults: Sequence[RuleViolations]) -> tuple[Rows | None, tuple[int, ...]]:
    """The first offending positions of records of several sizes, and a shape that holds all to which they refer."""
    known = [(fault.first, fault.shape) for fault in faults if fault.first is not None]
    if len(known) < len(faults) or len({len(shape) for _, shape in known}) > 1:
        return None, ()
    whole = tuple(max(sizes) for sizes in zip(*(shape for _, shape in known), strict=True))
    if not whole:
        return None, ()
    places = [np.ravel_multi_index(np.unravel_index(first, shape), whole) for first, shape in known]
    return np.concatenate(places), whole


def plain(value: Any) -> Value:
    """``value`` as a Python scalar or a short text."""
    item: Any = cast("np.generic[Any]", value).item() if isinstance(value, np.generic) else value
    if isinstance(item, int) and item.bit_length() > _MOST_BITS:  # str() refuses integers of 5,000 digits
        return f"an integer of about {int(item.bit_length() * math.log10(2)) + 1} digits"
    return item if item is None or isinstance(item, bool | int | float | str) else _text(item)


def _text(value: Any) -> str:
    try:
        text = repr(value)[:_MOST_TEXT]
        return type(value).__name__ if " at 0x" in text else text  # an address says nothing
    except Exception as error:  # a foreign repr may raise anything
        return f"{type(value).__name__} (its repr raises {type(error).__name__})"


class CheckResult:
    """What ``Guard.check`` found in one element.

    Attributes:
        num_records: records in the element; 1 for a single record.
        faults: one entry for each rule broken in each label.
        ok: whether every record satisfies the schema.
        invalid_rows: int[k], ascending: the records that broke a rule.
        num_invalid: their number.
        num_padding: number of rows that only fill the batch.
        skipped: int[k], rows that are legal but declared unlabeled with ``on_unlabeled: skip``.
        padding: int[k], rows of which nothing counts, in any label: they are not checked.
        columns: by label path, what was checked (``Guard.batch_columns``), where the check had to gather it: always
            where a rule is broken. Views of the element.
    """

    __slots__ = (
        "_valid", "columns", "faults", "invalid_rows", "num_invalid", "num_padding", "num_records", "ok", "padding",
        "skipped",
    )  # fmt: skip

    def __init__(
        self,
        num_records: int,
        faults: tuple[RuleViolations, ...] = (),
        skipped: Rows | None = None,
        padding: Rows | None = None,
        columns: Mapping[str, list[Column]] | None = None,
    ) -> None:
        self.num_records = num_records
        self.faults = faults
        self.ok = not faults
        self.skipped = skipped
        self.padding = padding
        self.num_padding = 0 if padding is None else len(padding)
        self.columns = columns
        self._valid: NDArray[np.bool_] | None = None
        self.invalid_rows = _NO_ROWS
        if faults:
            self.invalid_rows = faults[0].rows if len(faults) == 1 else (~self.valid).nonzero()[0]
        self.num_invalid = len(self.invalid_rows)

    @property
    def valid(self) -> NDArray[np.bool_]:
        """bool[num_records], made when first asked for: True where a record broke no rule."""
        if self._valid is None:
            invalid = np.zeros(self.num_records, np.bool_)
            for fault in self.faults:
                invalid[fault.rows] = True
            self._valid = ~invalid
        return self._valid

    @property
    def counts(self) -> dict[str, int]:
        """Exact number of records by the rule they broke; a record that broke two counts under both."""
        if len(self.faults) == 1:
            return {self.faults[0].rule: len(self.faults[0].rows)}
        rows: dict[str, list[Rows]] = {}
        for fault in self.faults:
            rows.setdefault(fault.rule, []).append(fault.rows)
        return {
            rule: len(parts[0] if len(parts) == 1 else np.unique(np.concatenate(parts)))
            for rule, parts in sorted(rows.items())
        }

    @property
    def violations(self) -> tuple[Violation, ...]:
        """The first violations in row order, at most 5 for each label and rule."""
        found = [fault.violation(k) for fault in self.faults for k in range(min(len(fault.rows), EXAMPLES_PER_RULE))]
        return tuple(sorted(found, key=lambda v: (v.row, v.label, v.rule)))

    def of_row(self, row: int) -> tuple[Violation, ...]:
        """Every violation of one record."""
        found: list[Violation] = []
        for fault in self.faults:
            at = int(fault.rows.searchsorted(row))
            if at < len(fault.rows) and fault.rows[at] == row:
                found.append(fault.violation(at))
        return tuple(found)

    def __repr__(self) -> str:
        return f"CheckResult({counted(self.num_records, 'record')}, {self.num_invalid} invalid, counts={self.counts})"
