"""Result of a check: violations per record, with exact counts. Plain arrays, no schema, no I/O."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from label_guard.core.plural import counted
from label_guard.core.types import Rows
from label_guard.rules.violation import Value, Violation

EXAMPLES_PER_RULE = 5
_MOST_BITS = 1024
_MOST_TEXT = 120


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
        first: int[k], the first offending position within each of these records, flat; None where it is not known.
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
            self.label, self.rule, value, self.legal, int(self.rows[index]), None, int(self.counts[index]), place
        )


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
        skipped: int[k], rows that are legal but declared unlabeled with ``on_unlabeled: skip``.
        padding: int[k], rows of which nothing counts, in any label: they are not checked.
    """

    __slots__ = ("_invalid", "_valid", "faults", "num_records", "padding", "skipped")

    def __init__(
        self,
        num_records: int,
        faults: tuple[RuleViolations, ...] = (),
        skipped: Rows | None = None,
        padding: Rows | None = None,
    ) -> None:
        self.num_records = num_records
        self.faults = faults
        self.skipped = skipped
        self.padding = padding
        self._valid: NDArray[np.bool_] | None = None
        self._invalid: Rows | None = None

    @property
    def ok(self) -> bool:
        """Whether every record satisfies the schema."""
        return not self.faults

    @property
    def valid(self) -> NDArray[np.bool_]:
        """bool[num_records], made when first asked for: True where a record broke no rule."""
        if self._valid is None:
            valid = np.ones(self.num_records, np.bool_)
            for fault in self.faults:
                valid[fault.rows] = False
            self._valid = valid
        return self._valid

    @property
    def invalid_rows(self) -> Rows:
        """int[k], ascending, made when first asked for: the records that broke a rule."""
        if self._invalid is None:
            one = len(self.faults) == 1
            self._invalid = self.faults[0].rows if one else (~self.valid).nonzero()[0]
        return self._invalid

    @property
    def num_invalid(self) -> int:
        """Number of records that broke a rule."""
        return 0 if self.ok else len(self.invalid_rows)

    @property
    def num_padding(self) -> int:
        """Number of rows that only fill the batch."""
        return 0 if self.padding is None else len(self.padding)

    @property
    def counts(self) -> dict[str, int]:
        """Exact number of records by the rule they broke; a record that broke two counts under both."""
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
        found = [(fault, int(fault.rows.searchsorted(row))) for fault in self.faults]
        return tuple(fault.violation(at) for fault, at in found if at < len(fault.rows) and fault.rows[at] == row)

    def __repr__(self) -> str:
        return f"CheckResult({counted(self.num_records, 'record')}, {self.num_invalid} invalid, counts={self.counts})"
