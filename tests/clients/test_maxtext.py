"""MaxText's form: documents are shifted and packed, batches have inputs, targets, segmentations and positions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grain
import numpy as np
import pytest

from label_guard import ClassLabel
from label_guard.grain import guard_labels, keyed, summary

VOCABULARY, LENGTH = 50, 12
READ = grain.ReadOptions(0, 0)
DOCUMENTS = {"tokens": ClassLabel(num_classes=VOCABULARY, dtype=("uint16", "uint32"), shape=(None,), emit="int32")}
ROWS = {
    name: ClassLabel(num_classes=VOCABULARY, dtype=("int32",), shape=(LENGTH,), where=f"{name}_segmentation")
    for name in ("inputs", "targets")
}


def documents(dtype: str) -> list[dict[str, Any]]:
    """Documents of 3 to 8 tokens; of two, one token does not exist."""
    made = [np.arange(k, k + 3 + k % 6).astype(dtype) % VOCABULARY for k in range(40)]
    made[5][1], made[17][0] = VOCABULARY, np.iinfo(dtype).max
    return [{"tokens": tokens} for tokens in made]


def shifted(record: dict[str, Any]) -> dict[str, Any]:
    """Inputs and targets of next-token prediction."""
    return {"inputs": record["tokens"][:-1], "targets": record["tokens"][1:]}


def renamed(row: dict[str, Any]) -> dict[str, Any]:
    """Grain's names of packed features as MaxText's."""
    return {k.replace("_segment_ids", "_segmentation").replace("_positions", "_position"): v for k, v in row.items()}


def concatenated(ds: Any) -> Any:
    """Concat-then-split fills every row."""
    return grain.experimental.ConcatThenSplitIterDataset(ds, length_struct={"inputs": LENGTH, "targets": LENGTH})


PACKINGS: dict[str, Callable[[Any], Any]] = {
    "first-fit": lambda ds: grain.experimental.FirstFitPackIterDataset(
        ds, length_struct={"inputs": LENGTH, "targets": LENGTH}, num_packing_bins=4
    ),
    "best-fit": lambda ds: grain.experimental.BestFitPackIterDataset(
        ds, length_struct={"inputs": LENGTH, "targets": LENGTH}, num_packing_bins=4
    ),
    "concat-then-split": concatenated,
}


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_documents_are_guarded_before_packing(folder: str, names: Any, resumes: Any, packing: str, dtype: str) -> None:
    """Both documents are dropped and named before their tokens are packed among others; a resumed run is equal."""
    ds = (
        grain.MapDataset.source(keyed(documents(dtype), name="corpus"))
        .to_iter_dataset(READ)
        .pipe(guard_labels, DOCUMENTS, batched=False, quarantine=folder, stop_above=None)
        .map(shifted)
    )
    ds = PACKINGS[packing](ds)
    iterator = iter(ds)
    rows = list(iterator)
    assert names() == ["corpus/17", "corpus/5"]
    assert summary(iterator).quarantined == 2
    assert all(row[name].dtype == np.int32 for row in rows for name in ("inputs", "targets"))
    assert all(0 <= row[name].min() <= row[name].max() < VOCABULARY for row in rows for name in ("inputs", "targets"))
    kept = sum(len(d["tokens"]) - 1 for k, d in enumerate(documents(dtype)) if k not in (5, 17))
    assert sum(np.count_nonzero(row["targets_segment_ids"]) for row in rows) == kept
    resumes(ds)


@pytest.mark.parametrize("packing", PACKINGS)
def test_rows_are_guarded_after_packing(folder: str, resumes: Any, packing: str) -> None:
    """A token spoilt after packing is masked out of the segment ids; spoilt padding is nothing to check."""

    def spoiled(batch: dict[str, Any]) -> dict[str, Any]:
        targets = np.where(batch["targets_segmentation"] == 0, 10**6, batch["targets"]).astype(np.int32)
        targets[0, 0] = -1
        return {**batch, "targets": targets}

    valid = [record for k, record in enumerate(documents("uint16")) if k not in (5, 17)]
    ds = grain.MapDataset.source(valid).to_iter_dataset(READ).map(shifted)
    ds = ds.map(lambda record: {name: tokens.astype(np.int32) for name, tokens in record.items()})
    plain = PACKINGS[packing](ds).map(renamed).batch(4, drop_remainder=True)
    options = {"on_invalid": "mask", "valid_key": "{label}_segmentation", "stop_above": None, "quarantine": folder}
    guarded = plain.map(spoiled).pipe(guard_labels, ROWS, **options)
    iterator = iter(guarded)
    for before, after in zip(plain, iterator, strict=True):
        expected = before["targets_segmentation"].copy()
        expected[0, 0] = 0
        assert after["targets_segmentation"].dtype == before["targets_segmentation"].dtype
        assert after["targets_segmentation"].tolist() == expected.tolist()
        assert after["inputs_segmentation"].tolist() == before["inputs_segmentation"].tolist()
        assert after["targets"][expected != 0].tolist() == before["targets"][expected != 0].tolist()
        assert after["targets"].max() < VOCABULARY
    counts = summary(iterator)
    assert counts.by_rule == {"LG102": counts.seen // 4}
    resumes(guarded)
