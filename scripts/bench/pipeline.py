"""The Grain stage beside the pipeline without it, and beside the five-line filter."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grain
import numpy as np
from bench.checks import schema
from bench.measure import Row, measure, row

from label_guard.grain import guard_labels, keyed

CLASSES = 10
IMAGE = (32, 32, 3)


def records(count: int, bad_share: float) -> list[dict[str, Any]]:
    """In-memory records of an image and a label."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (64, *IMAGE), dtype=np.uint8)
    labels = rng.integers(0, CLASSES, count, dtype=np.int32)
    if bad_share:
        labels[rng.choice(count, max(1, int(count * bad_share)), replace=False)] = CLASSES
    return [{"image": images[i % 64], "label": labels[i]} for i in range(count)]


def drain(dataset: Any) -> Callable[[], None]:
    """A function that iterates the whole dataset."""

    def run() -> None:
        for _ in dataset:
            pass

    return run


def stage(quick: bool) -> list[Row]:
    """Batches of 256 of 32x32x3: without a guard, with it in both forms, with the usual filter."""
    count = 2_560 if quick else 10_240
    clean, dirty = records(count, 0), records(count, 0.001)
    folder = Path(tempfile.mkdtemp())
    quarantine = str(folder / "quarantine")
    options = {"split": None, "on_invalid": "drop", "quarantine": quarantine, "stop_above": None}
    promised = schema(dtype="int32")

    def source(data: Any) -> Any:
        return grain.MapDataset.source(data).to_iter_dataset(grain.ReadOptions(0, 0))

    def five_lines(record: dict[str, Any]) -> bool:
        label = record["label"]
        return label.dtype == np.int32 and 0 <= int(label) < CLASSES

    datasets = {
        ".batch(256)": source(clean).batch(256),
        ".batch(256) again": source(clean).batch(256),
        "guard after batch, clean": source(clean).batch(256).pipe(guard_labels, promised, **options),
        "guard after batch, 0.1 % bad": source(dirty).batch(256).pipe(guard_labels, promised, **options),
        "guard batch_size=256, clean": source(clean).pipe(guard_labels, promised, batch_size=256, **options),
        "guard batch_size=256, 0.1 % bad": source(dirty).pipe(guard_labels, promised, batch_size=256, **options),
        "five-line filter": source(clean).filter(five_lines).batch(256),
        "keyed(source)": source(keyed(clean)).batch(256),
        "map_with_index": grain.MapDataset.source(clean)
        .map_with_index(lambda i, x: {**x, "i": np.int64(i)})
        .to_iter_dataset(grain.ReadOptions(0, 0))
        .batch(256),
    }
    timings = measure({name: drain(ds) for name, ds in datasets.items()}, rounds=5 if quick else 11, seconds=0)
    shutil.rmtree(folder)
    limits = {
        "guard after batch, clean": 1.02,
        "guard after batch, 0.1 % bad": 1.04,
        "guard batch_size=256, clean": 1.08,
        "keyed(source)": 1.04,
    }
    group = f"Grain, {count:,} records of 32x32x3"
    return [row(group, name, timings, against=".batch(256)", limit=limits.get(name)) for name in datasets]
