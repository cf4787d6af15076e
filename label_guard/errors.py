"""The exception tree. Every error holds plain data only, so it crosses process boundaries whole.

* LabelGuardError
  x SchemaError           a schema file or model contradicts itself or cannot be read
  x SchemaChangedError    a checkpoint was made under other label rules
  x UsageError            the guard was asked for something it cannot do, found when a pipeline is built
  x InvalidLabelError     policy ``raise`` found a bad record
  x TooManyInvalidError   more bad records than ``stop_above`` allows
  x NoValidRecordsError   a refill rejected records without end
  x HostStoppedError      another host of a coordinated run stopped
  x QuarantineError       the quarantine cannot be written or read
  x SourceError           a dataset cannot be opened or read
  x MissingDependencyError  an optional framework is not installed

Grain pickles a worker's exception into the main process and hangs if it does not pickle, so each class
takes ``message`` first, defaults for the rest, and keeps no arrays, models or handles.
"""

from __future__ import annotations

import importlib
import traceback
from typing import Any

from label_guard.core.escape import terminal

__all__ = [
    "HostStoppedError",
    "InvalidLabelError",
    "LabelGuardError",
    "MissingDependencyError",
    "NoValidRecordsError",
    "QuarantineError",
    "SchemaChangedError",
    "SchemaError",
    "SourceError",
    "TooManyInvalidError",
    "UsageError",
]


class LabelGuardError(Exception):
    """Base of all errors of this package; catch it to catch them all.

    Messages quote data, file names and errors of other libraries, and end up in terminals and logs: control characters
    other than newlines are shown as escapes.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__("\n".join(map(terminal, message.split("\n"))))


class SchemaError(LabelGuardError):
    """A schema is unreadable or contradicts itself.

    Attributes:
        diagnostics: one ``label_guard.rules.Diagnostic`` per problem, with file, line and column.
    """

    def __init__(self, message: str, diagnostics: tuple[Any, ...] = ()) -> None:
        super().__init__(message)
        self.diagnostics = tuple(diagnostics)


class SchemaChangedError(LabelGuardError):
    """A checkpoint was made under other label rules than those of this pipeline."""


class UsageError(LabelGuardError, ValueError):
    """The guard was asked for something it cannot do."""


class InvalidLabelError(LabelGuardError, ValueError):
    """Policy ``raise`` found bad records. Terminal: do not continue iterating.

    Attributes:
        violations: the first violations, at most 5 for each rule.
        counts: exact number of bad records by rule code.
    """

    def __init__(self, message: str, violations: tuple[Any, ...] = (), counts: dict[str, int] | None = None) -> None:
        super().__init__(message)
        self.violations = tuple(violations)
        self.counts = dict(counts or {})


class TooManyInvalidError(LabelGuardError):
    """The share of bad records is above ``stop_above``: the data or the schema is wrong as a whole."""


class NoValidRecordsError(LabelGuardError):
    """A refill rejected so many records in a row that it would never return."""


class HostStoppedError(LabelGuardError):
    """Another host's guard failed; this host stops too."""


class QuarantineError(LabelGuardError):
    """The quarantine cannot be written or read; no record was dropped without it."""


class SourceError(LabelGuardError):
    """A dataset cannot be opened or read."""


class MissingDependencyError(LabelGuardError, ImportError):
    """An optional framework is not installed."""

    @classmethod
    def for_extra(cls, module: str, extra: str) -> MissingDependencyError:
        """The error for a missing ``module`` that ``extra`` of this package installs."""
        return cls(f'{module} is not installed; run: pip install "label-guard[{extra}]"')


def unexpected(error: BaseException) -> str:
    """One line for an exception that this package did not expect: what it is, where it was raised, where to report it.

    >>> unexpected(KeyError("x")).split(";")[0]
    "unexpected KeyError: 'x'"
    """
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename.replace(chr(92), '/').rpartition('/')[2]}:{frames[-1].lineno})" if frames else ""
    text = terminal(" ".join(str(error).split()))
    name = type(error).__name__
    what = f"unexpected {name}: {text}" if text else f"unexpected {name}"
    return f"{what}{where}; this is a fault in label_guard: please report this line {_issue_tracker()}"


def _issue_tracker() -> str:
    """Where faults are reported: the address in the metadata of the installed package."""
    metadata: Any = importlib.import_module("importlib.metadata")  # costs start-up time
    try:
        urls: list[str] = metadata.metadata("label-guard").get_all("Project-URL") or []
    except metadata.PackageNotFoundError:
        urls = []
    found = [url.partition(",")[2].strip() for url in urls if url.lower().startswith("issues,")]
    return f"at {found[0]}" if found else "to its issue tracker"
