"""diagnose: the likely cause where there is one, and silence otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from label_guard import DatasetSchema, Guard
from label_guard.diagnosis.cause import LikelyCause
from label_guard.diagnosis.label import diagnose
from label_guard.diagnosis.statistics import LabelStatistics
from label_guard.diagnosis.stream import StreamSample
from label_guard.schema.labels import KINDS


def guard_of(**label: Any) -> Guard:
    """A guard for one label ``y``."""
    fields = {"kind": "class_label", "num_classes": 10, **label}
    fields = {name: value for name, value in fields.items() if name in KINDS[str(fields["kind"])].model_fields}
    return Guard(DatasetSchema.model_validate({"format": 1, "name": "t", "version": "1.0.0", "labels": {"y": fields}}))


def causes(guard: Guard, batch: Any, split: str | None = None) -> list[LikelyCause]:
    """The diagnosis of one batch."""
    result = guard.check({"y": batch}, batched=True)
    found = LabelStatistics()
    columns = guard.batch_columns({"y": batch}, result.num_records)["y"]
    found.add(guard.labels["y"], columns, result.faults, result.num_records, [str(i) for i in range(len(batch))])
    found.end_of_file("file")
    return diagnose("y", guard.labels["y"], found, split)


RNG = np.random.default_rng(0)
IDS = RNG.integers(0, 10, 400)
MASKS = RNG.integers(1, 11, (4, 20, 20))
VOID = RNG.random(400) < 0.1
ROWS = np.eye(10, dtype=np.int64)[IDS]
SEEN = [0, 1, 2, 3, 5, 8, 13, 40, 41, 60]
CASES: dict[str, tuple[dict[str, Any], Any, str]] = {
    "1-based ids": ({}, IDS + 1, "one-based"),
    "1-based masks with 0": ({"shape": [20, 20]}, MASKS * (RNG.random(MASKS.shape) < 0.9), "one-based"),
    "one class too few": ({}, RNG.integers(0, 11, 800), "one-class-too-few"),
    "raw ids with gaps": ({}, np.array(SEEN)[IDS], "ids-with-gaps"),
    "255 in masks": ({"shape": [20, 20]}, np.where(RNG.random(MASKS.shape) < 0.1, 255, MASKS - 1), "undeclared-ignore"),
    "-100": ({}, np.where(VOID, -100, IDS), "undeclared-ignore"),
    "all -1": ({}, np.full(50, -1), "unlabeled-split"),
    "some -1": ({}, np.where(VOID, -1, IDS), "unlabeled-records"),
    "-1 wrapped in uint8": ({}, np.where(VOID, 255, IDS).astype(np.uint8), "undeclared-ignore"),
    "above 32,767 wrapped in int16": (
        {"num_classes": 119_547}, RNG.integers(0, 119_547, 400).astype(np.int16), "int16-wrap",
    ),
    "greater ids than uint8 holds": (
        {"num_classes": 300, "emit": "int32"}, RNG.integers(0, 300, 4000).astype(np.uint8), "narrow-dtype-wrap",
    ),
    "greater ids than uint8 holds, and no emit": (
        {"num_classes": 300}, RNG.integers(0, 300, 4000).astype(np.uint8), "narrow-dtype-wrap",
    ),
    "128 classes in int8": ({"num_classes": 128}, RNG.integers(0, 128, 4000).astype(np.int8), "integer-width"),
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
    "-1 in lists": ({"shape": [4]}, np.where(VOID, -1, IDS).reshape(-1, 4), "undeclared-ignore"),
    "targets without labels": ({"kind": "real_label", "minimum": 0}, np.full(50, -1.0), "unlabeled-split"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_each_cause_is_named(name: str) -> None:
    """Each way of going wrong is named by its cause, first of all."""
    label, batch, cause = CASES[name]
    found = causes(guard_of(**label), batch)
    assert found, "nothing was said"
    assert found[0].cause == cause


@pytest.mark.parametrize(("classes", "stored"), [(300, "uint8"), (200, "int8"), (70_000, "uint16"), (40_000, "int16")])
def test_no_change_makes_a_dtype_legal_that_cannot_hold_the_ids(classes: int, stored: str) -> None:
    """Ids that wrapped around are named once, as such, and no dtype is suggested."""
    found = causes(guard_of(num_classes=classes), RNG.integers(0, classes, 4000).astype(stored))
    assert found[0].cause.endswith("-wrap")
    assert not any(one.patch or one.alternatives for one in found)


@pytest.mark.parametrize(
    ("values", "cause"), [(IDS + 1, "one-based"), (np.where(VOID, -100, IDS), "undeclared-ignore")]
)
def test_a_few_texts_hide_no_cause_of_the_numbers(values: Any, cause: str) -> None:
    """Texts among numbers are named, and so is what is wrong with the numbers, without a change of the schema."""
    found = causes(guard_of(), [*values.tolist(), "label", "n/a"])
    assert [one.cause for one in found] == ["names-for-ids", cause]
    assert not any(one.patch for one in found)
    assert [one.cause for one in causes(guard_of(), [*IDS.tolist(), "label"])] == ["names-for-ids"]


@pytest.mark.parametrize("value", [2, 100, 255])
def test_another_value_for_present_is_named(value: int) -> None:
    """Rows of 0 and one frequent value have a cause and no change; a few strays, or ones next to them, have not."""
    rows = np.eye(4, dtype=np.uint8)[RNG.integers(0, 4, 200)]
    guard = guard_of(kind="multi_label", num_classes=4)
    (found,) = causes(guard, rows * np.uint8(value))
    assert (found.cause, dict(found.patch)) == ("other-positive", {})
    assert [one.cause for one in found.alternatives] == ["undeclared-ignore"]
    few, mixed = np.zeros_like(rows), rows.copy()
    few[:3, 0] = mixed[:60, 0] = value
    declared = guard_of(kind="multi_label", num_classes=4, positive=value)
    for other, batch in [(guard, few), (guard, mixed), (guard, rows), (declared, rows * np.uint8(value))]:
        assert "other-positive" not in {one.cause for one in causes(other, batch)}


HALF = np.tile([0, 1], 200)
GAPS = np.repeat(np.arange(2, 200, 6), 20)
TWO_STORIES: dict[str, tuple[dict[str, Any], Any, str]] = {
    "-1 in place of one class": ({}, np.where(IDS == 3, -1, IDS), "lookup-failed"),
    "255 in place of one class": ({}, np.where(IDS == 3, 255, IDS).astype(np.uint8), "lookup-failed"),
    "255 in masks in place of one class": (
        {"shape": [20, 20]}, np.where(MASKS == 5, 255, MASKS - 1), "lookup-failed",
    ),
    "1 in some records, 255 in others": (
        {"num_classes": 2}, np.where(IDS < 5, 0, np.where(HALF, 255, 1)), "mixed-conventions",
    ),
    "-1, 0 and 1 for two classes": ({"num_classes": 2}, IDS % 3 - 1, "plus-minus-one"),
    "255 in masks without the last class": (
        {"shape": [4, 5]},
        np.tile([np.tile(np.arange(10), 2), np.tile([*range(9), 255], 2)], (9, 1)).reshape(-1, 4, 5),
        "minus-one-shift",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TWO_STORIES)
def test_two_stories_of_the_same_counts_change_nothing(name: str) -> None:
    """A value for "no label" may be a class: one that is never used, or one of two; both are said."""
    label, batch, other = TWO_STORIES[name]
    found = causes(guard_of(**label), batch)
    assert other in {one.cause for one in found[0].alternatives}, found
    assert not found[0].patch


def test_gaps_change_nothing_where_names_may_be_in_another_order() -> None:
    """Of ids with irregular gaps and class names, nobody knows which id each name has."""
    names = [f"name {i}" for i in range(10)]
    found = causes(guard_of(class_names=names), np.array(SEEN)[IDS])
    assert [(one.cause, dict(one.patch)) for one in found] == [("ids-with-gaps", {})]
    assert causes(guard_of(class_names=names), 10 * IDS)[0].patch


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_a_value_of_a_few_occurrences_never_becomes_legal(count: int) -> None:
    """A stray in place of a class that is absent, among ids with gaps or from another start."""
    classes = len(set(GAPS.tolist()))
    gapped = np.concatenate([GAPS, np.full(count, 201)])
    assert not any(one.patch for one in causes(guard_of(num_classes=classes + 1), gapped))
    small = np.concatenate([np.repeat(np.arange(1, 10), [7, 4, 5, 9, 6, 3, 8, 5, 4]), np.full(count, 10)])
    assert not any(one.patch for one in causes(guard_of(), small))


def counted(counts: list[int], ids: list[int]) -> Any:
    """Each id as often as its count says, in any order."""
    return np.random.default_rng(1).permutation(np.repeat(ids, counts))


def test_a_frequent_void_may_be_a_class_that_was_lost() -> None:
    """One class is never used: -1, however frequent, may be that class, not found in a list of names."""
    used = [value for value in range(10) if value != 4]
    for count in (55, 80, 5_000):
        found = causes(guard_of(), counted([*[20] * 9, count], [*used, -1]))
        assert not any(one.patch for one in found)
        assert "lookup-failed" in {found[0].cause, *(other.cause for other in found[0].alternatives)}


@pytest.mark.parametrize("rare", [[1], [1, 2], [1, 2, 3]])
def test_a_class_that_occurs_once_does_not_explain_one_that_never_does(rare: list[int]) -> None:
    """Where a single class occurs once, -1 may mark the class that is never used: no change ignores it."""
    counts = [166, *rare, *[220] * (8 - len(rare))]
    [found] = causes(guard_of(), counted([*counts, 300], [*[v for v in range(10) if v != 4], -1]))
    assert "lookup-failed" in {one.cause for one in found.alternatives}, found
    assert not found.patch


@pytest.mark.parametrize("void", [255, -1])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_rare_next_id_may_be_a_stray_whatever_else_means_no_label(void: int, count: int) -> None:
    """In a long tail the next id is a rare class or a stray, also where another value means "no label"."""
    tail = [323, 131, 90, 40, 20, 9, 4, 3, 2, 2, 1, 1]
    for voids in ([], [200]):
        values = counted([*tail, count, *voids], [*range(13), *([void] if voids else [])])
        causes_of = causes(guard_of(num_classes=12), values)
        said = {one.cause for found in causes_of for one in (found, *found.alternatives)}
        assert "stray" in said or "unlabeled-records" in said or "undeclared-ignore" in said, causes_of
        assert not any(found.patch for found in causes_of)


def test_a_class_more_needs_a_frequent_first_class() -> None:
    """Three 0 among 120 ratings of 1 to 10 mean that there is no rating, not that there are 11 classes."""
    counts = [3, 11, 11, 21, 12, 7, 4, 7, 5, 21, 18]
    ratings = np.random.default_rng(1).permutation(np.repeat(np.arange(11), counts))
    assert not any(one.patch for one in causes(guard_of(), ratings))


HEALED = [
    "1-based ids", "one class too few", "raw ids with gaps", "255 in masks", "-100", "some -1", "ids as floats",
    "another width", "128 classes in int8", "one-hot rows", "k-hot rows", "-1 in lists", "-1 wrapped in uint8",
]  # fmt: skip


@pytest.mark.parametrize("name", HEALED)
def test_the_suggested_change_makes_the_data_legal(name: str) -> None:
    """A label with the patch applied accepts every record it was derived from."""
    label, batch, _ = CASES[name]
    patch = dict(causes(guard_of(**label), batch)[0].patch)
    assert patch
    fixed = guard_of(**{**label, **patch})
    result = fixed.check({"y": batch}, batched=True)
    assert result.ok, result


@pytest.mark.parametrize("name", sorted(CASES.keys() - set(HEALED)))
def test_no_change_is_suggested_where_none_is_certain(name: str) -> None:
    """Corrupt values, causes with another reading, and data that must be written again get no change of the schema."""
    label, batch, _ = CASES[name]
    assert [dict(cause.patch) for cause in causes(guard_of(**label), batch)] == [{}]


def test_a_test_split_without_labels_is_patched_for_that_split() -> None:
    """Where all of test is -1 the patch declares it there and nowhere else."""
    patch = causes(guard_of(), np.full(50, -1), "test")[0].patch
    assert patch == {"splits": {"test": {"labels": {"y": {"unlabeled": -1}}}}}


@given(st.lists(st.integers(0, 9), max_size=50))
def test_nothing_is_said_about_clean_labels(values: list[int]) -> None:
    """Legal labels have no cause to name."""
    assert causes(guard_of(), np.array(values, np.int64)) == []


@given(st.lists(st.integers(-(2**62), 2**62), min_size=40, max_size=60, unique=True))
def test_numbers_that_are_no_ids_change_nothing(values: list[int]) -> None:
    """Distinct numbers are named as something else than ids, or as other classes where they are dense; no change."""
    (found,) = causes(guard_of(), np.array(values, np.int64))
    assert found.cause in ("not-ids", "other-classes")
    assert not found.patch


STRAYS = ([10], [-1], [255], [12, 2**60], [17, 42, -7], [10, 10], [24, 2**31 - 1])


@pytest.mark.parametrize("bad", STRAYS, ids=str)
def test_a_few_illegal_values_change_nothing(bad: list[int]) -> None:
    """Isolated illegal values are strays: no shift, no class, no ignore value follows from them."""
    found = causes(guard_of(), np.append(IDS, bad))
    assert "stray" in {found[0].cause, *(other.cause for other in found[0].alternatives)}
    assert not found[0].patch


@given(st.integers(0, 2**32), st.integers(2, 300), st.integers(1, 4), st.data())
def test_no_change_makes_rare_values_legal(seed: int, classes: int, copies: int, data: st.DataObject) -> None:
    """Whatever value occurs up to four times next to any number of sound ids, no change declares it."""
    rng = np.random.default_rng(seed)
    sound = rng.choice(classes, rng.integers(20, 2000), p=rng.dirichlet(np.full(classes, 2.0)))
    value = data.draw(st.sampled_from([classes, -1, 255, -100, classes + 1]) | st.integers(-(2**40), 2**40))
    if 0 <= value < classes:
        return
    batch = rng.permutation(np.append(sound, np.full(copies, value)))
    for cause in causes(guard_of(num_classes=classes), batch):
        assert not cause.patch, cause


def test_two_readings_of_the_same_counts_are_both_given() -> None:
    """Masks of 0..N for N classes: 0 is an uncounted class, or no class. Both are said, nothing changes."""
    masks = np.random.default_rng(1).integers(0, 21, (30, 64, 64)).astype(np.uint8)
    (found,) = causes(guard_of(num_classes=20, shape=[64, 64], ignore=[255]), masks)
    assert {found.cause, *(other.cause for other in found.alternatives)} == {"one-based", "one-class-too-few"}
    assert not found.patch
    assert "21 classes" in found.text


def test_an_added_token_is_no_shift() -> None:
    """The id after the last one of a large vocabulary is one class more, though id 0 occurs once only."""
    ids = np.random.default_rng(0).integers(0, 32_000, (400, 128)).astype(np.int32)
    ids[::3, -20:] = 32_000
    ids[0, 0] = 0
    (found,) = causes(guard_of(num_classes=32_000, shape=[128]), ids)
    assert (found.cause, dict(found.patch)) == ("one-class-too-few", {"num_classes": 32_001})


def test_records_are_left_out_only_where_no_other_label_is_lost() -> None:
    """-1 is declared with skip for a schema of one label alone; next to other labels it is replaced."""
    batch = np.where(VOID, -1, IDS)
    label, found = guard_of().labels["y"], LabelStatistics()
    result = guard_of().check({"y": batch}, batched=True)
    columns = guard_of().batch_columns({"y": batch}, len(batch))["y"]
    found.add(label, columns, result.faults, len(batch), [""] * len(batch))
    (alone,), (others,) = diagnose("y", label, found), diagnose("y", label, found, only_label=False)
    assert alone.patch["on_unlabeled"] == "skip"
    assert others.patch["on_unlabeled"] == "replace"


def test_faults_of_one_file_are_said_to_be_there() -> None:
    """Where one of four files counts from 1, the file is named and nothing is changed."""
    guard, whole = guard_of(), LabelStatistics()
    rng = np.random.default_rng(3)
    for number in range(4):
        batch = rng.integers(0, 10, 500) + (number == 2)
        result = guard.check({"y": batch}, batched=True)
        part = LabelStatistics()
        columns = guard.batch_columns({"y": batch}, 500)["y"]
        part.add(guard.labels["y"], columns, result.faults, 500, [""] * 500, file=f"file-{number}")
        part.end_of_file(f"file-{number}")
        whole = whole.merge(part)
    (found,) = diagnose("y", guard.labels["y"], whole)
    assert (found.cause, dict(found.patch)) == ("mixed-files", {})
    assert "file-2" in found.text


def test_a_run_of_garbage_is_said_to_be_one() -> None:
    """Illegal values within a run of consecutive records are a corrupt block."""
    rng = np.random.default_rng(4)
    batch = rng.integers(0, 10, 5_000)
    batch[1_000:1_040] = rng.integers(100, 10**6, 40)
    (found,) = causes(guard_of(), batch)
    assert found.cause == "corrupt-block"
    assert "from 1000 to 1039" in found.text


def test_the_pipeline_says_the_cause_in_words() -> None:
    """Fed with the batches of a stream, the sample gives the cause as an error message does."""
    guard, sample = guard_of(), StreamSample()
    for number, batch in enumerate(np.split(IDS + 1, 4)):
        assert sample.wants_dirty()
        result = guard.check({"y": batch}, batched=True)
        sample.add_dirty(guard.labels, result, (number + 1) * len(batch))
    assert sample.diagnosis(guard.labels, len(IDS)).startswith("y: labels look 1-based: 1..10 for 10 classes")


def test_clean_batches_of_a_stream_count_too() -> None:
    """One stray id among many clean batches is a stray, and the memory of the clean ones is bounded."""
    guard, sample = guard_of(), StreamSample()
    rng = np.random.default_rng(5)
    for number in range(3_000):
        batch = rng.integers(0, 10, 32)
        if number == 1_500:
            batch[7] = 10
        result = guard.check({"y": batch}, batched=True)
        if not result.ok and sample.wants_dirty():
            sample.add_dirty(guard.labels, result, 32 * (number + 1))
        elif result.ok and sample.wants_clean():
            sample.add_clean({"y": batch})
    assert len(sample._clean) <= 257
    assert "a stray" in sample.diagnosis(guard.labels, 96_000)


def test_a_second_cause_leaves_no_word_of_a_change() -> None:
    """Where a dtype or missing values are a second cause, nothing is suggested, and each cause is said once."""
    batch = (IDS + 1).astype(np.float32)
    [cause] = causes(guard_of(dtype="int64"), batch)
    assert (cause.cause, [other.cause for other in cause.alternatives]) == ("one-based", ["float-ids"])
    assert cause.patch == {}
    assert "change the schema" not in cause.text
    assert cause.text.count("look at some of these records") == 1


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_the_integer_that_nan_becomes_is_named_as_such(dtype: str) -> None:
    """The least integer of a width is what NumPy makes of NaN, whatever its share."""
    least = np.iinfo(dtype).min
    for count in (3, 30):
        batch = np.where(np.arange(2000) < count, least, np.arange(2000) % 10).astype(dtype)
        (cause,) = causes(guard_of(), np.random.default_rng(1).permutation(batch))
        assert f"NaN becomes {least} where it is converted to an integer" in cause.text
