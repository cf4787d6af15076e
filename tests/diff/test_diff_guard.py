"""The verdict of the diff for a training pipeline, compared with what real guards accept and hand on."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from label_guard.check.guard import Guard
from label_guard.diff.schemas import diff_schemas
from label_guard.pipeline.convert import LabelConverter
from label_guard.pipeline.masking import is_not_sentinel
from label_guard.schema.dataset import DatasetSchema
from label_guard.schema.labels import ClassLabel

DTYPES = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
VALUES = range(-8, 9)

LABELS = st.fixed_dictionaries(
    {"kind": st.just("class_label"), "num_classes": st.integers(2, 3)},
    optional={
        "class_ids": st.sampled_from([[0, 1], [1, 0], [1, 2], [1, 2, 5], [2, 1, 5], {"start": 1}, {"start": 4}]),
        "dtype": st.sampled_from(["int32", ["int32", "int64"], ["int16", "int32", "int64"], "integer", "signed"]),
        "emit": st.sampled_from(["int16", "int32", "int64"]),
        "ignore": st.sampled_from([[], [-5], [-5, -6], [7]]),
        "on_ignore": st.sampled_from(["keep", "replace"]),
        "unlabeled": st.sampled_from([-1, -2]),
        "on_unlabeled": st.sampled_from(["keep", "replace", "skip"]),
    },
)


class Behaviour(NamedTuple):
    """What a guard does with every value of the universe.

    Attributes:
        accepts: dtype and value of what is not a violation.
        hands_on: dtype and value of what leaves the guard.
        masks: value and validity (None without a mask) of the same: what a mask hides, it hides at every dtype.
        classes: the class of each stored dtype and value.
    """

    accepts: set[tuple[str, int]]
    hands_on: set[tuple[str, int]]
    masks: set[tuple[int, bool | None]]
    classes: dict[tuple[str, int], int]


def schema_of(label: dict[str, Any]) -> DatasetSchema | None:
    """A schema of one label, or None where the fields contradict each other."""
    try:
        return DatasetSchema.model_validate({"format": 1, "name": "n", "version": "1.0.0", "labels": {"x": label}})
    except ValueError:
        return None


def behaviour(schema: DatasetSchema) -> Behaviour:
    """What the guard of a schema accepts, hands on and takes each value for, by trying every one."""
    guard, label = Guard(schema), schema.labels["x"]
    assert isinstance(label, ClassLabel)
    found = Behaviour(set(), set(), set(), {})
    for dtype in DTYPES:
        info = np.iinfo(dtype)
        values = np.array([value for value in VALUES if info.min <= value <= info.max], dtype)
        accepted = values[np.asarray(guard.check({"x": values}, batched=True).valid)]
        found.accepts.update((dtype, int(value)) for value in accepted)
        skipped = accepted == label.unlabeled if label.on_unlabeled == "skip" and label.unlabeled is not None else False
        delivered = accepted[~np.broadcast_to(skipped, accepted.shape)]
        valid, out = is_not_sentinel(label, delivered), LabelConverter(label)(delivered)
        for stored, value, is_class in zip(delivered, out, valid, strict=True):
            mask = bool(is_class) if label.has_mask else None
            found.hands_on.add((out.dtype.name, int(value)))
            found.masks.add((int(value), mask))
            if is_class:
                found.classes[dtype, int(stored)] = int(value)
    return found


def is_compatible(old: Behaviour, new: Behaviour) -> bool:
    """The definition: nothing is refused that was accepted, handed on that was not, or taken for another class."""
    same = all(new.classes.get(stored, index) == index for stored, index in old.classes.items())
    handed = new.hands_on <= old.hands_on and new.masks <= old.masks
    return old.accepts <= new.accepts and handed and same


def near(pair: tuple[dict[str, Any], dict[str, Any]]) -> st.SearchStrategy[tuple[dict[str, Any], dict[str, Any]]]:
    """The first label, and it with one field, or all fields, of the second."""
    old, new = pair
    return st.sampled_from([(old, {**old, **new}), *((old, {**old, field: new[field]}) for field in new)])


def sound(pair: tuple[dict[str, Any], dict[str, Any]]) -> tuple[DatasetSchema, DatasetSchema] | None:
    """The two schemas, or None where one contradicts itself."""
    old, new = map(schema_of, pair)
    return None if old is None or new is None else (old, new)


PAIRS = st.tuples(LABELS, LABELS).flatmap(near).map(sound).filter(lambda pair: pair is not None)
MASKED = {"kind": "class_label", "num_classes": 2, "ignore": [-5], "on_ignore": "replace", "unlabeled": -1}
UNSIGNED = {**MASKED, "ignore": [], "dtype": "integer", "on_unlabeled": "replace"}


@given(PAIRS)
@example(sound((MASKED, {**MASKED, "on_unlabeled": "replace"})))
@example(sound((MASKED, {**MASKED, "on_unlabeled": "skip"})))
@example(sound(({**MASKED, "ignore": []}, MASKED)))
@example(sound((UNSIGNED, {**UNSIGNED, "ignore": [7]})))
@settings(max_examples=400, deadline=None)
def test_the_verdict_is_what_guards_do(pair: tuple[DatasetSchema, DatasetSchema]) -> None:
    """A change is breaking for a pipeline if and only if two guards, tried on every value, behave so."""
    old, new = pair
    reported = any(change.pipeline == "breaking" for change in diff_schemas(old, new))
    assert reported == (not is_compatible(behaviour(old), behaviour(new)))
