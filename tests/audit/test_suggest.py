"""suggest: one change of the schema from all likely causes, as YAML and as a schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from label_guard import DatasetSchema
from label_guard.audit.report import AuditReport
from label_guard.audit.runner import audit_dataset
from label_guard.audit.suggest import apply_patch, patch_yaml, suggest
from label_guard.schema.syntax import parse, to_plain
from label_guard.schema.writer import dump_schema

IDS = np.tile(np.arange(10), 12)
SOME = np.arange(len(IDS)) % 9 == 0  # of every class
ROWS = np.eye(10, dtype=np.int64)[IDS]


def audited(
    folder: Path, label: dict[str, Any], *, split_label: dict[str, Any] | None = None, **data: Any
) -> AuditReport:
    """The audit of one label ``y`` over splits of arrays."""
    splits: dict[str, Any] = {}
    for split, values in data.items():
        np.savez(folder / f"{split}.npz", y=values)
        splits[split] = {"num_examples": len(values), "source": f"npz:{folder}/{split}.npz"}
    if split_label is not None:
        splits["train"]["labels"] = {"y": split_label}
    labels = {"y": {"kind": "class_label", "num_classes": 10, **label}}
    fields = {"format": 1, "name": "t", "version": "1.0.0", "labels": labels, "splits": splits}
    return audit_dataset(DatasetSchema.model_validate(fields))


def patched(report: AuditReport) -> DatasetSchema:
    """The schema with what is suggested."""
    return apply_patch(report.schema_file, suggest(report).patch)


def test_the_patch_is_yaml_that_says_why(tmp_path: Path) -> None:
    """Causes as comments, then the fields, and the text loads back as the patch."""
    suggestion = suggest(audited(tmp_path, {}, train=IDS + 1))
    text = patch_yaml(suggestion)
    assert text == (
        "# merge into the schema file; null: remove the field\n"
        "# train: y: one-based: labels look 1-based: 1..10 for 10 classes, 10 occurs 12 times and 0 never. Subtract 1 "
        "where the labels are written; if the data are meant so, change the schema:\n"
        "labels:\n"
        '  "y":\n'
        "    class_ids: {start: 1}"
    )
    assert to_plain(parse(text, is_json=False)) == suggestion.patch


def test_where_nothing_helps_the_yaml_is_comments_alone(tmp_path: Path) -> None:
    """Sound data suggest nothing, in words."""
    assert patch_yaml(suggest(audited(tmp_path, {}, train=IDS))) == "# no change of the schema is suggested"


def test_a_split_that_is_sound_stays_sound(tmp_path: Path) -> None:
    """Where train alone is 1-based, the change is for train alone; where both are, it is at the label."""
    report = audited(tmp_path, {}, train=IDS + 1, test=IDS)
    assert suggest(report).patch == {"splits": {"train": {"labels": {"y": {"class_ids": {"start": 1}}}}}}
    assert audit_dataset(patched(report)).exit_code == 0
    report = audited(tmp_path, {}, train=IDS + 1, test=IDS + 1)
    assert suggest(report).patch == {"labels": {"y": {"class_ids": {"start": 1}}}}


def test_a_small_split_that_fits_both_ways_follows_the_others(tmp_path: Path) -> None:
    """Test holds only ids that are legal before and after: one change at the label."""
    report = audited(tmp_path, {}, train=IDS + 1, test=np.array([3, 5]))
    assert suggest(report).patch == {"labels": {"y": {"class_ids": {"start": 1}}}}
    assert audit_dataset(patched(report)).exit_code == 0


def test_a_field_that_the_split_overrides_is_changed_there(tmp_path: Path) -> None:
    """A change at the label would not reach a split with a value of its own."""
    report = audited(tmp_path, {}, split_label={"ignore": [254]}, train=np.where(SOME, 255, IDS).astype(np.int64))
    assert suggest(report).patch == {"splits": {"train": {"labels": {"y": {"ignore": [254, 255]}}}}}
    assert audit_dataset(patched(report)).exit_code == 0


def test_ignore_values_of_several_splits_add_up(tmp_path: Path) -> None:
    """255 in one split and -100 in the other: both are declared."""
    report = audited(tmp_path, {}, train=np.where(SOME, 255, IDS), test=np.where(SOME, -100, IDS))
    assert suggest(report).patch == {"labels": {"y": {"ignore": [255, -100], "on_ignore": "replace"}}}
    assert audit_dataset(patched(report)).exit_code == 0


def test_contradicting_changes_are_reported_and_left_out(tmp_path: Path) -> None:
    """Two splits that ask for different class ids: neither is guessed."""
    gaps = [np.array([*range(8), 20 + k, 40 + k])[IDS] for k in (1, 3)]
    suggestion = suggest(audited(tmp_path, {}, train=gaps[0], test=gaps[1]))
    assert suggestion.patch == {}
    assert [(cause.split, cause.cause) for cause, _ in suggestion.left_out] == [
        ("train", "ids-with-gaps"), ("test", "ids-with-gaps"),
    ]  # fmt: skip
    assert "# left out: train: y: ids-with-gaps: " in patch_yaml(suggestion)
    assert "another cause asks for class_ids: [0, 1, 2, 3, 4, 5, 6, 7, 23, 43]" in patch_yaml(suggestion)


def test_a_class_without_a_name_is_not_added(tmp_path: Path) -> None:
    """An eleventh class needs a name that no audit can know; without names it is added."""
    ids = np.tile(np.arange(11), 40)
    assert suggest(audited(tmp_path, {"class_names": list("abcdefghij")}, train=ids)).patch == {}
    assert suggest(audited(tmp_path, {}, train=ids)).patch == {"labels": {"y": {"num_classes": 11}}}


def test_another_kind_loses_the_fields_it_does_not_know(tmp_path: Path) -> None:
    """One-hot rows where ids were declared, with fields of ids at the label and at a split."""
    report = audited(
        tmp_path,
        {"ignore": [255], "on_ignore": "replace"},
        split_label={"unlabeled": -1, "on_unlabeled": "skip"},
        train=ROWS,
    )
    patch = suggest(report).patch
    assert patch["labels"]["y"] == {
        "ignore": None, "on_ignore": None, "kind": "soft_label", "one_hot": True, "dtype": ["int64"],
    }  # fmt: skip
    assert patch["splits"] == {"train": {"labels": {"y": {"on_unlabeled": None, "unlabeled": None}}}}
    assert to_plain(parse(patch_yaml(suggest(report)), is_json=False)) == patch
    again = patched(report)
    assert DatasetSchema.model_validate(to_plain(parse(dump_schema(again), is_json=False))) == again
    assert audit_dataset(again).exit_code == 0


def test_another_kind_for_one_split_takes_its_foreign_fields_away(tmp_path: Path) -> None:
    """Train alone holds one-hot rows, and says what only ids can say."""
    report = audited(tmp_path, {}, split_label={"unlabeled": -1, "on_unlabeled": "skip"}, train=ROWS, test=IDS)
    fields = suggest(report).patch["splits"]["train"]["labels"]["y"]
    assert (fields["kind"], fields["unlabeled"], fields["on_unlabeled"]) == ("soft_label", None, None)
    assert audit_dataset(patched(report)).exit_code == 0


KINDS: dict[str, tuple[dict[str, Any], Any]] = {
    "float ids": ({}, IDS.astype(np.float32)),
    "another width": ({"dtype": "int64"}, IDS.astype(np.int16)),
    "a width that cannot index": ({"num_classes": 100, "dtype": "int64"}, np.tile(np.arange(100), 5).astype(np.int8)),
    "k-hot": ({}, np.minimum(ROWS + ROWS[::-1], 1)),
}


@pytest.mark.parametrize("name", KINDS)
def test_the_patched_schema_accepts_the_data(tmp_path: Path, name: str) -> None:
    """Each change of kind, dtype or shape leaves nothing to find in the data that it came from."""
    label, data = KINDS[name]
    report = audited(tmp_path, label, train=data)
    assert report.exit_code == 1
    assert audit_dataset(patched(report)).findings == []


CORRUPTIONS: dict[str, Any] = {
    "none": lambda ids: ids,
    "1-based": lambda ids: ids + 1,
    "some 255": lambda ids: np.where(ids == 3, 255, ids),
    "some -1": lambda ids: np.where(ids == 2, -1, ids),
    "all -1": lambda ids: np.full_like(ids, -1),
    "gaps": lambda ids: np.array([0, 1, 2, 3, 5, 8, 13, 40, 41, 90])[ids],
    "one more": lambda ids: np.append(ids, 10),
    "float": lambda ids: ids.astype(np.float32),
    "narrow": lambda ids: ids.astype(np.int16),
    "one-hot": lambda ids: np.eye(10, dtype=np.int64)[ids],
    "trailing": lambda ids: ids[:, None],
    "noise": lambda ids: np.append(ids, [2**60, 2**40 + 3, -7]),
}


@given(
    train=st.sampled_from(sorted(CORRUPTIONS)),
    test=st.sampled_from(sorted(CORRUPTIONS)),
    label=st.sampled_from([{}, {"dtype": "int64"}, {"ignore": [254]}, {"class_names": list("abcdefghij")}]),
    own=st.sampled_from([None, {"unlabeled": -2, "on_unlabeled": "skip"}, {"ignore": [77]}]),
)
@settings(max_examples=60)
def test_a_patch_is_always_sound_and_never_makes_a_split_worse(
    tmp_path_factory: pytest.TempPathFactory, train: str, test: str, label: dict[str, Any], own: dict[str, Any] | None
) -> None:
    """Whatever went wrong where: a valid schema, YAML that loads back, and no split with more bad records."""
    data = {split: CORRUPTIONS[name](IDS) for split, name in (("train", train), ("test", test))}
    report = audited(tmp_path_factory.mktemp("data"), label, split_label=own, **data)
    suggestion = suggest(report)
    if suggestion.patch:
        assert to_plain(parse(patch_yaml(suggestion), is_json=False)) == suggestion.patch
    again = audit_dataset(patched(report))
    for before, after in zip(report.splits, again.splits, strict=True):
        assert after.invalid <= before.invalid
    alone = train == test or "none" in (train, test)  # changes for different faults need not add up to a cure
    if alone and report.diagnoses and all(cause.patch for cause in report.diagnoses) and not suggestion.left_out:
        assert sum(split.invalid for split in again.splits) == 0
