"""A segmentation of the JAX AI stack: pictures and masks on a MapDataset, a random crop, batches, 255 is void."""

from __future__ import annotations

from typing import Any

import grain
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from label_guard.grain import guard_labels, keyed
from label_guard.jax import masked_mean
from label_guard.schema.dataset import DatasetSchema

CLASSES, SIZE, CROP = 5, 6, 4
LABEL = {"kind": "class_label", "num_classes": CLASSES, "dtype": "uint8", "shape": [SIZE, SIZE], "ignore": [255]}
SCHEMA = DatasetSchema.model_validate(
    {
        "format": 1,
        "name": "street",
        "version": "1.0.0",
        "labels": {"mask": {**LABEL, "emit": "int32"}},
        "views": {"crop": {"labels": {"mask": {"shape": [CROP, CROP]}}}},
    }
)
READ = grain.ReadOptions(0, 0)


class Pictures:
    """A source of pictures with masks, as a folder of files gives them; two masks have values in between."""

    paths = ("street/0.png",)

    def __len__(self) -> int:
        return 32

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = np.random.default_rng(int(index))
        mask = rng.integers(0, CLASSES, (SIZE, SIZE), np.uint8)
        mask[0, 0] = 255
        if index in (3, 30):
            mask[2, 2] = 130  # resized with interpolation
        return {"image": rng.random((SIZE, SIZE, 3), np.float32), "mask": mask}


class Crop(grain.transforms.RandomMap):
    """The same random window of a picture, its mask and what is valid of it; the record key passes."""

    def random_map(self, element: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        y, x = rng.integers(0, SIZE - CROP + 1, 2)
        cut = {name: element[name][y : y + CROP, x : x + CROP] for name in ("image", "mask", "mask_valid")}
        return {**element, **cut}


@pytest.mark.parametrize("policy", ["drop", "mask"])
def test_masks_before_and_after_the_crop(folder: str, names: Any, resumes: Any, policy: str) -> None:
    """The guard on stored masks names both files; that of the view is content with what the crop makes of them."""
    ds = grain.MapDataset.source(keyed(Pictures())).seed(1).shuffle()
    options = {"on_invalid": policy, "quarantine": folder, "stop_above": None}
    ds = ds.pipe(guard_labels, SCHEMA, **options, keep_key=True).random_map(Crop())
    batches = ds.to_iter_dataset(READ).pipe(guard_labels, SCHEMA, view="crop", batch_size=8, on_invalid="raise")
    found = list(batches)
    assert names() == ["0.png__3", "0.png__30"] or names() == ["3", "30"]
    assert sum(len(batch["mask"]) for batch in found) == (30 if policy == "drop" else 32)
    for batch in found:
        assert batch["mask"].dtype == np.int32
        assert ((batch["mask"] < CLASSES) | (batch["mask"] == 255)).all()
        assert (batch["mask_valid"] == (batch["mask"] != 255)).all()
        assert set(batch) == {"image", "mask", "mask_valid"}
    logits = jnp.zeros((8, CROP, CROP, CLASSES))
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, found[0]["mask"])
    assert masked_mean(losses, found[0]["mask_valid"]) == pytest.approx(np.log(CLASSES), rel=1e-5)
    resumes(batches)
