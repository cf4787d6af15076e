"""The shipped schemas: real datasets, clean, and true to what is known of them."""

from pathlib import Path

import numpy as np
import pytest

from label_guard.check.guard import Guard
from label_guard.lint.linter import lint_file
from label_guard.schema.reader import load_schema, read_schema_bytes
from label_guard.schema.writer import dump_schema

_CONFIGS = Path(__file__).parents[2] / "configs"
_FILES = sorted(_CONFIGS.glob("*.yaml"))


def test_the_promised_datasets_are_there():
    """The schemas that the documentation names."""
    assert [file.stem for file in _FILES] == [
        "celeb_a", "chexpert", "cifar10", "cifar10_h", "cityscapes", "coco", "digits", "emnist_letters", "glue_sst2",
        "human_protein_atlas", "imagenet2012", "imagenet_real", "iris", "mnist", "open_polymer", "oxford_iiit_pet",
        "packed_tokens",
        "patch_camelyon", "tox21", "voc",
    ]  # fmt: skip


@pytest.mark.parametrize("file", _FILES, ids=lambda file: file.stem)
def test_a_shipped_schema_is_clean_and_says_where_it_comes_from(file):
    """Lint has nothing to say, editors find the JSON Schema, and a comment names sources."""
    assert lint_file(file) == []
    first, second, *_ = file.read_text().splitlines()
    assert first == "# yaml-language-server: $schema=../docs/label_guard.schema.json"
    assert second.startswith("# ")
    assert (_CONFIGS / first.partition("=")[2]).exists()


@pytest.mark.parametrize("file", _FILES, ids=lambda file: file.stem)
def test_every_split_and_view_of_a_shipped_schema_can_be_guarded(file):
    """A Guard can be made for each split and view, and what it hands on has a schema of its own."""
    schema = load_schema(file)
    assert read_schema_bytes(dump_schema(schema).encode(), "x.yaml").schema == schema
    for split in schema.splits:
        for view in (None, *schema.views):
            Guard(schema, split=split, view=view)
            emitted = schema.emitted(split, view)
            assert read_schema_bytes(dump_schema(emitted).encode(), "x.yaml").schema.labels == emitted.labels


@pytest.mark.parametrize(
    ("name", "split", "label", "value", "rule"),
    [
        ("digits", "train", "label", np.int64(9), None),
        ("digits", "train", "label", np.int64(10), "LG101"),
        ("mnist", "test", "label", np.int64(-1), "LG102"),
        ("emnist_letters", "train", "label", np.int64(26), None),
        ("emnist_letters", "train", "label", np.int64(0), "LG101"),
        ("cifar10", "train", "label", np.int32(3), "LG103"),
        ("imagenet2012", "test", "label", np.int64(-1), None),
        ("imagenet2012", "train", "label", np.int64(-1), "LG110"),
        ("oxford_iiit_pet", "train", "segmentation_mask", np.array([[[0]]], np.uint8), "LG101"),
        ("oxford_iiit_pet", "train", "segmentation_mask", np.array([[[3]]], np.uint8), None),
        ("cityscapes", "train", "segmentation_label", np.full((1024, 2048), 255, np.uint8), None),
        ("cityscapes", "train", "segmentation_label", np.full((1024, 2048), 33, np.uint8), "LG101"),
        ("coco", "train", "category_id", np.array([1, 90]), None),
        ("coco", "train", "category_id", np.array([12]), "LG101"),
        ("voc", "train", "labels", np.array([0, 19]), None),
        ("voc", "train", "labels", np.array([3, 3]), "LG111"),
        ("cifar10_h", "test", "soft_label", np.full(10, 0.1, np.float32), None),
        ("cifar10_h", "test", "soft_label", np.full(10, 0.2, np.float32), "LG109"),
        ("glue_sst2", "test", "label", np.int64(-1), None),
        ("glue_sst2", "train", "label", np.int64(2), "LG101"),
    ],
)
def test_the_known_trap_of_each_dataset_is_caught(name, split, label, value, rule):
    """The value that trips people with this dataset is refused, and its neighbour passes."""
    guard = Guard(load_schema(_CONFIGS / f"{name}.yaml"), split=split)
    found = guard.check({label: value}, batched=False).violations
    assert [violation.rule for violation in found if violation.label == label] == ([] if rule is None else [rule])


@pytest.mark.parametrize(
    ("name", "record", "rule"),
    [
        ("chexpert", [1.0, 0.0, -1.0, None] * 3 + [None, 1.0], None),
        ("chexpert", [1.0, 0.0, -2.0, None] * 3 + [None, 1.0], "LG108"),
        ("celeb_a", [1, -1] * 20, None),
        ("celeb_a", [1, 0] * 20, "LG108"),
        ("tox21", [None, 0.0, 1.0] * 4, None),
        ("iris", "Iris-setosa", None),
        ("iris", "setosa", "LG113"),
        ("human_protein_atlas", "16 0", None),
        ("human_protein_atlas", "16 28", "LG101"),
        ("patch_camelyon", np.bool_(True), None),
        ("patch_camelyon", np.uint8(1), "LG103"),
        ("open_polymer", None, None),
        ("open_polymer", -300.0, "LG112"),
    ],
)
def test_labels_as_people_store_them(name, record, rule):
    """Names, columns, blanks, texts of ids and bool: the stored form passes, a slip in it does not."""
    guard = Guard(load_schema(_CONFIGS / f"{name}.yaml"), split="train")
    path, label = next(iter(guard.labels.items()))
    columns = getattr(label, "columns", None)
    features = {path: record} if columns is None else dict(zip(columns, record, strict=True))
    found = guard.check_records([{**dict.fromkeys(guard.features), **features}]).of_row(0)
    assert [violation.rule for violation in found] == ([] if rule is None else [rule])


def test_coco_ids_are_dense_after_the_guard():
    """80 classes, 10 gaps, and the index of each raw id."""
    label = load_schema(_CONFIGS / "coco.yaml").labels["category_id"]
    assert set(range(1, 91)) - set(label.raw_ids) == {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
    names = dict(zip(label.raw_ids, label.class_names, strict=True))
    assert (names[1], names[18], names[44], names[90]) == ("person", "dog", "bottle", "toothbrush")
