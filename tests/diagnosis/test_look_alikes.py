"""Counts that two causes explain equally well, and claims that the statistics cannot prove."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from label_guard import DatasetSchema, Guard
from label_guard.diagnosis.cause import LikelyCause
from label_guard.diagnosis.label import diagnose
from label_guard.diagnosis.statistics import LabelStatistics

LABEL = {"kind": "class_label", "num_classes": 10}
RNG = np.random.default_rng(0)
IDS = RNG.integers(0, 10, 4_000)


def causes(files: Any, **label: Any) -> list[LikelyCause]:
    """The diagnosis of one label, stored in one file or several."""
    fields = {"kind": "class_label", "num_classes": 10, **label}
    guard = Guard(DatasetSchema.model_validate({"format": 1, "name": "t", "version": "1.0.0", "labels": {"y": fields}}))
    whole = LabelStatistics()
    for number, values in enumerate(files if isinstance(files, list) else [files]):
        result = guard.check({"y": values}, batched=True)
        found = LabelStatistics()
        columns = guard.batch_columns({"y": values}, result.num_records)["y"]
        keys = [str(i) for i in range(len(values))]
        found.add(guard.labels["y"], columns, result.faults, result.num_records, keys, file=f"{number}")
        found.end_of_file(f"{number}")
        whole = whole.merge(found)
    return diagnose("y", guard.labels["y"], whole)


def readings(found: list[LikelyCause]) -> list[str]:
    """The names of the one cause and its alternatives; a cause of several readings suggests no change."""
    assert len(found) == 1
    assert not (found[0].alternatives and found[0].patch)
    return [found[0].cause, *(other.cause for other in found[0].alternatives)]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("rate", [0.001, 0.02])
@pytest.mark.parametrize("classes", [5, 40])
def test_random_bytes_are_noise(classes: int, rate: float, seed: int) -> None:
    """Bytes that were overwritten are not another set of classes, however many there are."""
    rng = np.random.default_rng(seed)
    masks = rng.integers(0, classes, (40, 32, 32)).astype(np.uint8)
    hit = rng.random(masks.shape) < rate
    masks[hit] = rng.integers(0, 256, hit.sum())
    assert readings(causes(masks, num_classes=classes, shape=[32, 32]))[0] in ("noise", "lossy-mask")
    assert readings(causes(masks.reshape(-1)[:20_000], num_classes=classes))[0] in ("noise", "stray")


@pytest.mark.parametrize("records", [60, 1_000, 12_000])
@pytest.mark.parametrize("start", [0, 1, 1_000_000])
def test_numbers_of_records_are_not_ids(records: int, start: int) -> None:
    """A column that numbers the records holds no other set of classes, and no block of corrupt records."""
    numbers = np.arange(records) + start
    assert readings(causes(numbers)) == ["not-ids"]
    assert readings(causes(np.random.default_rng(0).permutation(numbers))) == ["not-ids"]


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.sampled_from([30, 300, 6_000]), st.sampled_from([1, 4]))
def test_all_illegal_values_are_where_it_says(seed: int, distinct: int, number: int) -> None:
    """A text that says where all values are is true, also where not all of them are kept."""
    rng = np.random.default_rng(seed)
    size = 4 * distinct
    files = [rng.integers(0, 10, size) for _ in range(number)]
    for values in files[: rng.integers(1, number + 1)]:
        first, last = sorted(rng.integers(0, size + 1, 2).tolist())
        values[first:last] = rng.integers(10, 10 + distinct, last - first)
    for found in causes(files):
        block = re.match(r"all ([0-9,]+) illegal values are in a run of ([0-9,]+) of", found.finding)
        if block:
            illegal = np.flatnonzero(files[0] > 9)
            counted, span = (int(text.replace(",", "")) for text in block.groups())
            assert (counted, span) == (len(illegal), illegal[-1] - illegal[0] + 1)
        one = re.match(r"all ([0-9,]+) values of ([0-9]+) are in", found.finding)
        if one:
            assert int(one[1].replace(",", "")) == sum(int((values == int(one[2])).sum()) for values in files)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("share", [0.002, 0.01, 0.02, 0.04, 0.07])
@pytest.mark.parametrize(("classes", "size"), [(3, 20_000), (10, 2_000), (10, 20_000), (100, 50_000)])
def test_a_rare_class_more_is_never_called_two_conventions(classes: int, size: int, share: float, seed: int) -> None:
    """Where the first id is as frequent as the others, it has lost nothing to its neighbour."""
    rng = np.random.default_rng(seed)
    values = np.where(rng.random(size) < share, classes, rng.integers(0, classes, size))
    found = readings(causes(values, num_classes=classes))
    assert "mixed" not in found or "one-class-too-few" in found


@pytest.mark.parametrize("share", [0.2, 0.35, 0.5])
def test_two_conventions_are_named_alone(share: float) -> None:
    """Where the first id has lost what the id after the last has won, that is the one cause."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 10, 20_000)
    assert readings(causes(values + (rng.random(20_000) < share))) == ["mixed"]


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("classes", [3, 10, 40])
def test_a_last_class_that_was_not_found_looks_like_ids_less_one(classes: int, rank: int) -> None:
    """-1 for the last class and ids less one leave the same counts: both are named."""
    values = np.random.default_rng(0).integers(0, classes, 8_000)
    shape = {"shape": [4]} if rank else {}
    for stored in (np.where(values == classes - 1, -1, values), values - 1):
        batch = stored.reshape(-1, 4) if rank else stored
        assert {"minus-one-shift", "lookup-failed"} <= set(readings(causes(batch, num_classes=classes, **shape)))


def blurred(levels: list[int], seed: int, *, ringing: bool) -> Any:
    """Masks of a few levels: at borders means of neighbours, and where ``ringing`` values next to the levels."""
    rng = np.random.default_rng(seed)
    blocks = np.array(levels)[rng.integers(0, len(levels), (16, 6, 6))]
    masks = np.kron(blocks, np.ones((8, 8), int)).astype(float)
    masks[:, :, 8:-1:8] += rng.random((16, 48, 5)) * (masks[:, :, 7:-2:8] - masks[:, :, 8:-1:8])
    if ringing:
        masks += np.where(rng.random(masks.shape) < 0.05, rng.normal(0, 3, masks.shape), 0)
    return masks.round().clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("ringing", [False, True])
@pytest.mark.parametrize("levels", [[0, 255], [0, 128, 255], [0, 50, 100, 150, 200], [0, 63, 127, 191, 255]])
def test_grey_levels_that_were_blended(levels: list[int], ringing: bool) -> None:
    """A mask of grey levels saved as JPEG or resized is lossy, whether or not the levels are declared."""
    masks = blurred(levels, 0, ringing=ringing)
    for declared in ({}, {"class_ids": levels}):
        found = causes(masks, num_classes=len(levels), shape=[48, 48], **declared)
        assert readings(found)[0] == "lossy-mask"


def test_levels_without_blending_are_ids_with_gaps() -> None:
    """255 is the brightest of five grey levels, and not a value for "nothing" next to four."""
    levels = np.array([0, 63, 127, 191, 255], np.uint8)
    masks = levels[np.random.default_rng(0).integers(0, 5, (8, 16, 16))]
    assert "ids-with-gaps" in readings(causes(masks, num_classes=5, shape=[16, 16]))


@pytest.mark.parametrize("classes", [3, 10, 200])
@pytest.mark.parametrize("dtype", ["int16", "uint16", "int32", "uint32", "int64"])
def test_bytes_in_the_other_order(dtype: str, classes: int) -> None:
    """Ids read in the other byte order are named as such, whatever they were converted to."""
    values = np.random.default_rng(0).integers(0, classes, 4_000).astype(dtype)
    swapped = values.byteswap()
    assert readings(causes(swapped, num_classes=classes, emit="int32"))[0] == "byte-order"
    assert readings(causes(swapped.astype(np.int64), num_classes=classes))[0] == "byte-order"


@pytest.mark.parametrize("classes", [10, 300, 70_000])
def test_illegal_values_next_to_sound_ids_are_in_no_other_byte_order(classes: int) -> None:
    """Ids that are used, and illegal values that become legal when their bytes are reversed."""
    values = np.random.default_rng(0).integers(0, classes, 4_000)
    values[::40], values[1::40] = -1, 256 * (classes % 256)
    assert "byte-order" not in readings(causes(values, num_classes=classes))


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("value", [11, 12, 40, 100, 127, 200, 1_000, 12_345, -3, -9, -50])
def test_one_frequent_number_of_no_fame(value: int, share: float) -> None:
    """A number as frequent as a class is either of two things, and no change is suggested."""
    rng = np.random.default_rng(0)
    values = np.where(rng.random(8_000) < share, value, rng.integers(0, 10, 8_000))
    found = causes(values)
    names = readings(found)
    assert "undeclared-ignore" in names
    assert ("other-classes" if value > 0 else "lookup-failed") in names
    assert not found[0].patch
    assert "too few" not in found[0].text


@pytest.mark.parametrize("missing", [1, 4, 9])
def test_a_rare_id_more_in_place_of_a_class_is_no_gap(missing: int) -> None:
    """Where one class does not occur and a rare id is new, the ids in between keep their meaning."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 10, 8_000)
    values = values[values != missing]
    found = causes(np.where(rng.random(len(values)) < 0.02, 10, values))
    assert "other-classes" in readings(found)
    assert not found[0].patch


@pytest.mark.parametrize("classes", [3, 10, 50])
def test_the_last_id_where_it_fills_what_holds_nothing(classes: int) -> None:
    """An id next to the classes that is far more frequent than each of them may mean "nothing"."""
    rng = np.random.default_rng(0)
    values = np.where(rng.random(20_000) < 0.6, classes, rng.integers(0, classes, 20_000))
    found = causes(values, num_classes=classes)
    assert "undeclared-ignore" in readings(found)
    assert not found[0].patch


def test_a_rare_0_where_ids_count_from_1_may_mean_nothing() -> None:
    """0 as rare as no class is may be "unknown" next to 1..N."""
    rng = np.random.default_rng(0)
    values = np.where(rng.random(8_000) < 0.05, 0, rng.integers(1, 11, 8_000))
    assert "one-based" in readings(causes(values))


NOT_IDS = {
    "widths of pictures": RNG.choice([224, 256, 512, 640], 4_000),
    "columns read as one": np.stack([RNG.integers(0, 640, 1_500), RNG.integers(0, 480, 1_500), IDS[:1_500]], 1).reshape(
        -1
    ),
    "wrapped multiples": (IDS * 20).astype(np.int8),
}


@pytest.mark.parametrize("name", NOT_IDS)
def test_a_reading_that_explains_little_is_not_the_cause(name: str) -> None:
    """A few consecutive numbers among many others are not shifted ids."""
    assert readings(causes(NOT_IDS[name])) == ["not-ids"]


@pytest.mark.parametrize(("bits", "classes"), [(8, 300), (8, 600), (8, 1_000), (11, 2_500), (11, 3_000)])
def test_ids_that_a_float_rounded(bits: int, classes: int) -> None:
    """Greater ids that lost their last bits: the value beyond the last id is not one class more."""
    values = np.random.default_rng(0).integers(0, classes, 40_000)
    values[:2] = classes - 1
    step = 2.0 ** np.maximum(0, np.floor(np.log2(np.maximum(values, 1))) + 1 - bits)
    rounded = (np.round(values / step) * step).astype(np.int64)
    (found,) = causes(rounded, num_classes=classes)
    assert (found.cause, dict(found.patch)) == ("rounded-ids", {})


@pytest.mark.parametrize("classes", [300, 1_000])
def test_ids_of_all_kinds_are_not_rounded(classes: int) -> None:
    """One class more is that, where odd ids occur as well."""
    values = np.random.default_rng(0).integers(0, classes + 1, 40_000)
    assert readings(causes(values, num_classes=classes)) == ["one-class-too-few"]


@pytest.mark.parametrize(
    ("split", "trained"), [("train", True), ("Train", True), ("TRAINING", True), ("test", False), ("Test", False)]
)
def test_only_a_split_that_is_not_trained_on_may_be_without_labels(split: str, trained: bool) -> None:
    """A training split is known by its name, however it is written."""
    guard = Guard(DatasetSchema.model_validate({"format": 1, "name": "t", "version": "1.0.0", "labels": {"y": LABEL}}))
    stats, values = LabelStatistics(), np.full(50, -1)
    result = guard.check({"y": values}, batched=True)
    columns = guard.batch_columns({"y": values}, 50)["y"]
    stats.add(guard.labels["y"], columns, result.faults, 50, [str(i) for i in range(50)])
    (found,) = diagnose("y", guard.labels["y"], stats, split)
    assert (found.cause, bool(found.patch)) == ("unlabeled-split", not trained)


SURVEYS = {
    "one code": ([9], 0, 5),
    "two codes": ([8, 9], 1, 5),
    "one code, ids from 1": ([9], 1, 5),
    "three codes": ([77, 88, 99], 0, 10),
    "neighbours far away": ([97, 98, 99], 1, 10),
    "two classes": ([9], 1, 2),
    "beyond all classes": ([1_000, 1_001], 0, 10),
    "negative": ([-9, -8], 0, 10),
}


@pytest.mark.parametrize("name", SURVEYS)
def test_codes_of_a_survey_are_not_just_more_classes(name: str) -> None:
    """A few values apart from the ids may mean "refused" or "not known", also where the ids count from 1."""
    codes, start, classes = SURVEYS[name]
    rng = np.random.default_rng(0)
    values = rng.integers(start, start + classes, 8_000)
    for code in codes:
        values[rng.random(8_000) < 0.04] = code
    found = causes(values, num_classes=classes)
    assert "undeclared-ignore" in readings(found)
    assert not start or "one-based" in readings(found)
    assert not found[0].patch
    assert "too few to be a class" not in found[0].text


@pytest.mark.parametrize(("classes", "stored"), [(2, 100), (10, 100), (10, 77)])
def test_one_class_that_is_stored_as_another_number(classes: int, stored: int) -> None:
    """Where one class never occurs and a far value does, it may be that class."""
    values = np.random.default_rng(0).integers(0, classes, 8_000)
    found = causes(np.where(values == 1, stored, values), num_classes=classes)
    assert "ids-with-gaps" in readings(found)
    assert not found[0].patch
