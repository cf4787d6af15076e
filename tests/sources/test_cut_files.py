"""Files that end too early: the records before the fault are audited, however few they are, and the fault is named."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from label_guard import DatasetSchema
from label_guard.audit.runner import audit_dataset
from label_guard.errors import SourceError
from label_guard.sources.open import open_source

NAMES = {"class_names": ["bee", "beetle", "butterfly", "dragonfly"], "dtype": "string"}
FIELDS = {"csv": "species", "coco": "category_id", "webdataset": "cls"}


def _flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


TAILS: dict[str, Callable[[bytes], bytes]] = {
    "garbage": lambda data: data + b"x",
    "twice": lambda data: data * 2,
    "garbage after gz": lambda data: gzip.compress(data) + b"x",
    "two gz": lambda data: gzip.compress(data) * 2,
    "cut checksum": lambda data: gzip.compress(data)[:-5],
    "wrong checksum": lambda data: _flipped(gzip.compress(data), -6),
}


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("name", ["insects.json", "columns.json", "instances.json"])
def test_what_follows_a_json_value_is_read(insects: Path, tmp_path: Path, name: str, tail: str) -> None:
    """A second value, garbage, and the checksum of gzip: such a file is never called complete."""
    path = tmp_path / (name + (".gz" if "gz" in tail or "checksum" in tail else ""))
    path.write_bytes(TAILS[tail]((insects / name).read_bytes()))
    form = "coco" if "instances" in name else "json"
    label = {FIELDS.get(form, "label"): {"kind": "class_label", "num_classes": 9}}
    schema = DatasetSchema.model_validate({"format": 1, "name": "x", "version": "1.0.0", "labels": label})
    with contextlib.suppress(SourceError):
        assert not audit_dataset(schema, source=f"{form}:{path}").complete


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("scheme", ["csv", "jsonl", "json", "coco", "tfrecord", "webdataset"])
def test_what_precedes_the_end_is_audited(
    insects: Path, dataset_files: dict[str, str], tmp_path: Path, scheme: str, zipped: bool
) -> None:
    """Even where the fault lies among the records that are looked at to find the fields."""
    whole = (insects / dataset_files[scheme]).read_bytes()
    part = gzip.compress(whole + whole[-1:] * 9, mtime=0)[:-30] if zipped else whole[: len(whole) * 37 // 100]
    path = tmp_path / f"a.{scheme}{'.gz' if zipped else ''}"
    path.write_bytes(part)
    label = {"kind": "class_label", "num_classes": 4, **(NAMES if scheme == "csv" else {})}
    schema = DatasetSchema.model_validate(
        {"format": 1, "name": "x", "version": "1.0.0", "labels": {FIELDS.get(scheme, "label"): label}}
    )
    report = audit_dataset(schema, source=f"{scheme}:{path}")
    (split,) = report.splits
    assert 20 < split.records <= 120, split.records
    assert split.invalid
    lines = scheme in ("csv", "jsonl") and not zipped  # whose last one is a record like any other
    assert report.complete is lines
    assert report.exit_code == (1 if lines else 2)


def test_no_record_before_the_end_is_read_twice(tmp_path: Path) -> None:
    """Also where an unusual quote leaves the block to the reader of rows."""
    whole = b"label,text\n" + b"".join(b"%d,a%s\n" % (k, b'"b' * (k == 3)) for k in range(400))
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(whole, mtime=0)[:-30])
    source = open_source(f"csv:{tmp_path}/a.csv.gz", labels=["label"])
    found: list[Any] = []
    with pytest.raises(SourceError, match="too early"):
        found.extend(value for chunk in source.read(source.shards()[0]) for value in chunk.columns["label"])
    assert len(found) > 100
    assert found == list(range(found[-1] + 1))


@pytest.mark.parametrize("scheme", ["csv", "jsonl"])
def test_a_gzip_file_cut_anywhere_is_never_called_complete(tmp_path: Path, scheme: str) -> None:
    """Two members, an unusual quote among the rows: also where the cut lies in the second header or a checksum."""
    header = {"csv": b"label,text\n", "jsonl": b""}[scheme]
    row = {"csv": b'%d,a"b\n', "jsonl": b'{"label": %d, "text": NaN}\n'}[scheme]
    members = [gzip.compress(header + row % 0 + row % 1, mtime=0), gzip.compress(row % 2 + row % 3, mtime=0)]
    whole, path = b"".join(members), tmp_path / f"a.{scheme}.gz"
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        found: list[Any] = []
        expected = contextlib.nullcontext() if cut in (len(members[0]), len(whole)) else pytest.raises(SourceError)
        with expected:
            source = open_source(f"{scheme}:{path}", labels=["label"])
            found.extend(row for chunk in source.read(source.shards()[0]) for row in chunk.rows)
        assert found == list(range(len(found)))
