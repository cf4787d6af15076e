"""Misuse of the stage is refused when the pipeline is built, or on the first element."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grain
import numpy as np
import pytest

from label_guard import guard_batches
from label_guard.errors import SchemaError, UsageError
from label_guard.grain import data_loader_operations, guard_labels, keyed, summary, with_record_keys
from label_guard.schema.dataset import DatasetSchema

RECORDS = [{"image": np.zeros(2, np.uint8), "label": np.int64(k)} for k in (1, 2, 3, 1)]


def _schema(path: str = "label", **label: Any) -> DatasetSchema:
    fields = {"kind": "class_label", "num_classes": 4, **label}
    return DatasetSchema.model_validate(
        {
            "format": 1,
            "name": "shapes",
            "version": "1.0.0",
            "labels": {path: fields},
            "splits": {"train": {}, "test": {}},
            "views": {"batch": {}},
        }
    )


SCHEMA = _schema()
REMAPPED = _schema(class_ids=[1, 2, 3, 5])


def _map(records: list[Any] | None = None) -> grain.MapDataset:
    return grain.MapDataset.source(RECORDS if records is None else records)


def _iter(records: list[Any] | None = None) -> grain.IterDataset:
    return _map(records).to_iter_dataset(grain.ReadOptions(0, 0))


def _guard(ds: Any, schema: DatasetSchema = SCHEMA, **options: Any) -> Any:
    return ds.pipe(guard_labels, schema, **{"split": "train", "on_invalid": "mask", **options})


def _batches(loader: Any) -> Any:
    return guard_batches(loader, REMAPPED, split="train", on_invalid="mask")


def _operations(**options: Any) -> Any:
    return data_loader_operations(SCHEMA, **{"split": "train", "on_invalid": "mask", **options})


BUILT: dict[str, tuple[Callable[[], Any], str]] = {
    "drop without quarantine": (lambda: _guard(_iter(), batch_size=2, on_invalid="drop"), "needs somewhere to keep"),
    "unknown policy": (lambda: _guard(_iter(), on_invalid="discard"), "choose one of raise, drop, mask, report"),
    "unknown remainder": (lambda: _guard(_iter(), remainder="keep"), "choose one of short, drop, pad"),
    "unknown mask dtype": (lambda: _guard(_iter(), valid_dtype="int4"), "valid_dtype is 'int4'"),
    "no split": (lambda: _guard(_iter(), split=None), "split"),
    "unknown split": (lambda: _guard(_iter(), split="val"), "val"),
    "unknown view": (lambda: _guard(_iter(), view="crop"), "crop"),
    "batch_size 0": (lambda: _guard(_iter(), batch_size=0), "at least 1"),
    "stop_above 5": (lambda: _guard(_iter(), stop_above=5), "a share of records"),
    "mask without a mask": (lambda: _guard(_iter(), valid_key=None), "valid_key=None"),
    "pad without a mask": (
        lambda: _guard(_iter(), on_invalid="raise", remainder="pad", batch_size=2, valid_key=None),
        "valid_key=None",
    ),
    "report without a mask": (lambda: _guard(_iter(), on_invalid="report", valid_key=None), "valid_key=None"),
    "mask of a free shape": (lambda: _guard(_iter(), _schema(shape=[None])), "whose shape is free"),
    "tuple without valid_key": (lambda: _guard(_iter(), _schema("1")), "is in a tuple"),
    "no dataset": (lambda: guard_labels(iter(RECORDS), SCHEMA, split="train", on_invalid="mask"), "guard_batches"),
    "a second remap": (lambda: _guard(_guard(_iter(), REMAPPED, batch_size=2), REMAPPED), "map it twice"),
    "a second remap on a MapDataset": (lambda: _guard(_guard(_map(), REMAPPED), REMAPPED), "map it twice"),
    "a second remap of guarded batches": (lambda: _batches(_batches(RECORDS)), "map it twice"),
    "a second remap of one pass over them": (lambda: _batches(iter(_batches(RECORDS))), "map it twice"),
    "a second remap of a guarded dataset": (lambda: _batches(_guard(_iter(), REMAPPED, batch_size=2)), "map it twice"),
    "a second remap of its iterator": (lambda: _batches(iter(_guard(_iter(), REMAPPED, batch_size=2))), "map it twice"),
    "a second remap of a DataLoader": (
        lambda: _batches(
            grain.DataLoader(
                data_source=RECORDS,
                sampler=grain.samplers.IndexSampler(len(RECORDS), num_epochs=1),
                operations=data_loader_operations(REMAPPED, split="train", on_invalid="mask"),
            )
        ),
        "map it twice",
    ),
    "a slip in the mask's placeholder": (
        lambda: _guard(_iter(), batch_size=2, valid_key="{lable}_valid"),
        "valid_key is '{lable}_valid'; it must be a string or None, and {label} is the only placeholder",
    ),
    "an empty placeholder": (lambda: _guard(_iter(), batch_size=2, valid_key="{}_valid"), "the only placeholder"),
    "remainder of single records": (lambda: _guard(_iter(), batched=False, remainder="pad"), "has nothing to act on"),
    "the summary of a dataset": (lambda: summary(_guard(_iter(), batch_size=2)), "summary(iterator)"),
    "the summary of guarded batches": (
        lambda: summary(guard_batches(RECORDS, SCHEMA, split="train", on_invalid="mask", batch_size=2)),
        "guarded.summary",
    ),
    "the summary of a list": (lambda: summary(RECORDS), "summary(iterator)"),
    "stop_above on a MapDataset": (lambda: _guard(_map(), stop_above=0.1), "no state for"),
    "remainder on a MapDataset": (lambda: _guard(_map(), remainder="pad"), "remainder"),
    "batch_size on a MapDataset": (lambda: _guard(_map(), batch_size=2), "to_iter_dataset"),
    "drop on a MapDataset of batches": (
        lambda: _guard(_map().batch(2), on_invalid="drop", quarantine="q"),
        "cannot drop records",
    ),
    "stop_above on a DataLoader": (lambda: _operations(stop_above=0.1), "no state"),
    "batch_size on a DataLoader": (lambda: _operations(batch_size=2), "pass no"),
    "keys after a shuffle": (lambda: _map().shuffle(seed=0).pipe(with_record_keys), "directly after"),
    "keys on an IterDataset": (lambda: _iter().pipe(with_record_keys), "directly after"),
    "two sources of one name": (
        lambda: _guard(grain.MapDataset.concatenate([_map(keyed(RECORDS)), _map(keyed(RECORDS))])),
        "keyed(source, name=...)",
    ),
    "a source without random access": (lambda: keyed(iter(RECORDS)), "random-access"),
    "unknown on_unreadable": (lambda: keyed(RECORDS, on_unreadable="skip"), "raise, quarantine"),
    "unreadable records to mask": (
        lambda: _guard(_iter(keyed(RECORDS, on_unreadable="quarantine")), batch_size=2),
        "on_unreadable",
    ),
    "unreadable records in batches": (
        lambda: _guard(_iter(keyed(RECORDS, on_unreadable="quarantine")).batch(2), on_invalid="raise"),
        "on_unreadable",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BUILT)
def test_refused_when_built(name: str) -> None:
    """What cannot work is refused before the first element, with the remedy."""
    build, expected = BUILT[name]
    with pytest.raises((UsageError, SchemaError)) as caught:
        build()
    assert expected in str(caught.value)


def test_a_schema_file_that_is_not_there() -> None:
    """A schema path that does not exist is an error when the pipeline is built."""
    with pytest.raises((UsageError, SchemaError), match="nowhere"):
        _iter().pipe(guard_labels, "nowhere.yaml", on_invalid="mask")


def test_a_view_after_a_remap() -> None:
    """A second guard on a view of the emitted labels is allowed."""
    twice = _guard(_guard(_iter(), REMAPPED, batch_size=2), REMAPPED, view="batch")
    assert [batch["label"].tolist() for batch in twice] == [[0, 1], [2, 0]]


def test_operations_after_batch() -> None:
    """DataLoader operations placed after Batch raise on the first element."""
    loader = grain.DataLoader(
        data_source=RECORDS,
        sampler=grain.samplers.IndexSampler(num_records=4, num_epochs=1),
        operations=[grain.transforms.Batch(2), *data_loader_operations(SCHEMA, split="train", on_invalid="mask")],
        read_options=grain.ReadOptions(0, 0),
    )
    with pytest.raises(UsageError, match="come after Batch"):
        next(iter(loader))


def test_a_lost_key() -> None:
    """A map that loses the record key is an error on the first element, with the way to keep it."""

    def lose(record: dict[str, Any]) -> dict[str, Any]:
        return {"label": record["label"]}

    for source in (_map().pipe(with_record_keys), _map(keyed(RECORDS))):
        ds = source.map(lose).to_iter_dataset(grain.ReadOptions(0, 0))
        with pytest.raises(UsageError, match="a map lost the feature"):
            next(iter(_guard(ds, batch_size=2)))
        with pytest.raises(UsageError, match="a map lost the feature"):
            _guard(source.map(lose))[0]


def test_a_dataclass_without_valid_key() -> None:
    """An element with no place for the mask needs an explicit choice."""
    pairs = [(record["image"], record["label"]) for record in RECORDS]
    with pytest.raises(UsageError, match="is in a tuple"):
        _guard(_iter(pairs), _schema("1"), batch_size=2)
    appended = list(_guard(_iter(pairs), _schema("1"), batch_size=2, valid_key="valid"))
    assert [len(batch) for batch in appended] == [3, 3]
    assert appended[0][2].tolist() == [True, True]


HOSTS = """
import sys, logging
import jax
jax.config.update("jax_platforms", "cpu")
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
import grain, numpy as np
from label_guard.grain import guard_labels
from label_guard.schema.dataset import DatasetSchema
logging.basicConfig(level=logging.WARNING, stream=sys.stdout, format="%(message)s", force=True)
schema = DatasetSchema.model_validate({"format": 1, "name": "shapes", "version": "1.0.0",
    "labels": {"label": {"kind": "class_label", "num_classes": 4}}})
source = grain.MapDataset.source([{"label": np.int64(k % 4)} for k in range(8)] + [{"label": np.int64(9)}])
options = {"batch_size": 4, "quarantine": sys.argv[3], "stop_above": None}
endless = source.repeat().to_iter_dataset(grain.ReadOptions(0, 0)).pipe(guard_labels, schema, **options)
print("ENDING")
for _ in range(2):
    ds = source.to_iter_dataset(grain.ReadOptions(0, 0)).pipe(guard_labels, schema, **options)
list(ds)
"""


def test_drop_with_several_hosts(tmp_path: Path) -> None:
    """With two JAX processes, drop on a stream that ends warns once; parts carry the process index."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", HOSTS, address, str(index), str(tmp_path / f"q{index}")],
            stdout=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    outputs = [run.communicate(timeout=300)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    for text in outputs:
        before, after = text.split("ENDING")
        assert "JAX processes" not in before
        assert after.count("2 JAX processes") == 1
    assert {path.name.split("-")[1] for path in tmp_path.glob("q?/*.jsonl")} == {"0", "1"}
