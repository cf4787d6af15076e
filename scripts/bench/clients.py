"""The guard in the pipelines of training programs (tests/clients), compared with the same pipelines without it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from typing import Any

import grain
import numpy as np
from bench.measure import Row, measure, row
from bench.pipeline import drain

from label_guard import ClassLabel, SoftLabel, guard_batches
from label_guard.grain import guard_labels, keyed

READ = grain.ReadOptions(0, 0)


def language_model(count: int, options: dict[str, Any] | None) -> Any:
    """MaxText: documents of 200 to 600 tokens, packed into rows of 2,048."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 50_257, 100_000).astype(np.uint16)
    documents = [{"tokens": tokens[k : k + 200 + k % 400]} for k in range(count)]
    ds: Any = grain.MapDataset.source(keyed(documents)).to_iter_dataset(READ)
    if options is None:
        ds = ds.map(lambda record: {"tokens": record["tokens"]})
    else:
        label = ClassLabel(num_classes=50_257, dtype=("uint16",), shape=(None,))
        ds = ds.pipe(guard_labels, {"tokens": label}, batched=False, **options)
    ds = ds.map(lambda record: {"inputs": record["tokens"][:-1], "targets": record["tokens"][1:]})
    lengths = {"inputs": 2048, "targets": 2048}
    return grain.experimental.FirstFitPackIterDataset(ds, length_struct=lengths, num_packing_bins=16)


def segmentation(count: int, options: dict[str, Any] | None) -> Any:
    """Pictures of 128x128x3 with masks of 19 classes and 255, in batches of 16."""
    rng = np.random.default_rng(0)
    masks = [rng.choice([*range(19), 255], (128, 128)).astype(np.uint8) for _ in range(16)]
    image = np.zeros((128, 128, 3), np.uint8)
    records = [{"image": image, "mask": masks[k % 16]} for k in range(count)]
    ds = grain.MapDataset.source(records).to_iter_dataset(READ)
    if options is None:
        return ds.batch(16)
    label = ClassLabel(num_classes=19, dtype=("uint8",), shape=(128, 128), ignore=(255,))
    return ds.pipe(guard_labels, {"mask": label}, batch_size=16, valid_key=None, **options)


def detection(count: int, options: dict[str, Any] | None) -> Any:
    """DETR: 0 to 19 boxes a picture, ids with gaps, records in and out."""
    rng = np.random.default_rng(0)
    ids = tuple(k for k in range(1, 91) if k % 9)
    records = [
        {"image": np.zeros((64, 64, 3), np.uint8), "objects": {"label": rng.choice(ids, k % 20).astype(np.int64)}}
        for k in range(count)
    ]
    ds = grain.MapDataset.source(records).to_iter_dataset(READ)
    if options is None:
        return ds.map(lambda record: record)
    label = ClassLabel(num_classes=len(ids), class_ids=ids, shape=(None,), emit="int32")
    return ds.pipe(guard_labels, {"objects/label": label}, batched=False, **options)


def evaluation(count: int, options: dict[str, Any] | None) -> Any:
    """big_vision: batches of 64 one-hot rows of 1,000 classes with their pictures, padding marked by ``_mask``."""
    labels = np.eye(1000, dtype=np.float32)[np.arange(64) * 15]
    batch = {"image": np.zeros((64, 32, 32, 3), np.float32), "labels": labels, "_mask": np.arange(64) < 60}

    def loader() -> Any:
        for _ in range(max(1, count // 64)):
            yield {**batch, "image": batch["image"] * 2}

    if options is None:
        return _Again(loader)
    label = SoftLabel(num_classes=1000, one_hot=True, where="_mask")
    mask = {**options, "on_invalid": "mask", "valid_key": "_mask", "batched": True}
    return _Again(lambda: guard_batches(loader(), {"labels": label}, **mask))


class _Again:
    """An iterable that starts again at each ``iter()``."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    def __iter__(self) -> Any:
        return iter(self._make())


PROGRAMS: dict[str, Callable[[int, dict[str, Any] | None], Any]] = {
    "MaxText, documents then packing": language_model,
    "segmentation, batches of 16 masks": segmentation,
    "DETR, ragged boxes": detection,
    "big_vision, padded evaluation": evaluation,
}


def programs(quick: bool) -> list[Row]:
    """Each program without the guard, and with it; what is compared does the same work but for the check."""
    rows: list[Row] = []
    folder = tempfile.mkdtemp()
    options = {"quarantine": f"{folder}/q", "stop_above": None}
    count = 512 if quick else 2_048
    for name, make in PROGRAMS.items():
        datasets = {"no guard": make(count, None), "guard": make(count, options)}
        timings = measure({n: drain(ds) for n, ds in datasets.items()}, rounds=5 if quick else 11, seconds=0)
        rows += [row(f"Client: {name}", n, timings, against="no guard") for n in datasets]
    shutil.rmtree(folder, ignore_errors=True)
    return rows
