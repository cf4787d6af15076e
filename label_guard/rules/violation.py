"""A broken rule of a record: a plain value, no behaviour, no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field

from label_guard.core.escape import terminal
from label_guard.core.plural import counted

# A JSON form of a label value; the exact bytes are in the quarantine's payload.
Value = int | float | str | bool | None


@dataclass(frozen=True, slots=True)
class Violation:
    """A record broke a rule.

    Attributes:
        label: path of the label in the element.
        rule: rule code, such as ``LG101``.
        value: the first offending value of the record (a scalar, or a short text such as ``float32[4]``).
        legal: the legal set in words, such as ``[0, 10)``.
        row: position of the record in its batch; 0 for a single record.
        record: the record's key, if it has one.
        count: number of offending positions in this record.
        place: of the first of them within the label, such as ``(17, 203)`` in a mask; empty for a single value, and
            where it is not known. It is not compared.
    """

    label: str
    rule: str
    value: Value
    legal: str
    row: int = 0
    record: str | None = None
    count: int = 1
    place: tuple[int, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        where = f"record {self.record}" if self.record is not None else f"row {self.row}"
        value = f"{self.value} at {list(self.place)}" if self.place else self.value
        more = f" (and {counted(self.count - 1, 'more position')} of this record)" if self.count > 1 else ""
        return terminal(f"{self.rule} {self.label}: {where}: {value}, expected {self.legal}{more}")
