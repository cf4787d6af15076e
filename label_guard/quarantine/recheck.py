"""Checks quarantined records against a corrected schema."""

from __future__ import annotations

from collections.abc import Sequence

from label_guard.check.guard import Guard
from label_guard.errors import QuarantineError, UsageError
from label_guard.quarantine.line import QuarantineEntry
from label_guard.schema.reader import load_schema


class Recheck:
    """Checks quarantined records against one schema.

    Args:
        schema: path of the corrected schema.
        entries: the newest entry of each record.

    Attributes:
        record_key: the feature by which the schema names records, if any.
        accepted: entries that the schema accepts.
        rejected: those it does not accept, with the rules they break.
        unchecked: those that cannot be checked, because of their payload or split, with the reason.
    """

    def __init__(self, schema: str, entries: Sequence[QuarantineEntry]) -> None:
        self._schema = load_schema(schema)
        self.record_key = self._schema.record_key
        self._guards: dict[tuple[str | None, str | None], Guard] = {}
        self.accepted: list[QuarantineEntry] = []
        self.rejected: dict[QuarantineEntry, list[str]] = {}
        self.unchecked: dict[QuarantineEntry, str] = {}
        for entry in entries:
            self._check(entry)

    def counts(self, accepted: str, rejected: str) -> str:
        """The counts as text, such as ``3 accepted, 2 still bad, 0 not checked``."""
        return f"{len(self.accepted)} {accepted}, {len(self.rejected)} {rejected}, {len(self.unchecked)} not checked"

    def _check(self, entry: QuarantineEntry) -> None:
        if any(found.rule == "LG120" for found in entry.violations):  # no schema makes it readable
            self.rejected[entry] = ["LG120"]
            return
        try:
            guard = self._guard(entry)
            rules = sorted(guard.check(entry.payload, batched=False).counts)
        except (UsageError, QuarantineError) as error:
            self.unchecked[entry] = str(error)
            return
        if rules:
            self.rejected[entry] = rules
        else:
            self.accepted.append(entry)

    def _guard(self, entry: QuarantineEntry) -> Guard:
        """The guard of the entry's split and view.

        Raises:
            UsageError: it cannot check the entry.
        """
        if entry.dataset != self._schema.name:
            raise UsageError(f"it is of dataset {entry.dataset}, and the schema is for {self._schema.name}")
        if entry.payload_kind == "none":
            raise UsageError("its labels are not kept (payload: none)")
        place = (entry.split, entry.view)
        if place not in self._guards:
            self._guards[place] = Guard(self._schema, entry.split, entry.view)
        guard = self._guards[place]
        unknown = sorted(set(guard.labels) - set(entry.labels)) if entry.payload_kind == "labels" else []
        if unknown:
            raise UsageError(f"label {unknown[0]} was not kept (payload: labels)")
        return guard
