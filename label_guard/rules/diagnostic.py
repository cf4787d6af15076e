"""A problem of a schema file, or a change, and what a command found of them: plain values, no behaviour, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
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


@dataclass(frozen=True, slots=True)
class DiagnosticReport:
    """What a command found.

    Attributes:
        diagnostics: in the order to show them.
        tool: the command, such as ``lint``.
        files_checked: number of files looked at, valid ones included.
        complete: whether all of the work was done; where not, every format says so.
        not_checked: what was not checked, in one line each; every format lists it.
    """

    diagnostics: Sequence[Diagnostic]
    tool: str
    files_checked: int = 0
    complete: bool = True
    not_checked: Sequence[str] = ()
