"""Checks quarantined records against a corrected schema."""

from __future__ import annotations

from collections.abc import Sequence

from label_guard.check.guard import Guard
from label_guard.errors import QuarantineError, UsageError
from label_guard.quarantine.line import QuarantineEntry
from label_guard.quarantine.replay_source import is_split, may_be_of
from label_guard.schema.reader import load_schema


class Recheck:
    """Checks quarantined records against one schema.

    Args:
        schema: path of the corrected schema.
        entries: the newest entry of each record.
        split: only records of this split; those of which it is not known are not checked.

    Raises:
        UsageError: neither a record nor the schema has the split.

    Attributes:
        record_key: the feature by which the schema names records, if any.
        accepted: entries that the schema accepts.
        rejected: those it does not accept, with the rules they break.
        unchecked: those that cannot be checked, because of their payload or split, with the reason.
    """

    def __init__(self, schema: str, entries: Sequence[QuarantineEntry], split: str | None = None) -> None:
        self._schema = load_schema(schema)
        self.record_key = self._schema.record_key
        self._guards: dict[tuple[str | None, str | None], Guard] = {}
        self.accepted: list[QuarantineEntry] = []
        self.rejected: dict[QuarantineEntry, list[str]] = {}
        self.unchecked: dict[QuarantineEntry, str] = {}
        if split is not None and not any(is_split(entry.split, split) for entry in entries):
            Guard(self._schema, split)  # a misspelt split has no records: an error, not "0 accepted"
        for entry in entries:
            if split is None or self._is_of(entry, split):
                self._check(entry)
            elif may_be_of(entry.split, split):
                written = "without a split" if entry.split is None else f"as {entry.split}"
                self.unchecked[entry] = f"it was written {written}, and may be of split {split} or not"

    def counts(self, accepted: str, rejected: str) -> str:
        """The counts as text, such as ``3 accepted, 2 still bad, 0 not checked``."""
        return f"{len(self.accepted)} {accepted}, {len(self.rejected)} {rejected}, {len(self.unchecked)} not checked"

    def _is_of(self, entry: QuarantineEntry, split: str) -> bool:
        only = next(iter(self._schema.splits)) if len(self._schema.splits) == 1 else None
        return is_split(entry.split or only, split)

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
        declared = tuple(self._schema.splits)
        if entry.split is None and len(declared) > 1:
            raise UsageError(f"it was written without a split, and the schema declares several ({', '.join(declared)})")
        place = (entry.split, entry.view)
        if place not in self._guards:
            self._guards[place] = Guard(self._schema, entry.split, entry.view)
        guard = self._guards[place]
        kept = {*entry.labels, *entry.payload}
        unknown = [path for path in guard.features if path not in kept] if entry.payload_kind == "labels" else []
        if unknown:
            raise UsageError(f"{unknown[0]} ({guard.features[unknown[0]]}) was not kept (payload: labels)")
        return guard
