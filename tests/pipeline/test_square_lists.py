"""Features that are lists as long as the batch: what leaves with a label belongs to its record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from label_guard import ClassLabel, UsageError, guard_batches
from label_guard.quarantine.reader import read_quarantine

SCHEMA = {"label": ClassLabel(num_classes=10)}


def _label(record: int) -> int:
    return 77 if record in (1, 5) else record % 10


@pytest.mark.parametrize("size", [1, 2, 3])
def test_rows_of_lists(tmp_path: Path, size: int) -> None:
    """Rows of plain lists stay with their labels under drop, in the batches and in the quarantine."""
    batches = [
        {"x": [[k] * size for k in range(at, at + size)], "label": [_label(k) for k in range(at, at + size)]}
        for at in range(0, 12, size)
    ]
    guarded = guard_batches(batches, SCHEMA, batched=True, quarantine=str(tmp_path), stop_above=None)
    found = [(row, int(label)) for batch in guarded for row, label in zip(batch["x"], batch["label"], strict=True)]
    assert sorted(found) == [([k] * size, k % 10) for k in range(12) if _label(k) != 77]
    kept = [entry.payload for entry in read_quarantine(str(tmp_path)).entries]
    assert sorted(payload["x"] for payload in kept) == [[1] * size, [5] * size]


def test_alike_arrays_are_refused(tmp_path: Path) -> None:
    """Two arrays of two boxes in a batch of two may be rows or features: no silent choice."""
    batch = {"x": [np.zeros((2, 4)), np.ones((2, 4))], "label": np.array([77, 1])}
    guarded = guard_batches([batch], SCHEMA, batched=True, quarantine=str(tmp_path), stop_above=None)
    with pytest.raises(UsageError, match="tuple or a dict of features, or an array"):
        next(iter(guarded))


def test_top_level_pair_of_one_dtype(tmp_path: Path) -> None:
    """A batch ``[tokens, labels]`` of two records: each label leaves with its tokens."""
    batches: list[Any] = [
        [np.array([[k, k], [k + 1, k + 1]]), np.array([k, 77 if k == 2 else k + 1])] for k in (0, 2, 4)
    ]
    guarded = guard_batches(
        batches, {"1": ClassLabel(num_classes=10)}, batched=True, quarantine=str(tmp_path), stop_above=None
    )
    found = [(x.tolist(), int(label)) for xs, labels in guarded for x, label in zip(xs, labels, strict=True)]
    assert sorted(found) == [([k, k], k) for k in (0, 1, 2, 4, 5)]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_padding_of_stacked_lists(size: int) -> None:
    """Lists of records are stacked to a list of features; padding repeats records, whatever the length of the list."""
    records = [{"x": [10 * k + i for i in range(size)], "label": k} for k in range(size)]
    options: dict[str, Any] = {"batched": False, "batch_size": 4, "remainder": "pad", "on_invalid": "mask"}
    (batch,) = guard_batches(records, SCHEMA, **options)
    assert [column.tolist() for column in batch["x"]] == [
        [10 * k + i for k in range(size)] + [i] * (4 - size) for i in range(size)
    ]
