"""Flax's form: an nnx model in a loop over a Grain DataLoader; batches as flax.struct dataclasses."""

from __future__ import annotations

from typing import Any

import flax.struct
import grain
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from label_guard import ClassLabel, guard_batches
from label_guard.grain import data_loader_operations, keyed
from label_guard.jax import masked_mean

CLASSES = 3
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, CLASSES, 64)
IMAGES = np.eye(CLASSES, dtype=np.float32)[LABELS] + 0.1 * RNG.normal(size=(64, CLASSES)).astype(np.float32)
BAD = (9, 40)
STORED = np.where(np.isin(np.arange(64), BAD), CLASSES, LABELS)
SCHEMA = {"label": ClassLabel(num_classes=CLASSES, emit="int32")}


@flax.struct.dataclass
class Batch:
    """A batch with a field for the validity mask."""

    image: Any
    label: Any
    label_valid: Any = None


def loss_of(model: nnx.Module, image: Any, label: Any, valid: Any) -> Any:
    """Mean loss over the valid labels."""
    return masked_mean(optax.softmax_cross_entropy_with_integer_labels(model(image), label), valid)


def trained(batches: Any) -> list[float]:
    """The losses of a linear model over ``batches``."""
    model = nnx.Linear(CLASSES, CLASSES, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.sgd(1.0), wrt=nnx.Param)

    @nnx.jit
    def step(model: Any, optimizer: Any, *batch: Any) -> Any:
        loss, gradients = nnx.value_and_grad(loss_of)(model, *batch)
        optimizer.update(model, gradients)
        return loss

    return [float(step(model, optimizer, *map(jnp.asarray, batch))) for batch in batches]


def test_a_model_learns_from_a_guarded_loader(folder: str, names: Any) -> None:
    """Operations in a DataLoader mask both labels and name them; the losses are finite and fall."""
    records = [{"image": image, "label": label} for image, label in zip(IMAGES, STORED, strict=True)]
    source = keyed(records, name="digits")
    options = {"on_invalid": "mask", "quarantine": folder, "stop_above": None}
    loader = grain.DataLoader(
        data_source=source,
        sampler=grain.samplers.IndexSampler(64, num_epochs=3, shuffle=True, seed=0),
        operations=[*data_loader_operations(SCHEMA, source=source, **options), grain.transforms.Batch(16)],
        read_options=grain.ReadOptions(0, 0),
    )
    batches = list(loader)
    assert sum(int((~batch["label_valid"]).sum()) for batch in batches) == 3 * len(BAD)
    losses = trained((batch["image"], batch["label"], batch["label_valid"]) for batch in batches)
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0] / 2
    assert names() == ["digits/40", "digits/9"]


def test_batches_of_flax_struct(folder: str) -> None:
    """A dataclass of flax.struct keeps its type; its field gets the mask, and resuming gives the same batches."""
    loader = [Batch(IMAGES[k : k + 16], STORED[k : k + 16]) for k in range(0, 64, 16)]
    options = {"on_invalid": "mask", "quarantine": folder, "stop_above": None, "batched": True}
    guarded, again = (guard_batches(loader, SCHEMA, **options) for _ in range(2))
    batches = list(guarded)
    assert all(type(batch) is Batch for batch in batches)
    assert np.concatenate([batch.label_valid for batch in batches]).tolist() == (STORED < CLASSES).tolist()
    next(again)
    resumed = guard_batches(loader, SCHEMA, **options)
    resumed.restore(again.state())
    assert [batch.label.tolist() for batch in resumed] == [batch.label.tolist() for batch in batches[1:]]
