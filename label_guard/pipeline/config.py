"""The configuration of a guard: every option resolved and checked before the first element is read. Picklable."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from label_guard.check.guard import Guard
from label_guard.core.escape import terminal
from label_guard.core.files import same_place
from label_guard.errors import UsageError
from label_guard.pipeline.convert import LabelConverter
from label_guard.pipeline.events import OnEvent
from label_guard.pipeline.masking import MaskOptions, OnInvalid, Remainder
from label_guard.pipeline.record_keys import KEY, KeyedSource, RecordNames
from label_guard.quarantine.options import QuarantineOptions
from label_guard.quarantine.replay_source import ReplaySource
from label_guard.schema.labels import Label


@dataclass(frozen=True)
class GuardConfig:
    """What a guard does. Build it with ``label_guard.pipeline.options.resolve_options``.

    Attributes are the options of ``GuardOptions`` with their defaults resolved, and:
        guard: the compiled schema.
        mask: name and dtype of the validity mask.
        source_id: what identifies the source of the records in the quarantine.
        names: names records by the key that travels with them.
        caller: the function that the user called, for messages.
        schema_file: path of the schema, for messages; None where it is not from a file.
        lists_are_columns: whether a list in a batch has one array for each place in a record, as after Grain's batch.
    """

    guard: Guard
    on_invalid: OnInvalid
    quarantine: QuarantineOptions | None
    batch_size: int | None
    remainder: Remainder
    mask: MaskOptions
    stop_above: float | None
    batched: bool | None
    source_id: str
    process_index: int | None
    keep_key: bool
    allow_schema_change: bool
    coordinated: bool = False
    on_event: OnEvent | None = None
    names: RecordNames = field(default_factory=lambda: RecordNames({}))
    caller: str = "guard_labels"
    schema_file: str | None = None
    lists_are_columns: bool = False

    @cached_property
    def dropped_key(self) -> str | None:
        """The feature with the record's key, where the guard removes it."""
        return None if self.keep_key else KEY

    @cached_property
    def mask_all(self) -> bool:
        """Whether every label gets a validity mask."""
        # Under report nothing leaves the stream, so a record to skip must be masked.
        skipped = self.on_invalid == "report" and self.skips
        return self.on_invalid == "mask" or self.remainder == "pad" or self.coordinated or skipped

    @cached_property
    def masks(self) -> dict[str, str]:
        """By label path, the path of the validity mask that the label leaves with; labels without one are left out."""
        needed = () if self.mask.key is None else self.labels.items()
        return {path: self.mask.path(path) for path, label in needed if self.mask_all or label.has_mask}

    @cached_property
    def skips(self) -> bool:
        """Whether unlabeled records are left out of the stream."""
        return any(check.skips for check in self.guard.checks)

    @cached_property
    def refills(self) -> bool:
        """Whether records may leave the stream, so that batches are topped up."""
        return self.on_invalid == "drop" or (self.on_invalid == "raise" and self.skips)

    @cached_property
    def labels(self) -> dict[str, Label]:
        """By path, the labels as they reach the conversion: unlabeled records to skip have left by then."""
        skips = {"unlabeled": None, "on_unlabeled": None}
        return {
            path: label.model_copy(update=skips)
            if self.refills and getattr(label, "on_unlabeled", None) == "skip"
            else label
            for path, label in self.guard.labels.items()
        }

    @cached_property
    def converters(self) -> dict[str, LabelConverter]:
        """The labels compiled for the way out, by path."""
        return {path: LabelConverter(label) for path, label in self.labels.items()}

    @cached_property
    def consumed(self) -> tuple[str, ...]:
        """Features that are read as the columns of a label, and end with the guard."""
        labels = self.guard.labels
        columns = {path for label in labels.values() for path in getattr(label, "columns", None) or ()}
        return tuple(sorted(columns - set(labels) - {label.where for label in labels.values()}))

    @cached_property  # asked for each batch
    def passes_untouched(self) -> bool:
        """Whether a clean batch needs neither conversion nor mask."""
        return not self.masks and not any(converter.changes for converter in self.converters.values())

    def described(self) -> list[tuple[str, object]]:
        """What the guard does, for a ``repr`` and a notebook: name and value of what is set."""
        guard = self.guard
        chosen = {
            "schema": f"{guard.schema.name} {guard.schema.version}",
            "split": guard.split,
            "view": guard.view,
            "labels": ", ".join(guard.labels),
            "on_invalid": self.on_invalid,
            "batch_size": self.batch_size,
            "quarantine": None if self.quarantine is None else self.quarantine.url,
        }
        return [(name, value) for name, value in chosen.items() if value is not None]

    def __str__(self) -> str:
        return terminal(", ".join(f"{name}={value}" for name, value in self.described()))

    def refuse_replay(self, source: object) -> None:
        """Refuses to write the invalid records of a replay into the quarantine that it reads.

        Raises:
            UsageError: ``source`` (keyed or not) is such a replay: each record would be in the folder twice.
        """
        replayed = source.source if isinstance(source, KeyedSource) else source
        if self.quarantine is None or not isinstance(replayed, ReplaySource):
            return
        if same_place(replayed.url, self.quarantine.url):
            raise UsageError(
                f"{self.caller}: quarantine={self.quarantine.url!r} is the folder whose records the source replays; "
                "those that are still bad would be in it twice; name another folder"
            )

    def refuse_second_remap(self, before: GuardConfig) -> None:
        """Refuses this guard on stored labels after ``before``, where that mapped them to dense ids.

        Raises:
            UsageError: it would map legal dense ids once more, and nothing would show.
        """
        if self.guard.view is not None:
            return
        for path, label in before.guard.labels.items():
            if getattr(label, "remaps", False) and path in self.guard.labels:
                raise UsageError(
                    f"label {path!r} was already guarded and mapped to dense ids upstream; guarding it again as "
                    "stored would map it twice. Give the second guard a view= of the schema"
                )

    def replace(self, **changes: Any) -> GuardConfig:
        """A configuration with some fields changed."""
        return dataclasses.replace(self, **changes)
