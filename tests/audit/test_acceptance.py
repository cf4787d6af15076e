"""What an audit must never miss or choke on: TFDS's silent losses, every format alike, mistakes, full disks."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter

from label_guard import read_quarantine
from label_guard.audit.runner import audit_dataset
from tests.schemas import PLANTED

Run = Callable[..., tuple[int, str, str]]
LABELS = [k % 10 for k in range(50)]
FAULTS = {7: 10, 19: -1, 33: 2**32 + 1}
BAD = [FAULTS.get(row, label) for row, label in enumerate(LABELS)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with the schema in it."""
    (tmp_path / "s.yaml").write_text(PLANTED)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Every format ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["npy", "npz", "python", "jsonl"])
def test_the_planted_faults_are_named_in_every_format(folder: Path, run: Run, style: str) -> None:
    """Arrays, lines and functions give the same three faults, named by their positions."""
    np.save(folder / "a.npy", np.array(BAD))
    np.savez(folder / "a.npz", label=np.array(BAD))
    (folder / "a.jsonl").write_text("".join(json.dumps({"label": value}) + "\n" for value in BAD))
    (folder / "planted_records.py").write_text(
        f"def records():\n    for value in {BAD}:\n        yield {{'label': value}}\n"
    )
    source = "python:planted_records:records" if style == "python" else f"{style}:a.{style}"
    assert run("audit", "s.yaml", "--source", source, "--quarantine", f"bad-{style}")[0] == 1
    found = {str(entry.record): entry.violations[0].rule for entry in read_quarantine(f"bad-{style}").entries}
    prefix = "a.jsonl__" if style == "jsonl" else ""
    assert found == {f"{prefix}7": "LG101", f"{prefix}19": "LG102", f"{prefix}33": "LG101"}


@pytest.mark.parametrize("style", ["csv", "jsonl"])
def test_any_cut_of_text_files_gives_the_same_report(folder: Path, style: str) -> None:
    """Byte for byte the same JSON from one process and from three."""
    for shard in range(3):
        lines = [f'{{"label": {v}}}' if style == "jsonl" else str(v) for v in BAD]
        (folder / f"a-{shard}.{style}").write_text("\n".join([*(["label"] if style == "csv" else []), *lines]) + "\n")
    reports = [audit_dataset("s.yaml", source=f"{style}:{folder}/a-*.{style}", workers=n).to_json() for n in (0, 3)]
    assert json.dumps(reports[0]) == json.dumps(reports[1])


def test_a_quarantine_of_an_audit_is_rechecked_by_a_corrected_schema(folder: Path, run: Run) -> None:
    """What a new schema accepts is found among records that an audit wrote, as among those of a pipeline."""
    np.save(folder / "a.npy", np.array(BAD))
    assert run("audit", "s.yaml", "--source", "npy:a.npy", "--quarantine", "bad")[0] == 1
    (folder / "new.yaml").write_text(PLANTED.replace("num_classes: 10}", "num_classes: 11}"))
    code, out, _ = run("quarantine", "recheck", "bad", "--schema", "new.yaml", "--keys", "fixed.txt")
    assert code in (0, 1)
    assert (folder / "fixed.txt").read_text().split() == ["7"], out


# What TFDS loses silently ---------------------------------------------------------------------------------------


def prepared(folder: Path, lengths: list[int], values: list[list[int]], features: tfds.features.FeaturesDict) -> None:
    """A TFDS folder whose metadata promise ``lengths`` and whose shards hold ``values``."""
    folder.mkdir(parents=True)
    features.save_config(folder)
    for shard, labels in enumerate(values):
        name = f"toy-train.array_record-{shard:05}-of-{len(lengths):05}"
        writer = ArrayRecordWriter(str(folder / name), "group_size:1")
        for value in labels:
            writer.write(features.serialize_example({"label": value}))
        writer.close()
    split = {"name": "train", "shardLengths": list(map(str, lengths)), "numBytes": "1"}
    split["filepathTemplate"] = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    info = {"name": "toy", "version": "1.0.0", "fileFormat": "array_record", "splits": [split]}
    (folder / "dataset_info.json").write_text(json.dumps(info))


TEN = tfds.features.FeaturesDict({"label": tfds.features.ClassLabel(num_classes=10)})
TRAIN = PLANTED + "splits:\n  train: {source: 'tfds:toy/1.0.0'}\n"


@pytest.fixture
def toy(folder: Path) -> Path:
    """A schema whose train split is the TFDS folder toy/1.0.0."""
    (folder / "s.yaml").write_text(TRAIN)
    return folder / "toy" / "1.0.0"


def test_stale_shard_lengths_are_reported(toy: Path, run: Run) -> None:
    """A shard with more records than the metadata say, which TFDS never reads: LG401 names it."""
    prepared(toy, [50, 40], [LABELS, LABELS], TEN)
    code, out, _ = run("audit", "s.yaml")
    assert code == 1
    assert "toy-train.array_record-00001-of-00002 has 50 records but the metadata promise 40" in out


def test_the_sizes_of_splits_are_compared_with_the_metadata(toy: Path, run: Run) -> None:
    """LG234 where schema and metadata promise other sizes, even if a limit leaves records unread; or quieted."""
    prepared(toy, [50], [LABELS], TEN)
    for size, comment, differs in ((50, "", False), (40, "", True), (40, "  # noqa: LG234", False)):
        split = f"splits:\n  train:\n    source: tfds:toy/1.0.0\n    num_examples: {size}{comment}\n"
        (toy.parents[1] / "s.yaml").write_text(PLANTED + split)
        _, out, _ = run("audit", "s.yaml", "--limit", "10")
        assert ("LG234 source-split: num_examples is 40 but the dataset declares 50" in out) == differs, out


def test_a_missing_shard_is_reported(toy: Path, run: Run) -> None:
    """A shard that was not copied makes the audit incomplete, by its name; the others are audited."""
    prepared(toy, [50, 50], [BAD, LABELS], tfds.features.FeaturesDict({"label": tfds.features.Scalar(np.int64)}))
    (toy / "toy-train.array_record-00001-of-00002").unlink()
    code, out, _ = run("audit", "s.yaml")
    assert code == 2
    assert "LG402" in out
    assert "toy-train.array_record-00001-of-00002: the file does not exist" in out
    assert "LG101 label-out-of-range: label: 2 of 50 records" in out


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_truncated_shard_is_reported(toy: Path, run: Run, keep: int) -> None:
    """A shard cut anywhere is never read as a shorter one."""
    prepared(toy, [50, 50], [LABELS, LABELS], TEN)
    shard = toy / "toy-train.array_record-00000-of-00002"
    shard.write_bytes(shard.read_bytes()[:keep])
    code, out, _ = run("audit", "s.yaml")
    assert code == 2
    assert "LG402" in out
    assert "NOT COMPLETE" in out


def test_a_writer_that_drops_rows_is_reported(folder: Path, run: Run) -> None:
    """Parquet files with fewer rows than the schema promises: LG401, as TFDS's own writer once dropped them."""
    (folder / "s.yaml").write_text(PLANTED + "splits:\n  train: {num_examples: 50, source: 'parquet:a-*.parquet'}\n")
    for shard in range(2):
        pq.write_table(pa.table({"label": LABELS[: 20 + shard]}), folder / f"a-{shard}.parquet")
    code, out, _ = run("audit", "s.yaml")
    assert code == 1
    assert "LG401 record-count-mismatch: 41 records are there but the schema's num_examples promises 50" in out


def test_a_narrow_declared_dtype_does_not_hide_what_is_stored(toy: Path, run: Run) -> None:
    """features.json says uint8, which makes 255 of a stored -1 and 0 of 256: the stored int64 is checked."""
    narrow = tfds.features.FeaturesDict({"label": tfds.features.Scalar(np.uint8)})
    prepared(toy, [3], [[1, 2, 3]], narrow)
    wide = tfds.features.FeaturesDict({"label": tfds.features.Scalar(np.int64)})
    writer = ArrayRecordWriter(str(toy / "toy-train.array_record-00000-of-00001"), "group_size:1")
    for value in (-1, 256, 3):
        writer.write(wide.serialize_example({"label": value}))
    writer.close()
    code, out, _ = run("audit", "s.yaml")
    assert code == 1
    assert "LG102 label-negative: label: 1 of 3 records" in out
    assert "LG101 label-out-of-range: label: 1 of 3 records; first toy-train.array_record-00000-of-00001__1: 256" in out


# Mistakes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "reported"),
    [
        ("npy:pickled.npy", "pickle"),
        ("npz:pickled.npz", "pickle"),
        ("jsonl:cut.jsonl.gz", "truncated"),
        ("csv:.", "is a folder"),
        ("parquet:s.yaml", "cannot read s.yaml as Parquet"),
        ("tfrecord:s.yaml", "is not a TFRecord file"),
        ("array_record:s.yaml", "is not an ArrayRecord file"),
        ("npy:s.yaml", "s.yaml"),
        ("tfds:nowhere", "is not a prepared TFDS folder"),
        ("python:nothing:here", "cannot import 'nothing'"),
        ("csv:none-*.csv", "no file matches none-*.csv"),
    ],
)
def test_what_cannot_be_read_is_one_clear_error(folder: Path, run: Run, source: str, reported: str) -> None:
    """Wrong, damaged and dangerous files end with one message, exit 2, no traceback, and no code of theirs is run."""

    class Bomb:
        def __reduce__(self) -> object:
            return os.system, ("touch exploded",)

    np.save(folder / "pickled.npy", np.array([Bomb()], object), allow_pickle=True)
    np.savez(folder / "pickled.npz", label=np.array([1], object), allow_pickle=True)
    (folder / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"label": 1}\n' * 2000)[:-12])
    code, out, err = run("audit", "s.yaml", "--source", source)
    assert code == 2
    assert reported in out + err
    assert "Traceback" not in out + err
    assert not (folder / "exploded").exists()


@pytest.mark.parametrize("content", [b"\x00\xff\xfe\x01" * 40, b"\x89PNG\r\n\x1a\n" + bytes(range(256)), b"PAR1" * 9])
def test_a_binary_file_for_a_schema_is_one_clear_error(folder: Path, run: Run, content: bytes) -> None:
    """A data file given as the schema is reported as not a schema."""
    (folder / "s.yaml").write_bytes(content)
    code, out, err = run("audit", "s.yaml", "--source", "csv:a.csv")
    assert code == 2
    assert "s.yaml" in out + err
    assert "Traceback" not in out + err


def test_a_full_disk_leaves_no_half_report(folder: Path) -> None:
    """A report that cannot be written is an error with its name and exit 2; findings are printed, old reports stay."""
    np.save(folder / "a.npy", np.array(BAD))
    (folder / "a.json").write_text("the report of yesterday")
    limited = """
import resource, signal
from label_guard.cli.app import main
import label_guard.cli.audit
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))
main(["audit", "s.yaml", "--source", "npy:a.npy", "--report", "json=a.json", "--report", "html=a.html"])
"""
    done = subprocess.run(
        [sys.executable, "-B", "-c", limited], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 2, done.stderr
    assert "LG101 label-out-of-range" in done.stdout
    assert "cannot write a.json: File too large; nothing of it was kept" in done.stderr
    assert "cannot write a.html" in done.stderr
    assert "Traceback" not in done.stderr
    assert (folder / "a.json").read_text() == "the report of yesterday"
    assert sorted(path.name for path in folder.iterdir()) == ["a.json", "a.npy", "s.yaml"]
