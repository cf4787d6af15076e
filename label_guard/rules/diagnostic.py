"""A problem of a schema file, or a change: a plain value, no behaviour, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from label_guard.rules.violation import Value

# note: worth a line, but nothing is wrong, such as a change that the version declares.
Severity = Literal["error", "warning", "note"]


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
