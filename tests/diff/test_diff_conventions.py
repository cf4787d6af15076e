"""Every field of a convention, changed in both directions: the verdict of the diff, and what guards do with records."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from label_guard import DatasetSchema, Guard, UsageError, diff_schemas, guard_batches

NAN, BOTH, MODEL, PIPELINE, NEITHER = float("nan"), "both", "model", "pipeline", ""
CLASSES = {"kind": "class_label", "num_classes": 3}
NAMES = {**CLASSES, "class_names": ["cat", "dog", "bird"], "dtype": "string"}
ROWS = {"kind": "multi_label", "num_classes": 2, "dtype": "int8"}
IDS = {"kind": "multi_label", "num_classes": 3, "encoding": "ids", "dtype": "int64"}
TAGS = {**IDS, "class_names": ["cat", "dog", "bird"], "dtype": "string", "separator": " "}
COLUMNS = {**ROWS, "columns": ["a", "b"], "class_names": ["p", "q"]}
REAL = {"kind": "real_label", "dtype": "float32"}
LIST = {**CLASSES, "shape": [2], "emit": "int32"}
MASKS = {"kind": "class_label", "num_classes": 3, "dtype": "int32", "shape": [2]}


class Change(NamedTuple):
    """Two labels, what breaks on the way there and on the way back, and the rules that say so there."""

    old: dict[str, Any]
    new: dict[str, Any]
    there: str
    back: str
    rules: str


CHANGES = {
    "names in place of ids": Change({**NAMES, "dtype": "int64", "emit": "int32"}, NAMES, PIPELINE, PIPELINE, "LG312"),
    "a stored name in another case": Change(
        NAMES, {**NAMES, "class_names": ["Cat", "dog", "bird"]}, PIPELINE, PIPELINE, "LG307"
    ),
    "another stored name": Change(NAMES, {**NAMES, "class_names": ["cow", "dog", "bird"]}, BOTH, BOTH, "LG307"),
    "stored names in another order": Change(
        NAMES, {**NAMES, "class_names": ["dog", "cat", "bird"]}, BOTH, BOTH, "LG306"
    ),
    "one more stored name": Change(
        {**NAMES, "num_classes": 2, "class_names": ["cat", "dog"]}, NAMES, BOTH, BOTH, "LG305"
    ),
    "a name of tags": Change(TAGS, {**TAGS, "class_names": ["cat", "Dog", "bird"]}, PIPELINE, PIPELINE, "LG307"),
    "bool in place of ids": Change(
        {**CLASSES, "num_classes": 2, "dtype": "int32"},
        {**CLASSES, "num_classes": 2, "dtype": "bool"},
        *(PIPELINE, PIPELINE, "LG312"),
    ),
    "bool, too": Change(
        {**CLASSES, "num_classes": 2, "dtype": "bool"},
        {**CLASSES, "num_classes": 2, "dtype": ["bool", "int32"]},
        *(NEITHER, PIPELINE, "LG312"),
    ),
    "rows of bool": Change(ROWS, {**ROWS, "dtype": "bool"}, PIPELINE, PIPELINE, "LG312"),
    "NaN is not measured": Change(REAL, {**REAL, "ignore": [NAN]}, PIPELINE, PIPELINE, "LG316"),
    "null is not measured": Change(REAL, {**REAL, "ignore": [None]}, PIPELINE, PIPELINE, "LG316"),
    "-999 is not measured": Change(
        {**REAL, "minimum": 0}, {**REAL, "minimum": 0, "ignore": [-999]}, PIPELINE, PIPELINE, "LG316"
    ),
    "null as well": Change(
        {**REAL, "ignore": [NAN]}, {**REAL, "ignore": [NAN, None]}, NEITHER, PIPELINE, "LG316"
    ),
    "NaN as well": Change(
        {**REAL, "minimum": 0, "ignore": [-999], "on_ignore": "replace"},
        {**REAL, "minimum": 0, "ignore": [-999, NAN]},
        *(NEITHER, PIPELINE, "LG316"),
    ),
    "-999 stays": Change(
        {**REAL, "minimum": 0, "ignore": [-999], "on_ignore": "replace"},
        {**REAL, "minimum": 0, "ignore": [-999]},
        *(PIPELINE, PIPELINE, "LG318"),
    ),
    "-1 in rows": Change(ROWS, {**ROWS, "ignore": [-1]}, PIPELINE, PIPELINE, "LG316"),
    "-1 in rows replaced": Change(
        {**ROWS, "ignore": [-1], "on_ignore": "replace"},
        {**ROWS, "ignore": [-1, -2], "on_ignore": "replace"},
        *(NEITHER, PIPELINE, "LG316"),
    ),
    "null in rows": Change(
        {**ROWS, "dtype": "float32"}, {**ROWS, "dtype": "float32", "ignore": [None]}, PIPELINE, PIPELINE, "LG316"
    ),
    "negative": Change(ROWS, {**ROWS, "negative": -1}, PIPELINE, PIPELINE, "LG335"),
    "negative without a dtype": Change(
        {"kind": "multi_label", "num_classes": 2},
        {"kind": "multi_label", "num_classes": 2, "negative": -1},
        *(PIPELINE, PIPELINE, "LG335"),
    ),
    "positive": Change(ROWS, {**ROWS, "positive": 2}, PIPELINE, PIPELINE, "LG335"),
    "positive and negative exchanged": Change(ROWS, {**ROWS, "positive": 0, "negative": 1}, BOTH, BOTH, "LG335"),
    "negative that was positive": Change(ROWS, {**ROWS, "positive": 0, "negative": -1}, BOTH, BOTH, "LG335"),
    "an ignored value that is negative": Change(
        {**ROWS, "ignore": [-1], "on_ignore": "replace"}, {**ROWS, "negative": -1}, PIPELINE, PIPELINE, "LG315 LG335"
    ),
    "ids in place of rows": Change({**IDS, "encoding": "k_hot"}, IDS, PIPELINE, PIPELINE, "LG335"),
    "ids in place of rows, without a dtype": Change(
        {"kind": "multi_label", "num_classes": 3},
        {"kind": "multi_label", "num_classes": 3, "encoding": "ids"},
        *(PIPELINE, PIPELINE, "LG335"),
    ),
    "a separator": Change(IDS, {**IDS, "separator": " "}, NEITHER, PIPELINE, "LG335"),
    "a separator of names": Change({**TAGS, "separator": None}, TAGS, PIPELINE, PIPELINE, "LG335"),
    "another separator": Change(TAGS, {**TAGS, "separator": ","}, PIPELINE, PIPELINE, "LG335"),
    "a separator of class ids": Change(LIST, {**LIST, "separator": "|"}, NEITHER, PIPELINE, "LG335"),
    "a separator of class ids that leave as int32": Change(
        {**LIST, "dtype": "int64", "emit": None},
        {**LIST, "dtype": "int64", "emit": None, "separator": "|"},
        *(PIPELINE, PIPELINE, "LG335"),
    ),
    "another separator of class ids": Change(
        {**LIST, "separator": " "}, {**LIST, "separator": "|"}, PIPELINE, PIPELINE, "LG335"
    ),
    "unique ids": Change(IDS, {**IDS, "unique": True}, PIPELINE, PIPELINE, "LG319"),
    "a least length": Change(IDS, {**IDS, "min_length": 1}, PIPELINE, PIPELINE, "LG319"),
    "a greatest length": Change(IDS, {**IDS, "max_length": 1}, PIPELINE, PIPELINE, "LG319"),
    "a least number of ids": Change(IDS, {**IDS, "min_positive": 1}, PIPELINE, PIPELINE, "LG319"),
    "columns": Change({**ROWS, "class_names": ["p", "q"]}, COLUMNS, PIPELINE, PIPELINE, "LG335"),
    "columns in another order": Change(COLUMNS, {**COLUMNS, "columns": ["b", "a"]}, BOTH, BOTH, "LG335"),
    "another column": Change(COLUMNS, {**COLUMNS, "columns": ["a", "c"]}, BOTH, BOTH, "LG335"),
    "where": Change(MASKS, {**MASKS, "where": "a"}, PIPELINE, PIPELINE, "LG336"),
    "another where": Change({**MASKS, "where": "a"}, {**MASKS, "where": "b"}, PIPELINE, PIPELINE, "LG336"),
    "where, with a mask before": Change(
        {**MASKS, "ignore": [-1]}, {**MASKS, "ignore": [-1], "where": "a"}, PIPELINE, PIPELINE, "LG336"
    ),
}  # fmt: skip
VALUES: list[Any] = [
    *("cat", "Cat", "dog", "Dog", "cow", "bird", "cat dog", "cat,dog", "Dog bird", "0 1", "0|1", ""),
    *(True, False, np.int32(1), np.int64(2), np.int64(7), np.float32(NAN), np.float32(0.5), np.float32(-999), None),
    *([0, 1], [1, 1], [0, 2], [0], [], [1, 0, 1], ["cat"], ["dog"], ["bird"], ["cat", "dog"], [7, 1]),
    *(np.array(row, np.int8) for row in ([0, 1], [1, 0], [1, -1], [0, -1], [-1, 1], [0, 2], [1, -2], [2, 1])),
    *(np.array(row, np.int32) for row in ([0, 1], [2, 9], [9, 2], [-1, 2])),
    *(np.array([True, False]), np.array([1, NAN], np.float32), np.array([1, 0], np.float32)),
    *(np.array([1, 0, 1]), np.array([], np.int64), np.array([2, 2])),
]
FEATURES = [("a", np.int8(1)), ("b", np.int8(0)), ("c", np.int8(1))]
RECORDS = [
    *({"y": value, **dict(FEATURES)} for value in VALUES),
    *(dict(FEATURES[:stop]) for stop in (2, 3)),
    *({"y": value, **dict(FEATURES[:2])} for value in VALUES[-12:-6]),
    *({"y": value} for value in VALUES[-12:-6]),
    *({"y": np.array([1, 9], np.int32), "a": np.array(mask), "b": np.int8(1)} for mask in (0, [1, 0])),
]
Delivered = dict[int, tuple[str, str, str]]


def schema_of(label: dict[str, Any]) -> DatasetSchema:
    """A schema of one label."""
    return DatasetSchema.model_validate({"format": 1, "name": "x", "version": "1.0.0", "labels": {"y": label}})


def delivered(schema: DatasetSchema) -> Delivered:
    """Dtype, values and mask of each record that a guard accepts, by its number."""
    guard, found = Guard(schema), Delivered()
    for number, record in enumerate(RECORDS):
        try:
            if not guard.check_records([record]).ok:
                continue
            (batch,) = guard_batches([record], schema, batch_size=1, batched=False, on_invalid="mask", quarantine=None)
        except UsageError:  # a feature that the schema names is not there
            continue
        found[number] = (str(batch["y"].dtype), repr(batch["y"].tolist()), repr(batch.get("y_valid")))
    return found


def is_compatible(old: Delivered, new: Delivered) -> bool:
    """Nothing is refused that was accepted, nothing is handed on as something else or for the first time."""
    return old.items() <= new.items() and set(new.values()) <= set(old.values())


@pytest.mark.parametrize("name", CHANGES)
def test_the_verdict_of_a_convention_is_what_guards_do(name: str) -> None:
    """A change breaks a pipeline if and only if guards do otherwise with a record; the rules are as expected."""
    change = CHANGES[name]
    old, new = schema_of(change.old), schema_of(change.new)
    behaviours = delivered(old), delivered(new)
    for before, after, expected in ((old, new, change.there), (new, old, change.back)):
        found = diff_schemas(before, after)
        model, pipeline = (any(getattr(one, who) == "breaking" for one in found) for who in ("model", "pipeline"))
        assert (model, pipeline) == (expected in (BOTH, MODEL), expected in (BOTH, PIPELINE)), found
        handed = behaviours if before is old else behaviours[::-1]
        assert pipeline != is_compatible(*handed), (found, handed)
    assert {one.rule for one in diff_schemas(old, new)} == set(change.rules.split())
