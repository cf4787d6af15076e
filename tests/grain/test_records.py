"""Records in, records out: the guard before packing, padding and batching of the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grain
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from label_guard import DatasetSchema, InvalidLabelError, TooManyInvalidError, UsageError
from label_guard.grain import guard_labels, keyed, summary
from label_guard.quarantine.reader import read_quarantine
from label_guard.testing import assert_conserved

SCHEMA = DatasetSchema.model_validate(
    {
        "format": 1,
        "name": "tokens",
        "version": "1.0.0",
        "labels": {"tokens": {"kind": "class_label", "num_classes": 100, "shape": [None], "dtype": "int32"}},
    }
)
FIXED = DatasetSchema.model_validate(
    {
        "format": 1,
        "name": "digits",
        "version": "1.0.0",
        "labels": {"y": {"kind": "class_label", "num_classes": 10, "dtype": "int64", "emit": "int32"}},
    }
)
BAD = {5, 6, 21}


def documents(count: int = 30) -> list[dict[str, Any]]:
    """Token ids of every length; those of BAD hold one outside the vocabulary."""
    found = [np.arange(k % 7 + 1, dtype=np.int32) for k in range(count)]
    for k in BAD:
        found[k][-1] = 100
    return [{"tokens": tokens, "id": np.int64(k)} for k, tokens in enumerate(found)]


def records(count: int = 30) -> list[dict[str, Any]]:
    """Labels with a feature next to them."""
    return [{"y": np.int64(10 if k in BAD else k % 10), "x": np.full(2, k)} for k in range(count)]


def guarded(data: list[dict[str, Any]], schema: DatasetSchema, **options: Any) -> Any:
    """A guard on single records."""
    dataset = grain.MapDataset.source(keyed(data)).to_iter_dataset(grain.ReadOptions(0, 0))
    return dataset.pipe(guard_labels, schema, batched=False, **{"stop_above": None, **options})


def test_drop_leaves_bad_records_out(tmp_path: Path) -> None:
    """The others pass in order as records; the bad ones are in the quarantine by name, and everything is counted."""
    iterator = iter(guarded(documents(), SCHEMA, quarantine=tmp_path))
    ids = [int(record["id"]) for record in iterator]
    assert ids == [k for k in range(30) if k not in BAD]
    assert sorted(int(entry.record or -1) for entry in read_quarantine(str(tmp_path)).entries) == sorted(BAD)
    total = summary(iterator)
    assert (total.seen, total.delivered, total.quarantined, total.pending) == (30, 27, 3, 0)


def test_mask_converts_and_masks_each_record(tmp_path: Path) -> None:
    """Under mask every record comes, with its mask and the emitted dtype."""
    found = list(guarded(records(), FIXED, on_invalid="mask", quarantine=tmp_path))
    assert [bool(record["y_valid"]) for record in found] == [k not in BAD for k in range(30)]
    assert {(record["y"].dtype, record["y"].shape) for record in found} == {(np.dtype("int32"), ())}
    assert all(0 <= record["y"] < 10 for record in found)


def test_mask_of_labels_of_any_length() -> None:
    """A ragged label keeps its length under mask, with a mask of that length; one that cannot is the shortest legal."""
    values: list[Any] = [
        np.array([1, 100, 3], np.int32),
        np.array([], np.int32),
        np.array([5], np.int64),
        np.array([[1]], np.int32),
        None,
        np.array([7, 8], np.int32),
    ]
    found = list(guarded([{"tokens": value} for value in values], SCHEMA, on_invalid="mask"))
    assert [record["tokens"].tolist() for record in found] == [[1, 0, 3], [], [0], [], [], [7, 8]]
    assert {record["tokens"].dtype for record in found} == {np.dtype("int32")}
    masks = [record["tokens_valid"].tolist() for record in found]
    assert masks == [[True, False, True], [], [False], [], [], [True, True]]


@pytest.mark.parametrize("policy", ["drop", "mask", "report"])
def test_the_checkpoint_contract_holds(tmp_path: Path, policy: str) -> None:
    """A restored iterator goes on with the next record, under every policy."""
    grain.experimental.assert_equal_output_after_checkpoint(
        guarded(records(12), FIXED, on_invalid=policy, quarantine=tmp_path)
    )


def test_raise_and_limits(tmp_path: Path) -> None:
    """Raise names the record and keeps the place; stop_above stops a stream that is bad from the start."""
    iterator = iter(guarded(records(), FIXED, on_invalid="raise"))
    for _ in range(5):
        next(iterator)
    for _ in range(2):
        with pytest.raises(InvalidLabelError, match="record 5"):
            next(iterator)
    assert_conserved(summary(iterator))
    data = [{"y": np.int64(10)} for _ in range(100)]
    with pytest.raises(TooManyInvalidError, match="32 of 32 records"):
        next(iter(guarded(data, FIXED, quarantine=tmp_path, stop_above=0.05)))


@pytest.mark.parametrize("packing", ["first_fit", "best_fit", "concat_then_split"])
def test_before_packing(tmp_path: Path, packing: str) -> None:
    """Documents are checked before they are packed; the counts behind the packing include the last ones, bad or not."""
    found = [*documents(60), *documents()[5:6] * 2]
    dataset = guarded(found, SCHEMA, quarantine=tmp_path).map(lambda record: {"tokens": record["tokens"]})
    lengths = {"tokens": 16}
    if packing == "concat_then_split":
        packed = grain.experimental.ConcatThenSplitIterDataset(dataset, length_struct=lengths)
    else:
        name = "FirstFitPackIterDataset" if packing == "first_fit" else "BestFitPackIterDataset"
        packed = getattr(grain.experimental, name)(dataset, length_struct=lengths, num_packing_bins=4)
    iterator = iter(packed)
    tokens = [int(np.max(batch["tokens"])) for batch in iterator]
    assert max(tokens) < 100
    total = summary(iterator)
    assert_conserved(total)
    assert (total.seen, total.quarantined) == (62, 5)
    iterator.close()
    assert summary(iterator) == total


def test_before_a_batch_function_of_the_users_own(tmp_path: Path) -> None:
    """Ragged records are guarded, then padded by batch_fn."""

    def padded(found: list[dict[str, Any]]) -> Any:
        longest = max(len(record["tokens"]) for record in found)
        return np.stack([np.pad(record["tokens"], (0, longest - len(record["tokens"]))) for record in found])

    batches = list(guarded(documents(), SCHEMA, quarantine=tmp_path).batch(9, batch_fn=padded))
    assert [batch.shape for batch in batches] == [(9, 5), (9, 7), (9, 7)]


def test_sources_that_are_iterators_only(tmp_path: Path) -> None:
    """Parquet files are read by an IterDataset: its records are guarded one by one, and known by their content."""
    pq.write_table(pa.table({"y": [k if k != 7 else 10 for k in range(9)]}), tmp_path / "a.parquet")
    dataset = grain.experimental.ParquetIterDataset(str(tmp_path / "a.parquet"))
    dataset = dataset.pipe(guard_labels, FIXED, batched=False, quarantine=tmp_path / "q", stop_above=None)
    assert [int(record["y"]) for record in dataset] == [0, 1, 2, 3, 4, 5, 6, 8]
    assert len(read_quarantine(str(tmp_path / "q")).entries) == 1


@pytest.mark.long
def test_inside_and_after_workers(tmp_path: Path) -> None:
    """The same in worker processes, whose counts are added up, and after them."""
    options = grain.MultiprocessingOptions(num_workers=2)
    inside = iter(guarded(records(), FIXED, quarantine=tmp_path / "a").mp_prefetch(options))
    assert sorted(int(record["x"][0]) for record in inside) == [k for k in range(30) if k not in BAD]
    assert "in 2 workers" in str(summary(inside))
    dataset = grain.MapDataset.source(records()).to_iter_dataset(grain.ReadOptions(0, 0)).mp_prefetch(options)
    after = iter(dataset.pipe(guard_labels, FIXED, batched=False, quarantine=tmp_path / "b", stop_above=None))
    assert sorted(int(record["x"][0]) for record in after) == [k for k in range(30) if k not in BAD]
    assert summary(after).seen == 30


def test_records_need_a_choice(tmp_path: Path) -> None:
    """Without batch_size and batched=, records are an error that names both ways."""
    dataset = grain.MapDataset.source(records()).to_iter_dataset()
    with pytest.raises(UsageError, match=r"batch_size=N .*, or batched=False to deliver records"):
        next(iter(dataset.pipe(guard_labels, FIXED, quarantine=tmp_path)))
