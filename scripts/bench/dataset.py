"""The audit compared with other ways to read the same files: ArrayRecord, TFRecord, Parquet; and its memory."""

from __future__ import annotations

import importlib
import importlib.util
import json
import multiprocessing
import shutil
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from array_record.python import array_record_module
from bench.checks import CLASSES, schema
from bench.measure import Row, measure, row

from label_guard.audit.runner import audit_dataset
from label_guard.sources.open import open_source


def example(payload: bytes, label: int) -> bytes:
    """A serialized tf.Example of an image and a label, as TFDS writes it."""
    message = importlib.import_module("tensorflow_datasets.proto").tf_example_pb2.Example()
    message.features.feature["image"].bytes_list.value.append(payload)
    message.features.feature["label"].int64_list.value.append(label)
    return message.SerializeToString()


def _records(count: int, size: int) -> list[bytes]:
    rng = np.random.default_rng(0)
    payload = rng.bytes(size)
    return [example(payload, int(label)) for label in rng.integers(0, CLASSES, count)]


def _write_array_record(path: Path, records: list[bytes]) -> None:
    writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1,zstd:3")
    for record in records:
        writer.write(record)
    writer.close()


def _masked_crc(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _write_tfrecord(path: Path, records: list[bytes]) -> None:
    with path.open("wb") as file:
        for record in records:
            length = struct.pack("<Q", len(record))
            file.write(
                length + struct.pack("<I", _masked_crc(length)) + record + struct.pack("<I", _masked_crc(record))
            )


def _bare_tfrecord(path: Path) -> None:
    """Framing and checksums alone: what no reader can do without."""
    with path.open("rb") as file:
        while head := file.read(12):
            (length,) = struct.unpack("<Q", head[:8])
            data = file.read(length)
            if struct.unpack("<I", file.read(4))[0] != _masked_crc(data):
                raise ValueError("checksum")


def _range_reads(path: Path, size: int) -> None:
    reader = array_record_module.ArrayRecordReader(str(path), "readahead_buffer_size:0,max_parallelism:0")
    step, total = max(1, (2 << 20) // size), reader.num_records()
    for start in range(0, total, step):
        reader.read(start, min(start + step, total))
    reader.close()


def _audit(uri: str) -> Callable[[], None]:
    promised = schema(dtype="int64")

    def run() -> None:
        report = audit_dataset(promised, source=uri)
        if report.exit_code:
            raise ValueError(f"{uri}: the benchmark's labels are clean")

    return run


def files(quick: bool) -> list[Row]:
    """The audit of files of small (450 B) and large (100 KB) records."""
    folder = Path(tempfile.mkdtemp())
    rows: list[Row] = []
    for name, size, count in (
        ("450 B", 400, 20_000 if quick else 60_000),
        ("100 KB", 100_000, 400 if quick else 4_000),
    ):
        records = _records(count, size)
        arrays, frames = folder / f"{size}.array_record", folder / f"{size}.tfrecord"
        _write_array_record(arrays, records)
        _write_tfrecord(frames, records)
        functions = {
            "ArrayRecord range reads": lambda path=arrays, size=size: _range_reads(path, size),
            "audit array_record:": _audit(f"array_record:{arrays}"),
            "TFRecord framing + CRC": lambda path=frames: _bare_tfrecord(path),
            "audit tfrecord:": _audit(f"tfrecord:{frames}"),
        }
        timings = measure(functions, rounds=3 if quick else 7, seconds=0)
        group = f"audit, {count:,} records of {name}"
        rows.append(row(group, "ArrayRecord range reads", timings, against="ArrayRecord range reads"))
        rows.append(
            row(group, "audit array_record:", timings, against="ArrayRecord range reads", at_least=0.6, cpu=False)
        )
        rows.append(row(group, "TFRecord framing + CRC", timings, against="TFRecord framing + CRC"))
        limit = 0.5 if size < 1000 else 0.7
        rows.append(row(group, "audit tfrecord:", timings, against="TFRecord framing + CRC", at_least=limit, cpu=False))
    shutil.rmtree(folder)
    return rows


def data_source(quick: bool) -> list[Row]:
    """The audit of a prepared TFDS folder compared with iterating tfds.data_source over it."""
    prepare = importlib.import_module("prepare_digits")
    tfds = importlib.import_module("tensorflow_datasets")
    folder = Path(tempfile.mkdtemp())
    times = 2 if quick else 12

    prepared = prepare.prepare(folder, times)  # large enough that opening it does not count
    builder = tfds.builder_from_directory(prepared)

    def iterate() -> None:
        source = builder.as_data_source("train")
        for position in range(len(source)):
            int(source[position]["label"])

    timings = measure(
        {"tfds.data_source": iterate, "audit tfds:": _audit_split(str(prepared))}, rounds=3 if quick else 7
    )
    shutil.rmtree(folder)
    group = f"audit, TFDS digits, {1500 * times:,} records"
    return [
        row(group, "tfds.data_source", timings, against="tfds.data_source"),
        row(group, "audit tfds:", timings, against="tfds.data_source", at_least=20, cpu=False),
    ]


def _audit_split(prepared: str) -> Callable[[], None]:
    from label_guard import DatasetSchema

    label = {"kind": "class_label", "num_classes": CLASSES, "dtype": "int64"}
    promised = DatasetSchema.model_validate(
        {"format": 1, "name": "bench", "version": "1.0.0", "labels": {"label": label}, "splits": {"train": {}}}
    )

    def run() -> None:
        audit_dataset(promised, source=f"tfds:{prepared}")

    return run


def parquet(quick: bool) -> list[Row]:
    """A Parquet label column: pyarrow's read and compare, and table tools on the same file."""
    folder = Path(tempfile.mkdtemp())
    path = folder / "labels.parquet"
    count = 1_000_000 if quick else 10_000_000
    labels = np.random.default_rng(0).integers(0, CLASSES, count)
    pq.write_table(pa.table({"label": labels}), path, row_group_size=1_000_000)

    def bare() -> bool:
        column = pq.read_table(path, columns=["label"])["label"].to_numpy()
        return bool(((column < 0) | (column >= CLASSES)).any())

    functions: dict[str, Callable[[], Any]] = {
        "pyarrow read + compare": bare,
        "read + check": _checked(f"parquet:{path}"),
        "audit parquet:": _audit(f"parquet:{path}"),
    }
    if importlib.util.find_spec("duckdb"):
        duckdb = importlib.import_module("duckdb")
        query = f"select count(*) from read_parquet('{path}') where label < 0 or label >= {CLASSES}"
        functions["DuckDB"] = lambda: duckdb.sql(query).fetchall()
        grouped = f"select label, count(*) from read_parquet('{path}') group by label"
        functions["DuckDB group by"] = lambda: duckdb.sql(grouped).fetchall()
    if importlib.util.find_spec("polars"):
        pl = importlib.import_module("polars")
        bad = ~pl.col("label").is_between(0, CLASSES - 1)
        functions["polars"] = lambda: pl.scan_parquet(path).filter(bad).collect()
    if importlib.util.find_spec("pandera"):
        pa_schema = importlib.import_module("pandera.pandas")
        in_range = pa_schema.DataFrameSchema(
            {"label": pa_schema.Column("int64", pa_schema.Check.in_range(0, CLASSES - 1))}
        )
        pandas = importlib.import_module("pandas")
        functions["pandas read + pandera"] = lambda: in_range.validate(pandas.read_parquet(path))
    timings = measure(functions, rounds=3 if quick else 7, seconds=0)
    shutil.rmtree(folder)
    group = f"Parquet column, {count:,} rows"
    rows = [row(group, "pyarrow read + compare", timings, against="pyarrow read + compare")]
    rows.append(row(group, "read + check", timings, against="pyarrow read + compare", limit=1.5, cpu=False))
    if "DuckDB group by" in functions:
        rows.append(row(group, "audit parquet:", timings, against="DuckDB group by", limit=1.2))
    rest = [name for name in functions if name not in ("pyarrow read + compare", "read + check")]
    return rows + [row(group, name, timings, against="pyarrow read + compare", cpu=False) for name in rest]


def text(quick: bool) -> list[Row]:
    """A label in CSV and in JSON Lines, with an identifier, a text and a number: the check and table tools."""
    folder = Path(tempfile.mkdtemp())
    table, lines = folder / "labels.csv", folder / "labels.jsonl"
    count = 200_000 if quick else 2_000_000
    labels = np.random.default_rng(0).integers(0, CLASSES, count).tolist()
    with table.open("w") as file, lines.open("w") as objects:
        file.write("id,file,length,label\n")
        for k, label in enumerate(labels):
            file.write(f"{k},pictures/{k:07}.jpg,{k * 0.37:.2f},{label}\n")
            row_of = {"id": k, "file": f"pictures/{k:07}.jpg", "length": k * 0.37, "label": label}
            objects.write(json.dumps(row_of) + "\n")
    functions: dict[str, Callable[[], Any]] = {
        "read + check csv:": _checked(f"csv:{table}"),
        "read + check jsonl:": _checked(f"jsonl:{lines}"),
        "audit csv:": _audit(f"csv:{table}"),
        "audit jsonl:": _audit(f"jsonl:{lines}"),
    }
    peers = [name for name in ("polars", "duckdb") if importlib.util.find_spec(name)]
    if len(peers) == 2:
        pl, duckdb = importlib.import_module("polars"), importlib.import_module("duckdb")
        bad = ~pl.col("label").is_between(0, CLASSES - 1)
        query = f"select count(*) from read_json('{lines}', format='newline_delimited') where label not between 0 and 9"
        functions["polars CSV"] = lambda: pl.scan_csv(table).filter(bad).collect()
        functions["DuckDB JSON Lines"] = lambda: duckdb.sql(query).fetchall()
    timings = measure(functions, rounds=3 if quick else 7, seconds=0)
    shutil.rmtree(folder)
    if len(peers) < 2:
        return []
    rows: list[Row] = []
    for peer, form in (("polars CSV", "csv:"), ("DuckDB JSON Lines", "jsonl:")):
        group = f"{peer.partition(' ')[2]}, {count:,} records of 4 fields"
        rows.append(row(group, peer, timings, against=peer))
        rows.append(row(group, f"read + check {form}", timings, against=peer, limit=3.0, cpu=False))
        rows.append(row(group, f"audit {form}", timings, against=peer, cpu=False))
    return rows


def _checked(uri: str) -> Callable[[], None]:
    """Reading and checking without the histogram: what the comparison does."""
    from label_guard import Guard

    guard = Guard(schema(dtype="int64"))

    def run() -> None:
        source = open_source(uri, labels={"label": ()})
        for shard in source.shards():
            for chunk in source.read(shard):
                if not guard.check_batch(chunk.columns).ok:
                    raise ValueError("the benchmark's labels are clean")

    return run


def _peak(uri: str, queue: Any) -> None:
    audit_dataset(schema(dtype="int64"), source=uri)
    # Not ru_maxrss: a new process inherits that of the one that started it.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    queue.put(int(status.partition("VmHWM:")[2].split()[0]) * 1024)


def memory(quick: bool) -> list[Row]:
    """Peak memory of an audit of ten times the records, each in a process of its own."""
    folder = Path(tempfile.mkdtemp())
    small, peaks = (100_000 if quick else 1_000_000), {}
    context = multiprocessing.get_context("spawn")
    for count in (small, small * 10):
        path = folder / f"{count}.parquet"
        labels = np.random.default_rng(0).integers(0, CLASSES, count)
        pq.write_table(pa.table({"label": labels}), path, row_group_size=500_000)
        queue = context.Queue()
        process = context.Process(target=_peak, args=(f"parquet:{path}", queue))
        process.start()
        peaks[count] = queue.get()
        process.join()
    shutil.rmtree(folder)
    value = peaks[small * 10] / peaks[small]
    name = f"{small * 10:,} records: peak {peaks[small * 10] / 2**20:.0f} MiB"
    against = f"{small:,} records: peak {peaks[small] / 2**20:.0f} MiB"
    return [Row("memory of an audit", name, 0, 0, against, value, None, "<= 1.2x", value <= 1.2)]
