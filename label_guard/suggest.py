"""From likely causes to one change of the schema: a YAML merge patch (RFC 7396, null removes a field)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic import ValidationError

from label_guard.diagnose import Diagnosis
from label_guard.errors import LabelGuardError
from label_guard.labels import ClassLabel, MultiLabel, RealLabel, SoftLabel
from label_guard.schema import DatasetSchema
from label_guard.schema_dump import dump_patch

_KINDS = {"class_label": ClassLabel, "multi_label": MultiLabel, "soft_label": SoftLabel, "real_label": RealLabel}
_Told = tuple[str | None, Diagnosis]


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One change that makes legal what the likely causes explain.

    Attributes:
        patch: merge patch of the schema file; empty where nothing is to be changed.
        reasons: the causes it answers, in words.
        left_out: causes whose change contradicts another, or gives an unsound schema, in words.
    """

    patch: Mapping[str, Any]
    reasons: tuple[str, ...]
    left_out: tuple[str, ...]

    def to_yaml(self) -> str:
        """The patch with its reasons as comments; without a newline at its end."""
        if not self.patch and not self.left_out:
            return "# no change of the schema is suggested"
        lines = [f"# {reason}" for reason in self.reasons]
        lines += [f"# left out: {reason}" for reason in self.left_out]
        return "\n".join([*lines, dump_patch(self.patch)]).rstrip("\n")


def suggest(schema: DatasetSchema, diagnoses: Iterable[_Told]) -> Suggestion:
    """The changes of all likely causes as one patch that gives a sound schema.

    >>> label = {"kind": "class_label", "num_classes": 3}
    >>> schema = DatasetSchema.model_validate(
    ...     {"format": 1, "name": "masks", "version": "1.0.0", "labels": {"mask": label}})
    >>> cause = Diagnosis("mask", "one-based", "labels look 1-based", {"class_ids": {"start": 1}})
    >>> print(suggest(schema, [(None, cause)]).to_yaml())
    # mask: labels look 1-based
    labels:
      mask: {class_ids: {start: 1}}
    """
    patch: dict[str, Any] = {}
    reasons: list[str] = []
    left_out: list[str] = []
    for split, cause in diagnoses:
        if not cause.patch:
            continue
        told = f"{f'{split}: ' if split else ''}{cause.label}: {cause.text}"
        change = _of_schema(schema, cause)
        if _contradicts(patch, change):
            left_out.append(f"{told} (it contradicts the change above)")
            continue
        together = merge_patch(patch, change, keep_nulls=True)
        why = _unsound(schema, together)
        if why:
            left_out.append(f"{told} (the schema would be unsound: {why})")
        else:
            patch = together
            if told not in reasons:
                reasons.append(told)
    return Suggestion(patch, tuple(reasons), tuple(left_out))


def apply_patch(schema: DatasetSchema, patch: Mapping[str, Any]) -> DatasetSchema:
    """The schema with a merge patch applied.

    Raises:
        SchemaError, pydantic.ValidationError: the result contradicts itself.
    """
    return DatasetSchema.model_validate(merge_patch(schema.model_dump(mode="json", exclude_unset=True), patch))


def merge_patch(target: Mapping[str, Any], patch: Mapping[str, Any], *, keep_nulls: bool = False) -> dict[str, Any]:
    """``target`` changed by ``patch`` as in RFC 7396; ``keep_nulls``: both are patches, so what removes stays.

    >>> merge_patch({"a": 1, "b": {"c": 2, "d": 3}}, {"a": None, "b": {"c": 4}})
    {'b': {'c': 4, 'd': 3}}
    """
    merged = dict(target)
    for key, value in patch.items():
        if isinstance(value, Mapping):
            below = merged.get(key)
            inner: Mapping[str, Any] = cast("Mapping[str, Any]", below) if isinstance(below, Mapping) else {}
            merged[key] = merge_patch(inner, cast("Mapping[str, Any]", value), keep_nulls=keep_nulls)
        elif value is None and not keep_nulls:
            merged.pop(key, None)
        else:
            merged[key] = value
    return merged


def _of_schema(schema: DatasetSchema, cause: Diagnosis) -> dict[str, Any]:
    """The change as a patch of the whole schema, with what has to change along."""
    if "splits" in cause.patch:
        return dict(cause.patch)
    label, change = schema.labels[cause.label], dict(cause.patch)
    names = getattr(label, "class_names", None)
    if names and change.get("num_classes", 0) > len(names):
        more = range(len(names), change["num_classes"])
        change["class_names"] = [*names, *(f"class_{index}" for index in more)]
    if "class_ids" in change and isinstance(change["class_ids"], Mapping):
        change["class_ids"] = dict(cast("Mapping[str, Any]", change["class_ids"]))
    if "kind" in change:
        known = _KINDS[change["kind"]].model_fields
        change |= {field: None for field in label.model_fields_set if field not in known}
        change |= {field: None for field in ("dtype",) if field in label.model_fields_set and field not in change}
    return {"labels": {cause.label: change}}


def _contradicts(patch: Mapping[str, Any], change: Mapping[str, Any]) -> bool:
    for key, value in change.items():
        if key not in patch:
            continue
        if isinstance(value, Mapping) and isinstance(patch[key], Mapping):
            if _contradicts(cast("Mapping[str, Any]", patch[key]), cast("Mapping[str, Any]", value)):
                return True
        elif patch[key] != value:
            return True
    return False


def _unsound(schema: DatasetSchema, patch: Mapping[str, Any]) -> str:
    """Why the patched schema would contradict itself; empty where it is sound."""
    try:
        apply_patch(schema, patch)
    except ValidationError as error:
        return str(error.errors()[0]["msg"])
    except LabelGuardError as error:
        return str(error)
    return ""
