"""The JSON form of an audit: what is in it, held against what a file holds before anything is made of it."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, NotRequired, cast

from pydantic import AfterValidator, ConfigDict, NonNegativeInt, StringConstraints, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from label_guard.errors import UsageError
from label_guard.rules.findings import Value
from label_guard.rules.registry import RULES

VERSION = 1
Counts = dict[str, NonNegativeInt]
Integer = Annotated[str, StringConstraints(pattern=r"^-?[0-9]{1,20}$")]
ClassCounts = dict[Integer, NonNegativeInt]
Rule = Annotated[str, StringConstraints(pattern=f"^({'|'.join(RULES)})$")]


def _with_uri(source: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(source.get("uri"), str):
        raise ValueError("it has no uri")
    return source


class ExampleJson(TypedDict):
    """A bad record."""

    record: str
    value: Value
    legal: str
    count: NonNegativeInt


class LabelJson(TypedDict):
    """Statistics of one label; see ``label_guard.diagnosis.statistics.LabelStatistics``."""

    records: NonNegativeInt
    invalid: NonNegativeInt
    class_counts: ClassCounts
    class_records: ClassCounts
    sentinels: ClassCounts
    violations: dict[Rule, tuple[NonNegativeInt, NonNegativeInt]]
    illegal: Counts
    illegal_overflow: NonNegativeInt
    low: int | float | None
    high: int | float | None
    dtypes: Counts
    shapes: Counts
    fractional: NonNegativeInt
    one_hot: NonNegativeInt
    examples: dict[Rule, list[ExampleJson]]


class ShardJson(TypedDict):
    """One file, as far as it was read."""

    name: str
    records: NonNegativeInt
    invalid: NonNegativeInt
    unreadable: NonNegativeInt
    expected: NonNegativeInt | None
    error: str
    unreadable_examples: list[tuple[str, str]]
    violations: Counts
    certified: NotRequired[bool]


class PlaceJson(TypedDict):
    """Where a bad record stands, and what it broke."""

    shard: str
    row: NonNegativeInt
    broken: list[str]


class BaselineJson(TypedDict):
    """Today's bad records beside the known ones."""

    new: NonNegativeInt
    known: NonNegativeInt
    fixed: NonNegativeInt | None
    healed_examples: list[str]
    new_by_rule: dict[str, tuple[NonNegativeInt, str]]


class SplitJson(TypedDict):
    """One split; see ``label_guard.audit.report.SplitAudit``."""

    split: str | None
    source: Annotated[dict[str, Any], AfterValidator(_with_uri)]
    records: NonNegativeInt
    invalid: NonNegativeInt
    unreadable: NonNegativeInt
    declared: NonNegativeInt | None
    promised: NonNegativeInt | None
    labels: dict[str, LabelJson]
    shards: list[ShardJson]
    bad: dict[str, PlaceJson]
    counted: bool
    limited: bool
    baseline: NotRequired[BaselineJson]


class GroupsJson(TypedDict):
    """Groups of records with the same content."""

    groups: NonNegativeInt
    records: NonNegativeInt
    examples: list[list[dict[str, str]]]


class DuplicatesJson(TypedDict):
    """See ``label_guard.audit.duplicates.Duplicates``."""

    conflicting: GroupsJson
    shared: GroupsJson
    repeated: GroupsJson
    unread: list[tuple[str, str, str]]
    stopped: bool


class ReportJson(TypedDict):
    """The whole audit, as far as it is read again: findings and likely causes are judged anew."""

    __pydantic_config__ = ConfigDict(extra="allow")  # pyright: ignore[reportGeneralTypeIssues]

    part: tuple[NonNegativeInt, NonNegativeInt] | None
    splits: list[SplitJson]
    schema: dict[str, Any]
    duplicates: NotRequired[DuplicatesJson]
    thumbnails: NotRequired[dict[str, dict[str, str]]]


@cache
def _report() -> TypeAdapter[ReportJson]:
    return TypeAdapter(ReportJson)  # takes 25 ms, and most runs read no report


def checked_report(data: Any) -> dict[str, Any]:
    """``data``, if it is an audit.

    Raises:
        UsageError: it is none, or one of another version.
    """
    known = cast("dict[str, Any]", data) if isinstance(data, dict) else {}
    if "splits" not in known or known.get("version") != VERSION:
        raise UsageError(f"this is no audit of version {VERSION}; write one with --report json=FILE")
    try:
        return dict(_report().validate_python(data))
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"this is no audit: {'/'.join(map(str, first['loc']))}: {first['msg']}") from None
