"""Pipelines that shape elements in ways of their own: device axes, copies of a source, None, unreadable starts."""

from __future__ import annotations

from typing import Any

import grain
import numpy as np
import pytest

from label_guard import ClassLabel, TooManyInvalidError, UsageError, read_quarantine
from label_guard.grain import guard_labels, keyed, summary

N, BAD = 40, (5, 17, 33)
RECORDS = [{"y": np.int64(12 if k in BAD else k % 10), "id": np.int64(k)} for k in range(N)]
READ = grain.ReadOptions(0, 0)


def source(records: Any = RECORDS) -> Any:
    """Keyed records as an IterDataset."""
    return grain.MapDataset.source(keyed(records, name="s")).to_iter_dataset(READ)


def by_device(batch: dict[str, Any]) -> dict[str, Any]:
    """A batch as [devices, batch], as pmap wants it."""
    return {name: value.reshape(2, 4, *value.shape[1:]) for name, value in batch.items()}


SCHEMA = {"y": ClassLabel(num_classes=10)}


def options(folder: Any) -> dict[str, Any]:
    """A quarantine, and no limit."""
    return {"quarantine": str(folder / "q"), "stop_above": None}


def test_a_device_axis_behind_the_guard(tmp_path: Any) -> None:
    """remainder="drop" gives full batches alone, so that eight devices never get a short one; the rest is counted."""
    ds = source().pipe(guard_labels, SCHEMA, batch_size=8, remainder="drop", **options(tmp_path))
    iterator = iter(ds.map(by_device))
    assert [batch["y"].shape for batch in iterator] == [(2, 4)] * 4
    assert (summary(iterator).delivered, summary(iterator).remainder) == (32, 5)
    upstream = source().batch(8, drop_remainder=True).pipe(guard_labels, SCHEMA, **options(tmp_path))
    assert {len(batch["y"]) for batch in upstream} == {8}
    padded = source().pipe(guard_labels, SCHEMA, batch_size=8, remainder="pad", **options(tmp_path))
    assert {len(batch["y"]) for batch in padded} == {8}


def test_a_device_axis_before_the_guard(tmp_path: Any) -> None:
    """A declared axis is checked position by position; a row is named by all its records."""
    label = ClassLabel(num_classes=10, shape=(4,))
    ds = source().batch(8).map(by_device)
    masked = list(ds.pipe(guard_labels, {"y": label}, on_invalid="mask", **options(tmp_path)))
    valid = np.concatenate([batch["y_valid"] for batch in masked]).reshape(-1)
    assert np.flatnonzero(~valid).tolist() == list(BAD)
    names = {entry.record for entry in read_quarantine(str(tmp_path / "q")).entries}
    assert names == {"s/4, s/5, s/6, s/7", "s/16, s/17, s/18, s/19", "s/32, s/33, s/34, s/35"}


def test_a_device_axis_that_is_not_declared(tmp_path: Any) -> None:
    """Without it in the schema every label has the wrong shape: the error shows the shape and names the records."""
    ds = source([{"y": np.int64(k % 10)} for k in range(N)]).batch(8).map(by_device)
    with pytest.raises(TooManyInvalidError, match=r"for example LG105 y: record s/0, s/1, s/2, s/3: int64\[4\]"):
        list(ds.pipe(guard_labels, SCHEMA, quarantine=str(tmp_path / "q")))


def test_copies_of_one_source_are_one_source(tmp_path: Any) -> None:
    """Grain copies a pipeline for each thread: its keyed sources are one, and records are named by it."""
    ds = grain.experimental.multithread_prefetch(source(), num_threads=2, buffer_size=2)
    ds = ds.pipe(guard_labels, SCHEMA, batch_size=8, **options(tmp_path))
    ids = [int(k) for batch in ds for k in batch["id"]]
    assert sorted(ids) == [k for k in range(N) if k not in BAD]
    assert sorted(str(entry.record) for entry in read_quarantine(str(tmp_path / "q")).entries) == [
        "s/17",
        "s/33",
        "s/5",
    ]


@pytest.mark.parametrize("unreadable", [(0,), (0, 1, 2, 3), (0, 1, 2, 3, 4, 5, 6), (7,)])
def test_records_that_cannot_be_read_at_the_start(tmp_path: Any, unreadable: tuple[int, ...]) -> None:
    """Whatever is unreadable first, the guard works on records, and delivers the others once."""

    class Damaged:
        def __len__(self) -> int:
            return 12

        def __getitem__(self, index: int) -> Any:
            if index in unreadable:
                raise ValueError("checksum")
            return {"y": np.int64(index % 10), "id": np.int64(index)}

    ds = grain.MapDataset.source(keyed(Damaged(), name="s", on_unreadable="quarantine")).to_iter_dataset(READ)
    iterator = iter(ds.pipe(guard_labels, SCHEMA, batch_size=4, **options(tmp_path)))
    assert sorted(int(k) for b in iterator for k in b["id"]) == [k for k in range(12) if k not in unreadable]
    assert summary(iterator).by_rule == {"LG120": len(unreadable)}


def test_an_element_that_is_none() -> None:
    """A map on an IterDataset hands None on: the error says so, and what leaves elements out."""
    ds = source().map(lambda record: None)
    with pytest.raises(UsageError, match=r"delivers the None that it returns.*\.filter"):
        next(iter(ds.pipe(guard_labels, SCHEMA, batched=False, on_invalid="raise")))
