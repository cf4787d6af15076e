"""The Grain stage compared with the pipeline without it, and with the five-line filter."""

from __future__ import annotations

import copy
import importlib
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import grain
import numpy as np
from bench.by_hand import by_hand
from bench.checks import schema
from bench.measure import Row, measure, row

from label_guard import tfds
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


def probed(dataset: Any, seconds: list[float]) -> Any:
    """``dataset``, which adds up the CPU time of this thread that its elements take.

    It stays a dataset of its class: the guard need not copy the batches of Grain's own ``batch``.
    """
    kind = type(dataset)
    iterate = {"__iter__": lambda self: _ProbeIterator(kind.__iter__(self), seconds)}
    probe = copy.copy(dataset)
    probe.__class__ = type(kind.__name__, (kind,), iterate)
    return probe


class _ProbeIterator(grain.DatasetIterator):
    def __init__(self, parent: Any, seconds: list[float]) -> None:
        super().__init__(parent)
        self._seconds = seconds

    def __next__(self) -> Any:
        start = time.thread_time()
        try:
            return next(self._parent)
        finally:
            self._seconds.append(time.thread_time() - start)

    def get_state(self) -> Any:
        return self._parent.get_state()

    def set_state(self, state: Any) -> None:
        self._parent.set_state(state)


def own_cost(
    group: str, name: str, dataset: Any, guard: Callable[[Any, str], Any], rounds: int, limit: float | None
) -> Row:
    """The guard's own CPU compared with that of the pipeline before it: both measured in each round, around each batch.

    Each round is a run of its own, with a quarantine of its own.
    """
    ratios, guarded = [], []
    for _ in range(rounds):
        before, after = [], []
        with tempfile.TemporaryDirectory() as folder:
            drain(probed(guard(probed(dataset, before), folder), after))()
        ratios.append(sum(after) / sum(before))
        guarded.append(sum(after) - sum(before))
    low, _, high = statistics.quantiles(ratios, n=4)
    value, seconds = statistics.median(ratios), statistics.median(guarded)
    target, holds = ("", None) if limit is None else (f"<= {limit:g}x", value <= limit)
    return Row(group, f"{name}: its own", seconds, seconds, "the pipeline before it", value, (low, high), target, holds)


def keyed_records(quick: bool) -> list[Row]:
    """``keyed`` where records are read and decoded: PNG digits of a prepared TFDS folder."""
    folder = Path(tempfile.mkdtemp())
    read = tfds.source(importlib.import_module("prepare_digits").prepare(folder), "train")

    def batches(data: Any) -> Any:
        return grain.MapDataset.source(data).to_iter_dataset(grain.ReadOptions(0, 0)).batch(256)

    datasets = {".batch(256)": batches(read), "keyed(source)": batches(keyed(read))}
    timings = measure({name: drain(ds) for name, ds in datasets.items()}, rounds=3 if quick else 15, seconds=0)
    shutil.rmtree(folder)
    group = "Grain, 1,500 PNG digits of a TFDS folder"
    limits = {"keyed(source)": 1.04}
    return [row(group, name, timings, against=".batch(256)", limit=limits.get(name)) for name in datasets]


def single_records(quick: bool) -> list[Row]:
    """Records in, records out: 32x32x3, one by one, as before packing or a batch function of the user's own."""
    count = 2_560 if quick else 10_240
    folder = Path(tempfile.mkdtemp())
    options = {"batched": False, "quarantine": str(folder / "quarantine"), "stop_above": None}

    def source(bad_share: float) -> Any:
        return grain.MapDataset.source(records(count, bad_share)).to_iter_dataset(grain.ReadOptions(0, 0))

    promised = schema(dtype="int32")
    datasets = {
        "no guard": source(0),
        ".map(identity)": source(0).map(lambda record: record),
        "guard, clean": source(0).pipe(guard_labels, promised, **options),
        "guard, 0.1 % bad": source(0.001).pipe(guard_labels, promised, **options),
    }
    timings = measure({name: drain(ds) for name, ds in datasets.items()}, rounds=5 if quick else 11, seconds=0)
    shutil.rmtree(folder)
    group = f"Grain, records in and records out, {count:,} of 32x32x3"
    limits = {"guard, clean": 1.08}
    return [row(group, name, timings, against="no guard", limit=limits.get(name)) for name in datasets]


_LIMITS = {
    "guard batch_size=256, clean": 1.08,
    "keyed(source)": 1.04,
    "keyed(source), guard batch_size=256": 1.04,
}


def stage(quick: bool) -> list[Row]:
    """Batches of 256 of 32x32x3: without a guard, with it in both forms, with the usual filter."""
    count = 2_560 if quick else 10_240
    clean, dirty = records(count, 0), records(count, 0.001)
    group = f"Grain, {count:,} records of 32x32x3"
    with tempfile.TemporaryDirectory() as folder:
        guard = _guard(f"{folder}/quarantine")
        datasets = _datasets(clean, dirty, guard)
        timings = measure({name: drain(ds) for name, ds in datasets.items()}, rounds=5 if quick else 11, seconds=0)
    rows = [row(group, name, timings, against=".batch(256)", limit=_LIMITS.get(name)) for name in datasets]
    return [*rows, *_own_costs(quick)]


def _own_costs(quick: bool) -> list[Row]:
    """The guard after ``.batch``: over 40 batches, and over 200, which is an epoch of CIFAR-10.

    The targets are those of the epoch. In 40 batches a seventh of the time of the guard is what it does once, such as
    to make the file of the quarantine.
    """
    rows: list[Row] = []
    stages = {"guard after batch": _guarded, "the least by hand": by_hand}
    for count, rounds in ((2_560, 5), (5_120, 3)) if quick else ((10_240, 15), (51_200, 7)):
        group = f"Grain, {count:,} records of 32x32x3"
        for kind, share, most in (("clean", 0, 1.01), ("0.1 % bad", 0.001, 1.04)):
            dataset = _source(records(count, share)).batch(256)
            for stage_name, guarded in stages.items():
                limit = most if count > 10_240 and guarded is _guarded else None
                rows.append(own_cost(group, f"{stage_name}, {kind}", dataset, guarded, rounds, limit))
    return rows


def _source(data: Any) -> Any:
    return grain.MapDataset.source(data).to_iter_dataset(grain.ReadOptions(0, 0))


def _guard(quarantine: str) -> Callable[..., Any]:
    """A stage for ``pipe`` that drops bad records into ``quarantine``."""
    return partial(
        guard_labels, schema=schema(dtype="int32"), split=None, on_invalid="drop", quarantine=quarantine,
        stop_above=None,
    )  # fmt: skip


def _guarded(dataset: Any, quarantine: str) -> Any:
    return dataset.pipe(_guard(quarantine))


def _five_lines(record: dict[str, Any]) -> bool:
    label = record["label"]
    return label.dtype == np.int32 and 0 <= int(label) < CLASSES


def _datasets(clean: Any, dirty: Any, guard: Callable[..., Any]) -> dict[str, Any]:
    return {
        ".batch(256)": _source(clean).batch(256),
        ".batch(256) again": _source(clean).batch(256),
        ".batch(256).map(identity)": _source(clean).batch(256).map(lambda batch: batch),
        "guard after batch, clean": _source(clean).batch(256).pipe(guard),
        "guard after batch, 0.1 % bad": _source(dirty).batch(256).pipe(guard),
        "guard batch_size=256, clean": _source(clean).pipe(guard, batch_size=256),
        "guard batch_size=256, 0.1 % bad": _source(dirty).pipe(guard, batch_size=256),
        "five-line filter": _source(clean).filter(_five_lines).batch(256),
        "keyed(source)": _source(keyed(clean)).batch(256),
        "keyed(source), guard batch_size=256": _source(keyed(clean)).pipe(guard, batch_size=256),
        "map_with_index": grain.MapDataset.source(clean)
        .map_with_index(lambda i, x: {**x, "i": np.int64(i)})
        .to_iter_dataset(grain.ReadOptions(0, 0))
        .batch(256),
    }
