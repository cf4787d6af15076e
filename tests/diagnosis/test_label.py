"""diagnose: the likely cause where there is one, and silence otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from label_guard import DatasetSchema, Guard
from label_guard.diagnosis.label import Diagnosis, FaultSummary, diagnose
from label_guard.diagnosis.statistics import LabelStatistics
from label_guard.schema.labels import KINDS


def guard_of(**label: Any) -> Guard:
    """A guard for one label ``y``."""
    fields = {"kind": "class_label", "num_classes": 10, **label}
    fields = {name: value for name, value in fields.items() if name in KINDS[str(fields["kind"])].model_fields}
    return Guard(DatasetSchema.model_validate({"format": 1, "name": "t", "version": "1.0.0", "labels": {"y": fields}}))


def causes(guard: Guard, batch: Any, split: str | None = None) -> list[Diagnosis]:
    """The diagnosis of one batch."""
    result = guard.check({"y": batch}, batched=True)
    found = LabelStatistics()
    columns = guard.batch_columns({"y": batch}, result.num_records)["y"]
    found.add(guard.labels["y"], columns, result.faults, result.num_records, [str(i) for i in range(len(batch))])
    return diagnose("y", guard.labels["y"], found, split)


RNG = np.random.default_rng(0)
IDS = RNG.integers(0, 10, 400)
MASKS = RNG.integers(1, 11, (4, 20, 20))
ROWS = np.eye(10, dtype=np.int64)[IDS]
SEEN = [0, 1, 2, 3, 5, 8, 13, 40, 41, 90]
CASES: dict[str, tuple[dict[str, Any], Any, str]] = {
    "1-based ids": ({}, IDS + 1, "one-based"),
    "1-based masks with 0": ({"shape": [20, 20]}, MASKS * (RNG.random(MASKS.shape) < 0.9), "one-based"),
    "one class too few": ({}, np.append(IDS, 10), "one-class-too-few"),
    "raw ids with gaps": ({}, np.array(SEEN)[IDS], "ids-with-gaps"),
    "255 in masks": ({"shape": [20, 20]}, np.where(MASKS == 10, 255, MASKS - 1), "undeclared-ignore"),
    "-100": ({}, np.where(IDS == 3, -100, IDS), "undeclared-ignore"),
    "all -1": ({}, np.full(50, -1), "unlabeled-split"),
    "some -1": ({}, np.where(IDS == 3, -1, IDS), "unlabeled-records"),
    "-1 wrapped in uint8": ({}, np.where(IDS == 3, 255, IDS).astype(np.uint8), "uint8-wrap"),
    "above 127 wrapped in int8": (
        {"num_classes": 200, "emit": "int32"}, RNG.integers(0, 200, 400).astype(np.uint8).view(np.int8), "int8-wrap",
    ),
    "64-bit values": ({}, np.where(IDS == 3, 2**32 + 3, IDS), "int32-truncation"),
    "ids as floats": ({}, IDS.astype(np.float32), "float-ids"),
    "another width": ({"dtype": "int64"}, IDS.astype(np.int16), "integer-width"),
    "one-hot rows": ({}, ROWS, "one-hot"),
    "k-hot rows": ({}, np.minimum(ROWS + ROWS[::-1], 1), "k-hot"),
    "ids for rows": ({"kind": "multi_label"}, IDS, "ids-for-rows"),
    "trailing axis": ({}, IDS[:, None], "trailing-axis"),
    "unused tail": ({"num_classes": 20}, RNG.integers(1, 15, 1000), "unused-ids"),
    "one class too many": ({"num_classes": 11}, np.tile(np.arange(10), 200), "one-class-too-many"),
    "1..10 for digits": ({"class_names": [str(i) for i in range(10)]}, IDS + 1, "last-for-zero"),
    "ids of another set": ({}, np.tile(np.arange(34), 6), "other-classes"),
    "ids for one-hot rows": ({"kind": "soft_label", "one_hot": True}, IDS, "ids-for-rows"),
    "-1 in lists": ({"shape": [4]}, np.where(IDS == 3, -1, IDS).reshape(-1, 4), "undeclared-ignore"),
    "targets without labels": ({"kind": "real_label", "minimum": 0}, np.full(50, -1.0), "unlabeled-split"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_each_cause_is_named(name: str) -> None:
    """Each way of going wrong is named by its cause, first of all."""
    label, batch, cause = CASES[name]
    found = causes(guard_of(**label), batch)
    assert found, "nothing was said"
    assert found[0].cause == cause


UNHEALED = {"int8-wrap", "int32-truncation", "trailing-axis", "unused-ids", "one-class-too-many", "last-for-zero"}
UNHEALED |= {"other-classes"}
HEALED = [name for name in CASES if CASES[name][2] not in UNHEALED and name != "targets without labels"]


@pytest.mark.parametrize("name", HEALED)
def test_the_suggested_change_makes_the_data_legal(name: str) -> None:
    """A label with the patch applied accepts every record it was derived from."""
    label, batch, _ = CASES[name]
    patch = dict(causes(guard_of(**label), batch)[0].patch)
    assert patch
    fixed = guard_of(**{**label, **patch})
    result = fixed.check({"y": batch}, batched=True)
    assert result.ok, result


def test_a_test_split_without_labels_is_patched_for_that_split() -> None:
    """Where all of test is -1 the patch declares it there and nowhere else."""
    patch = causes(guard_of(), np.full(50, -1), "test")[0].patch
    assert patch == {"splits": {"test": {"labels": {"y": {"unlabeled": -1}}}}}


@given(st.lists(st.integers(0, 9), max_size=50))
def test_nothing_is_said_about_clean_labels(values: list[int]) -> None:
    """Legal labels have no cause to name."""
    assert causes(guard_of(), np.array(values, np.int64)) == []


@given(st.lists(st.integers(-(2**62), 2**62), min_size=40, max_size=60, unique=True))
def test_nothing_is_guessed_about_noise(values: list[int]) -> None:
    """Random 64-bit numbers are no known cause."""
    assert causes(guard_of(), np.array(values, np.int64)) == []


def test_a_far_stray_value_costs_no_memory() -> None:
    """Two ids above the range, one of them far above 2**40: nothing is said, and no range is laid out."""
    assert causes(guard_of(), np.append(IDS, [12, 2**60])) == []


def test_a_few_stray_values_are_no_cause() -> None:
    """Isolated faults of several kinds are reported, not explained."""
    assert causes(guard_of(), np.append(IDS, [17, 42, -7])) == []


def test_the_pipeline_says_the_cause_in_words() -> None:
    """Fed with dirty batches, the summary tells the cause as an error message would."""
    guard, summary = guard_of(), FaultSummary()
    for batch in np.split(IDS + 1, 4):
        result = guard.check({"y": batch}, batched=True)
        summary.add(guard.labels, guard.batch_columns({"y": batch}, len(batch)), result)
    assert summary.diagnosis(guard.labels) == "y: labels look 1-based: 1..10 for 10 classes"
