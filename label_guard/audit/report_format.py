"""The JSON form of the statistics of a label."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

from pydantic import NonNegativeInt, StringConstraints, TypeAdapter
from typing_extensions import TypedDict

from label_guard.rules.findings import Value
from label_guard.rules.registry import RULES

Counts = dict[str, NonNegativeInt]
Integer = Annotated[str, StringConstraints(pattern=r"^-?[0-9]{1,20}$")]
Number = Annotated[str, StringConstraints(pattern=r"^-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?$", max_length=40)]
ClassCounts = dict[Integer, NonNegativeInt]
Rule = Annotated[str, StringConstraints(pattern=f"^({'|'.join(RULES)})$")]


class ExampleJson(TypedDict):
    """A bad record."""

    record: str
    value: Value
    legal: str
    count: NonNegativeInt


PlaceOfValue = tuple[str, NonNegativeInt, str]


class FileJson(TypedDict):
    """One file that holds illegal values."""

    positions: NonNegativeInt
    illegal: NonNegativeInt
    low: int | None
    high: int | None
    values: dict[Number, NonNegativeInt]


class IllegalJson(TypedDict):
    """Illegal values; see ``label_guard.diagnosis.illegal.IllegalValues``."""

    values: dict[Number, tuple[NonNegativeInt, NonNegativeInt, PlaceOfValue, PlaceOfValue]]
    overflow: NonNegativeInt
    files: dict[str, FileJson]
    clean_files: tuple[NonNegativeInt, NonNegativeInt, int | None, int | None]


class LabelJson(TypedDict):
    """Statistics of one label; see ``label_guard.diagnosis.statistics.LabelStatistics``."""

    records: NonNegativeInt
    invalid: NonNegativeInt
    class_counts: ClassCounts
    class_records: ClassCounts
    sentinels: ClassCounts
    violations: dict[Rule, tuple[NonNegativeInt, NonNegativeInt]]
    illegal: IllegalJson
    texts: Counts
    not_finite: NonNegativeInt
    normalized: NonNegativeInt
    nothing_left: NonNegativeInt
    low: int | float | None
    high: int | float | None
    dtypes: Counts
    shapes: Counts
    fractional: NonNegativeInt
    one_hot: NonNegativeInt
    examples: dict[Rule, list[ExampleJson]]


@cache
def _labels() -> TypeAdapter[dict[str, LabelJson]]:
    return TypeAdapter(dict[str, LabelJson])  # takes time, and most runs read no report


def checked_labels(data: Any) -> dict[str, Any]:
    """``data``, if it is statistics by label path."""
    return dict(_labels().validate_python(data))
