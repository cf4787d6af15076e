"""Makes one small dataset of insects in every format that label_guard reads, each as its usual writer leaves it.

    python tests/data/make.py /tmp/insects

120 pictures of four kinds, drawn once with a fixed seed. Most formats hold one mistake: picture 17 has the class id 4,
or the name ``Beetle ``. Nothing is downloaded.
"""

from __future__ import annotations

import io
import json
import struct
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image

CLASSES = ("bee", "beetle", "butterfly", "dragonfly")
COUNT, WRONG = 120, 17
_RNG = np.random.default_rng(5)
IDS = [int(k) for k in _RNG.choice(4, COUNT, p=(0.4, 0.3, 0.2, 0.1))]
IDS[WRONG] = 4
NAMES = [CLASSES[k] if k < 4 else "Beetle " for k in IDS]
LENGTHS = [round(float(x), 2) for x in _RNG.gamma(9.0, 2.0, COUNT)]
PIXELS = [_RNG.integers(0, 255, (4, 4), dtype=np.uint8) for _ in range(COUNT)]
MASKS = [np.pad(np.full((3, 4), k + 1, np.uint8), ((1, 2), (2, 2))) for k in IDS[:24]]


def rows() -> list[dict[str, Any]]:
    """One object a picture: identifier, file, length of the body in millimetres, and label."""
    return [
        {"id": 1000 + k, "file": f"pictures/{k:04}.jpg", "length_mm": LENGTHS[k], "label": IDS[k]} for k in range(COUNT)
    ]


def png(pixels: np.ndarray) -> bytes:
    """A PNG file."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


# Text -----------------------------------------------------------------------------------------------------------------


def csv(path: Path) -> None:
    """Class names in a column."""
    lines = [f'{row["id"]},"{row["file"]}",{row["length_mm"]},{name}' for row, name in zip(rows(), NAMES, strict=True)]
    path.write_text("\n".join(["id,file,length_mm,species", *lines]) + "\n")


def tsv(path: Path) -> None:
    """Class ids in a column whose name says nothing, tabs between the fields."""
    lines = ["\t".join(map(str, row.values())) for row in rows()]
    path.write_text("\n".join(["id\tfile\tlength_mm\tspecies_no", *lines]) + "\n")


def jsonl(path: Path) -> None:
    """An object a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows()))


def json_array(path: Path) -> None:
    """An array of objects, pretty-printed."""
    path.write_text(json.dumps(rows(), indent=1))


def json_columns(path: Path) -> None:
    """An object of arrays."""
    path.write_text(json.dumps({name: [row[name] for row in rows()] for name in rows()[0]}))


# Arrow ----------------------------------------------------------------------------------------------------------------


def table() -> pa.Table:
    """Columns as pandas writes them."""
    return pa.table({name: [row[name] for row in rows()] for name in rows()[0]})


def hf_table() -> pa.Table:
    """Columns as Hugging Face writes them: an image, and a ``ClassLabel`` whose names are in the metadata."""
    pictures = [{"bytes": png(pixels), "path": f"{k:04}.png"} for k, pixels in enumerate(PIXELS)]
    label = {"names": list(CLASSES), "_type": "ClassLabel"}
    metadata = {"info": {"features": {"image": {"_type": "Image"}, "label": label}}}
    found = pa.table({"image": pictures, "label": pa.array(IDS, pa.int64())})
    return found.replace_schema_metadata({"huggingface": json.dumps(metadata)})


def arrow(path: Path) -> None:
    """A folder as ``Dataset.save_to_disk`` makes it."""
    path.mkdir()
    (path / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    (path / "dataset_info.json").write_text(json.dumps({"features": {}}))
    found = hf_table()
    with pa.OSFile(str(path / "data-00000-of-00001.arrow"), "wb") as file, pa.ipc.new_stream(file, found.schema) as out:
        out.write_table(found)


# Records --------------------------------------------------------------------------------------------------------------


def _field(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


def example(k: int) -> bytes:
    """A ``tf.Example`` with a picture, its name and its label."""
    features = {
        "image": _field(1, _field(1, png(PIXELS[k]))),
        "id": _field(1, _field(1, b"%04d" % k)),
        "label": _field(3, _field(1, _varint(IDS[k]))),
    }
    entries = (_field(1, _field(1, name.encode()) + _field(2, value)) for name, value in features.items())
    return _field(1, b"".join(entries))


def tfrecord(path: Path) -> None:
    """A file of ``tf.Example`` as TensorFlow frames it."""

    def masked(data: bytes) -> bytes:
        crc = google_crc32c.value(data)
        return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)

    framed = (
        struct.pack("<Q", len(data)) + masked(struct.pack("<Q", len(data))) + data + masked(data)
        for data in map(example, range(COUNT))
    )
    path.write_bytes(b"".join(framed))


def array_record(path: Path) -> None:
    """A file of ``tf.Example`` for Grain."""
    writer = ArrayRecordWriter(str(path), "group_size:1")
    for k in range(COUNT):
        writer.write(example(k))
    writer.close()


def tfds(path: Path) -> None:
    """A prepared TFDS folder, of ArrayRecord files."""
    import tensorflow_datasets as tfds

    class Insects(tfds.core.GeneratorBasedBuilder):
        """Insects."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            kinds = {
                "image": tfds.features.Image(shape=(4, 4, 1)),
                "id": tfds.features.Text(),
                "label": tfds.features.ClassLabel(names=CLASSES),
            }
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(kinds))

        def _split_generators(self, dl_manager: Any) -> Any:
            return {"train": self._generate_examples(range(100)), "test": self._generate_examples(range(100, 120))}

        def _generate_examples(self, places: Any) -> Any:
            for k in places:
                yield k, {"image": png(PIXELS[k]), "id": f"{k:04}", "label": IDS[k] % 4}

    tfds.disable_progress_bar()
    config = tfds.download.DownloadConfig(
        try_download_gcs=False, compute_stats=tfds.download.ComputeStatsMode.SKIP, num_shards=1
    )
    builder = Insects(data_dir=path.parent / "made", file_format="array_record")
    builder.download_and_prepare(download_config=config)
    Path(builder.data_dir).rename(path)


# Numbers --------------------------------------------------------------------------------------------------------------


def idx(path: Path) -> None:
    """Labels as MNIST keeps them."""
    import gzip

    head = struct.pack(">BBBBI", 0, 0, 8, 1, COUNT)
    path.write_bytes(gzip.compress(head + np.array(IDS, np.uint8).tobytes(), mtime=0))


def megatron(path: Path) -> None:
    """Tokens of 40 documents as uint16, with the index of Megatron-LM next to them."""
    rng = np.random.default_rng(3)
    rows = [np.minimum(rng.zipf(1.3, rng.integers(20, 90)), 999).astype("<u2") for _ in range(40)]
    lengths = np.array(list(map(len, rows)), np.int32)
    places = 2 * (np.cumsum(lengths) - lengths).astype(np.int64)
    path.write_bytes(np.concatenate(rows).tobytes())
    head = b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, 8, len(rows), len(rows) + 1)
    documents = np.arange(len(rows) + 1, dtype=np.int64)
    path.with_suffix(".idx").write_bytes(head + lengths.tobytes() + places.tobytes() + documents.tobytes())


def tokens(path: Path) -> None:
    """Tokens alone, as nanoGPT writes them."""
    ranks = (1 - np.random.default_rng(3).random(4000)) ** -3.3  # Zipf; what rng.zipf draws depends on NumPy's version
    path.write_bytes(np.minimum(ranks, 999).astype("<u2").tobytes())


# Folders --------------------------------------------------------------------------------------------------------------


def targets(path: Path) -> None:
    """Lengths alone, as they are written by hand: 18 next to 18.25."""
    path.write_text("target\n" + "".join(f"{round(length * 4) / 4:g}\n" for length in LENGTHS))


def coco(path: Path) -> None:
    """Boxes of COCO: ids of categories with gaps, one that is not declared."""
    ids = {0: 1, 1: 2, 2: 4, 3: 8, 4: 5}
    boxes = [
        {"id": k, "image_id": k // 2, "category_id": ids[IDS[k]], "bbox": [1, 2, LENGTHS[k], 4.5], "iscrowd": 0}
        for k in range(COUNT)
    ]
    categories = [{"id": ids[k], "name": name} for k, name in enumerate(CLASSES)]
    images = [{"id": k, "file_name": f"{k:04}.png"} for k in range(COUNT // 2)]
    (path.parent / "images").mkdir(exist_ok=True)
    for image in images:
        (path.parent / "images" / image["file_name"]).write_bytes(png(PIXELS[image["id"]]))
    path.write_text(json.dumps({"images": images, "annotations": boxes, "categories": categories}))


def yolo(path: Path) -> None:
    """Boxes of YOLO: a text per picture."""
    (path / "labels").mkdir(parents=True)
    (path / "images").mkdir()
    (path / "data.yaml").write_text(f"path: .\ntrain: images\nnames: {list(CLASSES)}\n")
    for k in range(COUNT // 2):
        lines = [f"{IDS[j]} 0.5 0.5 {LENGTHS[j] / 100:.3f} 0.25\n" for j in (2 * k, 2 * k + 1)]
        (path / "labels" / f"{k:04}.txt").write_text("".join(lines))
        (path / "images" / f"{k:04}.png").write_bytes(png(PIXELS[k]))


def folder(path: Path) -> None:
    """A folder per class, in two splits."""
    for k in range(COUNT):
        place = path / ("train" if k < 100 else "test") / CLASSES[IDS[k] % 4]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{k:04}.png").write_bytes(png(PIXELS[k]))


def masks(path: Path) -> None:
    """Masks of 0 and 1-based ids."""
    path.mkdir()
    for k, mask in enumerate(MASKS):
        (path / f"{k:04}.png").write_bytes(png(mask))


def hf_masks(path: Path) -> None:
    """Masks as Hugging Face keeps images in Parquet."""
    pq.write_table(pa.table({"mask": [{"bytes": png(m), "path": f"{k}.png"} for k, m in enumerate(MASKS)]}), path)


def webdataset(path: Path) -> None:
    """A tar of pictures, classes and captions."""
    with tarfile.open(path, "w") as archive:
        for k in range(COUNT):
            caption = f"a {NAMES[k].strip().lower()}, {LENGTHS[k]} mm"
            for name, data in ((f"{k:04}.png", png(PIXELS[k])), (f"{k:04}.cls", b"%d" % IDS[k]),
                               (f"{k:04}.txt", caption.encode())):  # fmt: skip
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))


DATASETS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "csv": ("insects.csv", csv),
    "tsv": ("insects.tsv", tsv),
    "targets": ("targets.csv", targets),
    "jsonl": ("insects.jsonl", jsonl),
    "json": ("insects.json", json_array),
    "json_columns": ("columns.json", json_columns),
    "parquet": ("insects.parquet", lambda path: pq.write_table(table(), path)),
    "hf_parquet": ("hf.parquet", lambda path: pq.write_table(hf_table(), path)),
    "arrow": ("saved_to_disk", arrow),
    "tfrecord": ("insects.tfrecord", tfrecord),
    "array_record": ("insects.array_record", array_record),
    "tfds": ("tfds/insects/1.0.0", tfds),
    "npy": ("labels.npy", lambda path: np.save(path, np.array(IDS))),
    "npz": ("insects.npz", lambda path: np.savez(path, images=np.stack(PIXELS), labels=np.array(IDS, np.int32))),
    "idx": ("insects-labels-idx1-ubyte.gz", idx),
    "raw": ("tokens.bin?dtype=uint16", tokens),
    "megatron": ("documents.bin", megatron),
    "coco": ("instances.json", coco),
    "yolo": ("yolo", yolo),
    "folder": ("folders", folder),
    "masks": ("masks", masks),
    "hf_masks": ("masks.parquet", hf_masks),
    "webdataset": ("insects.tar", webdataset),
}


def make(folder: Path, names: tuple[str, ...] = tuple(DATASETS)) -> None:
    """Writes the datasets ``names`` below ``folder``."""
    for name in names:
        file, write = DATASETS[name]
        path = folder / file.partition("?")[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
