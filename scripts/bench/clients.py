"""The guard in the pipelines of training programs (tests/clients), compared with the same pipelines without it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

import grain
import numpy as np
from bench.measure import Row, measure, row
from bench.pipeline import drain

from label_guard import ClassLabel, DatasetSchema, SoftLabel, guard_batches
from label_guard.grain import data_loader_operations, guard_labels, keyed

READ = grain.ReadOptions(0, 0)
TEN = ClassLabel(num_classes=10)


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


def windows(count: int, options: dict[str, Any] | None) -> Any:
    """nanoGPT: batches of 12 windows of 1,024 tokens of a uint16 file, as int64, named by their offset."""
    data = np.random.default_rng(0).integers(0, 50_257, 1_000_000).astype(np.uint16)

    def loader() -> Any:
        rng = np.random.default_rng(0)
        for _ in range(max(1, count // 12)):
            at = rng.integers(0, len(data) - 1025, 12)
            x, y = (np.stack([data[i + k : i + k + 1024].astype(np.int64) for i in at]) for k in (0, 1))
            yield {"x": x, "y": y, "offset": at}

    if options is None:
        return _Again(loader)
    label = ClassLabel(num_classes=50_257, shape=(1024,))
    return _Again(lambda: guard_batches(loader(), {"x": label, "y": label}, batched=True, **options))


def operations(count: int, options: dict[str, Any] | None) -> Any:
    """Flax: a DataLoader with operations before Batch(64)."""
    source = keyed(_pictures(count))
    guard = [] if options is None else data_loader_operations({"label": TEN}, source=source, **options)
    return grain.DataLoader(
        data_source=_pictures(count) if options is None else source,
        sampler=grain.samplers.IndexSampler(count, num_epochs=1, shuffle=True, seed=0),
        operations=[*guard, grain.transforms.Batch(64)],
        read_options=READ,
    )


def transforms(count: int, options: dict[str, Any] | None) -> Any:
    """Kauldron: a MapDataset, shuffled, with transforms that keep features and scale the picture, then batches."""

    def scaled(record: dict[str, Any]) -> dict[str, Any]:
        return {**record, "image": record["image"].astype(np.float32) / 255}

    ds = grain.MapDataset.source(_pictures(count)).seed(0).shuffle()
    ds = ds if options is None else ds.pipe(guard_labels, {"label": TEN}, on_invalid="mask", **options)
    return ds.map(scaled).batch(64).to_iter_dataset(READ)


def weighted(count: int, options: dict[str, Any] | None) -> Any:
    """Keras: pairs become (x, y, sample_weight)."""
    pairs = [(record["image"], record["label"]) for record in _pictures(count)]
    ds = grain.MapDataset.source(pairs).to_iter_dataset(READ)
    if options is None:
        return ds.map(lambda pair: (*pair, np.float32(1))).batch(64)
    mask = {"on_invalid": "mask", "valid_key": "sample_weight", "valid_dtype": "float32", **options}
    return ds.pipe(guard_labels, {"1": TEN}, batch_size=64, **mask)


def mixed(count: int, options: dict[str, Any] | None) -> Any:
    """Grain: two keyed sources, mixed."""
    sources = [grain.MapDataset.source(keyed(_pictures(count // 2), name=name)) for name in "ab"]
    ds = grain.MapDataset.mix(sources, [0.5, 0.5]).to_iter_dataset(READ)
    return ds.batch(64) if options is None else ds.pipe(guard_labels, {"label": TEN}, batch_size=64, **options)


def collated(count: int, options: dict[str, Any] | None) -> Any:
    """PyTorch, tf.data: batches of 64 with names, from any loader."""
    batch = {
        "image": np.zeros((64, 32, 32, 3), np.uint8),
        "label": np.arange(64) % 10,
        "id": [f"r{k}" for k in range(64)],
    }
    return _loaded(batch, count, options)


def columns(count: int, options: dict[str, Any] | None) -> Any:
    """Hugging Face: batches of 64 as dicts of Python lists, whose labels become an array in both."""
    batch = {"text": ["a text of some words"] * 64, "label": [k % 10 for k in range(64)]}
    if options is None:
        return _Again(lambda: ({**batch, "label": np.array(batch["label"])} for _ in range(max(1, count // 64))))
    return _loaded(batch, count, options)


def _loaded(batch: dict[str, Any], count: int, options: dict[str, Any] | None) -> Any:
    def loader() -> Any:
        for _ in range(max(1, count // 64)):
            yield {name: value.copy() for name, value in batch.items()}

    if options is None:
        return _Again(loader)
    schema = DatasetSchema(
        format=1, name="t", version="1.0.0", record_key="id" if "id" in batch else None, labels={"label": TEN}
    )
    return _Again(lambda: guard_batches(loader(), schema, batched=True, **options))


def checkpointed(count: int, options: dict[str, Any] | None) -> Any:
    """Orbax: the state of the iterator is taken at every tenth batch of 64."""
    ds = grain.MapDataset.source(_pictures(count)).to_iter_dataset(READ)
    ds = ds.batch(64) if options is None else ds.pipe(guard_labels, {"label": TEN}, batch_size=64, **options)

    def stepped() -> Any:
        iterator = iter(ds)
        for step, batch in enumerate(iterator):
            if step % 10 == 0:
                json.dumps(iterator.get_state())
            yield batch

    return _Again(stepped)


def _pictures(count: int) -> list[dict[str, Any]]:
    image = np.zeros((32, 32, 3), np.uint8)
    return [{"image": image, "label": np.int64(k % 10)} for k in range(count)]


class _Again:
    """An iterable that starts again at each ``iter()``."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    def __iter__(self) -> Any:
        return iter(self._make())


PROGRAMS: dict[str, Callable[[int, dict[str, Any] | None], Any]] = {
    "MaxText, documents then packing": language_model,
    "nanoGPT, windows of a token file": windows,
    "Flax, a DataLoader": operations,
    "segmentation, batches of 16 masks": segmentation,
    "Kauldron, transforms on a MapDataset": transforms,
    "DETR, ragged boxes": detection,
    "big_vision, padded evaluation": evaluation,
    "Hugging Face, batches of lists": columns,
    "PyTorch and tf.data, batches with names": collated,
    "Keras, pairs to triples": weighted,
    "Grain, a mix of two sources": mixed,
    "Orbax, a state at every tenth batch": checkpointed,
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
