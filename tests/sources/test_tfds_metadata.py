"""Metadata of prepared TFDS folders, against what TFDS itself makes of the same files."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from hypothesis import given, settings
from hypothesis import strategies as st

from label_guard.errors import SourceError
from label_guard.sources.tfds_metadata import Feature, read_metadata, record_name

F = tfds.features
FEATURES = F.FeaturesDict(
    {
        "image": F.Image(shape=(None, None, 3), encoding_format="png"),
        "label": F.ClassLabel(names=["no", "yes it is"]),
        "image/class/label": F.ClassLabel(names=["x", "y", "z"]),
        "tags": F.Sequence(F.ClassLabel(num_classes=3)),
        "pair": F.Sequence(F.ClassLabel(num_classes=3), length=2),
        "grid": F.Sequence(F.Sequence(F.ClassLabel(num_classes=3))),
        "objects": F.Sequence({"bbox": F.BBoxFeature(), "label": F.ClassLabel(names=["cat", "dog"])}),
        "khot": F.Tensor(shape=(None, 3), dtype=np.uint8),
        "free": F.Tensor(shape=(None, None), dtype=np.int32),
        "packed": F.Tensor(shape=(2,), dtype=np.int64, encoding="zlib"),
        "soft": F.Scalar(np.float64),
        "flag": F.Scalar(np.bool_),
        "mask": F.LabeledImage(labels=["road", "sky"], shape=(4, 4, 1)),
        "text": F.Text(),
        "words": F.Sequence(F.Text()),
        "both": F.Translation(["en", "de"]),
        "deep": {"er": {"label": F.ClassLabel(num_classes=7)}},
    }
)
INFO = {
    "name": "many",
    "version": "2.1.0",
    "fileFormat": "array_record",
    "splits": [{"name": "train", "shardLengths": ["3", "4"]}, {"name": "test", "shardLengths": ["1"]}],
}


def prepared(folder: Path, info: Any = INFO) -> Path:
    """A folder with the metadata of ``FEATURES``."""
    folder.mkdir(parents=True, exist_ok=True)
    FEATURES.save_config(folder)
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


def refused(folder: Path) -> str:
    """The error of reading the metadata; empty where they could be read."""
    try:
        read_metadata(folder)
    except SourceError as error:
        return str(error)
    return ""


def test_record_names_are_those_of_tfds() -> None:
    """A key is the base name of the file, two underscores and the position, as tfds_id has it."""
    assert record_name("/far/away/x-train.tfrecord-00003-of-00004", 2015) == "x-train.tfrecord-00003-of-00004__2015"


def test_features_are_declared_as_tfds_sees_them(tmp_path: Path) -> None:
    """Kind, classes, names, shape and dtype of every feature, nested ones by the path they have in a record."""
    found = read_metadata(prepared(tmp_path)).features
    infos = {"/".join(path): info for path, info in flattened(FEATURES.get_tensor_info())}
    assert set(found) - {"both"} == {path for path in infos if not path.startswith("both")}
    for path, feature in found.items():
        if feature.dtype is not None:
            assert (feature.shape, feature.dtype) == (infos[path].shape, np.dtype(infos[path].np_dtype).name), path
    assert found["label"] == Feature("ClassLabel", 2, ("no", "yes it is"), "int64")
    assert found["image/class/label"].class_names == ("x", "y", "z")
    assert found["objects/label"] == Feature("ClassLabel", 2, ("cat", "dog"), "int64", (None,))
    assert (found["mask"].kind, found["mask"].num_classes, found["mask"].class_names) == (
        "LabeledImage", 2, ("road", "sky"),
    )  # fmt: skip
    assert found["objects/bbox"].shape == (None, 4)
    assert found["deep/er/label"].num_classes == 7
    assert {path for path, feature in found.items() if feature.ragged} == {"grid", "free"}


def flattened(node: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """The leaves of TFDS's nested tensor infos."""
    if isinstance(node, dict):
        return [leaf for name, below in node.items() for leaf in flattened(below, (*path, name))]
    return [(path, node)]


def test_stored_dtypes_are_those_of_tf_example(tmp_path: Path) -> None:
    """Integers and bools are kept as int64, floats as float32, all else as bytes."""
    found = {path: feature.stored_dtype for path, feature in read_metadata(prepared(tmp_path)).features.items()}
    assert {path for path, dtype in found.items() if dtype == "float32"} == {"soft", "objects/bbox"}
    assert {path for path, dtype in found.items() if dtype is None} == {
        "image", "packed", "mask", "text", "words", "both",
    }  # fmt: skip


@settings(max_examples=25)
@given(
    shards=st.integers(1, 40) | st.just(100_001),
    template=st.sampled_from(
        [
            None,
            "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            "{SPLIT}/data.{FILEFORMAT}-{SHARD_INDEX}",
            "{SHARD_INDEX}_of_{NUM_SHARDS}.{FILEFORMAT}",
        ]
    ),
)
def test_file_names_are_those_of_tfds(
    tmp_path_factory: pytest.TempPathFactory, shards: int, template: str | None
) -> None:
    """For any number of shards and any template, the names that TFDS would look for."""
    folder = tmp_path_factory.mktemp("names")
    entry = {"name": "train", "shardLengths": ["1"] * shards, **({"filepathTemplate": template} if template else {})}
    (folder / "dataset_info.json").write_text(json.dumps({**INFO, "splits": [entry]}))
    split = read_metadata(folder).splits["train"]
    made = tfds.core.ShardedFileTemplate(folder, template or "", "many", "train", "array_record")
    first, last = (made.relative_filepath(shard_index=k, num_shards=shards) for k in (0, shards - 1))
    assert (split.filenames[0], split.filenames[-1], len(split.filenames)) == (first, last, shards)
    assert (split.num_examples, len(split.shard_lengths)) == (shards, shards)


def test_folders_of_old_tfds_versions(tmp_path: Path) -> None:
    """No features.json, no file format and no shard lengths: reported as far as it goes, nothing made up."""
    split = {"name": "train", "statistics": {"numExamples": "60000"}}
    (tmp_path / "dataset_info.json").write_text(json.dumps({"name": "mnist", "splits": [split, {"name": "test"}]}))
    found = read_metadata(tmp_path)
    assert (found.file_format, found.version, found.features) == ("tfrecord", "", {})
    assert [(s.num_examples, s.filenames) for s in found.splits.values()] == [(60000, ()), (None, ())]


def test_a_wrong_folder_names_the_right_one(tmp_path: Path) -> None:
    """The folder above the version's is the usual mistake."""
    prepared(tmp_path / "many" / "2.1.0")
    with pytest.raises(SourceError, match=r"did you mean .*many/2\.1\.0\?"):
        read_metadata(tmp_path / "many")
    with pytest.raises(SourceError, match="expected the folder of one version"):
        read_metadata(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"name": 3, "splits": [1]}', b"[" * 5000])
def test_damaged_files_are_one_error(tmp_path: Path, name: str, content: bytes) -> None:
    """Whatever a metadata file holds, the user gets an error that names it, or what could be read."""
    (prepared(tmp_path) / name).write_bytes(content)
    error = refused(tmp_path)
    assert not error or name in error


@pytest.mark.parametrize("where", ["shardLengths", "numExamples"])
@pytest.mark.parametrize("count", [-7, "-7", 2.5, 1e400, "1e3", True, None, [], "9" * 30, 1 << 63])
def test_a_number_of_records_that_is_none_is_an_error(tmp_path: Path, where: str, count: object) -> None:
    """Of a file or of a split: what the report cannot hold is refused with the metadata, not found out at its end."""
    path = prepared(tmp_path) / "dataset_info.json"
    info = json.loads(path.read_text())
    for split in info["splits"]:
        lengths = [count] if where == "shardLengths" else []
        split |= {"shardLengths": lengths, "statistics": {"numExamples": count}}
    path.write_text(json.dumps(info))
    if where == "numExamples" and count is None:
        assert read_metadata(path.parent).splits["train"].num_examples is None
        return
    with pytest.raises(SourceError, match=r"dataset_info.json is not as TFDS writes it: "):
        read_metadata(path.parent)


@pytest.mark.parametrize("lengths", ["20", {"0": 20}, 20])
def test_shard_lengths_that_are_no_array_are_an_error(tmp_path: Path, lengths: object) -> None:
    """A text is not taken for an array of its digits: files of other names would be looked for."""
    path = prepared(tmp_path) / "dataset_info.json"
    info = json.loads(path.read_text())
    info["splits"][0]["shardLengths"] = lengths
    path.write_text(json.dumps(info))
    with pytest.raises(SourceError, match="expected an array"):
        read_metadata(path.parent)


@given(data=st.data())
def test_no_damage_makes_another_error(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """A value of another type anywhere in the metadata is read or refused, never a traceback."""
    folder = tmp_path_factory.getbasetemp() / "damaged"
    if not folder.exists():
        prepared(folder)
    name = data.draw(st.sampled_from(["dataset_info.json", "features.json"]))
    path = folder / name
    sound = path.read_text()
    root: Any = json.loads(sound)
    node = root
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(node[key], dict | list) or not node[key] or data.draw(st.booleans()):
            break
        node = node[key]
    node[key] = data.draw(st.sampled_from([None, -7, 1e400, "x", "../..", [], [None], {}, {"": {}}, True]))
    path.write_text(json.dumps(root))
    try:
        error = refused(folder)
    finally:
        path.write_text(sound)
    assert not error or str(folder) in error


def test_nothing_of_tfds_is_imported(tmp_path: Path) -> None:
    """Lint and infer read the metadata without tensorflow_datasets or NumPy."""
    code = (
        "import sys; from label_guard.sources.tfds_metadata import read_metadata; read_metadata(sys.argv[1]);"
        "print([m for m in ('numpy', 'tensorflow_datasets', 'jax', 'grain') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(prepared(tmp_path))]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "[]"
