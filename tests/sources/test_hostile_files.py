"""Files from strangers: what they name, what they unpack to and what kind of file they are cost an error, no more."""

import gzip
import io
import itertools
import os
import socket
import struct
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from label_guard.audit.runner import audit_dataset
from label_guard.audit.thumbnails import thumbnail
from label_guard.core.files import PROTOCOLS, filesystem_of
from label_guard.errors import SourceError, UsageError
from label_guard.quarantine.options import QuarantineOptions
from label_guard.schema.dataset import DatasetSchema
from label_guard.sources import csv as csv_source
from label_guard.sources import encoded_labels, jsonl, numpy_files
from label_guard.sources.encoded_labels import Encoding, decode
from label_guard.sources.open import open_source

SIGNATURE = b"\x89PNG\r\n\x1a\n"
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n%%EndComments\nnewpath\n%%EOF\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
# Left, top, steps to the right and down of each pass of an interlaced picture.
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def read(uri: str, labels: object = ("label",), **options: object) -> tuple[list[object], list[tuple[int, str]]]:
    """The values of the first label and the unreadable records, of all chunks."""
    source = open_source(uri, labels=labels, **options)
    chunks = [chunk for shard in source.shards() for chunk in source.read(shard)]
    name = next(iter(labels))
    values = [value for chunk in chunks for value in chunk.columns[name]]
    return values, [(u.row, u.reason) for chunk in chunks for u in chunk.unreadable]


def schema_of(label: str = "label", **train: object) -> DatasetSchema:
    """A schema of one class label and one split."""
    labels = {label: {"kind": "class_label", "num_classes": 10}}
    fields = {"format": 1, "name": "t", "version": "1.0.0", "labels": labels, "splits": {"train": train}}
    return DatasetSchema.model_validate(fields)


def arrow_stream(folder: Path, rows: int, **options: bool) -> bytes:
    """Writes a stream of several batches; returns its bytes."""
    table = pa.table({"label": np.arange(rows) % 7})
    with pa.ipc.new_stream(folder / "a.arrow", table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=6)
    return (folder / "a.arrow").read_bytes()


def tar_of(labels: list[int]) -> bytes:
    """A WebDataset archive with a sample for each label."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for number, label in enumerate(labels):
            member = tarfile.TarInfo(f"{number:04}.cls")
            member.size = len(str(label))
            archive.addfile(member, io.BytesIO(str(label).encode()))
    return file.getvalue()


# What a URL may name --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", sorted({*fsspec.available_protocols(), "reference", "sftp", "x"}))
def test_only_protocols_of_the_list_reach_fsspec(protocol: str) -> None:
    """Every other protocol that fsspec knows, and every chained URL, is refused before fsspec is asked for it."""
    asked = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fsspec.core, "url_to_fs", lambda url, **_: asked.append(url) or (None, ""))
        for url in (f"{protocol}://host/a.csv", f"{protocol}::file:///a.csv", f"s3://a.csv::{protocol}://b"):
            if protocol in PROTOCOLS and "::" not in url:
                filesystem_of(url)
                assert asked.pop() == url
                continue
            with pytest.raises(ValueError, match="not allowed"):
                filesystem_of(url)
            with pytest.raises(SourceError, match="not allowed"):
                open_source(f"csv:{url}", labels=["label"])
            with pytest.raises(UsageError, match="not allowed"):
                QuarantineOptions(url)
    assert asked == []


def test_the_caller_may_allow_more_protocols(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the environment of the process adds to the list, never a schema."""
    with pytest.raises(ValueError, match="LABEL_GUARD_PROTOCOLS"):
        filesystem_of("data://a")
    monkeypatch.setenv("LABEL_GUARD_PROTOCOLS", "ftp, data")
    assert type(filesystem_of("data://a")[0]).__name__ == "DataFileSystem"


def test_a_schema_does_not_run_python(tmp_path: Path) -> None:
    """A function that a schema file names runs only where the caller allows it."""
    (tmp_path / "own_code.py").write_text(
        "from pathlib import Path\nPath(__file__).with_name('ran').touch()\ndef f():\n    yield {'label': 1}\n"
    )
    head = "format: 1\nname: x\nversion: 1.0.0\nlabels: {label: {kind: class_label, num_classes: 2}}\n"
    (tmp_path / "schema.yaml").write_text(head + "splits: {train: {source: 'python:own_code:f'}}\n")
    with pytest.raises(UsageError, match="--allow-python"):
        audit_dataset(tmp_path / "schema.yaml")
    assert not (tmp_path / "ran").exists()
    assert audit_dataset(tmp_path / "schema.yaml", allow_python=True).splits[0].records == 1


@pytest.mark.parametrize("code", ["raise SystemExit(1)", "def f():\n    yield {'label': 1}\n    raise SystemExit(1)"])
def test_code_that_ends_the_process_is_an_unreadable_source(tmp_path: Path, code: str) -> None:
    """SystemExit of the user's code, on import or while it runs, is a SourceError."""
    name = f"ends_{len(code)}"
    (tmp_path / f"{name}.py").write_text(code)
    with pytest.raises(SourceError, match="SystemExit"):
        read(f"python:{name}:f", {"label": ()}, base_dir=str(tmp_path))


# What a path may be ---------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices")
@pytest.mark.parametrize("scheme", ["csv", "jsonl", "npy", "npz", "parquet", "tfrecord", "array_record"])
def test_only_regular_files_are_opened(tmp_path: Path, scheme: str) -> None:
    """A pipe, a socket, an endless device and a link to itself are errors at once, in a glob too: only folders are not.

    What was to be a shard may be one of them by a slip: an audit that passes over it would say that all was read.
    """
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "zero").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket"))
        for name in ("pipe", "loop", "zero", "socket"):
            for prefix in ("", "file://"):
                with pytest.raises(SourceError, match=r"regular file|no file matches|the file does not exist"):
                    read(f"{scheme}:{prefix}{tmp_path}/{name}")
        (tmp_path / "folder").mkdir()
        for name in ("loop", "pipe", "socket", "zero"):
            with pytest.raises(SourceError, match=f"cannot read {tmp_path}/{name}|names . files; expected one"):
                read(f"{scheme}:{tmp_path}/*")
            (tmp_path / name).unlink()
        with pytest.raises(SourceError, match="no file matches"):
            read(f"{scheme}:{tmp_path}/*")


@pytest.mark.skipif(os.name != "posix", reason="links and pipes")
@pytest.mark.parametrize("scheme", ["csv", "jsonl", "json", "parquet"])
def test_what_is_no_regular_file_in_a_glob_is_a_file_that_was_not_read(tmp_path: Path, scheme: str) -> None:
    """A cache of linked files that lost one, a pipe, a device: the others are audited, and the audit is incomplete."""
    pq.write_table(pa.table({"label": [1]}), tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text("label\n1\n")
    (tmp_path / "a.jsonl").write_text('{"label": 1}\n')
    (tmp_path / "a.json").write_text('[{"label": 1}]')
    (tmp_path / f"b.{scheme}").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / f"c.{scheme}")
    (tmp_path / f"d.{scheme}").symlink_to("/dev/null")
    (tmp_path / f"e.{scheme}").mkdir()
    report = audit_dataset(schema_of(), source=f"{scheme}:{tmp_path}/*.{scheme}")
    assert [(shard.name, shard.records, bool(shard.error)) for shard in report.splits[0].shards] == [
        (f"a.{scheme}", 1, False), *((f"{name}.{scheme}", 0, True) for name in "bcd"),
    ]  # fmt: skip
    assert report.exit_code == 2


# Ends -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_samples_behind_a_block_of_zeros_are_not_passed_over(tmp_path: Path, suffix: str) -> None:
    """A hole of zeros in place of any header, or a second archive in the file, costs the file."""
    whole = tar_of([0, 1, 2])
    (tmp_path / f"a.{suffix}").write_bytes(gzip.compress(whole) if suffix == "tar.gz" else whole)
    holes = [whole[:place] + bytes(512) + whole[place + 512 :] for place in range(0, 3 * 1024, 1024)]
    for data in [*holes, whole * 2]:
        (tmp_path / f"b.{suffix}").write_bytes(gzip.compress(data) if suffix == "tar.gz" else data)
        report = audit_dataset(schema_of("cls"), source=f"webdataset:{tmp_path}/*.{suffix}")
        assert report.exit_code == 2
        assert "end mark" in report.splits[0].shards[1].error


def test_a_header_of_a_tar_is_small(tmp_path: Path) -> None:
    """Python takes hours for an extended header of a few megabytes of digits: it is refused before."""
    header = tarfile.TarInfo("././@PaxHeader")
    header.type, header.size = tarfile.XHDTYPE, 4 << 20
    (tmp_path / "a.tar").write_bytes(header.tobuf(tarfile.USTAR_FORMAT) + b"9" * header.size)
    with pytest.raises(SourceError, match="larger than 16 KiB"):
        read(f"webdataset:{tmp_path}/a.tar", ("cls",))


def test_every_flipped_bit_of_a_packed_tar_is_found(tmp_path: Path) -> None:
    """Its checksum is verified also where the damage ends the archive early."""
    path = tmp_path / "a.tar.gz"
    whole = gzip.compress(tar_of([0, 1, 2]), mtime=0)
    for place in range(10, len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        with pytest.raises(SourceError):
            read(f"webdataset:{path}", ("cls",))


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.csv.gz", "a.tfrecord.gz", "a.tar.gz"])
def test_an_empty_file_is_not_gzip(tmp_path: Path, name: str) -> None:
    """A .gz file of no bytes was cut before its header."""
    (tmp_path / name).write_bytes(b"")
    scheme = {"tar": "webdataset"}.get(name.split(".")[1], name.split(".")[1])
    with pytest.raises(SourceError, match="truncated"):
        read(f"{scheme}:{tmp_path / name}")


@pytest.mark.parametrize("rows", [0, 20])
def test_an_arrow_stream_without_its_end_is_an_error(tmp_path: Path, rows: int) -> None:
    """Cut at any byte, also between two batches, or with something behind its end, a stream is not read as whole."""
    whole = arrow_stream(tmp_path, rows)
    assert read(f"arrow:{tmp_path}/a.arrow")[0] == [row % 7 for row in range(rows)]
    for data in [*(whole[:end] for end in range(len(whole))), whole * 2, whole + b"x"]:
        (tmp_path / "a.arrow").write_bytes(data)
        with pytest.raises(SourceError):
            read(f"arrow:{tmp_path}/a.arrow")


def test_the_end_of_an_old_arrow_stream_is_four_zeros(tmp_path: Path) -> None:
    """Streams of before Arrow 0.15 are read; two of them in one file are not."""
    whole = arrow_stream(tmp_path, 20, use_legacy_format=True)
    assert len(read(f"arrow:{tmp_path}/a.arrow")[0]) == 20
    (tmp_path / "a.arrow").write_bytes(whole * 2)
    with pytest.raises(SourceError, match="data follow the end mark"):
        read(f"arrow:{tmp_path}/a.arrow")


def test_a_split_without_a_record_is_a_finding(tmp_path: Path) -> None:
    """A file that holds a header alone is as promised only where the schema promises no records."""
    (tmp_path / "a.csv").write_text("label\n")
    assert [one.rule for one in audit_dataset(schema_of(), source=f"csv:{tmp_path}/a.csv").findings] == ["LG401"]
    assert audit_dataset(schema_of(num_examples=0), source=f"csv:{tmp_path}/a.csv").exit_code == 0


# Text -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_a_quote_that_is_never_closed_costs_one_row(tmp_path: Path, line_end: str) -> None:
    """The rows behind it keep their labels and their places, and the line that is named is the right one."""
    rows = ["id,label", *(f"a{k},{k}" for k in range(5)), 'b,"5', *(f"c{k},{k}" for k in range(6, 30_000))]
    (tmp_path / "a.csv").write_bytes(line_end.join(rows).encode())
    values, unreadable = read(f"csv:{tmp_path}/a.csv")
    assert values == [k for k in range(30_000) if k != 5]
    ((row, reason),) = unreadable
    assert (row, reason.partition(":")[0]) == (5, "line 7")


def test_a_fault_in_a_text_column_costs_no_label(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 matter only inside a label; a field that is too long costs its own row."""
    (tmp_path / "a.csv").write_bytes(b'note,label\n\xff,1\n"a\xffb",2\nx,\xff3\n' + b"y" * 200_000 + b",4\nz,5\n")
    values, unreadable = read(f"csv:{tmp_path}/a.csv")
    assert values == [1, 2, 5]
    assert [row for row, _ in unreadable] == [2, 3]


@settings(max_examples=60, deadline=None)
@given(
    start=st.integers(11, 180),
    hole=st.integers(1, 60).map(bytes) | st.integers(16, 60).map(lambda size: b"\xff" * size),
    cell=st.sampled_from(["%d", '"%d"']),
    form=st.integers(0, 2),
)
def test_a_hole_never_joins_rows(
    tmp_path_factory: pytest.TempPathFactory, start: int, hole: bytes, cell: str, form: int
) -> None:
    """A block that the disk lost: what is read is what was written, the rest is named, in blocks or by rows."""
    path = tmp_path_factory.mktemp("hole") / "a.csv"
    encoding, delimiter = [("utf-8", ","), ("utf-8", "tab"), ("gb18030", ",")][form]
    sign = "\t" if delimiter == "tab" else delimiter
    rows = ["name" + sign + "label", *(f"picture{k}" + sign + cell % k for k in range(15))]
    data = bytearray("\n".join([*rows, ""]).encode())
    start = min(start, len(data) - len(hole))
    before = bytes(data[:start]).count(b"\n")
    lost = bytes(data[start : start + len(hole)]).count(b"\n")
    data[start : start + len(hole)] = hole
    path.write_bytes(data)
    kept, unreadable = read(f"csv:{path}?encoding={encoding}&delimiter={delimiter}")
    assert kept == [k for k in range(15) if not before - 1 <= k < before + lost]
    ((row, reason),) = unreadable
    assert row == before - 1
    assert reason.startswith(f"line {before + 1}: ")
    assert ("16 bytes of 255" if hole[0] else "zero byte") in reason


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_line_that_is_too_long_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    """A line of many megabytes in a small gzip costs its own record, and memory stays flat."""
    monkeypatch.setattr(csv_source, "_MAX_ROW", 1 << 16)
    monkeypatch.setattr(jsonl, "MAX_LINE_BYTES", 1 << 16)
    good = [b"%d" % k if suffix == "csv" else b'{"label": %d}' % k for k in (1, 2)]
    lines = [good[0], b"1" * (64 << 20), good[1]]
    data = b"\n".join([b"label", *lines] if suffix == "csv" else lines)
    (tmp_path / f"a.{suffix}.gz").write_bytes(gzip.compress(data, 1))
    del data, lines
    tracemalloc.start()
    try:
        values, unreadable = read(f"{suffix}:{tmp_path}/a.{suffix}.gz")
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert (values, [row for row, _ in unreadable]) == ([1, 2], [1])


def test_csv_made_to_be_read_again_and_again_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that each run to the limit when they are tried again end in an error, not in quadratic time."""
    monkeypatch.setattr(csv_source, "_MAX_ROW", 1 << 12)
    (tmp_path / "a.csv").write_text("label\n" + 'x","\n' * 200_000)
    with pytest.raises(SourceError, match="too many quotes"):
        read(f"csv:{tmp_path}/a.csv")


@pytest.mark.parametrize("text", ["label,label\n1,2\n", "a,label,label\n0,1,2\n"])
def test_a_doubled_csv_column_is_refused(tmp_path: Path, text: str) -> None:
    """Two columns of a wanted name are an error; of a name that is not wanted they do not matter."""
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(SourceError, match="2 columns named 'label'"):
        read(f"csv:{tmp_path}/a.csv")
    (tmp_path / "b.csv").write_text("x,x,label\n0,1,2\n")
    assert read(f"csv:{tmp_path}/b.csv") == ([2], [])


def test_a_doubled_json_key_is_an_unreadable_record(tmp_path: Path) -> None:
    """Readers differ in which of the two they take, at any depth."""
    (tmp_path / "a.jsonl").write_text('{"label": 1}\n{"label": 1, "label": 2}\n{"o": {"x": 1, "x": 2}, "label": 3}\n')
    values, unreadable = read(f"jsonl:{tmp_path}/a.jsonl")
    assert (values, [row for row, _ in unreadable]) == ([1], [1, 2])


# Pictures -------------------------------------------------------------------------------------------------------------


def chunk(name: bytes, data: bytes) -> bytes:
    """A PNG chunk."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def packed(values: np.ndarray, depth: int) -> bytes:
    """Rows of samples, each row behind a filter byte."""
    if not values.size:
        return b""
    if depth == 16:
        rows = [row.astype(">u2").tobytes() for row in values]
    elif depth == 8:
        rows = [row.astype(np.uint8).tobytes() for row in values]
    else:
        bits = ((values[..., None] >> np.arange(depth - 1, -1, -1)) & 1).reshape(len(values), -1)
        rows = [np.packbits(row.astype(np.uint8)).tobytes() for row in bits]
    return b"".join(b"\0" + row for row in rows)


def png(
    values: np.ndarray, depth: int, color: int, *, interlaced: bool = False, size: tuple[int, int] = (0, 0)
) -> bytes:
    """A PNG of samples ``[height, width, channels]`` as its standard says; ``size`` is the one it claims."""
    height, width = size if any(size) else values.shape[:2]
    parts = [values[top::down, left::right] for left, top, right, down in ADAM7] if interlaced else [values]
    parts = [(part[:, :, 0] if CHANNELS[color] == 1 else part.reshape(len(part), part[0:1].size)) for part in parts]
    palette = chunk(b"PLTE", bytes(7 * k % 256 for k in range(3 * 2 ** min(depth, 8)))) if color == 3 else b""
    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced)
    pixels = zlib.compress(b"".join(packed(part, depth) for part in parts))
    return SIGNATURE + chunk(b"IHDR", head) + palette + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


FORMS = [(color, depth) for color, depths in DEPTHS.items() for depth in depths]


@pytest.mark.parametrize(("color", "depth"), FORMS)
@pytest.mark.parametrize("interlaced", [False, True])
def test_png_gives_the_stored_numbers(color: int, depth: int, interlaced: bool) -> None:
    """Every form of PNG gives its samples (indices of a palette) as they are stored, or is refused; never others."""
    rng = np.random.default_rng(depth)
    for height, width in itertools.product((1, 3, 9), repeat=2):
        values = rng.integers(0, 2**depth, (height, width, CHANNELS[color]))
        data = png(values, depth, color, interlaced=interlaced)
        if depth == 16 and CHANNELS[color] > 1:
            with pytest.raises(ValueError, match="16 bits is not read"):
                decode(data, Encoding("image"), (None, None))
            continue
        found = decode(data, Encoding("image"), (None, None))
        assert found.dtype == (np.uint16 if depth == 16 else np.uint8)
        np.testing.assert_array_equal(found, values[..., 0] if CHANNELS[color] == 1 else values)


@given(place=st.integers(0, 200), byte=st.integers(1, 255))
def test_a_damaged_png_is_refused(place: int, byte: int) -> None:
    """Any byte that is changed fails a checksum: Pillow does not verify those of pixels."""
    values = np.random.default_rng(0).integers(0, 250, (9, 9, 1))
    data = bytearray(png(values, 8, 0))
    data[place % len(data)] ^= byte
    with pytest.raises(ValueError, match="PNG"):
        decode(bytes(data), Encoding("image"), (None, None))


def picture(kind: str) -> bytes:
    """A small picture in another format than PNG."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), np.uint8)).convert("RGB").save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["TIFF", "ICO", "WEBP", "GIF", "BMP", "JPEG", "PPM", "EPS", "text"])
def test_a_mask_is_png_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Bytes of another format are unreadable for a mask, whatever is next to them; and no program starts."""
    script = tmp_path / "gs"
    script.write_text(f'#!/bin/sh\ntouch {tmp_path}/started\n[ "$1" = --version ] && echo 10\nexit 0\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    data = EPS if kind == "EPS" else b"a text" if kind == "text" else picture(kind)
    pq.write_table(pa.table({"label": [data, png(np.ones((2, 2, 1), int), 8, 0)]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="not a PNG"):
        decode(data, Encoding("image"), (None, None))
    assert (thumbnail(data) is None) == (kind in ("TIFF", "ICO", "PPM", "EPS", "text"))
    assert not (tmp_path / "started").exists()


def test_a_png_of_more_pixels_than_fit_is_refused() -> None:
    """A header that claims more pixels than are read is refused before a byte of them is unpacked."""
    small = np.zeros((1, 1, 1), int)
    for size in ((2**31 - 1, 2**31 - 1), (20_000, 20_000)):
        data = png(small, 8, 0, size=size)
        with pytest.raises(ValueError, match="more than 256 MiB"):
            decode(data, Encoding("image"), (None, None))
        assert thumbnail(data) is None
    with pytest.raises(ValueError, match="PNG"):
        decode(png(small, 8, 0, size=(9, 9)), Encoding("image"), (None, None))


def test_masks_are_unpacked_a_few_at_a_time(tmp_path: Path) -> None:
    """Memory does not grow with the number of masks in a chunk, at a thousand times their stored size."""
    pytest.importorskip("PIL")
    mask = png(np.zeros((1500, 1500, 1), np.uint8), 8, 0)
    pieces = encoded_labels.decode_pieces(
        encoded_labels.Piece(range(100), {"m": [mask] * 100}), {"m": (None, None)}, {}
    )
    tracemalloc.start()
    try:
        assert sum(len(piece.rows) for piece in pieces) == 100
        assert tracemalloc.get_traced_memory()[1] < 30 << 20
    finally:
        tracemalloc.stop()


def test_zlib_tensors_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What unpacks to more than the limit is refused before it is all unpacked."""
    monkeypatch.setattr(encoded_labels, "MAX_LABEL_BYTES", 1 << 20)
    with pytest.raises(ValueError, match="unpack to more than 1 MiB"):
        decode(zlib.compress(bytes(64 << 20)), Encoding("zlib"), None)


# NumPy ----------------------------------------------------------------------------------------------------------------


def npy(shape: str, descr: str = "|u1", data: bytes = b"", version: int = 1) -> bytes:
    """A .npy file whose header says ``shape``."""
    head = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + bytes([version, 0]) + len(head).to_bytes(2 if version == 1 else 4, "little") + head + data


@pytest.mark.parametrize(
    "data",
    [
        npy("(1, 1099511627776)"),
        npy("(4611686018427387904, 4)"),
        npy("(9223372036854775807, 0)"),
        npy("(3,)", "|O", bytes(24)),
        npy("(3,)", data=bytes(9)),
        npy("(3,)", version=3),
        b"\x93NUMPY\2\0\xff\xff\xff\xff" + b" " * 100,
        npy("(-1,)"),
        npy("(True,)"),
        npy("()"),
    ],
)
def test_headers_that_lie(tmp_path: Path, data: bytes) -> None:
    """Shapes, lengths and dtypes that no file can hold are one error, for files and members of an archive."""
    (tmp_path / "a.npy").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("label.npy", data)
    for name in ("npy", "npz"):
        with pytest.raises(SourceError):
            read(f"{name}:{tmp_path}/a.{name}")


def test_a_header_that_unpacks_to_gigabytes(tmp_path: Path) -> None:
    """The length of a header is looked at before it is read."""
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("label.npy", b"\x93NUMPY\2\0" + (64 << 20).to_bytes(4, "little") + b" " * (64 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(SourceError, match="header is longer"):
            read(f"npz:{tmp_path}/a.npz")
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_archives_that_hold_more_than_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A doubled member is refused; the checksum of a member is verified although its header promises fewer rows."""
    monkeypatch.setattr(numpy_files, "CHUNK_BYTES", 64)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("label.npy", npy("(2,)", data=b"ab"))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("label.npy", npy("(2,)", data=b"ab"))
    with pytest.raises(SourceError, match="two arrays named 'label'"):
        read(f"npz:{tmp_path}/a.npz")
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("label.npy", npy("(2,)", data=b"abc"))
    with pytest.raises(SourceError, match="bytes after its array"):
        read(f"npz:{tmp_path}/b.npz")


# Parquet --------------------------------------------------------------------------------------------------------------


def test_parquet_page_checksums_are_verified(tmp_path: Path) -> None:
    """A flipped bit in a page with a checksum is an error; the row groups around it are read."""
    values = np.random.default_rng(0).integers(0, 10**12, 6000)
    path = tmp_path / "a.parquet"
    options = {"compression": "none", "use_dictionary": False, "row_group_size": 1000}
    pq.write_table(pa.table({"label": values}), path, write_page_checksum=True, **options)
    data = bytearray(path.read_bytes())
    place = data.find(values[3500].tobytes())
    data[place] ^= 1
    path.write_bytes(data)
    source = open_source(f"parquet:{path}", labels=["label"])
    found = []
    with pytest.raises(SourceError, match="CRC"):
        found.extend(source.read(source.shards()[0]))
    sound = np.concatenate([values[:3000], values[4000:]])
    assert [value for chunk in found for value in chunk.columns["label"]] == sound.tolist()


ENCRYPTED = """
import base64, sys
import pyarrow as pa, pyarrow.parquet as pq, pyarrow.parquet.encryption as pe
class Keys(pe.KmsClient):
    def __init__(self, configuration):
        super().__init__()
    def wrap_key(self, key, name):
        return base64.b64encode(key)
    def unwrap_key(self, wrapped, name):
        return base64.b64decode(wrapped)
how = pe.EncryptionConfiguration(footer_key="f", column_keys={"c": ["secret"]}, plaintext_footer=True)
properties = pe.CryptoFactory(Keys).file_encryption_properties(pe.KmsConnectionConfig(), how)
table = pa.table({"label": [1, 2], "secret": [3, 4]})
with pq.ParquetWriter("a.parquet", table.schema, encryption_properties=properties) as writer:
    writer.write_table(table)
from label_guard.errors import SourceError
from label_guard.sources.open import open_source
from label_guard.sources.parquet import column_statistics
def read(label):
    source = open_source("parquet:a.parquet", labels=[label])
    return [v for s in source.shards() for c in source.read(s) for v in c.columns[label].tolist()]
assert read("label") == [1, 2]
assert column_statistics("a.parquet", "secret") == [None]
try:
    read("secret")
except SourceError as error:
    assert "decrypt" in str(error)
    print("refused")
"""


def test_an_encrypted_parquet_column_costs_its_file(tmp_path: Path) -> None:
    """By itself pyarrow ends the process; the other columns are read."""
    done = subprocess.run([sys.executable, "-c", ENCRYPTED], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "refused\n"), done.stderr


def test_doubled_parquet_columns(tmp_path: Path) -> None:
    """Two columns of a wanted name, also inside a struct, are refused; unwanted ones do not matter."""
    twice = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    table = pa.table([pa.array([3]), pa.array([4]), twice, pa.array([5])], names=["a", "a", "o", "label"])
    pq.write_table(table, tmp_path / "a.parquet")
    for label in ("a", "o/x"):
        with pytest.raises(SourceError, match=f"2 columns named '{label}'"):
            read(f"parquet:{tmp_path}/a.parquet", [label])
    assert read(f"parquet:{tmp_path}/a.parquet")[0] == [5]


def test_repeated_large_values_of_a_parquet_dictionary(tmp_path: Path) -> None:
    """A value of a megabyte that is stored once and repeated is kept once."""
    indices = pa.array([0] * 2000 + [1], pa.int32())
    column = pa.DictionaryArray.from_arrays(indices, pa.array([b"x" * (1 << 20), b"y"]))
    pq.write_table(pa.table({"label": column, "tags": [["t", "u"]] * 2001}), tmp_path / "a.parquet")
    source = open_source(f"parquet:{tmp_path}/a.parquet", labels=["label", "tags"])
    rows = 0
    for piece in source.read(source.shards()[0]):
        assert len(set(map(id, piece.columns["label"]))) <= 2
        assert {len(value) for value in piece.columns["label"]} <= {1 << 20, 1}
        assert [list(tags) for tags in piece.columns["tags"]] == [["t", "u"]] * len(piece)
        rows += len(piece)
    assert rows == 2001


@pytest.mark.parametrize(
    ("header", "reported"),
    [
        ("{'descr': '<i8', 'fortran_order': False, 'shape': f(3)}", "not a dictionary of .*: {'descr'.* f\\(3\\)}"),
        ("{'descr': '<i8', 'fortran_order': 0, 'shape': (3,)}", "not a dictionary of .*'fortran_order': 0"),
        ("{'descr': '<i8', 'shape': (3,)", "not a dictionary of .*, .*"),
        ("(" * 3000, "not a dictionary of .*\\({200}\\.\\.\\.$"),
        (None, "ends within its header, of which 40 of 118 bytes are there"),
    ],
)
def test_a_damaged_header_is_shown(tmp_path: Path, header: str | None, reported: str) -> None:
    """The message is about the file, not in words of Python's parser, and the same in each run."""
    for name in ("a.npy", "a.npz"):
        file = io.BytesIO()
        np.save(file, np.arange(3))
        data = file.getvalue()[:50]
        if header is not None:
            data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + bytes(24)
        (tmp_path / name).write_bytes(data)
        if name == "a.npz":
            with zipfile.ZipFile(tmp_path / name, "w") as archive:
                archive.writestr("label.npy", data)
        with pytest.raises(SourceError, match=reported) as error:
            read(f"{name[-3:]}:{tmp_path}/{name}")
        assert not set(str(error.value).split()) & {"object", "0x", "EOF"}


def test_an_offset_beyond_the_end_is_named(tmp_path: Path) -> None:
    """Bare numbers that end before the offset are an error with both sizes."""
    (tmp_path / "a.bin").write_bytes(b"1")
    with pytest.raises(SourceError, match=r"a\.bin has 1 byte, fewer than its offset 4$"):
        read(f"raw:{tmp_path}/a.bin?dtype=uint16&offset=4")
