"""``check``: what the labels of a dataset are and what looks wrong with them, without a schema file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from label_guard.audit.report import AuditReport, Cause, Finding
from label_guard.audit.runner import audit_prepared, open_splits
from label_guard.audit.shard import ReadOptions
from label_guard.check.reading import stored_features
from label_guard.core.plural import counted
from label_guard.errors import SchemaError, SourceError, UsageError
from label_guard.infer.classes import Drafted
from label_guard.infer.dataset_profile import profile_dataset
from label_guard.infer.datasets import ArrayDataset, Dataset, UriDataset, array_dataset
from label_guard.infer.draft import LIMIT, Draft, audited, draft_labels, draft_of, sound
from label_guard.infer.names import separator_of_ids
from label_guard.infer.profile import ColumnProfile
from label_guard.schema.dataset import DatasetSchema
from label_guard.sources.sniff import readable_uri

_BUDGET = 64 << 20  # bytes of labels that are looked at where nothing is validated, for an answer in seconds
_ROWS = ("multi_label", "soft_label")


@dataclass(frozen=True, slots=True)
class LabelOverview:
    """One label as it was found.

    Attributes:
        path: its path.
        profile: what its records hold.
        drafted: the label that would declare it, with what was guessed; without fields where none does, and why.
    """

    path: str
    profile: ColumnProfile
    drafted: Drafted


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What ``check`` found; ``str()`` of it is what the command prints.

    Attributes:
        name: the data, as they were named.
        uri: the source that they were read as.
        assumed: what was taken for what, to read them.
        splits: records and files by split.
        whole: whether all records were read.
        unreadable: records that could not be decoded.
        faults: why files could not be read to their end.
        labels: the labels.
        why: the criterion by which these fields were taken for labels; empty where the caller named them.
        others: what the other fields hold, by the first records.
        peeked: how many records those are.
        validated: whether the caller said what is expected, so that errors are violations.
        problem: why what is expected cannot be checked; empty where it was.
        audit: the audit behind the findings; None where no label could be declared.
        fault_of_records: how many records could not be decoded, and why the first of them; empty where all could.
    """

    name: str
    uri: str
    assumed: Sequence[str]
    splits: Mapping[str, tuple[int, int]]
    whole: bool
    unreadable: int
    faults: Sequence[str]
    labels: Sequence[LabelOverview]
    why: str
    others: Mapping[str, str]
    peeked: int = 0
    validated: bool = False
    problem: str = ""
    audit: AuditReport | None = None
    fault_of_records: str = ""

    @property
    def findings(self) -> list[Finding]:
        """The rules that the data broke; records that were left out are not one."""
        return [] if self.audit is None else [one for one in self.audit.findings if one.rule != "LG401"]

    @property
    def causes(self) -> list[Cause]:
        """What they likely come from."""
        return [] if self.audit is None else self.audit.diagnoses

    @property
    def records(self) -> int:
        """Number of records that were read."""
        return sum(records for records, _ in self.splits.values())

    @property
    def is_empty(self) -> bool:
        """Whether the data hold no record at all."""
        return not self.records and not self.faults and not self.peeked

    @property
    def exit_code(self) -> int:
        """0 clean, or nothing was expected; 1 violations of what was expected; 2 not all could be read or checked.

        Data without a record are 2: nothing could be checked.
        """
        if self.faults or self.problem or (self.unreadable if not self.validated else not self.whole):
            return 2
        return int(self.validated and any(finding.severity == "error" for finding in self.findings))

    @property
    def ok(self) -> bool:
        """Whether everything was read, and nothing breaks what was expected."""
        return self.exit_code == 0

    def __str__(self) -> str:
        from label_guard.infer.check_text import render

        return "\n".join(line for line, _ in render(self))

    def to_json(self) -> dict[str, Any]:
        """Returns plain values."""
        return {
            "data": self.name,
            "source": self.uri,
            "assumed": list(self.assumed),
            "records": self.records,
            "complete": self.whole,
            "labels": {
                one.path: {
                    "holds": one.profile.summary(),
                    "declared_as": one.drafted.fields or None,
                    "in_doubt": one.drafted.doubts,
                    "notes": list(one.drafted.comments),
                }
                for one in self.labels
            },
            "other_fields": dict(self.others),
            "other_fields_records": self.peeked,
            "findings": [finding.model_dump(mode="json") for finding in self.findings],
            "causes": [cause.model_dump(mode="json") for cause in self.causes],
            "problem": self.problem,
            "exit_code": self.exit_code,
        }


@dataclass(frozen=True, slots=True)
class _Expected:
    """What the caller says of the labels."""

    num_classes: int | None = None
    class_names: Sequence[str] | None = None
    labels: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.num_classes is not None and self.num_classes < 1:
            raise UsageError(f"num_classes is {self.num_classes}; expected at least 1")
        if self.class_names is not None and self.num_classes not in (None, len(self.class_names)):
            given = counted(len(self.class_names), "class name is", "class names are")
            raise UsageError(f"num_classes is {self.num_classes}, but {given} given")

    @property
    def validates(self) -> bool:
        return self.num_classes is not None or self.class_names is not None or bool(self.labels)


def check_labels(
    data: Any,
    *,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    label: str | Sequence[str] | None = None,
    split: str | None = None,
    limit: int | None = None,
) -> CheckReport:
    """Shows what labels are and what looks wrong with them, without a schema; or validates them.

    Args:
        data: a path or URI of any source, an array ``[records, ...]``, or a mapping from names to arrays.
        num_classes: the labels must be classes ``0..num_classes-1``, at least 1.
        class_names: the classes by name, in order of the ids; where names are stored, the legal ones.
        label: path of the label, or paths; else the fields that are called label, class, target and the like, that the
            dataset declares, or that hold few values.
        split: the split to check; all that the source holds, where None.
        limit: records of each file that are read. Without it all, where anything is expected, and else as many as
            give an answer in seconds.

    Returns:
        The report; print it. ``report.ok`` is whether all was read and nothing breaks ``num_classes``, ``class_names``
        or, with ``label``, the declaration that the labels themselves suggest.

    Raises:
        UsageError: arguments contradict each other, or ``data`` is neither a path nor an array.
        SourceError: the data, or the label, are not there or cannot be read at all.

    >>> report = check_labels([0, 1, 2, 1, 0, 3] * 20, num_classes=3)
    >>> report.ok, report.findings[0].message
    (False, 'label: 20 of 120 records; first 5: 3, expected [0, 3)')
    """
    names = None if class_names is None else tuple(class_names)
    expected = _Expected(num_classes, names, (label,) if isinstance(label, str) else tuple(label or ()))
    if isinstance(data, str | os.PathLike):
        name = str(cast("object", data))
        if (file := Path(name)).is_file() and not file.stat().st_size:
            raise SourceError(f"{name} is empty: 0 bytes, no labels")
        uri, assumed = readable_uri(name)
        return _check(UriDataset(uri), name, assumed, expected, split, limit)
    return _check(array_dataset(data), "array", [], expected, split, limit)


def _check(
    data: Dataset, name: str, assumed: Sequence[str], expected: _Expected, split: str | None, limit: int | None
) -> CheckReport:
    quick = limit is None and not expected.validates
    dataset = profile_dataset(
        data, labels=expected.labels, split=split, limit=LIMIT if quick else limit, budget=_BUDGET if quick else None
    )
    labels = dataset.labels
    if len(labels) > 1 and expected.num_classes is not None:
        raise UsageError(f"{len(labels)} fields look like labels: {', '.join(labels)}; name one with --label PATH")
    drafts = draft_labels(dataset)
    if expected.validates:
        drafts = {path: _as_expected(drafted, dataset.profiles[path], expected) for path, drafted in drafts.items()}
    missing = [f"{path} {drafted.comments[0]}" for path, drafted in drafts.items() if not drafted.fields]
    problem = "; ".join(missing) if expected.validates and labels else ""
    if not dataset.faults and not any(dataset.records.values()) and not dataset.peeked:
        problem = "0 records"
    report = None
    if any(drafted.fields for drafted in drafts.values()):
        draft = draft_of(dataset, drafts)
        try:
            report = _audited(data, draft, dataset.limit, expected)
        except SchemaError as error:
            problem = str(error)
    if expected.validates and not labels and not problem:
        problem = "no field looks like a label; name one with --label PATH"
    return CheckReport(
        name=name, uri=data.uri, assumed=assumed,
        splits={one.name: (sum(dataset.records[path] for path in one.paths), len(one.paths)) for one in dataset.splits},
        whole=dataset.whole, unreadable=dataset.unreadable, faults=dataset.faults, why=dataset.why,
        others=dataset.others, peeked=dataset.peeked,
        labels=[LabelOverview(path, dataset.profiles[path], drafted) for path, drafted in drafts.items()],
        validated=expected.validates, problem=problem, audit=report,
        fault_of_records=dataset.fault_of_records,
    )  # fmt: skip


def _audited(data: Dataset, draft: Draft, limit: int | None, expected: _Expected) -> AuditReport:
    def audit(schema: DatasetSchema) -> AuditReport:
        """Audits ``data`` against a draft."""
        if isinstance(data, ArrayDataset):
            opened = [(split, data.open(stored_features(schema.stored(split)), split)) for split in schema.splits]
        else:
            opened = open_splits(schema, allow_python=True)  # named by the caller
        return audit_prepared((schema, opened, ReadOptions(limit), None))

    return audit(sound(draft.schema)) if expected.validates else audited(draft, audit)[1]


def _as_expected(drafted: Drafted, profile: ColumnProfile, expected: _Expected) -> Drafted:
    """The label that declares what the caller expects, in the form in which it is stored."""
    names = expected.class_names
    count = expected.num_classes if names is None else len(names)
    if count is None:
        return drafted
    given = {"num_classes": count, **({} if names is None else {"class_names": list(names)})}
    if drafted.fields.get("kind") in _ROWS:
        kept = {name: value for name, value in drafted.fields.items() if name not in ("num_classes", "class_names")}
        return Drafted({**kept, **given}, notes=drafted.notes)
    separator = separator_of_ids([text for text in profile.texts if not text.isdigit()])
    if separator is not None:
        return Drafted({"kind": "multi_label", **given, "encoding": "ids", "separator": separator})
    if profile.texts and not profile.dtypes:
        frequent = sorted(text for text, _ in profile.texts.most_common(count))
        legal = list(names) if names is not None else frequent
        return Drafted({"kind": "class_label", "num_classes": len(legal), "class_names": legal, "dtype": ["string"]})
    declared = drafted.fields.get("class_ids") if drafted.fields.get("num_classes") == count else None
    shape = profile.record_shape[: 2 if profile.has_colours else None]  # of a picture nothing can be a class id
    fields = {
        "kind": "class_label", **given, "shape": shape, "dtype": sorted(profile.dtypes) or ["integer"],
        **({"class_ids": declared} if declared and drafted.fields.get("class_names") else {}),
        **({"emit": "int32"} if profile.is_float else {}),
    }  # fmt: skip
    return Drafted(fields)
