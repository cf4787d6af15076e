"""Rows that only fill a batch (``where``, or a mask that is there, is 0): not checked, and not counted as records."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import grain
import numpy as np
import pytest

from label_guard import ClassLabel, Guard, Summary, guard_batches
from label_guard.grain import guard_labels, summary
from label_guard.schema.dataset import DatasetSchema
from label_guard.testing import assert_conserved
from tests.schemas import one_label

DECLARED = DatasetSchema(format=1, name="n", version="1.0.0", labels={"y": ClassLabel(num_classes=4, where="_mask")})
MASK_ONLY = one_label("y", 4)
SCHEMAS = {"where": DECLARED, "a mask that is there": MASK_ONLY}
# The last of each batch of four is padding, and so is a whole batch; every third record is bad.
REAL = np.array([1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0], bool)
BAD = REAL & (np.arange(16) % 3 == 0)
LABELS = np.where(BAD, 9, np.where(REAL, np.arange(16) % 4, -7))
COLUMNS = {"y": LABELS.astype(np.int64), "_mask": REAL, "id": np.arange(16)}
RECORDS = [{name: column[k] for name, column in COLUMNS.items()} for k in range(16)]
BATCHES = [{name: column[k : k + 4] for name, column in COLUMNS.items()} for k in range(0, 16, 4)]


def run(form: str, schema: DatasetSchema, **options: Any) -> tuple[list[Any], Summary]:
    """The elements and the summary of a guard in one form."""
    if form == "batches":
        guarded = guard_batches(BATCHES, schema, batched=True, **options)
        return list(guarded), guarded.summary
    size = {"batch_size": 4} if form == "records" else {}
    ds = grain.MapDataset.source(RECORDS).to_iter_dataset(grain.ReadOptions(0, 0))
    iterator = iter(ds.pipe(guard_labels, schema, batched=False, **size, **options))
    return list(iterator), summary(iterator)


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("policy", ["drop", "mask", "report"])
@pytest.mark.parametrize("form", ["batches", "records", "records out"])
def test_padding_is_counted_apart(tmp_path: Path, form: str, policy: str, name: str) -> None:
    """Every row is a record or padding; the counts of records add up without padding, and no padding is bad."""
    options = {"on_invalid": policy, "quarantine": str(tmp_path / "q"), "stop_above": None, "valid_key": "_mask"}
    elements, found = run(form, SCHEMAS[name], **options)
    assert_conserved(found)
    assert (found.seen, found.padding) == (REAL.sum(), (~REAL).sum())
    assert (found.invalid, found.written) == (BAD.sum(), BAD.sum())
    assert found.by_rule == {"LG101": BAD.sum()}
    ids, masks = (np.concatenate([np.atleast_1d(e[name]) for e in elements]).tolist() for name in ("id", "_mask"))
    rows = list(zip(ids, masks, strict=True))
    real = sorted(k for k, m in rows if REAL[k] and (m or policy != "drop"))
    assert real == [k for k in range(16) if REAL[k] and (policy != "drop" or not BAD[k])]
    assert found.delivered == len(real)
    assert all(m == (bool(REAL[k]) and (policy == "report" or not BAD[k])) for k, m in rows)
    assert f"and {(~REAL).sum()} rows of padding" in str(found)
    assert found.as_metrics()["labels/padding"] == (~REAL).sum()


@pytest.mark.parametrize("where", list(itertools.product((0, 1), repeat=4)))
def test_positions_and_rows(where: tuple[int, ...]) -> None:
    """A row is padding if none of its positions counts, in any label; checked in a batch and record by record."""
    labels = {"y": ClassLabel(num_classes=4, shape=(2,), where="w"), "z": ClassLabel(num_classes=4, where="v")}
    guard = Guard(DatasetSchema(format=1, name="n", version="1.0.0", labels=labels))
    batch = {"y": np.full((2, 2), 3), "w": np.array(where).reshape(2, 2), "z": np.array([3, 3]), "v": np.array([0, 1])}
    expected = [0] if not any(where[:2]) else []
    records = [{name: value[row] for name, value in batch.items()} for row in range(2)]
    dirty = {**batch, "z": np.array([3, 9])}
    for result in (guard.check_batch(batch), guard.check_records(records), guard.check_batch(dirty)):
        assert ([] if result.padding is None else result.padding.tolist()) == expected
    labels["a"] = ClassLabel(num_classes=2)
    without = Guard(DatasetSchema(format=1, name="n", version="1.0.0", labels=labels))
    assert without.check_batch({**batch, "a": np.array([0, 1])}).padding is None


def test_an_unlabeled_row_of_padding_is_not_skipped(tmp_path: Path) -> None:
    """on_unlabeled: skip leaves out records, not padding, nor records whose sentinel does not count."""
    label = ClassLabel(num_classes=4, unlabeled=-1, on_unlabeled="skip", where="w")
    schema = DatasetSchema(format=1, name="n", version="1.0.0", labels={"y": label})
    batch = {"y": np.array([1, -1, -1, 2]), "w": np.array([1, 1, 0, 1])}
    guarded = guard_batches([batch], schema, quarantine=str(tmp_path / "q"))
    (out,) = guarded
    assert out["w"].tolist() == [1, 0, 1]
    assert (guarded.summary.seen, guarded.summary.skipped, guarded.summary.padding) == (3, 1, 1)


def test_the_remainder_counts_records(tmp_path: Path) -> None:
    """A last batch that remainder="drop" leaves out is counted without its padding, and a resumed run goes on alike."""
    options = {"remainder": "drop", "quarantine": str(tmp_path / "q"), "stop_above": None, "batched": True}
    batches = [*BATCHES, {"y": np.array([1, 1]), "_mask": np.array([True, False]), "id": np.array([16, 17])}]
    guarded = guard_batches(batches, DECLARED, **options)
    next(guarded)
    again = guard_batches(batches, DECLARED, **options)
    again.restore(guarded.state())
    for one in (guarded, again):
        list(one)
        assert_conserved(one.summary)
        assert (one.summary.seen, one.summary.padding, one.summary.remainder) == (REAL.sum() + 1, (~REAL).sum() + 1, 1)
    assert guarded.summary == again.summary


@pytest.mark.parametrize("shape", [(), (2,)])
@pytest.mark.parametrize("where", [np.bool_, np.int32, np.float32])
@pytest.mark.parametrize("policy", ["drop", "mask", "report"])
@pytest.mark.parametrize("form", ["batches", "records"])
def test_rows_that_the_guard_pads_do_not_count(
    tmp_path: Path, form: str, policy: str, where: Any, shape: tuple[int, ...]
) -> None:
    """``remainder="pad"`` writes 0 to what ``where`` names: a second guard, or a metric, finds each record once."""
    labels: dict[str, Any] = {name: ClassLabel(num_classes=9, shape=shape, where="_mask") for name in ("y", "z")}
    schema = DatasetSchema(format=1, name="n", version="1.0.0", labels=labels)
    records = [
        {"y": np.full(shape, k), "z": np.full(shape, k), "_mask": where(k != 1), "id": np.int64(k)} for k in range(6)
    ]
    ds = grain.MapDataset.source(records).to_iter_dataset(grain.ReadOptions(0, 0))
    ds = ds.batch(4) if form == "batches" else ds
    options: dict[str, Any] = {"on_invalid": policy, "quarantine": str(tmp_path / "q"), "batch_size": 4}
    batches = list(ds.pipe(guard_labels, schema, remainder="pad", batched=form == "batches", **options))
    assert [batch["id"].tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 4, 4]]
    assert np.concatenate([batch["_mask"] for batch in batches]).tolist() == [1, 0, 1, 1, 1, 1, 0, 0]
    assert batches[1]["_mask"].dtype == where
    again = guard_batches(batches, schema, on_invalid="raise", valid_key="{label}_again")
    list(again)
    assert (again.summary.seen, again.summary.padding) == (5, 3)


def test_a_label_that_another_counts_by_is_padded_legally(tmp_path: Path) -> None:
    """A label that ``where`` names keeps a legal value in rows of padding: 0 may not be one."""
    ids = {"kind": "class_label", "num_classes": 3, "class_ids": {"start": 1}}
    labels: dict[str, Any] = {"y": ClassLabel(num_classes=9, where="n"), "n": ids}
    schema = DatasetSchema(format=1, name="n", version="1.0.0", labels=labels)
    options: dict[str, Any] = {"on_invalid": "mask", "batch_size": 4, "batched": False, "remainder": "pad"}
    (batch,) = guard_batches([{"y": 8, "n": 3}, {"y": 7, "n": 1}], schema, **options)
    assert (batch["n"].tolist(), batch["n_valid"].tolist()) == ([2, 0, 2, 2], [True, True, False, False])
    assert batch["y_valid"].tolist() == [True, True, False, False]


@pytest.mark.parametrize("policy", ["mask", "report"])
@pytest.mark.parametrize(
    ("where", "padded"),
    [
        ([1, 1], [1, 1, 0]), ([True, True], [True, True, False]), ([np.ones(()), np.ones(())], [1.0, 1.0, 0.0]),
        (np.array(["a", "b"]), ["a", "b", ""]), (np.array([None, 1]), [None, 1, 0]),
        (None, None), (1.0, 1.0), (np.array(1.0), 1.0), ("absent", None),
    ],
)  # fmt: skip
def test_padding_of_any_where(policy: Any, where: Any, padded: Any) -> None:
    """Lists keep their kind of item, and what holds nothing for each record stays as it is."""
    labels: dict[str, Any] = {"y": ClassLabel(num_classes=9, where="w")}
    schema = DatasetSchema(format=1, name="n", version="1.0.0", labels=labels)
    last = {"y": np.array([1, 2])} if isinstance(where, str) else {"y": np.array([1, 2]), "w": where}
    batches = [{"y": np.array([1, 2, 3]), "w": np.ones(3)}, last]
    _, batch = guard_batches(batches, schema, on_invalid=policy, batched=True, remainder="pad", stop_above=None)
    found = batch.get("w")
    assert (found.tolist() if isinstance(found, np.ndarray) else found) == padded
    assert not batch["y_valid"][2]


@pytest.mark.parametrize("records", [1, 2])
def test_a_batch_without_a_single_label_is_padded(records: int) -> None:
    """Reported as it is, a batch of records that all lack the label gets padding, and a mask of the records."""
    elements = [{"y": None, "id": k} for k in range(records)]
    options: dict[str, Any] = {"on_invalid": "report", "remainder": "pad", "stop_above": None}
    [batch] = guard_batches(elements, MASK_ONLY, batched=False, batch_size=3, **options)
    assert batch["y"] is None
    assert batch["id"].tolist() == [*range(records), *[0] * (3 - records)]
    assert batch["y_valid"].tolist() == [k < records for k in range(3)]
