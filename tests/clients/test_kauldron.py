"""Kauldron's form: a source, a seed, then a list of transforms on a MapDataset, then batches and workers."""

from __future__ import annotations

import dataclasses
from typing import Any

import grain
import numpy as np
import pytest

from label_guard import ClassLabel
from label_guard.grain import guard_labels, keyed, summary

SCHEMA = {"label": ClassLabel(num_classes=10)}
BAD = (11, 23)
RECORDS = [
    {"image": np.full((4, 4, 1), k, np.uint8), "label": np.int64(77 if k in BAD else k % 10), "extra": k}
    for k in range(40)
]
READ = grain.ReadOptions(0, 0)


@dataclasses.dataclass(frozen=True)
class Elements(grain.transforms.Map):
    """Keeps the named features, as ``kd.data.Elements`` does."""

    keep: tuple[str, ...]

    def map(self, element: dict[str, Any]) -> dict[str, Any]:
        return {name: element[name] for name in self.keep}


@dataclasses.dataclass(frozen=True)
class ValueRange(grain.transforms.Map):
    """Scales a picture to 0..1."""

    key: str

    def map(self, element: dict[str, Any]) -> dict[str, Any]:
        return {**element, self.key: element[self.key].astype(np.float32) / 255}


def transformed(keep: tuple[str, ...], num_epochs: int | None = 1) -> grain.MapDataset:
    """The pipeline of a config: shuffled, repeated, its transforms applied in order."""
    ds = grain.MapDataset.source(keyed(RECORDS, name="mnist")).seed(42).shuffle().repeat(num_epochs)
    return ds.apply([Elements(keep), ValueRange("image")])


KEEP = ("image", "label", "label_guard_key")


@pytest.mark.parametrize("place", ["batch_size", "after batch", "MapDataset"])
def test_transforms_and_the_guard(folder: str, names: Any, resumes: Any, place: str) -> None:
    """Wherever the guard is, both labels are found in each epoch and named once; a resumed run is equal."""
    options = {"on_invalid": "mask", "quarantine": folder, "stop_above": None}
    ds = transformed(KEEP, num_epochs=2)
    if place == "MapDataset":
        ds = ds.pipe(guard_labels, SCHEMA, **options).to_iter_dataset(READ).batch(8)
    elif place == "after batch":
        ds = ds.to_iter_dataset(READ).batch(8).pipe(guard_labels, SCHEMA, **options)
    else:
        ds = ds.to_iter_dataset(READ).pipe(guard_labels, SCHEMA, batch_size=8, **options)
    iterator = iter(ds)
    batches = list(iterator)
    assert sum(int((~batch["label_valid"]).sum()) for batch in batches) == 2 * len(BAD)
    assert names() == ["mnist/11", "mnist/23"]
    if place != "MapDataset":
        assert summary(iterator).invalid == 2 * len(BAD)
    resumes(ds)


def test_elements_that_lose_the_key(folder: str) -> None:
    """kd.data.Elements(keep=...) without the key: the error names the feature to keep."""
    ds = transformed(("image", "label")).to_iter_dataset(READ)
    with pytest.raises(Exception, match="a map lost the feature"):
        next(iter(ds.pipe(guard_labels, SCHEMA, batch_size=8, quarantine=folder)))
