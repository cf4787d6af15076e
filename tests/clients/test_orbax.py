"""Orbax's form: model and input pipeline are saved together, and a run goes on from both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grain
import numpy as np
import orbax.checkpoint as ocp
import pytest

from label_guard import ClassLabel
from label_guard.grain import guard_labels, keyed, summary

SCHEMA = {"label": ClassLabel(num_classes=10)}
BAD = (3, 20, 33)
RECORDS = [{"label": np.int64(12 if k in BAD else k % 10), "id": np.int64(k)} for k in range(48)]


def batches(folder: str, form: str) -> Any:
    """Guarded batches of 6 in one of three forms."""
    ds = grain.MapDataset.source(keyed(RECORDS)).shuffle(seed=5).to_iter_dataset(grain.ReadOptions(0, 0))
    options = {"quarantine": folder, "stop_above": None}
    if form == "records out":
        return ds.pipe(guard_labels, SCHEMA, batched=False, **options).batch(6)
    if form == "after batch":
        return ds.batch(6).pipe(guard_labels, SCHEMA, **options)
    return ds.pipe(guard_labels, SCHEMA, batch_size=6, **options)


@pytest.mark.parametrize("form", ["batch_size", "after batch", "records out"])
def test_a_run_goes_on_from_a_checkpoint(tmp_path: Path, folder: str, names: Any, form: str) -> None:
    """After a restore the same batches come, the counts go on, and no record is written twice to a reader."""
    iterator = iter(batches(folder, form))
    seen = [next(iterator)["id"].tolist() for _ in range(3)]
    state = {"w": np.arange(3.0)}
    with ocp.CheckpointManager(tmp_path / "run") as manager:
        args = {"state": ocp.args.StandardSave(state), "data": grain.checkpoint.CheckpointSave(iterator)}
        manager.save(3, args=ocp.args.Composite(**args))
    rest = [batch["id"].tolist() for batch in iterator]
    resumed = iter(batches(folder, form))
    with ocp.CheckpointManager(tmp_path / "run") as manager:
        restored = {"state": ocp.args.StandardRestore(state), "data": grain.checkpoint.CheckpointRestore(resumed)}
        found = manager.restore(3, args=ocp.args.Composite(**restored))
    assert found["state"]["w"].tolist() == [0, 1, 2]
    assert [batch["id"].tolist() for batch in resumed] == rest
    assert summary(resumed) == summary(iterator)
    assert sorted(k for ids in [*seen, *rest] for k in ids) == [k for k in range(48) if k not in BAD]
    assert names() == ["20", "3", "33"]
