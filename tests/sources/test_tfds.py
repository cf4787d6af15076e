"""Prepared TFDS folders as sources, written by TFDS itself, read without it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import google_crc32c
import numpy as np
import pytest

from label_guard import check_labels, infer_schema
from label_guard.errors import SourceError
from label_guard.infer.draft import sound
from label_guard.sources.array_record import frames
from label_guard.sources.metadata_problems import source_problems
from label_guard.sources.open import open_source
from label_guard.sources.source import Source
from label_guard.sources.tfds_metadata import read_metadata

BUILDER = """
import io, sys
import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

F = tfds.features

def png(value):
    buffer = io.BytesIO()
    Image.fromarray(np.full((2, 3), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()

class Faulty(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "label": F.Scalar(np.uint8) if NARROW else F.Scalar(np.int64),
            "kind": F.ClassLabel(num_classes=10),
            "id": F.Text(),
            "one": F.Sequence(F.ClassLabel(num_classes=5), length=1),
            "objects": F.Sequence({"label": F.ClassLabel(num_classes=3), "bbox": F.BBoxFeature()}),
            "grid": F.Tensor(shape=(2, 3), dtype=np.int32),
            "mask": F.LabeledImage(labels=3, shape=(None, None, 1), encoding_format="png"),
            "packed": F.Tensor(shape=(4,), dtype=np.int32, encoding="zlib"),
            "nest": F.FeaturesDict({"a": F.ClassLabel(num_classes=4)}),
            "rows/ragged_flat_values": F.Sequence(F.ClassLabel(num_classes=30)),
            "measure": F.Scalar(np.float32),
        }
        return tfds.core.DatasetInfo(builder=self, features=F.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(30), "test": self._generate_examples(7)}

    def _generate_examples(self, n):
        for i in range(n):
            yield i, {
                "label": [3, -1, 2**31 + 5, 255][i % 4], "kind": i % 10, "id": f"r{i}", "one": [i % 5],
                "objects": [{"label": j, "bbox": F.BBox(0.0, 0.0, 1.0, 1.0)} for j in range(i % 3)],
                "grid": np.arange(6, dtype=np.int32).reshape(2, 3) + i, "mask": png(i % 9),
                "packed": np.arange(4, dtype=np.int32) + i, "nest": {"a": i % 4},
                "rows/ragged_flat_values": [i % 5, 0][: i % 3], "measure": i / 2,
            }

NARROW = False
config = tfds.download.DownloadConfig(
    try_download_gcs=False, compute_stats=tfds.download.ComputeStatsMode.SKIP, num_shards=2
)
Faulty(data_dir=sys.argv[1], file_format="array_record").download_and_prepare(download_config=config)
NARROW = True
builder = Faulty(data_dir=sys.argv[2], file_format="array_record")
builder.info.features.save_config(sys.argv[2])
assert "tensorflow" not in sys.modules
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder, and next to it ``narrow.json``: the features.json of a narrower label."""
    root = tmp_path_factory.mktemp("tfds")
    (root / "narrow").mkdir()
    command = [sys.executable, "-c", BUILDER, str(root / "data"), str(root / "narrow")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr
    folder = root / "data" / "faulty" / "1.0.0"
    shutil.copy(root / "narrow" / "features.json", root / "narrow.json")
    return folder


@pytest.fixture
def folder(prepared: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(prepared, tmp_path / "faulty"))


def column(source: Source, label: str) -> dict[str, object]:
    """By record key, the values of one label over all shards."""
    found: dict[str, object] = {}
    for shard in source.shards():
        for chunk in source.read(shard):
            found |= dict(zip(chunk.keys, chunk.columns[label], strict=True))
    return found


def number(text: str) -> int:
    """The generator's index out of an ``id``."""
    return int(text[1:])


def test_every_label_as_it_was_written(prepared: Path) -> None:
    """Each kind of feature comes back by record id, in the shape that TFDS declares."""
    names = ["label", "kind", "one", "objects/label", "grid", "mask", "packed", "nest/a"]
    source = open_source(f"tfds:{prepared}", labels=names, split="train", record_key="id")
    assert source.expected_records == 30
    assert [shard.expected_records for shard in source.shards()] == [15, 15]
    columns = {name: column(source, name) for name in names}
    assert len(columns["label"]) == 30
    for key, label in columns["label"].items():
        i = number(key)
        assert label == [3, -1, 2**31 + 5, 255][i % 4]
        assert columns["kind"][key] == i % 10
        assert columns["one"][key].tolist() == [i % 5]
        assert columns["objects/label"][key].tolist() == list(range(i % 3))
        np.testing.assert_array_equal(columns["grid"][key], np.arange(6).reshape(2, 3) + i)
        np.testing.assert_array_equal(columns["mask"][key], np.full((2, 3, 1), i % 9))
        np.testing.assert_array_equal(columns["packed"][key], np.arange(4) + i)
        assert columns["nest/a"][key] == i % 4


def test_keys_are_those_of_tfds(prepared: Path) -> None:
    """A key is the file's name and the position in it."""
    source = open_source(f"tfds:{prepared}", labels=["kind"], split="test")
    keys = list(column(source, "kind"))
    files = [f"faulty-test.array_record-0000{k}-of-00002" for k in range(2)]
    counts = [shard.expected_records for shard in source.shards()]
    assert keys == [f"{file}__{k}" for file, count in zip(files, counts, strict=True) for k in range(count)]


def test_the_stored_integer_is_read_whatever_the_metadata_declare(folder: Path, prepared: Path) -> None:
    """A features.json that declares uint8 does not turn a stored -1 into 255."""
    shutil.copy(prepared.parents[2] / "narrow.json", folder / "features.json")
    assert (
        json.loads((folder / "features.json").read_text())["featuresDict"]["features"]["label"]["tensor"]["dtype"]
        == "uint8"
    )
    source = open_source(f"tfds:{folder}", labels={"label": ()}, split="train")
    chunks = [chunk for shard in source.shards() for chunk in source.read(shard)]
    assert {chunk.columns["label"].dtype for chunk in chunks} == {np.dtype(np.int64)}
    assert set(column(source, "label").values()) == {3, -1, 2**31 + 5, 255}


def test_tfrecord_folders_are_read_alike(folder: Path) -> None:
    """The default format of TFDS gives the same values under its own file names."""

    def masked(data: bytes) -> bytes:
        crc = google_crc32c.value(data)
        return ((((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")

    expected = column(open_source(f"tfds:{folder}", labels=["label"], split="train"), "label")
    for path in folder.glob("*.array_record-*"):
        records = [record for part in frames(str(path)) for record in part.records]
        framed = [(len(r).to_bytes(8, "little"), r) for r in records]
        data = b"".join(head + masked(head) + r + masked(r) for head, r in framed)
        path.with_name(path.name.replace("array_record", "tfrecord")).write_bytes(data)
        path.unlink()
    info = json.loads((folder / "dataset_info.json").read_text())
    info["fileFormat"] = "tfrecord"
    (folder / "dataset_info.json").write_text(json.dumps(info))
    source = open_source(f"tfds:{folder}", labels=["label"], split="train")
    assert source.describe()["format"] == "tfrecord"
    found = column(source, "label")
    assert found == {key.replace("array_record", "tfrecord"): value for key, value in expected.items()}


def test_stale_counts_missing_and_truncated_shards(folder: Path) -> None:
    """What the metadata promise is reported next to what is there; a damaged shard is an error, the other is read."""
    info = json.loads((folder / "dataset_info.json").read_text())
    info["splits"][0]["shardLengths"][0] = "9"
    (folder / "dataset_info.json").write_text(json.dumps(info))
    source = open_source(f"tfds:{folder}", labels=["label"], split="train")
    first, second = source.shards()
    assert (source.expected_records, first.expected_records) == (24, 9)
    assert sum(len(chunk) for chunk in source.read(first)) == 15
    data = Path(second.path).read_bytes()
    Path(second.path).write_bytes(data[: len(data) // 2])
    with pytest.raises(SourceError, match="is truncated"):
        list(source.read(second))
    Path(second.path).unlink()
    with pytest.raises(SourceError, match="the file does not exist"):
        list(source.read(second))
    assert sum(len(chunk) for chunk in source.read(first)) == 15


@pytest.mark.parametrize(
    ("options", "reported"),
    [
        ({"labels": ["lable"], "split": "train"}, "has no field 'lable'; did you mean 'label'"),
        ({"labels": ["objects/labels"], "split": "train"}, "did you mean 'objects/label'"),
        ({"labels": ["label"], "split": "tran"}, "it has no split 'tran'; did you mean 'train'"),
        ({"labels": ["label"], "split": "train[:50%]"}, "it has no split"),
        ({"labels": ["label"]}, "no split is named; there are 'test', 'train'"),
        ({"labels": ["label"], "split": "train", "record_key": "di"}, "has no field 'di'"),
    ],
)
def test_what_is_not_in_the_metadata(prepared: Path, options: dict[str, object], reported: str) -> None:
    """A wrong label, split or record key is reported with the near name."""
    with pytest.raises(SourceError, match=reported):
        open_source(f"tfds:{prepared}", **options)


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
def test_damaged_metadata_are_one_clear_error(folder: Path, name: str, content: bytes) -> None:
    """Damaged metadata end as a SourceError that names the file."""
    (folder / name).write_bytes(content)
    with pytest.raises(SourceError, match=name):
        open_source(f"tfds:{folder}", labels=["label"], split="train")


def test_a_folder_without_features_is_read_by_its_records(folder: Path) -> None:
    """Without features.json (old TFDS) the first records show what there is, and the caller gives the shapes."""
    (folder / "features.json").unlink()
    source = open_source(f"tfds:{folder}", labels={"label": (), "grid": (2, 3)}, split="train")
    assert len(column(source, "label")) == 30
    assert np.shape(next(iter(column(source, "grid").values()))) == (2, 3)
    with pytest.raises(SourceError, match="did you mean 'label'"):
        open_source(f"tfds:{folder}", labels=["lable"], split="train")


@pytest.mark.parametrize(
    ("change", "reported"),
    [
        ({"fileFormat": "riegeli"}, "is stored as riegeli; read are array_record and tfrecord"),
        ({"splits": [{"name": "train", "shardLengths": []}]}, "its metadata name no files"),
        (
            {"splits": [{"name": "train", "shardLengths": ["1", "2"], "filepathTemplate": "{DATASET}-{SPLIT}.x"}]},
            "dataset_info.json names '.*-train.x' twice",
        ),
    ],
)
def test_folders_that_are_not_read(folder: Path, change: dict[str, object], reported: str) -> None:
    """What cannot be read is never an empty dataset."""
    info = json.loads((folder / "dataset_info.json").read_text())
    (folder / "dataset_info.json").write_text(json.dumps({**info, **change}))
    with pytest.raises(SourceError, match=reported):
        open_source(f"tfds:{folder}", labels=["label"], split="train")


def test_a_folder_that_is_no_dataset(prepared: Path, tmp_path: Path) -> None:
    """A folder without metadata is refused, and the prepared one below it is named."""
    with pytest.raises(SourceError, match=r"dataset_info\.json"):
        open_source(f"tfds:{tmp_path}", labels=["label"], split="train")
    with pytest.raises(SourceError, match=r"did you mean .*1\.0\.0"):
        open_source(f"tfds:{prepared.parent}", labels=["label"], split="train")


def test_ragged_features_are_stored_flat(folder: Path) -> None:
    """A sequence of sequences is found under the key of its flat values, and named when asked for by its path."""
    info = json.loads((folder / "features.json").read_text())
    leaf = info["featuresDict"]["features"]["kind"]
    deep = {"sequence": {"feature": {"sequence": {"feature": leaf, "length": "-1"}}, "length": "3"}}
    info["featuresDict"]["features"]["captions"] = deep
    (folder / "features.json").write_text(json.dumps(info))
    with pytest.raises(SourceError, match="did you mean 'captions/ragged_flat_values'"):
        open_source(f"tfds:{folder}", labels=["captions"], split="train")
    source = open_source(f"tfds:{folder}", labels=["captions/ragged_flat_values"], split="train")
    assert source.labels == {"captions/ragged_flat_values": (None,)}


@pytest.fixture
def ragged(folder: Path) -> Path:
    """The dataset with ``rows`` declared as a sequence of sequences, which records keep flat."""
    info = json.loads((folder / "features.json").read_text())
    rows = info["featuresDict"]["features"].pop("rows/ragged_flat_values")
    info["featuresDict"]["features"]["rows"] = {"sequence": {"feature": rows, "length": "-1"}}
    (folder / "features.json").write_text(json.dumps(info))
    return folder


DECLARED = {
    "kind": {"num_classes": 10, "shape": ()},
    "one": {"num_classes": 5, "shape": (1,)},
    "objects/label": {"num_classes": 3, "shape": (None,)},
    "nest/a": {"num_classes": 4, "shape": ()},
    "rows/ragged_flat_values": {"num_classes": 30, "shape": (None,)},
}


def test_the_classes_that_the_metadata_count_are_those_of_check_and_infer(ragged: Path) -> None:
    """ClassLabels without names keep their number of classes, ragged ones too, and fit their metadata."""
    checked = check_labels(ragged)
    assert {one.path for one in checked.labels} == set(DECLARED)
    for one in checked.labels:
        assert one.drafted.fields["num_classes"] == DECLARED[one.path]["num_classes"]
    assert "LG231" not in {finding.rule for finding in checked.findings}
    drafted = sound(infer_schema(f"tfds:{ragged}").schema)
    found = {path: {"num_classes": one.num_classes, "shape": one.shape} for path, one in drafted.labels.items()}
    assert found == DECLARED
    assert not list(source_problems(drafted, read_metadata(ragged)))


@pytest.mark.parametrize("label", ["kind", "grid", "mask", "packed", "measure", "rows/ragged_flat_values"])
def test_infer_takes_what_check_names(ragged: Path, label: str) -> None:
    """The command that check ends with works for each feature, whether the metadata declare its classes or not."""
    assert f"--label {label} " in str(check_labels(ragged, label=label))
    schema = sound(infer_schema(f"tfds:{ragged}", labels=[label]).schema)
    assert list(schema.labels) == [label]
    assert sorted(schema.splits) == ["test", "train"]
