"""Files that end too early: the records before the fault are audited, however few they are, and the fault is named."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from label_guard import DatasetSchema
from label_guard.audit.runner import audit_dataset

NAMES = {"class_names": ["bee", "beetle", "butterfly", "dragonfly"], "dtype": "string"}
FIELDS = {"csv": "species", "coco": "category_id", "webdataset": "cls"}


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
