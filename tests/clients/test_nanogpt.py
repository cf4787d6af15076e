"""nanoGPT's form: a memory map of token ids, random windows of it, the targets one token later."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from label_guard import ClassLabel, guard_batches
from label_guard.schema.dataset import DatasetSchema

VOCABULARY, BLOCK, BATCH = 300, 8, 4
BAD = 100  # place of the token that does not exist
LABELS = {name: ClassLabel(num_classes=VOCABULARY, shape=(BLOCK,), emit="int32") for name in ("x", "y")}
SCHEMA = DatasetSchema(format=1, name="corpus", version="1.0.0", record_key="offset", labels=LABELS)


class Windows:
    """Batches of windows at random offsets, the same in each epoch, as ``get_batch`` makes them."""

    def __init__(self, path: Path, dtype: str) -> None:
        self._path, self._dtype = path, dtype

    def __iter__(self) -> Iterator[dict[str, Any]]:
        rng = np.random.default_rng(0)
        for _ in range(30):
            data = np.memmap(self._path, self._dtype, mode="r")  # again each time, or memory grows
            offsets = rng.integers(0, len(data) - BLOCK, BATCH)
            x = np.stack([data[i : i + BLOCK].astype(np.int64) for i in offsets])
            y = np.stack([data[i + 1 : i + 1 + BLOCK].astype(np.int64) for i in offsets])
            yield {"x": x, "y": y, "offset": offsets}


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_windows_are_named_by_their_offset(tmp_path: Path, folder: str, names: Any, dtype: str) -> None:
    """Every window that holds the token is masked in inputs and targets, and named by its place in the file."""
    tokens = (np.arange(400) % VOCABULARY).astype(dtype)
    tokens[BAD] = VOCABULARY
    tokens.tofile(tmp_path / "train.bin")
    loader = Windows(tmp_path / "train.bin", dtype)
    options = {"on_invalid": "mask", "quarantine": folder, "stop_above": None, "batched": True}
    guarded = guard_batches(loader, SCHEMA, **options)
    expected = set()
    for batch, raw in zip(guarded, loader, strict=True):
        for name in ("x", "y"):
            assert batch[name].dtype == np.int32
            assert (batch[f"{name}_valid"] == (raw[name] < VOCABULARY)).all()
            assert batch[name].max() < VOCABULARY
        bad = (raw["x"].max(axis=1) == VOCABULARY) | (raw["y"].max(axis=1) == VOCABULARY)
        expected |= set(map(str, raw["offset"][bad]))
    assert set(names()) == expected
    assert expected
    assert all(BAD - BLOCK <= int(offset) <= BAD for offset in expected)


def test_a_resumed_run_is_equal(tmp_path: Path, folder: str) -> None:
    """A loader without a state is read up to its place again."""
    (np.arange(400) % VOCABULARY).astype("uint16").tofile(tmp_path / "train.bin")
    loader = Windows(tmp_path / "train.bin", "uint16")
    options = {"on_invalid": "mask", "quarantine": folder, "batched": True}
    first, again = (guard_batches(loader, SCHEMA, **options) for _ in range(2))
    for _ in range(7):
        next(first)
    again.restore(first.state())
    for one, other in zip(first, again, strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in one)
    assert first.summary == again.summary
