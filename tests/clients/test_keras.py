"""Keras' form: ``(x, y, sample_weight)``, where the validity mask is the weight of each sample."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import grain
import numpy as np
import pytest

from label_guard import ClassLabel, guard_batches
from label_guard.grain import guard_labels

SCHEMA = {"1": ClassLabel(num_classes=4)}
OPTIONS = {"on_invalid": "mask", "valid_key": "sample_weight", "valid_dtype": "float32", "stop_above": None}
LABELS = np.arange(32) % 4
BAD = (3, 30)
IMAGES = np.eye(4, dtype=np.float32)[LABELS]
STORED = np.where(np.isin(np.arange(32), BAD), 4, LABELS)


def dataset(**options: Any) -> Any:
    """Guarded triples of batches of 8."""
    pairs = list(zip(IMAGES, STORED, strict=True))
    ds = grain.MapDataset.source(pairs).to_iter_dataset(grain.ReadOptions(0, 0))
    return ds.pipe(guard_labels, SCHEMA, batch_size=8, **OPTIONS, **options)


def test_weights_are_zero_where_a_label_is_invalid(folder: str, resumes: Any) -> None:
    """The third item is float32, 0 at both invalid labels; the contract without Keras."""
    triples = list(dataset(quarantine=folder))
    weights = np.concatenate([weight for _, _, weight in triples])
    assert weights.dtype == np.float32
    assert np.flatnonzero(weights == 0).tolist() == list(BAD)
    assert all((y < 4).all() for _, y, _ in triples)
    resumes(dataset(quarantine=folder))


@pytest.mark.clients
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras' variables
@pytest.mark.filterwarnings("ignore:Your input ran out of data:UserWarning")  # a Grain dataset shows no length
@pytest.mark.parametrize("form", ["Grain", "a generator"])
def test_keras_trains_on_what_is_valid(folder: str, form: str) -> None:
    """model.fit over two epochs: the weights are those of a model that never saw the two invalid samples."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras

    def model() -> Any:
        keras.utils.set_random_seed(0)
        made = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")
        made.compile(optimizer=keras.optimizers.SGD(0.1), loss=loss)
        return made

    def forever(batches: Any) -> Iterator[Any]:
        while True:
            yield from batches

    guarded = model()
    if form == "Grain":
        guarded.fit(dataset(quarantine=folder), epochs=2, verbose=0, shuffle=False)
    else:
        batches = [(IMAGES[k : k + 8], STORED[k : k + 8]) for k in range(0, 32, 8)]
        loader = guard_batches(batches, SCHEMA, batched=True, quarantine=folder, **OPTIONS)
        guarded.fit(forever(loader), steps_per_epoch=len(loader), epochs=2, verbose=0, shuffle=False)
    expected = model()
    weights = np.isin(np.arange(32), BAD, invert=True).astype(np.float32)
    clean = [(IMAGES[k : k + 8], LABELS[k : k + 8], weights[k : k + 8]) for k in range(0, 32, 8)]
    expected.fit(forever(clean), steps_per_epoch=4, epochs=2, verbose=0, shuffle=False)
    for weight, other in zip(guarded.get_weights(), expected.get_weights(), strict=True):
        assert np.isfinite(weight).all()
        assert np.allclose(weight, other)
