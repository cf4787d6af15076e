"""The audit report: frozen models that hold what an audit found, check a report that is read, and write its JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    StrictBool,
    WithJsonSchema,
    WrapValidator,
    field_validator,
    model_validator,
)

from label_guard.audit.bad_places import BadPlaces, JsonPlaces
from label_guard.audit.baseline import Comparison
from label_guard.audit.blocks import Blocks
from label_guard.audit.duplicates import Duplicates
from label_guard.core.escape import terminal
from label_guard.core.html_table import html_table
from label_guard.diagnosis.cause import OtherCause
from label_guard.diagnosis.overflow import Count
from label_guard.diagnosis.statistics import LabelStatistics
from label_guard.rules.diagnostic import Severity
from label_guard.rules.registry import RULES
from label_guard.schema.dataset import DatasetSchema
from label_guard.schema.reader import SchemaFile

VERSION = 2  # of the format; version 1 is still read


# A model that was validated once is not again, which pydantic would do with what it checks after the fields.
Schema = Annotated[
    DatasetSchema,
    WrapValidator(lambda found, read: found if isinstance(found, DatasetSchema) else read(found)),
    PlainSerializer(lambda schema: schema.model_dump(mode="json", exclude_unset=True)),
    WithJsonSchema({"type": "object", "description": "the schema file as an object"}),
]


class _Model(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True, validate_by_name=True,
        validate_by_alias=True, serialize_by_alias=True,
    )  # fmt: skip


class SourceReport(_Model):
    """Where a split was read from.

    Attributes:
        uri: as it was given.
        format: how its files are read.
        split: the split of the source, or None.
        shards: number of files.
        bytes: their size in all, as far as it is known.
        expected_records: records that the metadata promise, or None.
        dataset: name of the dataset by its metadata, or None.
        version: its version, or None.
        class_names: class names by label path, as the metadata have them.
        contradictions: where the metadata contradict the schema: rule, label, message, fix.
    """

    uri: str
    format: str = ""
    split: str | None = None
    shards: Count = 0
    bytes: Count = 0
    expected_records: Count | None = None
    dataset: str | None = None
    version: str | None = None
    class_names: dict[str, list[str]] = Field(default_factory=dict[str, list[str]])
    contradictions: tuple[tuple[str, str, str, str], ...] = ()


class ShardReport(_Model):
    """One file, as far as it was read.

    Attributes:
        name: its name.
        records: records read, unreadable ones included.
        invalid: records that broke a rule.
        unreadable: records that cannot be decoded.
        expected: records that the metadata promise, or None.
        error: why it could not be read to its end; empty where it could.
        unreadable_examples: the first records that cannot be decoded: key and reason.
        violations: records by ``"LABEL RULE"``.
        certified: whether its footer proved it legal, and no row was read.
        padding: records of which nothing counts (``where`` is 0 throughout, in every label): they are not checked.
        blocks: where in it the invalid and unreadable records are; None where there are none.
    """

    name: str
    records: Count
    invalid: Count
    unreadable: Count
    expected: Count | None
    error: str
    unreadable_examples: tuple[tuple[str, str], ...]
    violations: dict[str, Count]
    certified: StrictBool = False
    padding: Count = 0
    blocks: Blocks | None = None


class SplitReport(_Model):
    """One split.

    Attributes:
        split: its name, or None where the schema declares none.
        source: where it was read from.
        records: records read.
        invalid: records that broke a rule.
        unreadable: records that cannot be decoded.
        declared: records that the schema promises, or None.
        promised: records that the dataset's metadata promise, or None.
        labels: statistics by label.
        shards: the files, by name.
        bad: invalid and unreadable records in key order, where they were kept.
        counted: whether all shards were read without a limit, so that counts can be compared with promises.
        limited: whether a limit, or a stop, left records unread.
        baseline: how ``bad`` compares with a baseline, where there is one.
        repeated_keys: the first keys that several records of ``bad`` have: ``record_key`` is not unique.
    """

    split: str | None
    source: SourceReport
    records: Count
    invalid: Count
    unreadable: Count
    declared: Count | None
    promised: Count | None
    labels: dict[str, LabelStatistics]
    shards: tuple[ShardReport, ...]
    bad: JsonPlaces = Field(default_factory=BadPlaces)
    counted: StrictBool = True
    limited: StrictBool = False
    baseline: Comparison | None = None
    repeated_keys: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether all records of the split were read, so that rules about the split as a whole apply."""
        return self.counted and self.source.format != "quarantine"

    @property
    def certified(self) -> int:
        """Number of shards that a footer proved legal: their records count, their classes were not counted."""
        return sum(shard.certified for shard in self.shards)

    @property
    def padding(self) -> int:
        """Number of records of which nothing counts: they are in ``records``, and were not checked."""
        return sum(shard.padding for shard in self.shards)

    @property
    def unpadded(self) -> int:
        """Number of records without padding, which every share and limit refers to."""
        return self.records - self.padding


class Finding(_Model):
    """A rule that the data broke.

    Attributes:
        rule: rule code, such as ``LG101``.
        name: its name, such as ``label-out-of-range``.
        severity: ``error``, ``warning`` or ``note``.
        message: what is wrong, with the offending value.
        fix: what to do about it; empty where the message says all.
        split: the split, or None where the schema declares none.
        label: path of the label, or None where it is about records or files.
    """

    rule: str
    name: str
    severity: Severity
    message: str
    fix: str = ""
    split: str | None = None
    label: str | None = None

    @field_validator("rule")
    @classmethod
    def _known_rule(cls, rule: str) -> str:
        if rule not in RULES:
            raise ValueError(f"{rule!r} is not a rule")
        return rule


class SchemaPlace(_Model):
    """Where the schema is written.

    Attributes:
        path: the schema file, as the user named it.
        lines: the 1-based line of each label in it.
    """

    path: str
    lines: dict[str, Count] = Field(default_factory=dict[str, int])

    @classmethod
    def of(cls, file: SchemaFile) -> SchemaPlace:
        """The place of a sound schema file."""
        labels = file.schema.labels if file.schema is not None else ()
        return cls(path=file.path, lines={path: file.locate(("labels", path), key=True)[0] for path in labels})


class Cause(_Model):
    """A likely cause of what is wrong with a label.

    Attributes:
        split: the split, or None where the schema declares none.
        label: path of the label.
        cause: a short stable name, such as ``one-based``.
        text: the cause and its evidence, in words.
        patch: fields of the label (or with ``splits`` of the schema) that make the data legal; empty unless certain.
        alternatives: other causes that the evidence cannot exclude, most likely first.
    """

    split: str | None
    label: str
    cause: str
    text: str
    patch: dict[str, JsonValue]
    alternatives: tuple[OtherCause, ...] = ()


class AuditReport(_Model):
    """The whole audit.

    Attributes:
        format_version: version of this format; in JSON ``version``.
        dataset: name of the dataset.
        schema_version: version of the schema.
        complete: whether all records were read; never true for work not done.
        part: ``(i, n)`` where this is a part of an audit over several machines, else None.
        splits: one entry for each split.
        findings: rules broken, over records and over the dataset, in the order of the splits.
        diagnoses: likely causes.
        not_checked: what was not checked, in one line each.
        problems: what could not be written although it was read, in one line each.
        schema_file: the schema; in JSON ``schema``.
        schema_place: where it is written; None for a schema made in Python.
        duplicates: records of the same content, where they were looked for.
        thumbnails: by split and record key, a picture of an example as a ``data:`` URI, or the start of its
            text, where they were gathered.
    """

    format_version: Literal[2] = Field(default=VERSION, validation_alias="version", serialization_alias="version")
    dataset: str
    schema_version: str
    complete: StrictBool
    part: tuple[Count, Count] | None = None
    splits: list[SplitReport]
    findings: list[Finding] = Field(default_factory=list[Finding])
    diagnoses: list[Cause] = Field(default_factory=list[Cause])
    not_checked: list[str] = Field(default_factory=list[str])
    problems: list[str] = Field(default_factory=list[str])
    schema_file: Schema = Field(validation_alias="schema", serialization_alias="schema")
    schema_place: SchemaPlace | None = None
    duplicates: Duplicates | None = None
    thumbnails: dict[str, dict[str, str]] = Field(default_factory=dict[str, dict[str, str]])

    @property
    def exit_code(self) -> int:
        """0 clean, 1 findings, 2 where not all of the work was done. Findings of a part count once it is merged."""
        if not self.complete or self.problems:
            return 2
        if self.part is not None:
            return 0
        return int(any(finding.severity == "error" for finding in self.findings))

    def __repr__(self) -> str:
        counts = ", ".join(f"{name} {value}" for name, value in self._overview())
        return terminal(f"AuditReport({self.dataset} {self.schema_version}: {counts})")

    __str__ = __repr__

    def _repr_html_(self) -> str:
        """A table for notebooks: the counts of each split, and the findings."""
        findings = [(f"{finding.severity} {finding.rule} {finding.name}", finding.message) for finding in self.findings]
        return html_table(f"Audit of {self.dataset} {self.schema_version}", [*self._overview(), *findings])

    def _overview(self) -> list[tuple[str, str]]:
        splits = [
            (split.split or "records", f"{split.unpadded:,} ({split.invalid + split.unreadable:,} bad)")
            for split in self.splits
        ]
        return [*splits, ("findings", f"{len(self.findings):,}"), ("complete", str(self.complete).lower())]

    def to_json(self) -> dict[str, Any]:
        """Returns plain values, the same for any workers, shards or order."""
        return self.model_dump(mode="json")

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Returns the JSON Schema of a report, as it is published in ``docs/audit_report.schema.json``."""
        return cls.model_json_schema(mode="serialization")

    @model_validator(mode="before")
    @classmethod
    def _from_version_1(cls, data: Any) -> Any:
        if not isinstance(data, dict) or cast("dict[str, Any]", data).get("version") != 1:
            return cast("Any", data)
        known = cast("dict[str, Any]", data)
        return {**known, "version": VERSION, "splits": [_split_from_version_1(split) for split in known["splits"]]}


def _split_from_version_1(split: Mapping[str, Any]) -> dict[str, Any]:
    bad: Iterable[tuple[str, Mapping[str, Any]]] = split["bad"].items()
    places = [(key, place["shard"], place["row"], place["broken"]) for key, place in bad]
    baseline = split.get("baseline")
    if baseline is not None:
        baseline = dict(baseline)
        baseline["fixed_examples"] = baseline.pop("healed_examples")
    labels = {path: _label_from_version_1(found) for path, found in split["labels"].items()}
    return {**split, "bad": places, "baseline": baseline, "labels": labels}


def _label_from_version_1(label: Mapping[str, Any]) -> dict[str, Any]:
    nowhere = ("", 0, "")
    values = {value: (count, count, nowhere, nowhere) for value, count in label["illegal"].items()}
    overflow = label.get("illegal_overflow", 0)
    kept = {name: value for name, value in label.items() if name not in ("illegal", "illegal_overflow")}
    return {**kept, "illegal_values": {"values": values, "overflow": {"positions": overflow}}}
