"""DETR's form: some boxes for each picture, padded in a batch function of the user's own; COCO's ids have gaps."""

from __future__ import annotations

from typing import Any

import grain
import numpy as np

from label_guard import ClassLabel
from label_guard.grain import guard_labels, keyed, summary

IDS = (1, 2, 3, 5, 8)
SCHEMA = {"objects/label": ClassLabel(num_classes=len(IDS), class_ids=IDS, shape=(None,), emit="int32")}
MOST = 6


def pictures() -> list[dict[str, Any]]:
    """Pictures with 0 to 5 boxes; one box of two pictures has an id that COCO leaves out."""
    rng = np.random.default_rng(0)
    made = []
    for k in range(30):
        labels = rng.choice(IDS, k % 6).astype(np.int64)
        if k in (4, 17):
            labels[-1] = 4
        made.append({"id": k, "objects": {"label": labels, "bbox": rng.random((len(labels), 4), np.float32)}})
    return made


def padded(records: list[dict[str, Any]]) -> dict[str, Any]:
    """A batch with room for ``MOST`` boxes; class -1 means no object."""
    labels = np.full((len(records), MOST), -1, np.int32)
    boxes = np.zeros((len(records), MOST, 4), np.float32)
    for row, record in enumerate(records):
        count = len(record["objects"]["label"])
        labels[row, :count], boxes[row, :count] = record["objects"]["label"], record["objects"]["bbox"]
    return {"id": np.array([record["id"] for record in records]), "label": labels, "bbox": boxes}


def test_boxes_are_guarded_before_they_are_padded(folder: str, names: Any, resumes: Any) -> None:
    """Pictures with an id of no class leave, named; the others come padded, ids dense, empty pictures too."""
    ds = (
        grain.MapDataset.source(keyed(pictures()))
        .shuffle(seed=3)
        .to_iter_dataset(grain.ReadOptions(0, 0))
        .pipe(guard_labels, SCHEMA, batched=False, quarantine=folder, stop_above=None)
        .batch(7, batch_fn=padded)
    )
    iterator = iter(ds)
    batches = list(iterator)
    assert names() == ["17", "4"]
    assert summary(iterator).delivered == 28
    raw = pictures()
    for batch in batches:
        for number, labels in zip(batch["id"], batch["label"], strict=True):
            stored = raw[number]["objects"]["label"]
            assert labels[: len(stored)].tolist() == [IDS.index(i) for i in stored]
            assert (labels[len(stored) :] == -1).all()
    resumes(ds)


def test_mask_keeps_every_picture(folder: str) -> None:
    """Under mask a picture keeps its boxes, and the mask says which of them count."""
    ds = grain.MapDataset.source(pictures()).to_iter_dataset(grain.ReadOptions(0, 0))
    found = list(ds.pipe(guard_labels, SCHEMA, batched=False, on_invalid="mask", quarantine=folder, stop_above=None))
    for before, after in zip(pictures(), found, strict=True):
        assert after["objects"]["label_valid"].tolist() == [i in IDS for i in before["objects"]["label"].tolist()]
        assert len(after["objects"]["label"]) == len(before["objects"]["bbox"])
