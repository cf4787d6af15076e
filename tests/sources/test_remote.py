"""Datasets in an object store that speaks S3: moto's server on loopback, through s3fs."""

from __future__ import annotations

import functools
import gzip
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from label_guard import DatasetSchema, SourceError, audit_dataset
from label_guard.audit import plan
from label_guard.audit.report import AuditReport
from label_guard.sources import remote
from label_guard.sources.open import open_source

sys.path.insert(0, str(Path(__file__).parents[1] / "audit"))
from test_parts import write_array_record, write_megatron, write_npy, write_raw

from tests.schemas import one_label

SCHEMA = one_label("label", 5)
ROWS = [0, 1, 2, 7, 4, -1, 3, 300, 2, 1] * 20


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The URL of an empty bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        }.items():  # fmt: skip
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="data")
        fsspec.filesystem("s3").clear_instance_cache()
        yield "s3://data"
    server.stop()


def put(folder: Path, url: str) -> None:
    """Puts the files of a folder under a URL."""
    filesystem = fsspec.filesystem("s3")
    for path in folder.iterdir():
        filesystem.pipe_file(f"{url}/{path.name}", path.read_bytes())
    filesystem.invalidate_cache()


def plain(report: AuditReport) -> list[object]:
    """What does not name the place of the files."""
    split = report.splits[0]
    shards = [shard.model_dump(exclude={"unreadable_examples"}) for shard in split.shards]
    return [split.records, split.invalid, split.labels, shards, list(split.bad)]


@pytest.mark.parametrize("write", [write_npy, write_raw, write_megatron, write_array_record])
@pytest.mark.parametrize("part_bytes", [300, pytest.param(1 << 30, marks=pytest.mark.long)], ids=["parts", "whole"])
def test_objects_are_read_as_local_files_are(
    write: Callable[..., str], part_bytes: int, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same counts and bad records, also in parts and with small requests."""
    monkeypatch.setattr(plan, "PART_BYTES", part_bytes)
    monkeypatch.setattr(remote, "_BLOCK", 128)
    local = write(tmp_path / "data", ROWS, 3)
    url = f"{bucket}/{write.__name__}"
    put(tmp_path, url)
    there = audit_dataset(SCHEMA, source=local.replace(str(tmp_path), url), keep_bad=True)
    here = audit_dataset(SCHEMA, source=local, keep_bad=True)
    assert plain(there) == plain(here)
    assert there.splits[0].source.bytes == here.splits[0].source.bytes


def test_a_prepared_dataset_in_a_bucket(bucket: str, tmp_path: Path) -> None:
    """Metadata, class names, sizes and records of ``tfds:s3://`` are those of the folder."""
    write_array_record(tmp_path / "d-train.array_record-00000-of-00001", ROWS, 3)
    split = {"name": "train", "shardLengths": [str(len(ROWS))]}
    info = {"name": "d", "version": "1.0.0", "fileFormat": "array_record", "splits": [split]}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    kind = "tensorflow_datasets.core.features."
    label = {"pythonClassName": f"{kind}class_label_feature.ClassLabel", "classLabel": {"numClasses": "5"}}
    features = {"pythonClassName": f"{kind}features_dict.FeaturesDict", "featuresDict": {"features": {"label": label}}}
    (tmp_path / "features.json").write_text(json.dumps(features))
    (tmp_path / "label.labels.txt").write_text("a\nb\nc\nd\ne\n")
    put(tmp_path, f"{bucket}/digits/1.0.0")
    schema = DatasetSchema.model_validate({**SCHEMA.model_dump(exclude_unset=True), "splits": {"train": {}}})
    there = audit_dataset(schema, source=f"tfds:{bucket}/digits/1.0.0", keep_bad=True)
    here = audit_dataset(schema, source=f"tfds:{tmp_path}", keep_bad=True)
    assert len(here.splits[0].bad) == 60
    assert plain(there) == plain(here)
    sources = [report.splits[0].source.model_dump(exclude={"uri"}) for report in (there, here)]
    assert sources[0] == sources[1]
    assert sources[0]["class_names"] == {"label": list("abcde")}
    with pytest.raises(SourceError, match=r"s3://data/nowhere is not a prepared TFDS folder: it has no dataset_info"):
        open_source(f"tfds:{bucket}/nowhere", labels=["label"], split="train")


def test_a_copy_needs_room_and_leaves_nothing(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused before it fills the disk; removed at the end; that of a killed process is removed by the next run."""
    write_array_record(tmp_path / "data", ROWS, 3)
    put(tmp_path, f"{bucket}/copies")
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    uri = f"array_record:{bucket}/copies/data"
    dying = (
        "import os\nfrom label_guard.sources.remote import local_copy\n"
        f"with local_copy('{bucket}/copies/data'):\n    os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", dying], env={**os.environ, "TMPDIR": str(place)}, timeout=300)
    (left,) = place.iterdir()
    os.utime(left, (1, 1))
    assert audit_dataset(SCHEMA, source=uri).splits[0].records == len(ROWS)
    assert not list(place.iterdir())
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(remote.shutil, "disk_usage", lambda _: usage(10, 10, 0))
    with pytest.raises(SourceError, match=r"and .*tmp has room for 0: set TMPDIR to a larger disk"):
        audit_dataset(SCHEMA, source=uri)


def test_an_object_that_changes_is_an_error(bucket: str, tmp_path: Path) -> None:
    """Cut while it is read: the file is named as not read to its end."""
    np.save(tmp_path / "data.npy", np.zeros(100, np.int64))
    put(tmp_path, f"{bucket}/cut")
    source = open_source(f"npy:{bucket}/cut/data.npy", labels=["label"])
    rows = remote.RemoteRows(f"{bucket}/cut/data.npy", np.dtype("<i8"), (1000,), 128)
    with pytest.raises(SourceError, match="ends too early"):
        rows[0:1000]
    assert sum(map(len, source.read(source.shards()[0]))) == 100


@pytest.mark.parametrize("uri", ["npy:{}/a.npy", "raw:{}/a.bin?dtype=int64&offset=8"])
def test_a_server_that_ignores_ranges_is_an_error(uri: str, tmp_path: Path) -> None:
    """Such as ``python -m http.server``: it answers with the whole file, whose first bytes are not labels."""
    values = np.arange(1000)
    np.save(tmp_path / "a.npy", values)
    values.tofile(tmp_path / "a.bin")
    handler = functools.partial(_QuietHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        source = open_source(uri.format(f"http://127.0.0.1:{server.server_port}"), labels=["label"])
        with pytest.raises(SourceError, match="its server ignores ranges; download it first"):
            list(source.read(source.shards()[0]))
        server.shutdown()


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    "name", ["part.jsonl", "part.jsonl.gz", "part.json", "part.csv", "part.csv.gz", "part.parquet"]
)
def test_text_and_tables_in_a_store_are_read_as_local_ones(name: str, bucket: str, tmp_path: Path) -> None:
    """Also lines longer than what is read at a time: objects are read as files of Python are."""
    records = [{"label": row, "text": "x" * (200_000 if row == 7 else 3)} for row in ROWS]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    text = {
        "jsonl": lines, "json": json.dumps(records),
        "csv": "label,text\n" + "".join(f"{record['label']},{record['text']}\n" for record in records),
    }  # fmt: skip
    form = name.split(".")[1]
    path = tmp_path / name
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(records), path)
    else:
        data = text[form].encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    put(tmp_path, f"{bucket}/texts")
    splits = [
        audit_dataset(SCHEMA, source=f"{form}:{where}/{name}").splits[0].model_dump(exclude={"source"})
        for where in (tmp_path, f"{bucket}/texts")
    ]
    assert splits[0] == splits[1]
    assert splits[0]["invalid"] >= 40
