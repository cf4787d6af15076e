"""A draft schema from TFDS metadata or from the data, with comments that say what was seen and what to check.

Whatever was guessed is marked ``TODO check`` on its very line, and what is rare is left illegal. The draft is audited
on the data it came from; what the audit finds is said in comments.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError
from semver import Version

from label_guard.audit.report import AuditReport
from label_guard.audit.runner import audit_dataset
from label_guard.audit.suggest import apply_patch, suggest
from label_guard.core.plural import counted
from label_guard.core.similar import shortened
from label_guard.errors import SchemaError, SourceError, UsageError
from label_guard.infer.classes import Drafted, refused
from label_guard.infer.dataset_profile import BY_CONTENT, DatasetProfile, profile_dataset
from label_guard.infer.datasets import UriDataset
from label_guard.infer.profile import infer_label
from label_guard.infer.split_counts import mark_other_classes, without_unlabeled_splits
from label_guard.infer.splits import in_place_of
from label_guard.schema.dataset import DatasetSchema
from label_guard.schema.writer import dump_schema, quoted
from label_guard.sources.base import did_you_mean
from label_guard.sources.sniff import readable_uri
from label_guard.sources.tfds_metadata import Feature, TfdsMetadata, read_metadata
from label_guard.sources.uris import parse_uri

LIMIT = 100_000  # records looked at in each file
_MAX_SHOWN = 20  # fields that a message lists


@dataclass(slots=True)
class Draft:
    """A schema that is not finished.

    Attributes:
        schema: the fields, sound or not yet.
        head: comments on the whole.
        notes: comments by label.
        marks: what to check, by label and field.
    """

    schema: dict[str, Any]
    head: list[str] = field(default_factory=list[str])
    notes: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    marks: dict[str, dict[str, list[str]]] = field(default_factory=dict[str, dict[str, list[str]]])

    def to_yaml(self) -> str:
        """Returns the text of the schema file.

        Raises:
            SchemaError: the draft contradicts itself.
        """
        lines = [f"# {line}" for line in self.head]
        labels, section, label = {f"  {quoted(path)}:": path for path in self.schema["labels"]}, "", ""
        for line in dump_schema(sound(self.schema)).splitlines():
            section = line if not line.startswith(" ") else section
            if section == "labels:" and line in labels:
                label = labels[line]
                lines += [f"  # {note}" for note in self.notes.get(label, ())]
            marks = self.marks.get(label, {}).get(line.strip().partition(":")[0], ()) if section == "labels:" else ()
            lines.append(f"{line}  # TODO check: {'; '.join(marks)}" if marks else line)
        return "".join(f"{line}\n" for line in lines)


def infer(
    source: str,
    *,
    labels: Sequence[str] = (),
    split: str | None = None,
    name: str | None = None,
    limit: int = LIMIT,
    source_in_file: str | None = None,
) -> Draft:
    """Drafts the schema of a dataset.

    Args:
        source: URI of the data; see docs/sources.md. Of ``tfds:`` the metadata are read first.
        labels: paths of the labels; else those that the metadata declare, or whose names say so.
        split: name of the split that the files are; of ``tfds:`` all are known.
        name: name of the dataset; else from the metadata or the source.
        limit: records looked at in each file.
        source_in_file: the source as the file should name it; as given, where None.

    Raises:
        SourceError: no such data.
        UsageError: nothing there looks like a label.
        SchemaError: no valid schema can be made of it.
    """
    source, assumed = readable_uri(source)
    metadata = read_metadata(source.removeprefix("tfds:")) if source.startswith("tfds:") else None
    if metadata is not None and all(_declares_classes(metadata, path) for path in labels):
        draft = of_metadata(metadata, labels, name)
        declared = draft.schema.get("splits", {})
        draft.schema["splits"] = {one: {**fields, "source": source} for one, fields in declared.items()}
    else:
        dataset = profile_dataset(UriDataset(source), labels=labels, split=split, limit=limit)
        draft = draft_of(dataset, draft_labels(dataset), name)
    draft.head += [f"TODO check, {note}" for note in assumed]
    draft, _ = audited(draft, lambda schema: audit_dataset(schema, limit=limit))
    for one in draft.schema.get("splits", {}).values():
        one["source"] = in_place_of(source, source_in_file or source, one["source"])
    return draft


def _declares_classes(metadata: TfdsMetadata, path: str) -> bool:
    """Whether the metadata say how many classes a label has; if not, its records show it."""
    feature = metadata.stored_features.get(path)
    return feature is not None and feature.num_classes is not None


def of_metadata(metadata: TfdsMetadata, labels: Sequence[str] = (), name: str | None = None) -> Draft:
    """The draft that TFDS's metadata alone give: every ClassLabel, and the splits with their sizes.

    Raises:
        SourceError: no ClassLabel is declared, or a label is not there.
    """
    known = metadata.stored_features
    declared = {path: one for path, one in known.items() if one.kind == "ClassLabel" and one.num_classes}
    unknown = [path for path in labels if path not in known]
    if unknown:
        raise SourceError(f"{metadata.name} has no feature {unknown[0]!r}{did_you_mean(unknown[0], known)}")
    features = {path: known[path] for path in labels} if labels else declared
    if not features:
        there = ", ".join(f"{path} ({one.kind})" for path, one in known.items()) or "none"
        raise SourceError(f"{metadata.name} declares no ClassLabel; its features: {there}")
    splits = {split: {"num_examples": one.num_examples} for split, one in metadata.splits.items()}
    draft = Draft(
        {
            "format": 1,
            "name": name or metadata.name,
            "version": metadata.version if Version.is_valid(metadata.version) else "1.0.0",
            "labels": {path: _label_of(path, feature) for path, feature in features.items()},
            **({"splits": splits} if splits else {}),
        },
        [f"Drafted from TFDS's metadata of {metadata.name}."],
    )
    draft.notes = {path: [f"declared as {feature.kind}"] for path, feature in features.items()}
    return draft


def _label_of(path: str, feature: Feature) -> dict[str, Any]:
    if not feature.num_classes:
        raise SourceError(
            f"feature {path!r} is a {feature.kind} without a number of classes: TFDS declares too little about it"
        )
    label: dict[str, Any] = {"kind": "class_label", "num_classes": feature.num_classes}
    if feature.class_names is not None:
        label["class_names"] = list(feature.class_names)
    dtype = feature.stored_dtype or feature.dtype
    return {**label, **({"dtype": dtype} if dtype else {}), "shape": list(feature.shape)}


# From data ------------------------------------------------------------------------------------------------------------


def draft_of(dataset: DatasetProfile, drafts: Mapping[str, Drafted], name: str | None = None) -> Draft:
    """The draft of what was seen, without what an audit of it finds.

    Args:
        dataset: the profile of the dataset.
        drafts: its labels, from ``draft_labels``.
        name: name of the dataset; else from the source.

    Raises:
        UsageError: nothing there can be a label.
    """
    source = dataset.data.uri
    if not dataset.labels:
        shown = [f"{path} ({what})" for path, what in list(dataset.others.items())[:_MAX_SHOWN]]
        there = ", ".join(shown) or "not known before they are read"
        raise UsageError(f"nothing in {source} looks like a label; name it with --label PATH; its fields: {there}")
    total = sum(dataset.records.values())
    draft = Draft(
        {"format": 1, "name": name or _name_of(source), "version": "1.0.0", "labels": {}, "splits": {}},
        [
            f"Drafted from {source}: {counted(total, 'record was', 'records were')} "
            f"read{'' if dataset.whole else ', not all of them'}."
        ],
    )
    for path, drafted in drafts.items():
        draft.notes[path], draft.marks[path] = drafted.comments, drafted.doubts
        if drafted.fields:
            draft.schema["labels"][path] = drafted.fields
        else:
            draft.head += [f"left out: {path}: {note}" for note in drafted.comments]
    if not draft.schema["labels"]:
        faults = [dataset.fault_of_records] if dataset.unreadable else []
        raise UsageError(f"nothing in {source} can be a label: {'; '.join([*draft.head[1:], *faults])}")
    for one in dataset.splits:
        examples = {"num_examples": sum(dataset.records[path] for path in one.paths)} if dataset.whole else {}
        draft.schema["splits"][one.name] = {**examples, "source": one.uri}
    return draft


def draft_labels(dataset: DatasetProfile) -> dict[str, Drafted]:
    """The labels that declare what was seen; without fields where none does, and why."""
    return {path: _draft_label(dataset, path) for path in dataset.labels}


def _draft_label(dataset: DatasetProfile, path: str) -> Drafted:
    """One label of what was seen, with the class names and ids that the dataset declares."""
    feature = dataset.features.get(path)
    names, number = (None, None) if feature is None else (feature.class_names, feature.num_classes)
    profile, by_split = dataset.profiles[path], dataset.by_split.get(path, {})
    profile = replace(profile, counts=without_unlabeled_splits(profile.counts, by_split))
    if feature is not None and feature.class_ids and profile.texts and not profile.dtypes:
        shown = shortened(min(profile.texts), 40)
        return refused(f"holds ids stored as text, such as {shown!r}: store them as numbers, as the dataset names them")
    drafted = infer_label(profile, only_label=len(dataset.labels) == 1, class_names=names, num_classes=number)
    if drafted.fields.get("kind") == "class_label" and not (names or number):
        mark_other_classes(drafted, by_split)
    if names and feature is not None and feature.class_ids and drafted.fields.get("kind") == "class_label":
        ids = list(feature.class_ids)
        drafted.fields |= {"num_classes": len(names), "class_names": list(names), "class_ids": ids}
        for guessed in ("num_classes", "class_ids"):
            drafted.marks.pop(guessed, None)
    if dataset.why == BY_CONTENT and drafted.fields:
        drafted.choice = f"{BY_CONTENT}; remove {path!r} if it is not a label"
    return drafted


def _name_of(source: str) -> str:
    where = parse_uri(source)[1].split("://")[-1] if ":" in source else source
    parts = [part for part in re.split(r"[/:]", where) if part and not re.search(r"[*?\[]|^\d+\.\d+\.\d+$", part)]
    stem = re.sub(r"[^A-Za-z0-9_-]+", "_", parts[-1].split(".")[0]) if parts else ""
    return stem.strip("_-") or "dataset"


# What the data say of the draft ---------------------------------------------------------------------------------------


def audited(draft: Draft, audit: Callable[[DatasetSchema], AuditReport]) -> tuple[Draft, AuditReport]:
    """Adds to a draft what an audit of its data finds; splits without labels are declared so.

    Args:
        draft: the draft, which is changed.
        audit: audits the data with a schema.

    Returns:
        The draft with the findings as comments, and the report.

    Raises:
        SchemaError: the draft contradicts itself.
    """
    schema = sound(draft.schema)
    report = audit(schema)
    suggestion = suggest(report)
    if suggestion.patch and all(cause.cause == "unlabeled-split" for cause in suggestion.reasons):
        patched = apply_patch(schema, suggestion.patch)
        again = audit(patched)
        if _errors(again) < _errors(report):
            draft.schema = patched.model_dump(mode="json", exclude_unset=True)
            draft.head += [
                f"TODO check, changed after what the data say: {cause.split}: {cause.label}: {cause.text}"
                for cause in suggestion.reasons
            ]
            report = again
    for finding in report.findings:
        if finding.rule != "LG401":  # a limit leaves records out
            draft.head.append(f"{finding.severity} {finding.rule} in {finding.split or ''}: {finding.message}")
    return draft, report


def sound(schema: Mapping[str, Any]) -> DatasetSchema:
    """The model of a drafted schema.

    Raises:
        SchemaError: it contradicts itself.
    """
    try:
        return DatasetSchema.model_validate(schema)
    except ValidationError as error:
        raise SchemaError(f"no valid schema can be drafted: {error.errors()[0]['msg']}") from None


def _errors(report: AuditReport) -> int:
    return sum(finding.severity == "error" and finding.rule != "LG401" for finding in report.findings)
