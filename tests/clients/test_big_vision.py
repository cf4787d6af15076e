"""big_vision's form: evaluation batches of one-hot labels, padded to full size with rows that ``_mask`` marks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from label_guard import SoftLabel, guard_batches
from label_guard.schema.dataset import DatasetSchema

CLASSES, COUNT, BATCH = 4, 21, 8
LABELS = {"labels": SoftLabel(num_classes=CLASSES, one_hot=True, where="_mask")}
SCHEMA = DatasetSchema(format=1, name="val", version="1.0.0", record_key="tfds_id", labels=LABELS)


def rows(bad: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    """Batches of one-hot rows, the last one padded with zeros; ``bad`` rows are hot nowhere."""
    labels = np.eye(CLASSES, dtype=np.float32)[np.arange(COUNT) % CLASSES]
    labels[list(bad)] = 0
    ids = np.array([f"val.tfrecord__{k}".encode() for k in range(COUNT)])
    for start in range(0, COUNT, BATCH):
        part = labels[start : start + BATCH]
        fill = BATCH - len(part)
        yield {
            "labels": np.pad(part, ((0, fill), (0, 0))),
            "_mask": np.arange(BATCH) < len(part),
            "tfds_id": np.pad(ids[start : start + BATCH], (0, fill)),
        }


def test_padding_stays_out_of_the_counts(folder: str, names: Any) -> None:
    """Rows of padding are all zero, and no faults; a real row of zeros is one, named by its TFDS id."""
    options = {"on_invalid": "mask", "valid_key": "_mask", "quarantine": folder, "stop_above": None}
    guarded = guard_batches(list(rows((2, 19))), SCHEMA, **options)
    batches = list(guarded)
    assert [batch["_mask"].sum() for batch in batches] == [7, 8, 4]
    assert {len(batch["labels"]) for batch in batches} == {BATCH}
    assert names() == ["val.tfrecord__19", "val.tfrecord__2"]
    found = guarded.summary
    assert (found.seen, found.padding, found.invalid) == (COUNT, 3 * BATCH - COUNT, 2)


def test_a_resumed_evaluation_is_equal(folder: str) -> None:
    """From the middle the same batches come, and the counts, padding included, are those of one run."""
    options = {"on_invalid": "mask", "valid_key": "_mask", "quarantine": folder, "stop_above": None}
    first, again = (guard_batches(list(rows((2, 19))), SCHEMA, **options) for _ in range(2))
    next(first)
    again.restore(first.state())
    for one, other in zip(first, again, strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in one)
    assert first.summary == again.summary


def test_a_clean_evaluation_is_exact(folder: str) -> None:
    """Without faults each batch passes on as it came, padding included."""
    options = {"on_invalid": "mask", "valid_key": "_mask", "quarantine": folder}
    for before, after in zip(rows(()), guard_batches(list(rows(())), SCHEMA, **options), strict=True):
        assert after["_mask"].tolist() == before["_mask"].tolist()
        counted = before["_mask"]
        assert (after["labels"][counted] == before["labels"][counted]).all()
