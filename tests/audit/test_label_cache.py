"""Audits that do not read everything: labels kept in a label cache, Parquet footers that prove a file legal."""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import json
import os
import struct
import threading
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from label_guard import DatasetSchema, UsageError
from label_guard.audit.label_cache import CachedFormat, open_label_cache, require_files
from label_guard.audit.runner import audit_dataset
from label_guard.cli import app as cli
from label_guard.sources.base import Chunk, Piece, Shard
from label_guard.sources.encoded_labels import Encoding
from label_guard.sources.open import open_source
from label_guard.sources.source import Source


def schema_of(num_classes: int = 10, **fields: Any) -> DatasetSchema:
    """A schema of one label."""
    label = {"kind": "class_label", "num_classes": num_classes, **fields}
    return DatasetSchema.model_validate({"format": 1, "name": "n", "version": "1.0.0", "labels": {"label": label}})


def write(folder: Path, labels: Mapping[str, Any]) -> str:
    """One Parquet file for each entry; their URI."""
    for name, values in labels.items():
        pq.write_table(pa.table({"label": values}), folder / f"{name}.parquet")
    return f"parquet:{folder}/*.parquet"


def overwrite_unseen(path: Path, data: bytes) -> None:
    """Change a file so that its size and modification time stay: who looks at the content alone sees it."""
    before = path.stat()
    assert len(data) <= before.st_size
    path.write_bytes(data.ljust(before.st_size, b"x"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_after_a_schema_change_nothing_is_read_again(tmp_path: Path) -> None:
    """The second audit checks the kept labels by the new schema, though the files themselves can be read no longer."""
    source, kept = write(tmp_path, {"a": [0, 1, 10], "b": [2, 11]}), str(tmp_path / "labels.label_cache")
    first = audit_dataset(schema_of(10), source=source, label_cache=kept)
    assert first.splits[0].invalid == 2
    plain = audit_dataset(schema_of(11), source=source).to_json()
    for name in ("a", "b"):
        path = tmp_path / f"{name}.parquet"
        overwrite_unseen(path, b"PAR1" + bytes(36) + path.read_bytes()[40:])
    assert not audit_dataset(schema_of(11), source=source).complete
    again = audit_dataset(schema_of(11), source=source, label_cache=kept)
    assert again.to_json() == plain
    assert again.splits[0].invalid == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_a_changed_file_is_read_anew_and_the_others_are_not(tmp_path: Path, workers: int) -> None:
    """Identity is by file: of a changed one the new labels are checked and kept, and its old ones are thrown away."""
    source, kept = write(tmp_path, {"a": [0, 1, 10], "b": [2, 11]}), tmp_path / "labels.label_cache"
    audit_dataset(schema_of(), source=source, label_cache=str(kept), workers=workers)
    overwrite_unseen(tmp_path / "a.parquet", b"garbage")
    write(tmp_path, {"b": [2, 3, 4, -1, -2]})
    found = audit_dataset(schema_of(), source=source, label_cache=str(kept), workers=workers)
    assert found.complete
    assert {(s.name, s.invalid) for s in found.splits[0].shards} == {("a.parquet", 1), ("b.parquet", 2)}
    with zipfile.ZipFile(kept) as archive:
        assert len(json.loads(archive.read("index.json"))["entries"]) == 2


def test_an_index_that_changed_cuts_the_labels_of_its_file_again(tmp_path: Path) -> None:
    """Megatron's ``.idx`` says what the numbers of the ``.bin`` file are, which stays as it is."""
    kept, source = str(tmp_path / "labels.label_cache"), f"raw:{tmp_path}/d.bin"
    np.array([1, 256, 2], "<u2").tofile(tmp_path / "d.bin")
    for code, length, bad in ((8, 3, 1), (1, 6, 0), (8, 1, 0)):
        head = b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, code, 1, 2)
        index = np.array([length], "<i4").tobytes() + np.array([0, 0, 1], "<i8").tobytes()
        (tmp_path / "d.idx").write_bytes(head + index)
        os.utime(tmp_path / "d.idx", ns=(code, code + length))
        for _ in range(2):
            found = audit_dataset(schema_of(10, shape=[None]), source=source, label_cache=kept)
            assert (found.complete, found.splits[0].invalid) == (True, bad)
            assert found.splits[0].labels["label"].positions == length


def test_labels_that_are_encoded_otherwise_are_read_again(tmp_path: Path) -> None:
    """The metadata of a TFDS folder say how: they may be corrected, and the files stay as they are."""
    record = b"\n\x15\n\x13\n\5label\x12\n\n\x08\n\6\1\2\3\4\5\6"  # a tf.Example whose label is these six bytes
    (tmp_path / "a.tfrecord").write_bytes(framed(record))
    source = open_source(f"tfrecord:{tmp_path}/a.tfrecord", labels={"label": (None,)})
    forms: list[Any] = [source.format]
    forms += [
        replace(forms[0], encodings={"label": Encoding(*how)}) for how in (("bytes",), ("zlib",), ("bytes", "<u2"))
    ]
    for form in forms:
        plain = chunks_of(replace(source, format=form))
        with open_label_cache(str(tmp_path / "s"), []) as cache:
            assert cache is not None
            found = chunks_of(replace(source, format=CachedFormat(form, cache)))
            assert not cache.save()
        values = [[np.asarray(value).tolist() for value in one.columns["label"]] for one in found]
        assert values == [[np.asarray(value).tolist() for value in one.columns["label"]] for one in plain]
        assert [one.unreadable for one in found] == [one.unreadable for one in plain]


def framed(record: bytes) -> bytes:
    """One record in TFRecord framing."""

    def masked(data: bytes) -> bytes:
        crc = google_crc32c.value(data)
        return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)

    length = struct.pack("<Q", len(record))
    return length + masked(length) + record + masked(record)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Prints nothing."""


def test_a_file_that_a_web_server_replaced_is_read_again(tmp_path: Path) -> None:
    """The key that fsspec has for it is made of its address alone."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        source = f"csv:http://127.0.0.1:{server.server_port}/a.csv"
        for day, label in enumerate((1, 77, 3, 3)):
            (tmp_path / "a.csv").write_text(f"label\n{label:02}\n")
            os.utime(tmp_path / "a.csv", (86_400 * (day + 1),) * 2)
            found = audit_dataset(schema_of(), source=source, label_cache=str(tmp_path / "s"))
            assert (found.complete, found.splits[0].invalid) == (True, int(label > 9))
    finally:
        server.shutdown()
        server.server_close()


def chunks_of(source: Any) -> list[Chunk]:
    """Everything a source holds."""
    return [chunk for shard in source.shards() for chunk in source.read(shard)]


VALUES = st.one_of(
    st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), max_size=8),
    st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=5),
    st.lists(st.floats(width=32), max_size=5),
    st.lists(st.text(max_size=3), max_size=4),
)


@given(values=VALUES)
@settings(max_examples=40)
def test_what_is_kept_is_what_was_read(tmp_path_factory: pytest.TempPathFactory, values: list[Any]) -> None:
    """Labels of any type, ragged or missing, come back with their exact types, rows and keys."""
    folder = tmp_path_factory.mktemp("kept")
    write(folder, {"a": pa.array(values)})
    source = open_source(f"parquet:{folder}/a.parquet", labels=["label"])
    plain = chunks_of(source)
    for _ in range(2):
        with open_label_cache(str(folder / "s"), []) as cache:
            assert cache is not None
            cached = replace(source, format=CachedFormat(source.format, cache))
            for one, other in zip(chunks_of(cached), plain, strict=True):
                assert list(one.rows) == list(other.rows)
                assert list(one.keys) == list(other.keys)
                assert type(one.columns["label"]) is type(other.columns["label"])
                assert repr(one.columns["label"]) == repr(other.columns["label"])
                assert [type(v) for v in one.columns["label"]] == [type(v) for v in other.columns["label"]]
            assert cache.save() == []


@dataclass(frozen=True, slots=True)
class NamedFormat:
    """A format whose records have names of their own."""

    name: str = "named"

    def fields(self, path: str) -> list[str]:
        """One label."""
        return ["label"]

    def read(self, path: str, wanted: Any) -> Iterator[Piece]:
        """Three records, one of them unreadable."""
        yield Piece([0, 2], {"label": np.array([1, 2])}, [(1, "cut off")], {0: "a.png", 1: "b.png", 2: "c.png"})


def test_names_of_records_are_kept(tmp_path: Path) -> None:
    """Keys out of a label cache are those without one."""
    (tmp_path / "a.tar").write_bytes(b"x")
    shard = Shard(str(tmp_path / "a.tar"), "a.tar", 0)
    found: list[Any] = []
    for _ in range(2):
        with open_label_cache(str(tmp_path / "cache"), []) as cache:
            assert cache is not None
            source = Source("named:a", None, CachedFormat(NamedFormat(), cache), (shard,), {"label": ()})
            found.append([(list(chunk.keys), chunk.unreadable) for chunk in source.read(shard)])
            cache.save()
    assert found[0] == found[1]
    assert found[1][0][0] == ["a.png", "c.png"]


def test_a_damaged_file_is_not_kept(tmp_path: Path) -> None:
    """What could not be read to its end is read again next time, and is never taken for whole."""
    kept = str(tmp_path / "labels.label_cache")
    (tmp_path / "a.jsonl").write_text('{"label": 1}\n{"label": 2}\n')
    audit_dataset(schema_of(), source=f"jsonl:{tmp_path}/a.jsonl", label_cache=kept, limit=1)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b'{"label": 1}\n' * 9)[:-9])
    assert not audit_dataset(schema_of(), source=f"jsonl:{tmp_path}/*.jsonl*", label_cache=kept).complete
    with zipfile.ZipFile(kept) as archive:
        shards = json.loads(archive.read("index.json"))["entries"]
    assert [Path(shard).name for shard, _ in shards.values()] == ["a.jsonl"]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_file_that_is_no_label_cache_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    """A wrong path never overwrites a user's file."""
    source, wrong = write(tmp_path, {"a": [0]}), tmp_path / "notes.txt"
    wrong.write_text("mine")
    with pytest.raises(UsageError, match="is not a label cache of version 3"):
        audit_dataset(schema_of(), source=source, label_cache=str(wrong))
    assert wrong.read_text() == "mine"


def test_flipped_bytes_are_found_and_the_file_is_read_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An entry whose bytes changed is not used: the report is as without a cache, and a log line says so."""
    source, kept = write(tmp_path, {"a": np.arange(5000) % 11}), tmp_path / "labels.label_cache"
    sound = audit_dataset(schema_of(), source=source, label_cache=str(kept)).to_json()
    data = kept.read_bytes()
    start, end = data.index(b"0.0.npy"), data.rindex(b"0.0.npy")
    for place in range(start, end, (end - start) // 7):
        kept.write_bytes(data[:place] + bytes([data[place] ^ 0x20]) + data[place + 1 :])
        caplog.clear()
        assert audit_dataset(schema_of(), source=source, label_cache=str(kept)).to_json() == sound
        assert "is damaged and not used" in caplog.text


def about(**changes: Any) -> bytes:
    """The JSON member of a piece of 3,000 records, with some fields changed."""
    plain = {"range": [0, 3000], "columns": {"label": {"npy": "0.0.npy"}}, "unreadable": []}
    return json.dumps({**plain, **changes}).encode()


def array_of(header: dict[str, Any]) -> bytes:
    """An array without its items."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<i8", "fortran_order": False, **header})
    return file.getvalue()


HOSTILE = {
    "a range shorter than the column": {"0.json": about(range=[0, 3])},
    "a range longer than the column": {"0.json": about(range=[0, 10**9])},
    "a range of texts": {"0.json": about(range=["0", "3000"])},
    "rows out of order": {"0.json": about(range=None, rows=[*range(2999), 5]).replace(b'"range": null, ', b"")},
    "a negative row": {"0.json": about(range=[-1, 2999])},
    "an unreadable row beyond all rows": {"0.json": about(unreadable=[[10**30, "x"]])},
    "an unreadable row without a reason": {"0.json": about(unreadable=[[1]])},
    "no column of the label": {"0.json": about(columns={})},
    "one column too many": {"0.json": about(columns={"label": {"npy": "0.0.npy"}, "x": {"values": []}})},
    "columns are a list": {"0.json": about(columns=[1])},
    "a member that is not there": {"0.json": about(columns={"label": {"npy": "9.npy"}})},
    "values that do not decode": {"0.json": about(range=[0, 1], columns={"label": {"values": [{"dtype": "x"}]}})},
    "deep nesting": {"0.json": b"[" * 200_000},
    "not JSON": {"0.json": b"\xff"},
    "an array of 10**15 items": {"0.0.npy": array_of({"shape": (10**15,)})},
    "an array of negative size": {"0.0.npy": array_of({"shape": (-3000,)})},
    "an array of objects": {"0.0.npy": array_of({"shape": (3000,), "descr": "|O"})},
    "not an array": {"0.0.npy": b"x"},
}


@pytest.mark.parametrize("damage", HOSTILE)
def test_an_entry_whose_parts_disagree_is_one_line(tmp_path: Path, damage: str) -> None:
    """A cache made by somebody else, its digests right, is never believed further than its parts agree."""
    source, kept = write(tmp_path, {"a": np.arange(3000) % 10}), tmp_path / "labels.label_cache"
    sound = audit_dataset(schema_of(), source=source, label_cache=str(kept)).to_json()
    with zipfile.ZipFile(kept) as outer:
        index = json.loads(outer.read("index.json"))
        (name,) = index["entries"]
        with zipfile.ZipFile(io.BytesIO(outer.read(name))) as inner:
            members = {member: inner.read(member) for member in inner.namelist()}
    for changes, fine in (({}, True), (HOSTILE[damage], False)):
        entry = io.BytesIO()
        with zipfile.ZipFile(entry, "w", zipfile.ZIP_DEFLATED) as inner:
            for member, content in {**members, **changes}.items():
                inner.writestr(member, content)
        index["entries"][name][1] = hashlib.sha256(entry.getvalue()).hexdigest()
        with zipfile.ZipFile(kept, "w") as outer:
            outer.writestr("index.json", json.dumps(index))
            outer.writestr(name, entry.getvalue())
        found = audit_dataset(schema_of(), source=source, label_cache=str(kept))
        assert (found.to_json() == sound) is fine
        assert found.complete is fine
    assert "delete it, and it is made again" in found.splits[0].shards[0].error


@pytest.mark.parametrize(
    "index",
    [b"{}", b"[]", b'{"label_cache": 1}', b'{"label_cache": 3, "entries": {"a": 1}}', b"[" * 200_000, b"\xff", None],
    ids=["empty", "list", "version", "entries", "deep", "bytes", "none"],
)
def test_a_damaged_index_is_refused_before_anything_is_read(tmp_path: Path, index: bytes | None) -> None:
    """One line that names the file; it is left as it is."""
    source, kept = write(tmp_path, {"a": [0]}), tmp_path / "labels.label_cache"
    with zipfile.ZipFile(kept, "w") as outer:
        outer.writestr("other" if index is None else "index.json", index or b"")
    before = kept.read_bytes()
    with pytest.raises(UsageError, match="is not a label cache of version 3"):
        audit_dataset(schema_of(), source=source, label_cache=str(kept))
    assert kept.read_bytes() == before


def test_a_function_has_no_label_cache(tmp_path: Path) -> None:
    """A Python function has no identity, so its labels are never taken from a file."""
    (tmp_path / "label_cache_records.py").write_text("def records():\n    yield {'label': 1}\n")
    (tmp_path / "s.yaml").write_text(
        "format: 1\nname: n\nversion: 1.0.0\nlabels: {label: {kind: class_label, num_classes: 3}}\n"
    )
    with pytest.raises(UsageError, match="keeps the labels of files"):
        require_files(open_source("python:label_cache_records:records", labels=["label"], base_dir=str(tmp_path)))


def test_labels_that_cannot_be_kept_do_not_stop_the_reading(tmp_path: Path) -> None:
    """All labels are read, and the reason is kept for the report."""
    source = open_source(write(tmp_path, {"a": [1]}), labels=["label"])
    with open_label_cache(str(tmp_path / "s"), []) as cache:
        assert cache is not None
        gone = CachedFormat(source.format, replace(cache, folder=str(tmp_path / "not" / "there")))
        assert [list(chunk.rows) for chunk in chunks_of(replace(source, format=gone))] == [[0]]
        assert "s: No such file" in gone.error


# Parquet footers ------------------------------------------------------------------------------------------------------


@given(
    values=st.lists(st.one_of(st.integers(-2, 12), st.none()), min_size=1, max_size=12),
    dtype=st.sampled_from(["int8", "int64", "uint8"]),
    fields=st.sampled_from(
        [
            {},
            {"ignore": [11]},
            {"class_ids": {"start": 1}},
            {"class_ids": [0, 1, 2, 3, 5, 6, 7, 8, 9, 10]},
            {"dtype": "int64"},
        ]
    ),
    group=st.integers(1, 4),
)
@settings(max_examples=150)
def test_a_footer_never_vouches_for_a_bad_record(
    tmp_path_factory: pytest.TempPathFactory, values: list[Any], dtype: str, fields: dict[str, Any], group: int
) -> None:
    """Whatever the column, an audit that trusts footers finds the records, faults and verdict of one that reads."""
    if dtype == "uint8":
        values = [None if v is None else abs(v) for v in values]
    path = tmp_path_factory.mktemp("footer") / "a.parquet"
    pq.write_table(pa.table({"label": pa.array(values, dtype)}), path, row_group_size=group)
    read = audit_dataset(schema_of(**fields), source=f"parquet:{path}")
    trusted = audit_dataset(schema_of(**fields), source=f"parquet:{path}", trust_statistics=True)
    assert trusted.splits[0].records == read.splits[0].records == len(values)
    assert trusted.splits[0].invalid == read.splits[0].invalid
    assert (trusted.exit_code, trusted.complete) == (read.exit_code, read.complete)
    if trusted.splits[0].certified:
        assert read.splits[0].invalid == 0
        assert (trusted.splits[0].labels["label"].low, trusted.splits[0].labels["label"].high) == (
            read.splits[0].labels["label"].low,
            read.splits[0].labels["label"].high,
        )


def test_a_certified_file_is_not_read_and_the_report_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of files that their footers prove legal the rows are not read, and the report says so."""
    write(tmp_path, {"b": [3, 10]})
    path = tmp_path / "a.parquet"
    table = pa.table({"label": np.arange(10_000) % 10})
    pq.write_table(table, path, data_page_size=1000, write_batch_size=100, use_dictionary=False, compression="none")
    data = bytearray(path.read_bytes())
    data[20_000:60_000] = bytes(40_000)  # pages of the column, which a reader would fail at
    path.write_bytes(bytes(data))
    (tmp_path / "s.yaml").write_text(
        "format: 1\nname: n\nversion: 1.0.0\nlabels: {label: {kind: class_label, num_classes: 10}}\n"
    )
    arguments = ["audit", str(tmp_path / "s.yaml"), "--source", f"parquet:{tmp_path}/*.parquet"]
    with pytest.raises(SystemExit) as exit_:
        cli.main([*arguments, "--trust-statistics"])
    out = capsys.readouterr().out
    assert exit_.value.code == 1
    assert "1 of 2 files is legal by Parquet statistics" in out
    assert "b.parquet__1: 10" in out
    assert "LG403 class-never-used" not in out
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    assert exit_.value.code == 2


def test_only_parquet_has_statistics(tmp_path: Path) -> None:
    """The option is refused where it could do nothing."""
    (tmp_path / "a.csv").write_text("label\n1\n")
    with pytest.raises(UsageError, match="reads Parquet footers"):
        audit_dataset(schema_of(), source=f"csv:{tmp_path}/a.csv", trust_statistics=True)


def test_a_damaged_footer_is_reported_by_reading(tmp_path: Path) -> None:
    """A file without a readable footer is a damaged shard, as without the option."""
    write(tmp_path, {"a": [1], "b": [2]})
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no more")
    found = audit_dataset(schema_of(), source=f"parquet:{tmp_path}/*.parquet", trust_statistics=True)
    assert (found.complete, found.exit_code) == (False, 2)
