"""label_guard.tfds on folders that TFDS can read: values as stored, names of records, counts, schemas."""

import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grain
import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
from hypothesis import given, settings
from hypothesis import strategies as st

from label_guard import Guard, load_schema, read_quarantine
from label_guard.errors import SchemaError, SourceError, UsageError
from label_guard.grain import guard_labels, keyed, summary
from label_guard.sources.tf_example import parse
from label_guard.testing import assert_conserved
from label_guard.tfds import schema_from_tfds, source

CONFIGS = Path(__file__).parents[2] / "configs"
F = tfds.features
SHARDS = {"train": (5, 1, 4), "test": (2, 3)}
FEATURES = {
    "label": F.ClassLabel(names=["no", "yes", "maybe"]),
    "narrow": F.Scalar(np.uint8),
    "wide": F.Scalar(np.uint64),
    "real": F.Scalar(np.float64),
    "flag": F.Scalar(np.bool_),
    "tags": F.Sequence(F.ClassLabel(num_classes=9)),
    "objects": F.Sequence({"bbox": F.BBoxFeature(), "label": F.ClassLabel(num_classes=80)}),
    "labels_only": F.Sequence({"a": {"b": F.ClassLabel(num_classes=5)}}),
    "khot": F.Tensor(shape=(None, 3), dtype=np.uint8),
    "free": F.Tensor(shape=(None, None), dtype=np.int32, encoding="zlib"),
    "packed": F.Tensor(shape=(2,), dtype=np.int16, encoding="zlib"),
    "deep": {"er/path": {"label": F.ClassLabel(num_classes=7)}},
    "text": F.Text(),
}


def record(i: int) -> dict[str, Any]:
    """The i-th record, sound."""
    many = i % 4
    return {
        "label": i % 3,
        "narrow": i,
        "wide": i,
        "real": i / 4,
        "flag": i % 2 == 0,
        "tags": [i % 9] * many,
        "objects": [{"bbox": F.BBox(0.0, 0.0, 1.0, 1.0), "label": k} for k in range(many)],
        "labels_only": [{"a": {"b": k}} for k in range(many)],
        "khot": np.full((many, 3), i % 2, np.uint8),
        "free": np.full((many, 2), i, np.int32),
        "packed": np.array([i, -i], np.int16),
        "deep": {"er/path": {"label": i % 7}},
        "text": f"r{i}",
    }


def write(path: Path, records: list[bytes]) -> None:
    """One ArrayRecord file, as TFDS writes it."""
    writer = ArrayRecordWriter(str(path), "group_size:1")
    for raw in records:
        writer.write(raw)
    writer.close()


def rows(path: Path) -> list[bytes]:
    """Every record of a file."""
    reader = ArrayRecordReader(str(path))
    try:
        return reader.read_all()
    finally:
        reader.close()


def edited(folder: Path, split: str, change: Any) -> Path:
    """``folder`` with ``change(example, i)`` applied to the records of one split."""
    i = 0
    for path in sorted(folder.glob(f"*-{split}.array_record-*")):
        examples = [parse(raw) for raw in rows(path)]
        for example in examples:
            change(example, i)
            i += 1
        write(path, [example.SerializeToString() for example in examples])
    return folder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every kind of feature, in two splits of uneven shards."""
    folder = tmp_path_factory.mktemp("many") / "many" / "1.0.0"
    folder.mkdir(parents=True)
    features = F.FeaturesDict(FEATURES)
    features.save_config(folder)
    i = 0
    for split, lengths in SHARDS.items():
        for shard, length in enumerate(lengths):
            raw = [features.serialize_example(record(k)) for k in range(i, i + length)]
            write(folder / f"many-{split}.array_record-{shard:05}-of-{len(lengths):05}", raw)
            i += length
    splits = [{"name": name, "shardLengths": list(map(str, lengths))} for name, lengths in SHARDS.items()]
    info = {"name": "many", "version": "1.0.0", "fileFormat": "array_record", "splits": splits}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


@pytest.fixture
def folder(prepared: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(prepared, tmp_path / "many" / "1.0.0"))


def same(ours: Any, theirs: Any) -> bool:
    """Whether the values agree, dtypes aside; a list of rows is an array."""
    if isinstance(theirs, dict):
        return list(ours) == list(theirs) and all(same(ours[name], theirs[name]) for name in theirs)
    return np.array_equal(np.asarray(ours), np.asarray(theirs))


SPLITS = ["train", "test", "train+test", "train[3:7]", "train[50%:]", "train[-2:]+test[:1]", "all"]


# protobuf warns of what TFDS calls when it reads the metadata
@pytest.mark.filterwarnings("ignore:label\\(\\) is deprecated:DeprecationWarning")
@pytest.mark.parametrize("split", SPLITS)
def test_sound_records_are_those_of_tfds(prepared: Path, split: str) -> None:
    """Every value of every feature of every sub-split equals that of tfds.data_source, at the same position."""
    theirs = tfds.builder_from_directory(prepared).as_data_source(split)
    ours = source(prepared, split)
    assert len(ours) == len(theirs)
    for position in range(len(ours)):
        assert same(ours[position], theirs[position]), position


@pytest.mark.parametrize("split", SPLITS)
def test_a_key_names_the_file_and_the_place_in_it(prepared: Path, split: str) -> None:
    """The record that lies where the key says is the record at the position, in every sub-split."""
    names = source(prepared, split)
    for position in range(len(names)):
        file, _, index = names.record_key(position).rpartition("__")
        text = parse(rows(prepared / file)[int(index)]).features.feature["text"].bytes_list.value[0]
        assert text == names[position]["text"]


@settings(max_examples=30)
@given(start=st.integers(0, 10), length=st.integers(1, 10))
def test_any_slice_reads_just_its_records(prepared: Path, start: int, length: int) -> None:
    """A slice holds the records of the whole in order, under their keys in the whole."""
    whole, stop = source(prepared, "train"), min(10, start + length)
    if start >= stop:
        with pytest.raises(SourceError, match="selects no records"):
            source(prepared, f"train[{start}:{stop}]")
        return
    part = source(prepared, f"train[{start}:{stop}]")
    assert [part.record_key(k) for k in range(len(part))] == [whole.record_key(k) for k in range(start, stop)]
    assert part.source_id == whole.source_id  # so that the quarantine knows a record from either


def test_even_splits_cover_the_split(prepared: Path) -> None:
    """What TFDS itself makes for several hosts is taken as a split."""
    parts = [source(prepared, part) for part in tfds.even_splits("train", 3)]
    keys = [part.record_key(k) for part in parts for k in range(len(part))]
    whole = source(prepared, "train")
    assert keys == [whole.record_key(k) for k in range(10)]


def test_labels_come_at_their_stored_width(prepared: Path) -> None:
    """Integers are int64 and floats float32 whatever features.json declares; bools and encoded tensors are TFDS's."""
    found = source(prepared, "train")[1]
    dtypes = {name: found[name].dtype for name in ("label", "narrow", "real", "tags", "khot", "wide", "packed")}
    assert dtypes == {
        "label": "int64", "narrow": "int64", "real": "float32", "tags": "int64", "khot": "int64", "wide": "uint64",
        "packed": "int16",
    }  # fmt: skip
    assert found["flag"] is False
    assert found["objects"]["label"].dtype == np.int64
    assert source(prepared, "train", labels=["flag"])[1]["flag"].dtype == np.int64
    assert source(prepared, "train", labels=["flag"])[1]["khot"].dtype == np.uint8


def store(name: str, **values: list[Any]) -> Any:
    """A change that stores ``values`` (by kind of list) under a key of every record; none: the key goes."""

    def change(example: Any, i: int) -> None:
        del i
        example.features.feature[name].Clear()
        for kind, items in values.items():
            getattr(example.features.feature[name], kind).value.extend(items)
        if not values:
            del example.features.feature[name]

    return change


@pytest.mark.parametrize("name", ["label", "narrow"])
@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ({"int64_list": [-1]}, np.int64(-1)),
        ({"int64_list": [2**32 + 1]}, np.int64(2**32 + 1)),
        ({"int64_list": [-(2**63)]}, np.int64(-(2**63))),
        ({"int64_list": [3, 4]}, np.array([3, 4])),
        ({"int64_list": []}, np.zeros(0, np.int64)),
        ({"float_list": [2.7]}, np.float32(2.7)),
        ({"float_list": [float("nan")]}, np.float32("nan")),
        ({"bytes_list": [b"cat"]}, b"cat"),
        ({"bytes_list": [b"a", b"b"]}, [b"a", b"b"]),
        ({}, None),
    ],
)
def test_a_fault_is_reported_as_it_is_stored(folder: Path, name: str, stored: dict[str, Any], expected: Any) -> None:
    """Nothing is wrapped, cast or raised: what is in the record reaches the guard."""
    found = source(edited(folder, "test", store(name, **stored)), "test")[0][name]
    assert type(found) is (np.ndarray if isinstance(expected, np.generic) else type(expected))
    np.testing.assert_array_equal(found, expected)
    assert getattr(found, "dtype", None) == getattr(expected, "dtype", None)


def test_faults_in_lists_and_below_are_reported(folder: Path) -> None:
    """A ragged label, a nested one and one that is missing in a sequence come as stored, too."""
    edited(folder, "test", store("tags", float_list=[1.5, 2.0]))
    edited(folder, "test", store("deep/er/path/label", int64_list=[-1]))
    edited(folder, "test", store("objects/label"))
    found = source(folder, "test")[0]
    assert (found["tags"].dtype, found["tags"].tolist()) == (np.float32, [1.5, 2.0])
    assert found["deep"]["er/path"]["label"] == -1
    assert found["objects"]["label"] is None
    assert len(found["objects"]["bbox"]) == 10 % 4


def test_unsigned_integers_beyond_int64(folder: Path) -> None:
    """TFDS stores the bits of a uint64 and fails to read those above 2**63; here they come as they were written."""
    edited(folder, "test", store("wide", int64_list=[-1]))
    assert source(folder, "test")[0]["wide"] == np.uint64(2**64 - 1)


def test_sequences_of_sequences(folder: Path) -> None:
    """Rows of class ids, which TFDS stores flat next to their lengths, come as rows at the stored width."""
    config = json.loads((folder / "features.json").read_text())
    features = config["featuresDict"]["features"]
    outer = json.loads(json.dumps(features["tags"]))
    outer["sequence"]["feature"] = features["tags"]
    features["rows"] = outer
    (folder / "features.json").write_text(json.dumps(config))

    def change(example: Any, i: int) -> None:
        example.features.feature["rows/ragged_flat_values"].int64_list.value.extend([i, -1, 2**40])
        example.features.feature["rows/ragged_row_lengths_0"].int64_list.value.extend([1, 0, 2])

    found = source(edited(folder, "test", change), "test")
    assert [[row.tolist() for row in found[k]["rows"]] for k in range(2)] == [[[k], [], [-1, 2**40]] for k in range(2)]


def test_decoders_are_those_of_tfds(prepared: Path, data_dir: Path) -> None:
    """A feature with a decoder is left to TFDS; one that needs TensorFlow is refused with what to use instead."""
    found = source(data_dir / "digits" / "1.0.0", "test", decoders={"image": tfds.decode.SkipDecoding()})[0]
    assert found["image"].startswith(b"\x89PNG")
    assert found["label"].dtype == np.int64
    with pytest.raises(UsageError, match="SkipDecoding"):
        source(prepared, "train", decoders=tfds.decode.PartialDecoding({"label": True}))


def test_positions_are_those_of_a_sequence(prepared: Path) -> None:
    """Negative positions count from the end, others outside raise IndexError, so iteration ends."""
    ours = source(prepared, "train")
    assert ours[-1]["text"] == ours[9]["text"]
    assert len(list(iter(ours))) == 10
    for position in (10, -11):
        with pytest.raises(IndexError, match="10 records"):
            ours[position]


def test_it_pickles_and_its_repr_tells_no_path(prepared: Path, folder: Path) -> None:
    """Workers get a copy; a checkpoint made where the data lay elsewhere still loads."""
    first, second = source(prepared, "train[2:]"), source(folder, "train[2:]")
    assert repr(first) == repr(second)
    assert str(folder) not in repr(second)
    copied = pickle.loads(pickle.dumps(first))
    assert same(copied[3], first[3])
    assert repr(copied) == repr(first)
    assert repr(source(prepared, "test")) != repr(first)


def last_shard(folder: Path) -> Path:
    """The file that the damage is done to."""
    return folder / "many-train.array_record-00002-of-00003"


def stale(folder: Path) -> None:
    """Fewer records in the metadata than in the file."""
    text = (folder / "dataset_info.json").read_text()
    (folder / "dataset_info.json").write_text(text.replace('["5", "1", "4"]', '["5", "1", "3"]'))


def cut(folder: Path) -> None:
    """A file that was copied in part."""
    last_shard(folder).write_bytes(last_shard(folder).read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "reported"),
    [
        (stale, "00002-of-00003: dataset_info.json promises 3 records, the file holds 4"),
        (lambda folder: write(last_shard(folder), rows(last_shard(folder))[:-1]), "promises 4 .* the file holds 3"),
        (lambda folder: last_shard(folder).unlink(), "00002-of-00003: the file does not exist"),
        (cut, "00002-of-00003 is not an ArrayRecord file, or it is truncated"),
        (lambda folder: last_shard(folder).write_bytes(b""), "truncated"),
    ],
)
def test_a_shard_that_is_not_as_promised_stops_at_the_start(folder: Path, damage: Any, reported: str) -> None:
    """A stale, shortened, missing or truncated shard is named before the first record is read."""
    damage(folder)
    with pytest.raises(SourceError, match=reported):
        source(folder, "train")
    assert len(source(folder, "train[:6]")) == 6  # which needs only the others


def test_a_record_that_cannot_be_read_is_named(folder: Path) -> None:
    """Bytes that are not tf.Example, or an encoded tensor that is damaged, name the record's key."""
    path = folder / "many-test.array_record-00001-of-00002"
    write(path, [b"\xff\xff\xff", *rows(path)[1:]])
    edited(folder, "train", store("packed", bytes_list=[b"no zlib"]))
    for split, key in (("test[2:]", "00001-of-00002__0"), ("train", "00000-of-00003__0")):
        with pytest.raises(SourceError, match=f"record many-{split[:4]}.*{key} of .* cannot be read") as caught:
            source(folder, split)[0]
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize(
    ("split", "options", "reported"),
    [
        ("tran", {}, "no split 'tran'; did you mean 'train'"),
        ("train[3", {}, "no split"),
        ("train[7:7]", {}, "selects no records"),
        ("train", {"labels": ["lable"]}, "no field 'lable'; did you mean 'label'"),
    ],
)
def test_mistakes_are_reported(prepared: Path, split: str, options: dict[str, Any], reported: str) -> None:
    """An unknown split or label names what there is."""
    with pytest.raises(SourceError, match=reported):
        source(prepared, split, **options)


def test_other_file_formats_are_refused(folder: Path) -> None:
    """TFRecord has no random access: the error says how to prepare the data."""
    info = (folder / "dataset_info.json").read_text().replace('"array_record"', '"tfrecord"')
    (folder / "dataset_info.json").write_text(info)
    with pytest.raises(SourceError, match=r'stored as tfrecord.*file_format="array_record"'):
        source(folder, "train")


def visible(planted: dict[str, list[str]]) -> Iterator[str]:
    """The planted records that break the schema."""
    for fault, keys in planted.items():
        if fault != "one_based_in_range":
            yield from keys


@pytest.mark.parametrize("split", ["train", "train[20%:70%]"])
def test_the_guard_quarantines_just_the_planted_faults(data_dir: Path, tmp_path: Path, split: str) -> None:
    """One epoch over faulty digits: the side file holds the planted records by name, and the counts add up."""
    folder = data_dir / "digits_faulty" / "1.0.0"
    records = source(folder, split)
    held = {records.record_key(k) for k in range(len(records))}
    expected = held & set(visible(json.loads((folder / "planted.json").read_text())))
    dataset = grain.MapDataset.source(keyed(records)).seed(1).shuffle().to_iter_dataset(grain.ReadOptions(0, 0))
    options = {"split": split, "batch_size": 64, "quarantine": tmp_path / "quarantine"}
    iterator = iter(dataset.pipe(guard_labels, CONFIGS / "digits.yaml", **options))
    labels = np.concatenate([batch["label"] for batch in iterator])
    assert (labels.dtype, labels.min(), labels.max()) == (np.int32, 0, 9)
    entries = read_quarantine(str(tmp_path / "quarantine")).entries
    assert {entry.record for entry in entries} == expected
    counts = summary(iterator)
    assert_conserved(counts)
    assert (counts.seen, counts.delivered) == (len(records), len(labels))


def test_every_planted_fault_breaks_its_rule(data_dir: Path) -> None:
    """The planted labels reach the check as they are stored, and each is found for what it is."""
    folder = data_dir / "digits_faulty" / "1.0.0"
    records = source(folder, "train")
    places = {records.record_key(k): k for k in range(len(records))}
    guard = Guard(CONFIGS / "digits.yaml", "train")
    rules = {
        fault: {v.rule for key in keys for v in guard.check_records([records[places[key]]]).violations}
        for fault, keys in json.loads((folder / "planted.json").read_text()).items()
    }
    assert rules == {
        "out_of_range": {"LG101"},
        "negative": {"LG102"},
        "wide": {"LG101"},
        "float": {"LG103"},
        "missing": {"LG104"},
        "one_based": {"LG101"},
        "one_based_in_range": set(),
    }


def test_a_draft_schema_from_a_folder(prepared: Path, data_dir: Path) -> None:
    """Every ClassLabel with its classes, shape and stored dtype, and the sizes of the splits."""
    drafted = schema_from_tfds(prepared)
    assert {path: label.shape for path, label in drafted.labels.items()} == {
        "label": (), "tags": (None,), "objects/label": (None,), "labels_only/a/b": (None,), "deep/er/path/label": (),
    }  # fmt: skip
    assert drafted.labels["label"].class_names == ("no", "yes", "maybe")
    assert {name: split.num_examples for name, split in drafted.splits.items()} == {"train": 10, "test": 5}
    for split, size in (("train", 10), ("test", 5)):
        records = source(prepared, split)
        assert Guard(drafted, split).check_records([records[k] for k in range(size)]).ok
    shipped = load_schema(CONFIGS / "digits.yaml")
    digits = schema_from_tfds(data_dir / "digits" / "1.0.0")
    assert digits.labels["label"].model_copy(update={"emit": "int32"}) == shipped.labels["label"]
    assert [split.num_examples for split in digits.splits.values()] == [1500, 297]


@pytest.mark.parametrize(
    ("name", "version", "num_classes"),
    [("mnist", "3.0.1", 10), ("emnist/letters", "3.1.0", 37), ("cifar10", "3.0.2", 10)],
)
def test_a_draft_schema_from_the_catalogue(name: str, version: str, num_classes: int) -> None:
    """A name is enough, offline; the sizes of its splits are not known then."""
    drafted = schema_from_tfds(name)
    assert (drafted.name, drafted.version, drafted.splits) == (name, version, {})
    assert drafted.labels["label"].num_classes == num_classes


def test_what_makes_no_draft_schema(folder: Path) -> None:
    """A misspelt name, and a folder without a ClassLabel, say so."""
    with pytest.raises(SourceError, match=r"neither a prepared TFDS folder nor .* did you mean 'mnist'"):
        schema_from_tfds("mnistt")
    F.FeaturesDict({"age": F.Scalar(np.int64), "text": F.Text()}).save_config(folder)
    with pytest.raises(SourceError, match=r"declares no ClassLabel; its features: age \(Scalar\), text \(Text\)"):
        schema_from_tfds(folder)
    F.FeaturesDict({"image": F.ClassLabel(names=["a", "b"])}).save_config(folder)
    (folder / "image.labels.txt").write_text("a\n")
    with pytest.raises(SchemaError, match="num_classes is 2 but class_names has 1"):
        schema_from_tfds(folder)
