"""A schema compared with the metadata of real TFDS folders and of a fixture like those of the catalogue."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from label_guard.errors import SourceError, UsageError
from label_guard.lint.linter import lint_file
from label_guard.schema.reader import read_schema_bytes
from label_guard.sources.open import source_metadata
from label_guard.sources.tfds_metadata import Feature, SplitInfo, TfdsMetadata

_HEAD = "format: 1\nname: x\nversion: 1.0.0\n"


def _metadata(splits=None, **features):
    return TfdsMetadata("x", "1.0.0", "array_record", splits or {}, features)


def _lint(text, metadata):
    found = lint_file(read_schema_bytes((_HEAD + text).encode(), "x.yaml"), metadata=metadata)
    return [f"{d.rule} {d.line}:{d.column}" for d in found], [d.message for d in found]


def _label(fields, **feature):
    return _lint(f"labels:\n  label: {{{fields}}}\n", _metadata(label=Feature(**feature)))[0]


_IDS = {"kind": "ClassLabel", "num_classes": 3, "class_names": ("a", "b", "c"), "dtype": "int64"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("kind: class_label, num_classes: 3", []),
        ("kind: class_label, num_classes: 3, class_names: [a, b, c], dtype: int64, emit: int32", []),
        ("kind: class_label, num_classes: 4", ["LG231 5:43"]),
        ("kind: class_label, num_classes: 2, class_names: [b, c], class_ids: {start: 1}", []),
        ("kind: class_label, num_classes: 1, class_ids: {start: 1}", ["LG231 5:43"]),
        ("kind: class_label, num_classes: 2, class_names: [a, c], class_ids: [0, 2]", []),
        ("kind: class_label, num_classes: 2, class_names: [a, b], class_ids: [0, 2]", ["LG232 5:63"]),
        ("kind: class_label, num_classes: 3, class_names: [a, c, b]", ["LG232 5:63"]),
        ("kind: class_label, num_classes: 3, class_names: [a, b, d]", ["LG232 5:66"]),
        ("kind: class_label, num_classes: 3, dtype: uint8", ["LG233 5:53"]),
        ("kind: class_label, num_classes: 3, dtype: unsigned", ["LG233 5:53"]),
        ("kind: class_label, num_classes: 3, shape: [null]", ["LG233 5:53"]),
        ("kind: multi_label, num_classes: 3, dtype: int64", ["LG233 5:3"]),
        ("kind: real_label", ["LG233 5:3"]),
    ],
)
def test_a_label_is_held_against_its_feature(fields, expected):
    """Class count, names in order, dtype and shape of a ClassLabel, reported at the field of the schema."""
    assert _label(fields, **_IDS) == expected


@pytest.mark.parametrize(
    ("fields", "feature", "expected"),
    [
        (
            "kind: class_label, num_classes: 3, dtype: uint8, shape: [null, null, 1]",
            ("Image", "uint8", (None, None, 1)),
            [],
        ),
        ("kind: class_label, num_classes: 3, dtype: uint8, shape: [8, 8, 1]", ("Image", "uint8", (8, 8, 3)), ["LG233"]),
        ("kind: class_label, num_classes: 3", ("Text", "string", ()), ["LG233"]),
        ("kind: class_label, num_classes: 3, dtype: int32", ("Scalar", "int32", ()), []),
        ("kind: class_label, num_classes: 3, dtype: int64", ("Scalar", "int32", ()), []),
        ("kind: soft_label, num_classes: 10", ("Tensor", "float32", (10,)), []),
        ("kind: soft_label, num_classes: 9", ("Tensor", "float32", (10,)), ["LG231"]),
        ("kind: real_label, dtype: float32", ("Scalar", "float64", ()), []),
    ],
)
def test_features_without_a_class_count(fields, feature, expected):
    """Masks, scalars and tensors are held to dtype and shape; what is stored passes as well as what is declared."""
    kind, dtype, shape = feature
    found = _label(fields, kind=kind, dtype=dtype, shape=shape)
    assert [code.split()[0] for code in found] == expected


def test_a_missing_feature_or_split_is_reported_with_the_nearest_name():
    """A path or split that the dataset does not have is reported at its key."""
    text = "labels:\n  objects/lable: {kind: class_label, num_classes: 3, shape: [null]}\n"
    text += "splits:\n  train: {num_examples: 9}\n  test: {num_examples: 5}\n  val: {num_examples: 5}\n"
    splits = {"train": SplitInfo(10, (), ()), "test": SplitInfo(5, (), ()), "validation": SplitInfo(None, (), ())}
    metadata = _metadata(splits, **{"objects/label": Feature(**_IDS)})
    found = lint_file(read_schema_bytes((_HEAD + text).encode(), "x.yaml"), metadata=metadata)
    assert [(d.rule, d.line, d.column, d.fix) for d in found] == [
        ("LG230", 5, 3, "did you mean objects/label?"),
        ("LG234", 7, 25, "find out which is right"),
        ("LG234", 9, 3, "did you mean validation?"),
    ]


def test_a_comment_quiets_a_difference_that_is_meant():
    """Where the metadata are wrong the comment says so; without a source it is silent, unneeded it is reported."""
    text = "labels:\n  label: {kind: class_label, num_classes: 26, class_ids: {start: 1}} # noqa: LG231\n"
    metadata = _metadata(label=Feature("ClassLabel", 37, dtype="int64"))
    assert _lint(text, metadata) == ([], [])
    assert lint_file(read_schema_bytes((_HEAD + text).encode(), "x.yaml")) == []
    assert _lint(text, _metadata(label=Feature("ClassLabel", 27, dtype="int64")))[0] == ["LG221 5:70"]


def test_a_broken_schema_is_not_held_against_anything():
    """Where the file does not load, only that is reported."""
    codes, _ = _lint("labels:\n  label: {kind: class_label, num_classes: 0}\n", _metadata())
    assert codes == ["LG207 5:43"]


@pytest.mark.parametrize("uri", ["data/x", "csv:x", "tfds:", "tfds", "", "python:a:b"])
def test_sources_that_declare_nothing(uri, tmp_path, monkeypatch):
    """A source without metadata, and what is not a source, are errors in words."""
    monkeypatch.chdir(tmp_path)
    Path("x").write_text("label\n1\n")
    with pytest.raises(
        (SourceError, UsageError), match=r"declares no features|does not show its format|names no file|does not exist"
    ):
        source_metadata(uri)


def test_class_names_of_a_parquet_file(tmp_path):
    """Hugging Face's class names in a Parquet file are compared as TFDS's are; its splits are not known."""
    features = {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    table = pa.table({"label": [0, 1]}).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )
    pq.write_table(table, tmp_path / "a.parquet")
    label = "labels:\n  label: {kind: class_label, num_classes: 3, class_names: [cat, emu, fox]}\nsplits: {train: {}}\n"
    codes, _ = _lint(label, source_metadata(f"{tmp_path}/a.parquet"))
    assert [code.split()[0] for code in codes] == ["LG231", "LG232", "LG214"]


def test_a_folder_without_metadata_is_a_source_error(tmp_path):
    """A folder that is not there, or is not a prepared dataset, is reported in words."""
    with pytest.raises(SourceError):
        source_metadata(f"tfds:{tmp_path}")


def test_a_folder_as_tfds_writes_it_is_read(tmp_path):
    """dataset_info.json, features.json and the names file, byte for byte as TFDS 4.9 lays them out."""
    (tmp_path / "dataset_info.json").write_text(
        json.dumps(
            {
                "name": "x",
                "version": "1.0.0",
                "fileFormat": "array_record",
                "splits": [{"name": "train", "shardLengths": ["5", "4"]}],
            }
        )
    )
    label = {
        "pythonClassName": "tensorflow_datasets.core.features.class_label_feature.ClassLabel",
        "classLabel": {"numClasses": "2"},
    }
    features = {
        "pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
        "featuresDict": {"features": {"label": label}},
    }
    (tmp_path / "features.json").write_text(json.dumps(features))
    (tmp_path / "label.labels.txt").write_text("cat\ndog\n")
    text = "labels:\n  label: {kind: class_label, num_classes: 2, class_names: [dog, cat]}\n"
    text += "splits:\n  train: {num_examples: 10}\n"
    codes, messages = _lint(text, source_metadata(f"tfds:{tmp_path}"))
    assert codes == ["LG232 5:60", "LG234 7:25"]
    assert messages == [
        "the names of the dataset have another order: 0 is 'cat' there and 'dog' here",
        "num_examples is 10 but the dataset declares 9",
    ]
