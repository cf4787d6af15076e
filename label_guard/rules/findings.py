"""Plain values that travel between rooms: what a check found, what a lint found. No behaviour, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# note: worth a line, but nothing is wrong, such as a change that the version declares.
Severity = Literal["error", "warning", "note"]
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
    """

    label: str
    rule: str
    value: Value
    legal: str
    row: int = 0
    record: str | None = None
    count: int = 1

    def __str__(self) -> str:
        where = f"record {self.record}" if self.record is not None else f"row {self.row}"
        more = f" (and {self.count - 1} more positions of this record)" if self.count > 1 else ""
        return f"{self.rule} {self.label}: {where}: {self.value}, expected {self.legal}{more}"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """A schema file has a problem, at a place.

    Attributes:
        rule: rule code, such as ``LG201``.
        severity: ``error``, ``warning`` or ``note``.
        message: what is wrong, with the offending value.
        fix: what to do about it; empty where the message says all.
        file: the file as the user named it; empty for a schema built in Python.
        line: first line, 1-based; 0 when unknown.
        column: first column, 1-based; 0 when unknown.
        path: where in the schema, such as ``("labels", "label", "num_classes")``.
        properties: facts for programs, by name, such as ``("model", "breaking")``.
        kind: how ``lint --fix`` corrects the text at ``path``; empty where it does not.
        replacement: what it writes there, where that does not follow from the text.
    """

    rule: str
    severity: Severity
    message: str
    fix: str = ""
    file: str = ""
    line: int = 0
    column: int = 0
    path: tuple[str | int, ...] = ()
    properties: tuple[tuple[str, Value], ...] = ()
    kind: str = ""
    replacement: str = ""
