"""Every source format: the same labels give the same records, metadata reach the source, damage costs what it must."""

import gzip
import io
import json
import struct
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from label_guard.audit.report import AuditReport
from label_guard.audit.runner import audit_dataset
from label_guard.errors import SourceError
from label_guard.schema.dataset import DatasetSchema
from label_guard.sources import json_stream, jsonl, raw_numbers
from label_guard.sources.open import list_fields, list_splits, open_source
from label_guard.sources.schemes import NAMES, SCHEMES
from label_guard.sources.source import Source
from label_guard.sources.uris import full_uri

from .test_records import array_record, example, framed


def read(source: Source) -> tuple[list[object], list[str], str]:
    """All values of the first label, all keys (those of unreadable records in brackets), and the error."""
    values: list[object] = []
    keys: list[str] = []
    try:
        for shard in source.shards():
            for chunk in source.read(shard):
                values += list(chunk.columns[next(iter(source.labels))])
                keys += [*map(str, chunk.keys), *(f"[{u.key}]" for u in chunk.unreadable)]
    except SourceError as error:
        return values, keys, str(error)
    return values, keys, ""


# How each format stores ids [n] ---------------------------------------------------------------------------------------


def write_tar(path: Path, samples: list[dict[str, bytes]]) -> None:
    """A tar of samples, each a mapping from member names to data."""
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as archive:
        for sample in samples:
            for name, data in sample.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))


def coco(ids: list[int]) -> dict[str, object]:
    """COCO annotations, categories first and last."""
    categories = [{"id": k, "name": f"class {k}"} for k in range(4)]
    annotations = [{"id": 7 * k, "category_id": v, "bbox": [0, 0, 1, 1]} for k, v in enumerate(ids)]
    return {
        "info": {"a": [1, {"annotations": []}]},
        "images": [{"id": 1}],
        "annotations": annotations,
        "categories": categories,
    }


def write_arrow(path: Path, table: pa.Table) -> None:
    """A folder as Hugging Face's save_to_disk makes it."""
    path.mkdir()
    (path / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    with pa.OSFile(str(path / "data-00000-of-00001.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as out:
        out.write_table(table, max_chunksize=3)


def write_json(path: Path, value: object) -> None:
    """JSON, pretty-printed."""
    path.write_text(json.dumps(value, indent=1))


def rows_of(ids: list[int]) -> list[dict[str, object]]:
    """Records with a text next to the label."""
    return [{"note": f'a "{k}", [b', "label": v} for k, v in enumerate(ids)]


def write_yolo(path: Path, ids: list[int]) -> None:
    """A file per picture, each with one box."""
    path.mkdir()
    for k, v in enumerate(ids):
        (path / f"{k:04}.txt").write_text(f"{v} 0.5 0.5 0.1 0.1\n")


def write_samples(path: Path, ids: list[int]) -> None:
    """A WebDataset of classes next to empty pictures."""
    write_tar(path, [{f"{k}.jpg": b"", f"{k}.cls": b"%d" % v} for k, v in enumerate(ids)])


WRITERS: dict[str, tuple[str, Callable[[Path, list[int]], object]]] = {
    "csv": ("a.csv", lambda p, ids: p.write_text("note,label\n" + "".join(f'"x, 1",{v}\n' for v in ids))),
    "tsv": ("a.tsv", lambda p, ids: p.write_text("label\tnote\n" + "".join(f"{v}\tx\n" for v in ids))),
    "jsonl": ("a.jsonl", lambda p, ids: p.write_text("".join(json.dumps(row) + "\n" for row in rows_of(ids)))),
    "json": ("a.json", lambda p, ids: write_json(p, rows_of(ids))),
    "json columns": ("b.json", lambda p, ids: write_json(p, {"note": ["x"] * len(ids), "label": ids})),
    "coco": ("c.json", lambda p, ids: write_json(p, coco(ids))),
    "npy": ("a.npy", lambda p, ids: np.save(p, np.array(ids, np.int64))),
    "npz": ("a.npz", lambda p, ids: np.savez_compressed(p, label=np.array(ids, np.int64))),
    "raw": ("a.bin", lambda p, ids: np.array(ids, "<i8").tofile(p)),
    "parquet": ("a.parquet", lambda p, ids: pq.write_table(pa.table({"label": pa.array(ids, pa.int64())}), p)),
    "arrow": ("arrow", lambda p, ids: write_arrow(p, pa.table({"label": pa.array(ids, pa.int64())}))),
    "webdataset": ("a.tar", write_samples),
    "tfrecord": ("a.tfrecord", lambda p, ids: p.write_bytes(b"".join(framed(example(v)) for v in ids))),
    "array_record": ("a.array_record", lambda p, ids: array_record(p, [example(v) for v in ids])),
    "yolo": ("yolo", write_yolo),
}  # fmt: skip
LABELS = {"coco": "category_id", "webdataset": "cls"}


def schema_of(label: str, listed: bool) -> DatasetSchema:
    """Four classes, in the form that the format stores them in."""
    spec = {"kind": "class_label", "num_classes": 4, **({"shape": [None]} if listed else {})}
    return DatasetSchema.model_validate({"format": 1, "name": "x", "version": "1.0.0", "labels": {label: spec}})


def verdict(report: AuditReport) -> object:
    """Counts of an audit that do not depend on how labels are stored."""
    (split,) = report.splits
    (found,) = split.labels.values()
    return split.records, split.invalid, {rule: count for rule, (count, _) in sorted(found.violations.items())}


@settings(max_examples=6)
@given(ids=st.lists(st.integers(-2, 6) | st.just(2**40), min_size=1, max_size=12))
def test_the_same_labels_in_every_format_have_the_same_verdicts(
    tmp_path_factory: pytest.TempPathFactory, ids: list[int]
) -> None:
    """A plain path finds its format, and every format gives the same values, in order, and the same verdicts."""
    folder = tmp_path_factory.mktemp("formats")
    verdicts = {}
    for name, (file, write) in WRITERS.items():
        write(folder / file, ids)
        label = LABELS.get(name, "label")
        uri = f"{folder}/{file}" + ("?dtype=int64" if name == "raw" else "")
        values, keys, error = read(open_source(uri, labels=[label]))
        assert not error, name
        assert [v[0] if isinstance(v, list) else int(v) for v in values] == ids, name
        assert len(set(keys)) == len(ids), name
        verdicts[name] = verdict(audit_dataset(schema_of(label, name == "yolo"), source=uri))
    assert len(set(map(repr, verdicts.values()))) == 1, verdicts


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_lists_its_labels_and_works_with_workers(tmp_path: Path, name: str) -> None:
    """The fields of a format name its label; two workers give the report of none."""
    file, write = WRITERS[name]
    write(tmp_path / file, [0, 1, 2, 3, 4, 9])
    label = LABELS.get(name, "label")
    uri = f"{tmp_path}/{file}" + ("?dtype=int64" if name == "raw" else "")
    assert label in list_fields(uri)
    if name in ("csv", "json", "arrow", "yolo", "webdataset", "raw"):
        alone, shared = (audit_dataset(schema_of(label, name == "yolo"), source=uri, workers=n) for n in (0, 2))
        assert alone.to_json() == shared.to_json()


def test_every_scheme_is_in_a_test() -> None:
    """No scheme of the registry is left out here."""
    covered = {full_uri(file).partition(":")[0] for file, _ in WRITERS.values() if "." in file}
    assert set(SCHEMES) - covered == {"coco", "coco_images", "arrow", "yolo", "folder", "masks", "idx"}
    assert set(NAMES) - set(SCHEMES) == {"tfds", "quarantine", "python"}


# Pictures and folders -------------------------------------------------------------------------------------------------


def save(path: Path, pixels: np.ndarray, mode: str | None = None) -> None:
    """``pixels`` as a picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    if mode == "P":
        image.putpalette([k % 256 for k in range(768)])
    (image.convert(mode) if mode in ("1", "RGB") else image).save(path)


def test_a_folder_of_masks(tmp_path: Path) -> None:
    """Palette, 1, 8 and 16 bit masks give their numbers under the path of their file; colours are refused."""
    mask = np.arange(12, dtype=np.uint8).reshape(3, 4)
    save(tmp_path / "m" / "train" / "a.png", mask)
    save(tmp_path / "m" / "train" / "b.png", mask, "P")
    save(tmp_path / "m" / "train" / "c.png", mask.astype(np.uint16) + 60_000)
    save(tmp_path / "m" / "train" / "d.png", mask, "RGB")
    save(tmp_path / "m" / "train" / "e.png", 255 * (mask > 5).astype(np.uint8), "1")
    (tmp_path / "m" / "train" / "f.png").write_bytes(b"no picture")
    source = open_source(f"masks:{tmp_path}/m", labels={"any": (None, None)}, split="train")
    values, keys, error = read(source)
    assert (keys, error) == (
        ["train/a.png", "train/b.png", "train/c.png", "train/e.png", "[train/d.png]", "[train/f.png]"],
        "",
    )
    for value, expected in zip(values, (mask, mask, mask.astype(np.uint16) + 60_000, mask > 5), strict=True):
        np.testing.assert_array_equal(value, expected)
    assert full_uri(f"{tmp_path}/m/train").startswith("masks:")


def test_a_folder_per_class(tmp_path: Path) -> None:
    """The label is the name of the folder, for each picture of a split; what is not a class is an error."""
    for name in ("cat", "dog"):
        for k in range(3):
            save(tmp_path / "data" / "train" / name / f"{k}.png", np.zeros((2, 2), np.uint8))
    (tmp_path / "data" / "train" / ".hidden").mkdir()
    source = open_source(f"{tmp_path}/data", labels=["kind"], split="train")
    values, keys, _ = read(source)
    assert values == ["cat"] * 3 + ["dog"] * 3
    assert keys == [f"{name}/{k}.png" for name in ("cat", "dog") for k in range(3)]
    assert source.features["kind"].class_names == ("cat", "dog")
    with pytest.raises(SourceError, match="pass --split train"):
        open_source(f"folder:{tmp_path}/data", labels=["kind"])
    (tmp_path / "data" / "train" / "emu").mkdir()
    with pytest.raises(SourceError, match="emu is a class folder without pictures"):
        open_source(f"folder:{tmp_path}/data/train", labels=["kind"])
    (tmp_path / "data" / "train" / "emu").rmdir()
    save(tmp_path / "data" / "train" / "dog" / "small" / "1" / "0.png", np.zeros((2, 2), np.uint8))
    with pytest.raises(SourceError, match="dog holds pictures, and small/1 in it holds more"):
        open_source(f"folder:{tmp_path}/data/train", labels=["kind"])


def test_coco_by_image(tmp_path: Path) -> None:
    """A record is an image with the list of its annotations, in whatever order these come; strays are unreadable."""
    images = [{"id": 7}, {"id": "b"}, {"id": 9}]
    boxes = [(9, 2), (7, 1), (9, 90), (5, 1), (None, 1), ([], 1)]
    annotations = [{"image_id": image, "category_id": v, "bbox": [0, 0, v, 1.5]} for image, v in boxes]
    value = {
        "annotations": annotations,
        "images": images,
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
    }
    write_json(tmp_path / "a.json", value)
    source = open_source(f"coco_images:{tmp_path}/a.json", labels=["category_id"])
    values, keys, error = read(source)
    assert (values, error) == ([[1], [], [2, 90]], "")
    assert keys == ["a.json__0", "a.json__1", "a.json__2", "[a.json__3]", "[a.json__4]", "[a.json__5]"]
    assert source.features["category_id"].shape == (None,)
    assert read(open_source(f"coco_images:{tmp_path}/a.json", labels=["bbox"]))[0][0] == [[0, 0, 1, 1.5]]
    write_json(tmp_path / "b.json", {**value, "images": [{"id": 7}, {"id": 7}]})
    assert "expected one of its own" in read(open_source(f"coco_images:{tmp_path}/b.json", labels=["category_id"]))[2]
    (tmp_path / "c.json").write_text((tmp_path / "a.json").read_text()[:-40])
    assert read(open_source(f"coco_images:{tmp_path}/c.json", labels=["category_id"]))[2]


def test_files_of_a_pattern(tmp_path: Path) -> None:
    """Masks and YOLO texts are chosen by a pattern, or one by one; a plain pattern of pictures is one of masks."""
    for k in range(4):
        save(tmp_path / "m" / f"{'ab'[k % 2]}[{k}].png", np.full((2, 2), k, np.uint8))
    write_yolo(tmp_path / "y", [0, 1, 2])
    (tmp_path / "data.yaml").write_text("names: [p, q, r]\n")
    masks = open_source(f"{tmp_path}/m/a*.png", labels=["mask"])
    values, keys, _ = read(masks)
    assert ([value.max() for value in values], keys) == ([0, 2], ["m/a[0].png", "m/a[2].png"])  # pyright: ignore
    assert len(read(open_source(f"masks:{tmp_path}/m/b[1].png", labels=["mask"]))[0]) == 1
    boxes = open_source(f"yolo:{tmp_path}/y/*2.txt", labels=["label"])
    assert (read(boxes)[0], boxes.features["label"].class_names) == ([[2]], ("p", "q", "r"))
    for gone in (f"masks:{tmp_path}/m/c*.png", f"masks:{tmp_path}/gone/*.png", f"yolo:{tmp_path}/*/*.txt"):
        with pytest.raises(SourceError):
            open_source(gone, labels=["label"])


def test_large_folders_are_several_units_of_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder is cut after some files, and no file is lost or read twice."""
    from label_guard.sources import folders

    monkeypatch.setattr(folders, "_FILES", 4)
    write_yolo(tmp_path / "y", list(range(10)))
    source = open_source(f"yolo:{tmp_path}/y", labels=["label"])
    assert [shard.name for shard in source.shards()] == ["y", "y+4", "y+8"]
    values, keys, _ = read(source)
    assert (values, keys) == ([[k] for k in range(10)], [f"y/{k:04}.txt" for k in range(10)])


def test_yolo_with_data_yaml(tmp_path: Path) -> None:
    """Names come from data.yaml, splits from its places; lines of another form cost their picture."""
    labels = tmp_path / "labels" / "train"
    labels.mkdir(parents=True)
    (tmp_path / "data.yaml").write_text("train: images/train\nnames: {0: cat, 1: dog}\n")
    (labels / "a.txt").write_text("1 0.5 0.5 0.1 0.1\n0 .1 .2 .3 .4 .5 .6\n")
    (labels / "b.txt").write_text("")
    (labels / "c.txt").write_text("1 0.5\n")
    (labels / "d.txt").write_text("1.0 0 0 0 0\n")
    source = open_source(f"{tmp_path}", labels=["label", "bbox"], split="train")
    assert read(source)[:2] == ([[1, 0], [], [1.0]], ["train/a.txt", "train/b.txt", "train/d.txt", "[train/c.txt]"])
    assert source.features["label"].class_names == ("cat", "dog")


@pytest.mark.parametrize(
    ("yaml", "files", "found"),
    [
        ("train: [images/train, images/extra]", ["labels/train/1", "labels/extra/2", "labels/val/3"], [1, 2]),
        ("train: [images/train, images/train/more]", ["labels/train/1", "labels/train/more/2"], [1, 2]),
        ("train: train.txt", ["labels/train/1", "labels/other/2"], [2]),
        ("train: [train.txt, images/train]", ["labels/train/1", "labels/other/2", "labels/val/3"], [1, 2]),
        ("path: sub\ntrain: images/train", ["sub/labels/train/1", "labels/train/2"], [1]),
        ("path: gone\ntrain: images/train", ["labels/train/1", "labels/2"], [1]),
        ("train: ../train/images\nval: ../valid/images", ["train/labels/1", "valid/labels/2"], [1]),
        ("train: my_images/images", ["my_images/labels/1", "my_labels/labels/2"], [1]),
        ("train: {root}/images/a", ["labels/a/1", "labels/train/2"], [1]),
        ("train: /gone/images/train", ["labels/train/1", "labels/val/2"], [1]),
        ("names: [a]", ["labels/1", "labels/deep/a/b/c/d/e/f/g/h/2"], [1, 2]),
    ],
)
def test_every_place_that_data_yaml_names_is_read(
    tmp_path: Path, yaml: str, files: list[str], found: list[int]
) -> None:
    """Several folders, lists of pictures, ``path``, places outside: the labels of the split, and no others."""
    _write_yolo_split(tmp_path, yaml, files)
    source = open_source(f"yolo:{tmp_path}", labels=["label"], split="train")
    assert sorted(value[0] for value in read(source)[0]) == found
    names = [shard.name for shard in source.shards()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("yaml", "files", "message"),
    [
        ("train: [images/train, images/extra]", ["labels/train/1"], "labels/extra is not a folder"),
        ("train: [images/train, /gone/images]", ["labels/train/1"], "a place outside the dataset"),
        ("train: images/t2017", ["labels/train/1"], "labels/t2017 is not a folder"),
        ("train: images/train/../../../etc", ["labels/train/1", "labels/2"], None),
        ("train: /gone/images/t2017", ["labels/1"], "a place outside the dataset"),
        ("train: train.txt", ["labels/other/2", "labels/other/3"], "lists some pictures of labels/other only"),
        ("train: train.txt", ["labels/train/2"], "labels/other, which is not a folder"),
        ("val: images", ["labels/2"], "has no split 'train'; it has 'val'"),
        ("names: [a]", ["labels/val/2"], "has no split 'train'; it has 'val'"),
        ("names: [a]", ["val/labels/2"], "has no split 'train'; it has 'val'"),
    ],
)
def test_labels_of_yolo_that_are_not_where_data_yaml_says_are_an_error(
    tmp_path: Path, yaml: str, files: list[str], message: str | None
) -> None:
    """A place that is not there, or is outside the dataset, is named; other records never take the place of its own."""
    _write_yolo_split(tmp_path, yaml, files)
    if message is None:
        assert read(open_source(f"yolo:{tmp_path}", labels=["label"], split="train"))[0] == [[1]]
        return
    with pytest.raises(SourceError, match=message):
        open_source(f"yolo:{tmp_path}", labels=["label"], split="train")


def _write_yolo_split(root: Path, yaml: str, files: list[str]) -> None:
    """A text for each file, with the number in its name as class id; ``train.txt`` lists images/other/2.jpg."""
    (root / "data.yaml").write_text(yaml.format(root=root))
    if "train.txt" in yaml:
        (root / "train.txt").write_text("./images/other/2.jpg\r\n\n")
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / f"{file}.txt").write_text(f"{file[-1]} 0.5 0.5 0.1 0.1\n")


@pytest.mark.parametrize(
    ("yaml", "files", "found"),
    [
        ("train: images/train\nval: images/val\ntest:", ["labels/train/1", "labels/val/2"], ["train", "val"]),
        ("train: images/train\nval: images/gone", ["labels/train/1"], ["train"]),
        ("train: images/train\nval: images/val", ["labels/train/a/1", "labels/val/2"], ["train", "val"]),
        ("train: images/train\nval: images/val", ["labels/train/1", "labels/val/2", "labels/more/3"], []),
        ("train: images/train", ["labels/train/1", "labels/2"], []),
        ("names: [a]", ["labels/train/1", "labels/val/2"], ["train", "val"]),
        ("names: [a]", ["labels/train/1", "labels/val/2", "labels/more/3"], []),
        ("names: [a]", ["train/labels/1", "valid/labels/2"], ["train", "valid"]),
        ("names: [a]", ["labels/1"], []),
        ("train: train.txt", ["labels/other/2"], ["train"]),
    ],
)
def test_splits_of_yolo_are_listed_where_they_hold_all_labels(
    tmp_path: Path, yaml: str, files: list[str], found: list[str]
) -> None:
    """What ``infer`` and ``check`` read split by split is all that is there; else they read the folder whole."""
    _write_yolo_split(tmp_path, yaml, files)
    (tmp_path / "README.roboflow.txt").write_text("no labels")
    assert list_splits(f"yolo:{tmp_path}") == found


@pytest.mark.parametrize(
    ("files", "found"),
    [(["train/a", "val/b"], ["train", "val"]), (["train/a", "b"], []), (["train/a", "x/b"], []), (["a"], [])],
)
def test_splits_of_masks_are_listed_where_they_hold_all_masks(
    tmp_path: Path, files: list[str], found: list[str]
) -> None:
    """A mask next to the folders of the splits is not left out."""
    for file in files:
        save(tmp_path / f"{file}.png", np.zeros((2, 2), np.uint8))
    assert list_splits(f"masks:{tmp_path}") == found


def test_masks_of_other_splits_are_not_taken_for_those_of_a_split(tmp_path: Path) -> None:
    """A folder with ``train`` and ``val`` holds no ``test``; a folder without such names is read whole."""
    for name in ("train", "val"):
        save(tmp_path / "m" / name / "0.png", np.zeros((2, 2), np.uint8))
    with pytest.raises(SourceError, match="has no split 'test'; it has 'train', 'val'"):
        open_source(f"masks:{tmp_path}/m", labels=["mask"], split="test")
    assert len(read(open_source(f"masks:{tmp_path}/m", labels=["mask"]))[0]) == 2
    assert len(read(open_source(f"masks:{tmp_path}/m/val", labels=["mask"], split="test"))[0]) == 1


# Metadata -------------------------------------------------------------------------------------------------------------


def test_class_names_of_every_format_that_keeps_them(tmp_path: Path) -> None:
    """Hugging Face's ClassLabel in Parquet and Arrow, nested or in a list, and COCO's categories with their ids."""
    names = {"names": ["no", "yes"], "_type": "ClassLabel"}
    features = {"label": names, "tags": {"feature": names, "_type": "Sequence"}, "o": [{"c": names}]}
    table = pa.table({"label": [0, 1], "tags": [[0], [1, 1]], "o": [[{"c": 1}], []]})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, tmp_path / "a.parquet")
    write_arrow(tmp_path / "arrow", table)
    for uri in (f"{tmp_path}/a.parquet", f"{tmp_path}/arrow"):
        found = open_source(uri, labels=["label", "tags", "o/c"]).features
        assert {path: (one.class_names, one.shape) for path, one in found.items()} == {
            "label": (("no", "yes"), ()), "tags": (("no", "yes"), (None,)), "o/c": (("no", "yes"), (None,)),
        }  # fmt: skip
    categories = [{"id": 90, "name": "z"}, {"id": 3, "name": "a"}]
    write_json(tmp_path / "c.json", {"annotations": [], "categories": categories})
    found = open_source(f"coco:{tmp_path}/c.json", labels=["category_id"]).features["category_id"]
    assert (found.class_names, found.class_ids) == (("a", "z"), (3, 90))


def test_masks_as_png_bytes_wherever_bytes_occur(tmp_path: Path) -> None:
    """Hugging Face's Image in Parquet and Arrow, and WebDataset, give the numbers of the mask."""
    mask = np.arange(6, dtype=np.uint8).reshape(2, 3)
    out = io.BytesIO()
    Image.fromarray(mask).save(out, "PNG")
    table = pa.table({"mask": [{"bytes": out.getvalue(), "path": "a.png"}] * 2})
    pq.write_table(table, tmp_path / "a.parquet")
    write_arrow(tmp_path / "arrow", table)
    write_tar(tmp_path / "a.tar", [{"d/1.mask.png": out.getvalue(), "d/1.cls": b"3"}])
    wanted = {"mask": (None, None)}
    for uri, labels in (
        (f"{tmp_path}/a.parquet", wanted),
        (f"{tmp_path}/arrow", wanted),
        (f"{tmp_path}/a.tar", {"mask.png": (None, None)}),
    ):
        values, _, error = read(open_source(uri, labels=labels))
        assert not error
        np.testing.assert_array_equal(values[0], mask)


# JSON -----------------------------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60)
@given(
    rows=st.lists(VALUES, max_size=6),
    indent=st.sampled_from([None, 0, 2]),
    block=st.integers(1, 9),
    cut=st.integers(0, 300),
)
def test_json_is_streamed_as_json_reads_it(
    tmp_path_factory: pytest.TempPathFactory, rows: list[object], indent: int | None, block: int, cut: int
) -> None:
    """However a file is cut into blocks, its objects are those of json; a file that is cut off is an error."""
    path = tmp_path_factory.mktemp("json") / "a.json"
    text = json.dumps(rows, indent=indent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_BLOCK", block)
        path.write_text(text)
        values, keys, error = read(open_source(f"json:{path}", labels=[]) if not rows else _source(path))
        bare = bool(rows) and not isinstance(rows[0], dict)
        kept = [row for row in rows if isinstance(row, dict) != bare]
        expected = kept if bare else [row.get("x") for row in kept if isinstance(row, dict)]
        assert not error
        assert repr(values) == repr(expected)
        assert len(keys) == len(rows)
        if cut < len(text.encode()):
            path.write_bytes(text.encode()[:cut])
            values, _, error = read(_source(path))
            assert error
            assert repr(values) == repr(expected[: len(values)])


def _source(path: Path) -> Source:
    """A JSON source that is not looked into before it is read."""
    form = SCHEMES["json"].form({})
    return Source(str(path), None, form, SCHEMES["json"].shards(str(path), None), {"x": None})


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ('{"a": 1}', "neither an array of objects nor an object of arrays"),
        ('{"a": [1]}', "has no field 'label'"),
        ('{"label": [1, 2], "b": [3, 4], "note": "x"}', ""),
        ('{"label": [1, 2], "b": [1]}', "differ in length: 'label' has 2 elements, 'b' has 1"),
        ('{"b": [1, 2, 3], "label": [1, 2], "c": []}', "differ in length: 'b' has 3 elements, 'label' has 2"),
        ('{"label": [], "b": [1]}', "differ in length: 'label' has 0 elements, 'b' has 1"),
        ('{"label": [1, 2], "label": [1]}', "occurs twice"),
        ("[" * 100_000, "nested too deeply"),
        ('[{"label": 1}] []', "more than one value"),
        ('[{"label": 1} {"label": 2}]', "expected ','"),
        ('[{"label": 1}, 3, {"label": 2}]', ""),
        ("3", "expected"),
        ("", "expected"),
    ],
)
def test_json_of_other_forms(tmp_path: Path, text: str, reported: str) -> None:
    """What is not an array of objects or an object of arrays is one error that says where."""
    (tmp_path / "a.json").write_text(text)
    try:
        values, _, error = read(open_source(f"json:{tmp_path}/a.json", labels=["label"]))
    except SourceError as fault:
        values, error = [], str(fault)
    assert reported in error
    assert error or values == [1, 2]


@pytest.mark.long
def test_json_takes_the_memory_of_its_largest_element(tmp_path: Path) -> None:
    """A COCO file is read in flat memory, wherever its annotations are."""
    row = '{"category_id": 1, "segmentation": [' + "1.5, " * 50 + "2]}"
    with gzip.open(tmp_path / "a.json.gz", "wt", compresslevel=1) as out:
        out.write('{"images": [' + ", ".join(['{"id": 1}'] * 1000) + '], "annotations": [')
        out.write(", ".join([row] * 60_000) + '], "categories": [{"id": 1, "name": "a"}]}')
    tracemalloc.start()
    try:
        source = open_source(f"coco:{tmp_path}/a.json.gz", labels=["category_id"])
        assert sum(len(chunk) for chunk in source.read(source.shards()[0])) == 60_000
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()


def test_an_endless_json_element_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An element beyond the limit is an error before it is all read; what is before it is read."""
    monkeypatch.setattr(json_stream, "MAX_LINE_BYTES", 1 << 16)
    (tmp_path / "a.json").write_text('[{"label": 1}, {"label": "' + "x" * (4 << 20) + '"}]')
    values, _, error = read(_source_of(tmp_path / "a.json"))
    assert values == [1]
    assert "longer than" in error


def _source_of(path: Path) -> Source:
    return Source(str(path), None, SCHEMES["json"].form({}), SCHEMES["json"].shards(str(path), None), {"label": None})


# Damage ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["json", "coco", "arrow", "webdataset", "raw", "parquet", "tfrecord", "array_record", "npy", "npz"]
)
@settings(max_examples=25)
@given(cut=st.floats(0, 1), flip=st.none() | st.tuples(st.floats(0, 1), st.integers(1, 255)))
def test_damage_is_an_error_or_a_prefix(
    tmp_path_factory: pytest.TempPathFactory, name: str, cut: float, flip: tuple[float, int] | None
) -> None:
    """A file that is cut or changed never raises anything but SourceError, and a cut never looks complete."""
    file, write = WRITERS[name]
    path = tmp_path_factory.mktemp("damage") / file
    ids = list(range(40))
    write(path, ids)
    path = path / "data-00000-of-00001.arrow" if path.is_dir() else path
    data = bytearray(path.read_bytes())
    if flip is None:
        whole = cut == 1
        data = data[: int(cut * len(data))]
    else:
        whole = True
        data[int(flip[0] * (len(data) - 1))] ^= flip[1]
    path.write_bytes(data)
    label = LABELS.get(name, "label")
    try:
        source = open_source(f"{name}:{path}" + ("?dtype=int64" if name == "raw" else ""), labels=[label])
        values, _, error = read(source)
    except SourceError:
        return
    if not whole and len(data) and name not in ("raw", "tfrecord"):  # their records are whole at some cuts
        assert error or values == ids


# Numbers --------------------------------------------------------------------------------------------------------------


def megatron(folder: Path, rows: list[list[int]]) -> Path:
    """A Megatron-LM dataset of uint16 tokens."""
    lengths = np.array([len(row) for row in rows], np.int32)
    places = 2 * (np.cumsum(lengths) - lengths).astype(np.int64)
    np.concatenate([np.array(row, np.uint16) for row in rows]).tofile(folder / "d.bin")
    head = b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, 8, len(rows), len(rows) + 1)
    documents = np.arange(len(rows) + 1, dtype=np.int64)
    (folder / "d.idx").write_bytes(head + lengths.tobytes() + places.tobytes() + documents.tobytes())
    return folder / "d.bin"


def test_raw_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of a shape behind an offset; Megatron's sequences as its index cuts them; damage is an error."""
    monkeypatch.setattr(raw_numbers, "CHUNK_BYTES", 16)
    (tmp_path / "a.bin").write_bytes(b"head" + np.arange(12, dtype="<u2").tobytes())
    values, _, error = read(open_source(f"raw:{tmp_path}/a.bin?dtype=uint16&shape=4&offset=4", labels={"t": (4,)}))
    assert (np.array(values).tolist(), error) == (np.arange(12).reshape(3, 4).tolist(), "")
    values, _, error = read(open_source(f"raw:{tmp_path}/a.bin?dtype=uint16&shape=5&offset=4", labels={"t": (5,)}))
    assert (len(values), "2 of 5 numbers" in error) == (2, True)
    with pytest.raises(SourceError, match="say which"):
        open_source(f"raw:{tmp_path}/a.bin", labels=["t"])
    rows = [[1, 2, 3], [], [4], [5, 6]]
    path = megatron(tmp_path, rows)
    values, _, error = read(open_source(f"raw:{path}", labels={"t": (None,)}))
    assert ([value.tolist() for value in values], error) == (rows, "")
    path.write_bytes(path.read_bytes()[:-2])
    values, keys, error = read(open_source(f"raw:{path}", labels={"t": (None,)}))
    assert ([value.tolist() for value in values], keys[3], error) == (rows[:3], "[d.bin__3]", "")
    (tmp_path / "d.idx").write_bytes(b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, 8, 2**60, 0))
    with pytest.raises(SourceError, match="damaged"):
        list(
            open_source(f"raw:{path}", labels={"t": (None,)}).read(open_source(f"raw:{path}", labels=["t"]).shards()[0])
        )


def test_webdataset_samples(tmp_path: Path) -> None:
    """Members of one key are one record, whatever folder they are in; texts, JSON and gzip are read."""
    samples = [
        {"a/1.jpg": b"x" * 5000, "a/1.cls": b" 3\n", "a/1.json": b'{"n": {"y": 7}}'},
        {"b/1.cls": b"cat", "b/1.json": b"{"},
        {"b/2.jpg": b"x"},
        {"b/3.cls": b"-1"},
    ]
    for file in ("a.tar", "a.tgz"):
        write_tar(tmp_path / file, samples)
        values, keys, error = read(open_source(f"{tmp_path}/{file}", labels=["cls"]))
        assert (values, error) == ([3, "cat", None, -1], "")
        assert keys == [f"{file}__{k}" for k in range(4)]
    values, keys, _ = read(open_source(f"{tmp_path}/a.tar", labels=["json/n/y"]))
    assert (values, keys[-1]) == ([7, None, None], "[a.tar__1]")


def test_arrow_that_keeps_a_selection_is_refused(tmp_path: Path) -> None:
    """Rows that were only marked as selected are not read as if all were there; a split is asked for."""
    write_arrow(tmp_path / "train", pa.table({"label": [1]}))
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train"]}')
    assert read(open_source(str(tmp_path), labels=["label"], split="train"))[0] == [1]
    with pytest.raises(SourceError, match="no split 'tran'; did you mean 'train'"):
        open_source(str(tmp_path), labels=["label"], split="tran")
    (tmp_path / "train" / "state.json").write_text('{"_indices_data_files": [{"filename": "i.arrow"}]}')
    with pytest.raises(SourceError, match="flatten_indices"):
        open_source(str(tmp_path), labels=["label"], split="train")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("state.json", '{"_data_files": 5}', "'_data_files' is not an array"),
        ("state.json", '{"_data_files": {"0": {}}}', "'_data_files' is not an array"),
        ("state.json", '{"_data_files": [{"filename": "../a.arrow"}]}', "names files outside its folder"),
        ("state.json", '{"_data_files": [{"filename": "a.arrow"}, {"filename": "a.arrow"}]}', "names 'a.arrow' twice"),
        ("dataset_dict.json", '{"splits": "train"}', "'splits' is not an array"),
        ("dataset_dict.json", '{"splits": {"train": 1}}', "'splits' is not an array"),
        ("dataset_dict.json", '{"splits": ["test"]}', "no split 'train'"),
    ],
)
def test_a_state_that_datasets_does_not_write_is_an_error(tmp_path: Path, name: str, text: str, message: str) -> None:
    """Of another type, or with a file twice, whose records would be counted twice under the same keys."""
    write_arrow(tmp_path / "d", pa.table({"label": [1]}))
    (tmp_path / "d" / name).write_text(text)
    with pytest.raises(SourceError, match=message):
        open_source(f"arrow:{tmp_path}/d", labels=["label"], split="train")


@pytest.mark.parametrize("text", ["{}", '{"_data_files": null}', '{"_data_files": []}'])
def test_a_state_that_names_no_files_leaves_those_of_the_folder(tmp_path: Path, text: str) -> None:
    """As that of an older version of datasets."""
    write_arrow(tmp_path / "d", pa.table({"label": [1]}))
    (tmp_path / "d" / "state.json").write_text(text)
    assert read(open_source(f"arrow:{tmp_path}/d", labels=["label"]))[0] == [1]


def test_csv_as_people_write_it(tmp_path: Path) -> None:
    """Delimiters, encodings and files without a header, by options; without these an error names the option."""
    (tmp_path / "a.csv").write_bytes("Länge;label\n5,1;3\n".encode("latin-1"))
    uri = f"{tmp_path}/a.csv"
    with pytest.raises(SourceError, match="add \\?encoding=NAME"):
        open_source(uri, labels=["label"])
    assert read(open_source(f"csv:{uri}?delimiter=;&encoding=latin-1", labels=["label"]))[0] == [3]
    assert read(open_source(f"{uri}?delimiter=;&encoding=latin-1", labels=["label"]))[0] == [3]
    (tmp_path / "b.csv").write_text("x;label\n1;3\n")
    with pytest.raises(SourceError, match="add \\?delimiter=;"):
        open_source(f"{tmp_path}/b.csv", labels=["label"])
    (tmp_path / "c.csv").write_text("5.1,3\n4.9,2\n")
    with pytest.raises(SourceError, match=r"looks like data \(5.1, 3\); add \?header=none"):
        open_source(f"{tmp_path}/c.csv", labels=["1"])
    assert read(open_source(f"{tmp_path}/c.csv?header=none", labels=["1"]))[0] == [3, 2]
    assert read(open_source(f"{tmp_path}/c.csv?header=first", labels=["3"]))[0] == [2]


def test_jsonl_bound_is_that_of_json() -> None:
    """One bound, in the docs and for both forms."""
    assert jsonl.MAX_LINE_BYTES == json_stream.MAX_LINE_BYTES == 32 << 20


def test_masks_have_no_other_field(tmp_path: Path) -> None:
    """A record key is in no PNG: records keep the name of their file."""
    for name in "ab":
        Image.new("L", (3, 2)).save(tmp_path / f"{name}.png")
    source = open_source(f"masks:{tmp_path}", labels={"any": (None, None)}, record_key="id")
    chunks = [chunk for shard in source.shards() for chunk in source.read(shard)]
    assert [key for chunk in chunks for key in chunk.keys] == [f"{tmp_path.name}/{name}.png" for name in "ab"]
    assert [value.shape for chunk in chunks for value in chunk.columns["any"]] == [(2, 3)] * 2
