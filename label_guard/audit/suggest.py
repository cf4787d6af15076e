"""From the likely causes of an audit to one change of the schema file, printed as YAML that can be merged into it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, cast

from pydantic import ValidationError

from label_guard.audit.report import AuditReport, Cause
from label_guard.core.escape import terminal
from label_guard.schema.dataset import DatasetSchema, problems_of
from label_guard.schema.labels import KINDS, ClassIdRange
from label_guard.schema.writer import flow, quoted

# Fields that only widen what is legal, or say the same of every split: safe at the label itself.
_WIDENING = {"ignore", "on_ignore", "unlabeled", "on_unlabeled", "min_length", "num_classes", "class_names"}

Patch = dict[str, Any]
Fields = dict[tuple[str, ...], Any]  # a patch by the paths of its fields


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A change of a schema, and where it comes from.

    Attributes:
        patch: a mapping to merge into the schema file; None: the field must go. Empty: no change helps.
        reasons: the causes of what is in the patch.
        left_out: a cause, and why its change is not in the patch.
    """

    patch: Mapping[str, Any]
    reasons: Sequence[Cause] = ()
    left_out: Sequence[tuple[Cause, str]] = ()


def suggest(report: AuditReport) -> Suggestion:
    """The changes of all likely causes in one, without those that contradict each other or the schema.

    Args:
        report: an audit; its causes without a change of the schema are passed over.
    """
    schema = report.schema_file
    wanted = [(cause, dict(_leaves(_placed(schema, report, cause)))) for cause in report.diagnoses if cause.patch]
    fields: Fields = {}
    reasons: list[Cause] = []
    left_out: list[tuple[Cause, str]] = []
    for cause, change in wanted:
        conflicts = (_conflict(change, other) for _, other in wanted if other is not change)
        merged = _merged(fields, change)
        why = next(filter(None, conflicts), "") or _refused(schema, _nested(merged))
        if why:
            left_out.append((cause, why))
        else:
            fields = merged
            reasons.append(cause)
    return Suggestion(_nested(fields), reasons, left_out)


def apply_patch(schema: DatasetSchema, patch: Mapping[str, Any]) -> DatasetSchema:
    """``schema`` with ``patch`` merged in: mappings deeply, anything else replaced, None taken away.

    Raises:
        pydantic.ValidationError: the result contradicts itself.

    >>> schema = DatasetSchema(
    ...     format=1, name="digits", version="1.0.0",
    ...     labels={"label": {"kind": "class_label", "num_classes": 10}},
    ... )
    >>> apply_patch(schema, {"labels": {"label": {"class_ids": {"start": 1}}}}).labels["label"].legal
    '[1, 11)'
    """
    values = schema.model_dump(mode="json", exclude_unset=True)
    for path, value in _leaves(patch):
        section = _section(values, path)
        if value is None:
            section.pop(path[-1], None)
        else:
            section[path[-1]] = value
    return DatasetSchema.model_validate(values)


def patch_yaml(suggestion: Suggestion) -> str:
    """The patch as YAML without a newline at its end; comments say where each part comes from.

    Where nothing is suggested, comments alone.
    """
    lines = [f"# {_cause_line(cause)}" for cause in suggestion.reasons]
    lines += [f"# left out: {_cause_line(cause)}: {terminal(why)}" for cause, why in suggestion.left_out]
    if not suggestion.patch:
        return "\n".join([*lines, "# no change of the schema is suggested"])
    return "\n".join(["# merge into the schema file; null: remove the field", *lines, *_lines(suggestion.patch, 0)])


def _cause_line(cause: Cause) -> str:
    where = f"{cause.split}: " if cause.split else ""
    return terminal(f"{where}{cause.label}: {cause.cause}: {cause.text}")


def _lines(values: Mapping[str, Any], depth: int) -> Iterator[str]:
    """Block style down to the fields of a label, flow style below."""
    for key, value in values.items():
        start = "  " * depth + quoted(key) + ":"
        if isinstance(value, dict) and key != "class_ids":
            yield start
            yield from _lines(cast("Patch", value), depth + 1)
        else:
            yield f"{start} {flow(value)}"


# One cause ---------------------------------------------------------------------------------------------------------


def _placed(schema: DatasetSchema, report: AuditReport, cause: Cause) -> Patch:
    """The change of one cause as a mapping to merge into the schema file."""
    if "splits" in cause.patch:
        return dict(cause.patch)
    split, path, fields = cause.split, cause.label, dict(cause.patch)
    own = schema.splits[split].labels.get(path) if split is not None and split in schema.splits else None
    narrow = own is not None and bool(own.model_fields_set & fields.keys())
    if split is not None and split in schema.splits and (narrow or not _suits_all(report, cause)):
        foreign = _foreign(own.model_fields_set if own is not None else set(), fields)
        return {"splits": {split: {"labels": {path: {**foreign, **fields}}}}}
    change: Patch = {"labels": {path: {**_foreign(schema.labels[path].model_fields_set, fields), **fields}}}
    for section, holders in (("splits", schema.splits), ("views", schema.views)):
        for name, holder in holders.items():
            known = holder.labels[path].model_fields_set if path in holder.labels else set[str]()
            foreign = _foreign(known, fields)
            if foreign:
                change.setdefault(section, {})[name] = {"labels": {path: foreign}}
    return change


def _foreign(known: set[str], fields: Mapping[str, Any]) -> dict[str, None]:
    """Fields that the new kind does not know, to be taken away."""
    if "kind" not in fields:
        return {}
    return dict.fromkeys(sorted(known - set(KINDS[fields["kind"]].model_fields)))


def _suits_all(report: AuditReport, cause: Cause) -> bool:
    """Whether the change makes no other split worse; else it is for the one split alone."""
    alike = {other.split for other in report.diagnoses if (other.label, other.patch) == (cause.label, cause.patch)}
    others = [other.labels[cause.label] for other in report.splits if other.records and other.split not in alike]
    if cause.patch.keys() <= _WIDENING:
        void = {*cast("list[int]", cause.patch.get("ignore", [])), cast("int | None", cause.patch.get("unlabeled"))}
        return not any(void.intersection(found.illegal) for found in others)  # there they may be strays
    ids = cause.patch.get("class_ids")
    if not others or ids is None:
        return not others
    legal = set(cast("list[int]", ids)) if isinstance(ids, list) else None
    start = 0 if legal is not None else ClassIdRange.model_validate(ids).start
    return all(used in legal if legal is not None else used >= start for found in others for used in found.class_counts)


# All of them -------------------------------------------------------------------------------------------------------


def _leaves(values: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and key != "class_ids":
            yield from _leaves(cast("Patch", value), (*path, key))
        else:
            yield (*path, key), value


def _nested(fields: Fields) -> Patch:
    """The mapping that holds ``fields`` at their paths."""
    patch: Patch = {}
    for path, value in fields.items():
        _section(patch, path)[path[-1]] = value
    return patch


def _section(values: Patch, path: tuple[str, ...]) -> Patch:
    """The mapping within ``values`` that holds the last name of a path; made where it is missing."""
    return reduce(lambda section, key: section.setdefault(key, {}), path[:-1], values)


def _conflict(change: Fields, other: Fields) -> str:
    """Why two changes cannot both be made; empty where they can."""
    for path, value in change.items():
        if path[-1] != "ignore" and other.get(path, value) != value:
            return f"another cause asks for {path[-1]}: {flow(other[path])}"
    return ""


def _merged(fields: Fields, change: Fields) -> Fields:
    """Both changes in one; ignore values add up."""
    merged = {**fields, **change}
    for path, value in change.items():
        mine = fields.get(path)
        if path[-1] == "ignore" and isinstance(mine, list):
            merged[path] = list(dict.fromkeys([*cast("list[int]", mine), *(value or ())]))
    return merged


def _refused(schema: DatasetSchema, patch: Mapping[str, Any]) -> str:
    """What is wrong with the schema that the patch would make; empty where it is sound."""
    try:
        apply_patch(schema, patch)
    except ValidationError as error:
        return "; ".join(problem.message for problem in problems_of(error))
    return ""
