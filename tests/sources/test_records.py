"""TFRecord and ArrayRecord files: framing, damage, bounded memory."""

import dataclasses
import gzip
import io
import json
import pickle
import struct
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path

import google_crc32c
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from label_guard.check.guard import Guard
from label_guard.errors import MissingDependencyError, SourceError
from label_guard.schema.dataset import DatasetSchema
from label_guard.sources import base, encoded_labels, tf_record
from label_guard.sources import tf_example as examples
from label_guard.sources import tf_example_wire as wire
from label_guard.sources.base import Chunk
from label_guard.sources.encoded_labels import Encoding
from label_guard.sources.open import open_source
from label_guard.sources.source import Source


def example(label: int | None, payload: bytes = b"", name: str = "") -> bytes:
    """A tf.Example as a writer makes it."""
    made = examples._example_class()()
    made.features.feature["image"].bytes_list.value.append(payload)
    if label is not None:
        made.features.feature["label"].int64_list.value.append(label)
    if name:
        made.features.feature["id"].bytes_list.value.append(name.encode())
    return made.SerializeToString()


def masked(data: bytes) -> bytes:
    """The masked checksum as TFRecord stores it."""
    crc = google_crc32c.value(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def framed(record: bytes) -> bytes:
    """One record in TFRecord framing."""
    length = struct.pack("<Q", len(record))
    return length + masked(length) + record + masked(record)


def array_record(path: Path, records: list[bytes], options: str = "group_size:1,zstd:3") -> None:
    """Write ``records`` as TFDS does."""
    writer = ArrayRecordWriter(str(path), options)
    for record in records:
        writer.write(record)
    writer.close()


def read(source: Source) -> tuple[list[Chunk], str]:
    """All chunks of the first shard, and the error that ended it."""
    chunks = []
    try:
        chunks.extend(source.read(source.shards()[0]))
    except SourceError as error:
        return chunks, str(error)
    return chunks, ""


def labels(chunks: list[Chunk]) -> list[object]:
    """The values of ``label`` in order."""
    return [value for chunk in chunks for value in chunk.columns["label"]]


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 300 bytes, so that a few records cross many borders."""
    for module in (base, tf_record):
        monkeypatch.setattr(module, "CHUNK_BYTES", 300)
    monkeypatch.setattr(examples, "_ENOUGH_RECORDS", 1)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_tfrecord_labels_and_keys_in_order(tmp_path: Path, suffix: str) -> None:
    """Every record of any size comes once, in order, with its key and the int64 that is stored."""
    values = [3, -1, 2**31 + 5, -(2**63), 255] * 20
    data = b"".join(framed(example(v, bytes(37 * k % 900))) for k, v in enumerate(values))
    (tmp_path / f"a.tfrecord{suffix}").write_bytes(gzip.compress(data) if suffix else data)
    source = pickle.loads(pickle.dumps(open_source(f"tfrecord:{tmp_path}/*", labels=["label"])))
    chunks, error = read(source)
    assert (labels(chunks), error) == (values, "")
    assert [key for c in chunks for key in c.keys] == [f"a.tfrecord{suffix}__{k}" for k in range(100)]
    assert [row for c in chunks for row in c.rows] == list(range(100))
    assert all(c.columns["label"].dtype == np.int64 for c in chunks)
    assert len(chunks) > 10


@given(cut=st.integers(0, 2000), chunk=st.integers(1, 400))
@settings(deadline=None, max_examples=60)
def test_truncated_tfrecord_yields_what_is_whole(
    tmp_path_factory: pytest.TempPathFactory, cut: int, chunk: int
) -> None:
    """Whole records before the cut are read; a cut inside a record is an error, one between records is none."""
    frames = [framed(example(k, bytes(k * 7))) for k in range(20)]
    ends = np.cumsum([len(frame) for frame in frames]).tolist()
    path = tmp_path_factory.mktemp("cut") / "a.tfrecord"
    path.write_bytes(b"".join(frames)[:cut])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf_record, "CHUNK_BYTES", chunk)
        found, error = [], ""
        try:
            for frame in tf_record.frames(str(path)):
                found += frame.rows
        except SourceError as fault:
            error = str(fault)
    whole = sum(end <= cut for end in ends)
    assert found == list(range(whole))
    clean = cut >= ends[-1] or cut in (0, *ends)
    assert clean if not error else error.endswith(f"inside record {whole}: the file is truncated")


@pytest.mark.usefixtures("small_chunks")
def test_tfrecord_bad_data_is_one_record_and_bad_length_the_rest(tmp_path: Path) -> None:
    """Data that fail their checksum cost one record; a length that fails its own ends the shard, both reported."""
    frames = [bytearray(framed(example(k, bytes(50), f"r{k}"))) for k in range(12)]
    frames[4][40] ^= 1
    frames[9][0] ^= 1
    (tmp_path / "a.tfrecord").write_bytes(b"".join(frames))
    source = open_source(f"tfrecord:{tmp_path}/a.tfrecord", labels=["label"], record_key="id")
    chunks, error = read(source)
    assert labels(chunks) == [0, 1, 2, 3, 5, 6, 7, 8]
    assert [key for c in chunks for key in c.keys] == ["r0", "r1", "r2", "r3", "r5", "r6", "r7", "r8"]
    assert [tuple(u) for c in chunks for u in c.unreadable] == [(4, "a.tfrecord__4", "its data fail their checksum")]
    assert error.endswith("cannot be read from record 9 on: its length fails its checksum")


def test_a_record_that_is_no_example_is_unreadable(tmp_path: Path) -> None:
    """A sound frame around garbage is LG120 for that record alone."""
    records = [example(0), b"\xff\xff\xff", example(2), b"\x0a\x05abc", example(None)]
    (tmp_path / "a.tfrecord").write_bytes(b"".join(map(framed, records)))
    chunks, error = read(open_source(f"tfrecord:{tmp_path}/a.tfrecord", labels=["label"]))
    assert not error
    assert [u.row for c in chunks for u in c.unreadable] == [1, 3]
    assert [row for c in chunks for row in c.rows] == [0, 2, 4]
    assert labels(chunks) == [0, 2, None]


@pytest.mark.parametrize("length", [2**60, 2**31 - 1, 2**64 - 1])
def test_a_length_that_lies_allocates_nothing(tmp_path: Path, length: int) -> None:
    """A huge length with a right checksum is refused without memory for it."""
    head = struct.pack("<Q", length)
    (tmp_path / "a.tfrecord").write_bytes(framed(example(1)) + head + masked(head) + b"x" * 100)
    tracemalloc.start()
    chunks, error = read(open_source(f"tfrecord:{tmp_path}/a.tfrecord", labels=["label"]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert labels(chunks) == [1]
    assert "truncated" in error or "beyond 2 GiB" in error
    assert peak < 100 << 20


@pytest.mark.parametrize(
    ("name", "data", "reported"),
    [
        ("a.tfrecord", b"", ""),
        ("a.tfrecord", b"no tfrecord at all, but longer than a header", "is not a TFRecord file"),
        ("a.tfrecord", gzip.compress(framed(example(1))), "it is gzip, name it .gz"),
        ("a.tfrecord.gz", framed(example(1)), "cannot read"),
        ("a.tfrecord.gz", gzip.compress(framed(example(1)) * 9)[:40], "the compressed data end too early"),
        ("a.tfrecord", framed(b"\xff\xff"), "not a tf.Example"),
    ],
    ids=["empty", "text", "gzip unnamed", "gzip named only", "gzip cut", "no example"],  # the bytes differ by process
)
def test_what_is_no_tfrecord_is_one_clear_error(tmp_path: Path, name: str, data: bytes, reported: str) -> None:
    """Wrong magic, a wrong name and truncated gzip are reported when the source is opened."""
    (tmp_path / name).write_bytes(data)
    if not reported:
        assert read(open_source(f"tfrecord:{tmp_path}/{name}", labels=["label"])) == ([], "")
        return
    with pytest.raises(SourceError, match=reported):
        open_source(f"tfrecord:{tmp_path}/{name}", labels=["label"])


@pytest.mark.parametrize("options", ["group_size:1,zstd:3", "group_size:64", "group_size:1,uncompressed"])
def test_array_record_labels_and_keys_in_order(tmp_path: Path, options: str) -> None:
    """Every record comes once and in order, for any group size."""
    array_record(tmp_path / "a.array_record", [example(k % 300, bytes(k % 50)) for k in range(5000)], options)
    source = pickle.loads(pickle.dumps(open_source(f"array_record:{tmp_path}/a.array_record", labels={"label": ()})))
    chunks, error = read(source)
    assert (labels(chunks), error) == ([k % 300 for k in range(5000)], "")
    assert [key for c in chunks for key in c.keys] == [f"a.array_record__{k}" for k in range(5000)]


def test_array_record_reads_around_corrupt_records(tmp_path: Path) -> None:
    """A run of damaged bytes costs the records that lie there, each reported, and no other."""
    path = tmp_path / "a.array_record"
    rng = np.random.default_rng(0)
    array_record(path, [example(k, rng.bytes(200)) for k in range(500)])
    data = bytearray(path.read_bytes())
    data[60_000:61_000] = bytes(1000)
    path.write_bytes(data)
    reader = ArrayRecordReader(str(path), "")
    broken = []
    for k in range(500):
        try:
            reader.read(k, k + 1)
        except RuntimeError:
            broken.append(k)
    chunks, error = read(open_source(f"array_record:{path}", labels=["label"]))
    assert not error
    assert len(broken) > 2
    assert [u.row for c in chunks for u in c.unreadable] == broken
    assert labels(chunks) == [k for k in range(500) if k not in broken]


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty", "missing", "folder"])
def test_what_is_no_array_record_is_never_an_empty_one(tmp_path: Path, damage: str) -> None:
    """The reader opens such files with 0 records and no error; the source refuses them."""
    path = tmp_path / "a.array_record"
    array_record(path, [example(k) for k in range(10)])
    data = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "missing":
        path.write_bytes({"truncated": data[:-1], "garbage": b"garbage" * 100, "empty": b""}[damage])
    with pytest.raises(SourceError, match=r"not an ArrayRecord file|no file matches|is a folder"):
        open_source(f"array_record:{path}", labels=["label"])


def test_one_unreadable_shard_leaves_the_others(tmp_path: Path) -> None:
    """Opening looks past a damaged shard; reading it is an error, the others are read."""
    for k in range(3):
        array_record(tmp_path / f"{k}.array_record", [example(k)] * 4)
    (tmp_path / "0.array_record").write_bytes(b"gone")
    source = open_source(f"array_record:{tmp_path}/*.array_record", labels=["label"])
    found = {}
    for shard in source.shards():
        try:
            found[shard.name] = labels(list(source.read(shard)))
        except SourceError as error:
            found[shard.name] = str(error)
    assert "not an ArrayRecord" in found.pop("0.array_record")
    assert found == {"1.array_record": [1] * 4, "2.array_record": [2] * 4}


def test_files_of_one_name_have_keys_of_their_own(tmp_path: Path) -> None:
    """A glob over folders puts the folder into the key."""
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "part.tfrecord").write_bytes(framed(example(1)))
    source = open_source(f"tfrecord:{tmp_path}/*/part.tfrecord", labels=["label"])
    keys = [key for shard in source.shards() for chunk in source.read(shard) for key in chunk.keys]
    assert keys == ["x/part.tfrecord__0", "y/part.tfrecord__0"]


def test_a_wrong_label_names_the_near_one(tmp_path: Path) -> None:
    """A label path that no record has is refused with what there is."""
    (tmp_path / "a.tfrecord").write_bytes(framed(example(1)))
    with pytest.raises(SourceError, match="has no field 'lable'; did you mean 'label'"):
        open_source(f"tfrecord:{tmp_path}/a.tfrecord", labels=["lable"])
    with pytest.raises(SourceError, match="has no field 'key'; there are 'image', 'label'"):
        open_source(f"tfrecord:{tmp_path}/a.tfrecord", labels=["label"], record_key="key")


def test_remote_tfrecord_through_fsspec(tmp_path: Path) -> None:
    """A URL is listed and read through fsspec, with the same keys."""
    import fsspec

    filesystem = fsspec.filesystem("memory")
    for k in range(2):
        filesystem.pipe(f"/records/{k}.tfrecord", framed(example(k)) * 2)
    source = open_source("tfrecord:memory://records/*.tfrecord", labels=["label"])
    chunks = [chunk for shard in source.shards() for chunk in source.read(shard)]
    assert labels(chunks) == [0, 0, 1, 1]
    assert [key for c in chunks for key in c.keys] == [f"{k}.tfrecord__{row}" for k in (0, 1) for row in (0, 1)]
    with pytest.raises(SourceError, match="no file matches"):
        open_source("tfrecord:memory://records/*.nothing", labels=["label"])


def masks_file(path: Path, values: list[bytes]) -> None:
    """A TFRecord whose label ``mask`` is encoded bytes, next to an int64 ``label``."""
    records = []
    for k, value in enumerate(values):
        made = examples._example_class()()
        made.features.feature["mask"].bytes_list.value.append(value)
        made.features.feature["label"].int64_list.value.append(k)
        records.append(framed(made.SerializeToString()))
    path.write_bytes(b"".join(records))


def png(array: np.ndarray, palette: bool = False) -> bytes:
    """``array`` as PNG, with a palette where asked."""
    image = Image.fromarray(array)
    if palette:
        image.putpalette([7 * k % 256 for k in range(768)])
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_png_masks_are_decoded_as_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks keep ids and width: palette indices are not turned into colours, 16 bits stay 16; damage costs a record."""
    plain = np.arange(12, dtype=np.uint8).reshape(3, 4)
    wide = np.full((3, 4), 60_000, np.uint16)
    monkeypatch.setattr(examples, "_ENOUGH_RECORDS", 1)
    monkeypatch.setattr(encoded_labels, "CHUNK_BYTES", 40)
    values = [png(plain), png(plain, palette=True), b"\x89PNG\r\n\x1a\nbroken", png(wide), *[png(plain)] * 20]
    masks_file(tmp_path / "a.tfrecord", values)
    source = open_source(f"tfrecord:{tmp_path}/a.tfrecord", labels={"mask": (None, None), "label": ()})
    chunks, error = read(source)
    assert not error
    assert len(chunks) > 1
    found = [mask for chunk in chunks for mask in chunk.columns["mask"]]
    np.testing.assert_array_equal(found[0], plain)
    np.testing.assert_array_equal(found[1], plain)
    assert (found[2].dtype, found[2].max()) == (np.uint16, 60_000)
    assert labels(chunks) == [0, 1, *range(3, 24)]
    assert [row for chunk in chunks for row in chunk.rows] == [0, 1, *range(3, 24)]
    (bad,) = (u for chunk in chunks for u in chunk.unreadable)
    assert (bad.row, bad.reason.split(": ")[0]) == (2, "label 'mask'")
    scalar = open_source(f"tfrecord:{tmp_path}/a.tfrecord", labels={"mask": ()})
    assert read(scalar)[0][0].columns["mask"] == values


@pytest.mark.parametrize("kind", ["bytes", "zlib"])
def test_tensors_stored_as_bytes(tmp_path: Path, kind: str) -> None:
    """TFDS tensors in encoded form have their dtype and shape again; damaged ones are unreadable."""
    tensors = np.arange(24, dtype=np.int16).reshape(4, 2, 3)
    pack = zlib.compress if kind == "zlib" else bytes
    masks_file(tmp_path / "a.tfrecord", [*(pack(t.tobytes()) for t in tensors), b"\1\2\3"])
    form = dataclasses.replace(open_source(f"tfrecord:{tmp_path}/a.tfrecord", labels={"mask": (2, 3)}).format)
    form = dataclasses.replace(form, encodings={"mask": Encoding(kind, "int16")})
    (piece,) = form.read(str(tmp_path / "a.tfrecord"), {"mask": (2, 3)})
    np.testing.assert_array_equal(piece.columns["mask"], tensors)
    assert piece.columns["mask"].dtype == np.int16
    assert [row for row, _ in piece.unreadable] == [4]


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Reading 40 MB in records of 100 KB and of 500 bytes holds a few chunks at a time."""
    rng = np.random.default_rng(0)
    for size in (100_000, 500):
        record = example(7, rng.bytes(size))
        (tmp_path / "a.tfrecord").write_bytes(framed(record) * (40_000_000 // size))
        array_record(tmp_path / "a.array_record", [record] * (40_000_000 // size), "group_size:1,uncompressed")
        for scheme in ("tfrecord", "array_record"):
            source = open_source(f"{scheme}:{tmp_path}/a.{scheme}", labels=["label"])
            tracemalloc.start()
            count = sum(len(chunk) for chunk in source.read(source.shards()[0]))
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert count == 40_000_000 // size
            assert peak < 16 << 20


def test_fields_open_whole_records(tmp_path: Path) -> None:
    """A source names all that its records hold, so that it can be opened again for a payload."""
    (tmp_path / "a.tfrecord").write_bytes(framed(example(1, b"pixels", "r0")))
    uri = f"tfrecord:{tmp_path}/a.tfrecord"
    names = open_source(uri, labels=["label"]).fields()
    assert sorted(names) == ["id", "image", "label"]
    (chunk,) = read(open_source(uri, labels=names))[0]
    assert {name: chunk.columns[name][0] for name in names} == {"id": b"r0", "image": b"pixels", "label": 1}


@pytest.mark.parametrize(
    ("scheme", "module", "extra"),
    [
        ("array_record", "array_record.python.array_record_module", "records"),
        ("tfrecord", "google_crc32c", "records"),
        ("tfrecord", "google.protobuf.descriptor_pb2", "records"),
        ("parquet", "pyarrow", "parquet"),
    ],
)
def test_a_missing_framework_names_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, module: str, extra: str
) -> None:
    """Without its package a format says what to install."""
    examples._example_class.cache_clear()
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "a").write_bytes(framed(b""))
    with pytest.raises(MissingDependencyError, match=rf"pip install \"label-guard\[{extra}\]"):
        open_source(f"{scheme}:{tmp_path}/a", labels=["label"])


def test_importing_sources_imports_no_framework() -> None:
    """The frameworks of the formats are imported when a file of theirs is opened."""
    code = "import sys, label_guard.sources; print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for name in ("pyarrow", "array_record", "google.protobuf", "google_crc32c", "fsspec", "PIL", "tensorflow_datasets"):
        assert f"'{name}'" not in loaded


def test_one_verdict_whatever_the_format(tmp_path: Path) -> None:
    """The same faulty labels, checked straight from the chunks, give the same records and rules in each format."""
    values = [3, -1, 10, None, 2**31 + 5, 9, 0]
    (tmp_path / "a.csv").write_text("label,id\n" + "".join(f"{'' if v is None else v},x\n" for v in values))
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"label": v}) + "\n" for v in values))
    pq.write_table(pa.table({"label": values}), tmp_path / "a.parquet")
    (tmp_path / "a.tfrecord").write_bytes(b"".join(framed(example(v)) for v in values))
    array_record(tmp_path / "a.array_record", [example(v) for v in values])
    label = {"kind": "class_label", "num_classes": 10, "dtype": "int64"}
    schema = {"format": 1, "name": "digits", "version": "1.0.0", "labels": {"label": label}}
    guard = Guard(DatasetSchema.model_validate(schema))
    for scheme in ("csv", "jsonl", "parquet", "tfrecord", "array_record"):
        source = open_source(f"{scheme}:{tmp_path}/a.{scheme}", labels={"label": ()})
        (chunk,) = read(source)[0]
        result = guard.check_batch(chunk.columns)
        bad = [chunk.keys[row] for row in np.flatnonzero(~result.valid)]
        assert bad == [f"a.{scheme}__{k}" for k in (1, 2, 3, 4)]
        assert result.counts == {"LG102": 1, "LG101": 2, "LG104": 1}


BLOCKS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2), st.booleans()), min_size=1, max_size=12)


@given(blocks=BLOCKS, enough=st.integers(1, 60), few=st.integers(1, 50), fault=st.booleans())
def test_few_records_wait_for_others(blocks: list[tuple[int, int, bool]], enough: int, few: int, fault: bool) -> None:
    """Whatever the blocks, gathering loses, moves and changes no record, also where the next block overwrites one."""
    buffer = np.zeros(4096, np.uint8)

    def made() -> Iterator[examples.Frames]:
        row = 0
        for count, unreadable, in_place in blocks:
            records = [example(row + place, bytes(place)) for place in range(count)]
            rows = range(row, row + count)
            bad = [(place, "bad") for place in range(row + count, row + count + unreadable)]
            if in_place:
                found = wire.Slices.of(records)
                buffer[:] = 255
                buffer[: len(found.data)] = found.data
                yield examples.Frames(rows, wire.Slices(buffer, found.starts, found.stops), bad)
            else:
                yield examples.Frames(rows, records, bad)
            row += count + unreadable
        if fault:
            raise SourceError("torn")

    found: list[tuple[int, bytes]] = []
    unreadable: list[tuple[int, str]] = []
    sizes: list[tuple[int, bool]] = []
    torn = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examples, "_ENOUGH_RECORDS", enough)
        patch.setattr(examples, "_FEW_RECORDS", few)
        try:
            for frames in examples._gathered(made(), {"label": ()}):
                found += zip(frames.rows, map(bytes, frames.records), strict=True)
                unreadable += frames.unreadable
                sizes.append((len(frames.rows) + len(frames.unreadable), isinstance(frames.records, wire.Slices)))
        except SourceError:
            torn = True
    rows = [row for row, _ in found]
    starts = np.cumsum([0, *(count + bad for count, bad, _ in blocks)]).tolist()
    expected = {start + k: k for (count, _, _), start in zip(blocks, starts, strict=False) for k in range(count)}
    assert torn == fault
    assert found == [(row, example(row, bytes(place))) for row, place in expected.items()]
    assert sorted([*rows, *(row for row, _ in unreadable)]) == list(range(starts[-1]))
    small = [size for size, many in sizes if not many]
    assert sum(size < enough for size in small) <= 1 + sum(count >= few for count, _, _ in blocks)
