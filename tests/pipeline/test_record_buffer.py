"""Records that are kept while more are read: the same values and types, whatever upstream does to its arrays."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from label_guard import ClassLabel, guard_batches, read_quarantine
from label_guard.pipeline import batching
from label_guard.pipeline.record_buffer import RecordBuffer
from label_guard.testing import assert_conserved

SIZE = 6
KINDS: list[Callable[[int], Any]] = [
    lambda k: np.full(2, k, np.int32),
    lambda k: np.full(2, k, np.int64),
    lambda k: np.full((2, k % 3), k, np.int32),
    lambda k: np.array(k, np.int16),
    lambda k: np.array([k], ">i4"),
    lambda k: np.array([f"{k}" * (k + 1)]),
    lambda k: np.array([None, k], object),
    lambda k: np.ma.masked_array([k, 1], [False, True]),
    lambda k: np.int32(k),
    lambda k: np.int64(k),
    lambda k: np.float16(k),
    lambda k: np.str_(k),
    lambda k: k,
    lambda k: float(k),
    lambda k: k > 2,
    lambda k: f"{k}",
    lambda k: bytes([k]),
    lambda k: None,
    lambda k: [k, k],
    lambda k: {"c": np.full(1, k), "d": k},
    lambda k: {"c": np.full(1, k)},
    lambda k: {},
]


def is_same(value: Any, other: Any) -> bool:
    """Whether two values have the same type, dtype, shape and content; a 0-d array may be a NumPy scalar."""
    if isinstance(value, dict):
        return value.keys() == other.keys() and all(is_same(value[name], other[name]) for name in value)
    if isinstance(value, list):
        return value == other
    if isinstance(value, np.ndarray | np.generic):
        masks = [np.ma.getmaskarray(array).tolist() for array in (value, other)]
        return (value.dtype, value.shape) == (other.dtype, other.shape) and masks[0] == masks[1] and (
            np.asarray(value).tolist() == np.asarray(other).tolist()
        )  # fmt: skip
    return type(value) is type(other) and value == other


def overwrite(value: Any) -> None:
    """Fills the arrays of a record again, as a loader may."""
    for item in value.values() if isinstance(value, dict) else ():
        overwrite(item)
    if isinstance(value, np.ndarray) and value.dtype.kind in "iO":
        np.asarray(value)[...] = 99


@given(
    usual=st.lists(st.integers(0, len(KINDS) - 1), min_size=1, max_size=3),
    odd=st.dictionaries(st.integers(0, SIZE - 1), st.integers(0, len(KINDS) - 1), max_size=2),
    count=st.integers(0, SIZE),
)
def test_records_are_kept_as_they_were(usual: list[int], odd: dict[int, int], count: int) -> None:
    """Whatever differs among records, each comes back as it was; and a batch of them is what stacking gives."""
    made = [
        {str(name): KINDS[odd.get(k, kind) if name == 0 else kind](k) for name, kind in enumerate(usual)}
        for k in range(count)
    ]
    expected = copy.deepcopy(made)
    buffer = RecordBuffer(SIZE)
    waiting = iter(made)
    pulled: list[Any] = []

    def pull() -> Any:
        for record in pulled:
            overwrite(record)
        pulled.append(next(waiting))
        return pulled[-1]

    assert buffer.fill(pull) == (count == SIZE)
    assert len(pulled) == count
    for record in made:
        overwrite(record)
    found = buffer.records()
    assert len(found) == len(buffer) == count
    assert all(map(is_same, expected, found))
    batch = buffer.batch()
    if batch is not None:
        assert is_same(batching.stack_lists(batch, ()), batching.stack(expected))


@pytest.mark.parametrize("policy", ["drop", "mask", "report"])
@pytest.mark.parametrize("odd", [None, 3, 9])
def test_one_record_that_differs_changes_nothing_for_the_others(tmp_path: Any, policy: str, odd: int | None) -> None:
    """A window of records of one form, and one with a record of another form, are delivered and written alike."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 12, 40)
    records = [{"y": np.int64(y), "x": np.full(2, k), "id": k, "name": f"r{k}"} for k, y in enumerate(labels)]
    if odd is not None:
        records[odd] = {**records[odd], "y": int(records[odd]["y"])}
    options = {"on_invalid": policy, "quarantine": str(tmp_path / "q"), "stop_above": None, "batch_size": 8}
    guarded = guard_batches(records, {"y": ClassLabel(num_classes=10)}, batched=False, **options)
    batches = list(guarded)
    assert_conserved(guarded.summary)
    ids = np.concatenate([batch["id"] for batch in batches])
    kept = np.flatnonzero(labels < 10) if policy == "drop" else np.arange(40)
    assert ids.tolist() == kept.tolist()
    assert np.concatenate([batch["x"] for batch in batches])[:, 0].tolist() == ids.tolist()
    assert [name for batch in batches for name in batch["name"]] == [f"r{k}" for k in ids]
    delivered = np.concatenate([batch["y"] for batch in batches])
    assert delivered.tolist() == np.where((policy == "mask") & (labels[ids] > 9), 0, labels[ids]).tolist()
    entries = read_quarantine(str(tmp_path / "q")).entries
    assert sorted(entry.payload["name"] for entry in entries) == sorted(f"r{k}" for k in np.flatnonzero(labels > 9))
    assert all(type(entry.payload["id"]) is int for entry in entries)


@pytest.mark.parametrize("size", [10**12, 2**63 - 1])
def test_a_batch_size_beyond_memory_delivers_what_there_is(size: int) -> None:
    """Memory grows with the records that are read, not with the batch that was asked for."""
    records = [{"x": np.full(3, k), "label": np.int64(k)} for k in range(4)]
    guarded = guard_batches(
        records, {"label": ClassLabel(num_classes=4)}, batch_size=size, batched=False, on_invalid="raise"
    )
    (batch,) = guarded
    assert batch["x"].shape == (4, 3)
    assert_conserved(guarded.summary)
