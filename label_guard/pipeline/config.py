"""A guard stage as planned: everything a user chose, checked before the first element is read. Picklable."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

from label_guard.check.guard import Guard
from label_guard.errors import UsageError
from label_guard.pipeline.masking import DEFAULT_VALID_KEY, MaskOptions, OnInvalid, Remainder, converts, has_sentinels
from label_guard.pipeline.record_keys import KEY, RecordNames
from label_guard.quarantine.writer import QuarantineOptions
from label_guard.schema.dataset import DatasetSchema
from label_guard.schema.labels import ClassLabel, Label

DEFAULT_STOP_ABOVE = 0.05
_MASK_DTYPES = ("bool", "float32", "float16", "int32", "uint8")
# Told apart from None, which means: no mask, never stop.
Default = Literal["default"]


@dataclass(frozen=True)
class GuardConfig:
    """What a guard stage does. Build it with ``resolve_options``.

    Attributes are the arguments of ``resolve_options``, and:
        labels: by path, the labels as they meet the conversion: unlabeled records to skip are gone by then.
        names: names records by their travelling key.
        key_required: whether an element without a key is an error.
    """

    guard: Guard
    labels: Mapping[str, Label]
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
    names: RecordNames = field(default_factory=lambda: RecordNames({}))
    key_required: bool = False

    @property
    def view(self) -> str | None:
        """The view that is guarded, or None: labels as stored."""
        return self.guard.view

    @property
    def dropped_key(self) -> str | None:
        """The feature that holds a record's key, where it ends with the guard."""
        return None if self.keep_key else KEY

    @property
    def mask_all(self) -> bool:
        """Whether every label gets a validity mask."""
        # Under report nothing leaves the stream, so a record to skip must be masked.
        skipped = self.on_invalid == "report" and self.skips
        return self.on_invalid == "mask" or self.remainder == "pad" or self.coordinated or skipped

    @property
    def skips(self) -> bool:
        """Whether unlabeled records are left out of the stream."""
        labels = self.guard.labels.values()
        return any(isinstance(x, ClassLabel) and x.unlabeled is not None and x.on_unlabeled == "skip" for x in labels)

    @property
    def refills(self) -> bool:
        """Whether records may leave the stream, so that batches are topped up."""
        return self.on_invalid == "drop" or (self.on_invalid == "raise" and self.skips)

    @cached_property  # asked for each batch
    def passes_untouched(self) -> bool:
        """Whether a clean batch needs neither conversion nor mask."""
        labels = self.labels.values()
        masks = self.mask.key is not None and (self.mask_all or any(map(has_sentinels, labels)))
        return not masks and not any(map(converts, labels))

    def replace(self, **changes: Any) -> GuardConfig:
        """A plan with some fields changed."""
        return dataclasses.replace(self, **changes)


def resolve_options(
    schema: DatasetSchema | str | os.PathLike[str],
    *,
    split: str | None = None,
    view: str | None = None,
    batch_size: int | None = None,
    on_invalid: OnInvalid = "drop",
    quarantine: QuarantineOptions | str | os.PathLike[str] | None = None,
    remainder: Remainder = "short",
    valid_key: str | None = "default",
    valid_dtype: str = "bool",
    stop_above: float | Default | None = "default",
    batched: bool | None = None,
    name: str | None = None,
    process_index: int | None = None,
    keep_key: bool = False,
    allow_schema_change: bool = False,
    coordinated: bool = False,
) -> GuardConfig:
    """The plan of a guard stage; see ``label_guard.grain.guard_labels`` for the arguments.

    Raises:
        UsageError: a choice that cannot work, or that would lose records.
        SchemaError: the schema file is unsound.
    """
    _one_of("on_invalid", on_invalid, get_args(OnInvalid))
    _one_of("remainder", remainder, get_args(Remainder))
    _one_of("valid_dtype", valid_dtype, _MASK_DTYPES)
    if batch_size is not None and batch_size < 1:
        raise UsageError(f"batch_size is {batch_size}; it must be at least 1")
    guard = Guard(schema, split, view)
    plan = GuardConfig(
        guard=guard,
        labels=guard.labels,
        on_invalid=on_invalid,
        quarantine=_quarantine_options(quarantine),
        batch_size=batch_size,
        remainder=remainder,
        mask=_mask_options(valid_key, valid_dtype),
        stop_above=_stop_above(stop_above, on_invalid),
        batched=batched,
        source_id=name or "",
        process_index=process_index,
        keep_key=keep_key,
        allow_schema_change=allow_schema_change,
        coordinated=coordinated,
    )
    _check_plan(plan)
    return plan.replace(labels=_without_skipped(guard.labels)) if plan.refills else plan


def _without_skipped(labels: Mapping[str, Label]) -> dict[str, Label]:
    skips = {"unlabeled": None, "on_unlabeled": None}
    return {
        path: label.model_copy(update=skips) if getattr(label, "on_unlabeled", None) == "skip" else label
        for path, label in labels.items()
    }


def _one_of(name: str, value: object, legal: tuple[str, ...]) -> None:
    if value not in legal:
        raise UsageError(f"{name} is {value!r}; choose one of {', '.join(legal)}")


def _quarantine_options(value: QuarantineOptions | str | os.PathLike[str] | None) -> QuarantineOptions | None:
    return value if value is None or isinstance(value, QuarantineOptions) else QuarantineOptions(os.fspath(value))


def _mask_options(valid_key: str | None, dtype: str) -> MaskOptions:
    if valid_key == "default":
        return MaskOptions(DEFAULT_VALID_KEY, dtype)
    return MaskOptions(valid_key, dtype, explicit=True)


def _stop_above(value: float | Default | None, on_invalid: str) -> float | None:
    if value == "default":
        return DEFAULT_STOP_ABOVE if on_invalid in ("drop", "mask") else None
    if value is not None and not 0 <= value <= 1:
        raise UsageError(f"stop_above is {value}; it is a share of records, 0 to 1, or None for never")
    return value


def _check_plan(plan: GuardConfig) -> None:
    if plan.on_invalid == "drop" and plan.quarantine is None:
        raise UsageError(
            'on_invalid="drop" takes records out of the stream and needs somewhere to keep them; pass '
            'quarantine="DIR", or use on_invalid="mask" or "raise"'
        )
    free = [path for path, label in plan.guard.labels.items() if None in label.record_shape]
    if plan.on_invalid == "mask" and free:
        raise UsageError(
            f'on_invalid="mask" must be able to fill label {free[0]!r}, whose shape is free; declare a fixed shape '
            '(or guard a view after padding), or use on_invalid="drop"'
        )
    _check_mask(plan)


def _check_mask(plan: GuardConfig) -> None:
    if plan.mask.key is None and (plan.mask_all or plan.on_invalid == "report"):
        raise UsageError(
            'valid_key=None leaves the mask out, which only on_invalid="raise" and "drop" allow, and not with '
            'remainder="pad" or coordinated=True'
        )
    labels = [path for path, label in plan.guard.labels.items() if plan.mask_all or has_sentinels(label)]
    if plan.mask.key is not None and len({plan.mask.path(path) for path in labels}) < len(labels):
        raise UsageError(f"valid_key {plan.mask.key!r} is one name for several labels; put {{label}} into it")
    in_tuples = [path for path in labels if path.rpartition("/")[2].isdigit()]
    if in_tuples and not plan.mask.explicit:
        raise UsageError(
            f"label {in_tuples[0]!r} stands in a tuple, where its validity mask has no name; pass valid_key= to append "
            "the mask to the tuple (or valid_key=None to leave it out under raise and drop)"
        )


def process_index_of(plan: GuardConfig) -> int:
    """Index of this process: as given, else JAX's once it is distributed, else 0."""
    if plan.process_index is not None:
        return plan.process_index
    jax = _distributed_jax()
    return 0 if jax is None else int(jax.process_index())


def process_count() -> int:
    """Number of JAX processes, 1 where JAX is not distributed."""
    jax = _distributed_jax()
    return 1 if jax is None else int(jax.process_count())


def _distributed_jax() -> Any:
    """The jax module, only if it is imported and distributed: asking earlier breaks multi-host start-up."""
    jax = sys.modules.get("jax")
    distributed = getattr(jax, "distributed", None)
    return jax if distributed is not None and distributed.is_initialized() else None
