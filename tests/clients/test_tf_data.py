"""tf.data: as NumPy and as tensors, with names of bytes, padded batches and a last short one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from label_guard import ClassLabel, guard_batches
from label_guard.errors import UsageError
from label_guard.schema.dataset import DatasetSchema

pytestmark = pytest.mark.clients
BAD = (2, 19)
LABELS = np.array([5 if k in BAD else k % 3 for k in range(22)])
SCHEMA = DatasetSchema(
    format=1, name="t", version="1.0.0", record_key="tfds_id", labels={"label": ClassLabel(num_classes=3)}
)
OPTIONS: dict[str, Any] = {"stop_above": None}


def dataset() -> Any:
    """Batches of 8 with TFDS' ids."""
    import tensorflow as tf

    ids = [f"train.tfrecord__{k}" for k in range(22)]
    return tf.data.Dataset.from_tensor_slices({"label": LABELS, "tfds_id": ids, "x": np.arange(22.0)}).batch(8)


@pytest.mark.parametrize("form", ["numpy", "tensors"])
@pytest.mark.parametrize("policy", ["drop", "mask"])
def test_a_dataset(folder: str, names: Any, form: str, policy: str) -> None:
    """Both rows are named, in NumPy and in eager tensors, in every epoch."""

    class AsNumpy:
        def __iter__(self) -> Any:
            return dataset().as_numpy_iterator()

    guarded = guard_batches(
        AsNumpy() if form == "numpy" else dataset(), SCHEMA, on_invalid=policy, quarantine=folder, **OPTIONS
    )
    for _ in range(2):
        batches = list(guarded)
        expected = [float(k) for k in range(22) if policy == "mask" or k not in BAD]
        assert sorted(float(x) for batch in batches for x in np.asarray(batch["x"])) == expected
    assert names() == ["train.tfrecord__19", "train.tfrecord__2"]
    assert guarded.summary.seen == 44


@pytest.mark.parametrize("policy", ["drop", "mask"])
def test_a_resumed_run_is_equal(folder: str, policy: str) -> None:
    """A dataset is read up to its place again, and the counts go on."""
    first, again = (guard_batches(dataset(), SCHEMA, on_invalid=policy, quarantine=folder, **OPTIONS) for _ in range(2))
    next(first)
    again.restore(first.state())
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(np.asarray(one["x"]), np.asarray(other["x"]))
        assert np.array_equal(np.asarray(one["label"]), np.asarray(other["label"]))
    assert first.summary == again.summary


@pytest.mark.parametrize("lengths", [(1, 3, 0, 2), (2, 2, 2, 2)])
@pytest.mark.parametrize("policy", ["drop", "report", "raise"])
def test_ragged_tensors(folder: str, policy: str, lengths: tuple[int, ...]) -> None:
    """A ragged label is checked row by row, and a ragged feature keeps its records, as lists of arrays do."""
    import tensorflow as tf

    size, bad = 4, () if policy == "raise" else (1, 6)
    rows = [np.full(lengths[k % size], 7 if k in bad else k % 3, np.int32) for k in range(3 * size)]
    sources = {
        "ragged": lambda some: tf.ragged.stack(some),
        "list": list,
    }
    schema = {"label": ClassLabel(num_classes=3, shape=(None,))}
    found: dict[str, Any] = {}
    for form, make in sources.items():
        batches = [
            {"label": make(rows[at : at + size]), "text": make(rows[at : at + size]), "id": np.arange(at, at + size)}
            for at in range(0, len(rows), size)
        ]
        guarded = guard_batches(batches, schema, batched=True, on_invalid=policy, quarantine=folder, **OPTIONS)
        found[form] = [
            (int(i), np.asarray(label).tolist(), np.asarray(text).tolist())
            for batch in guarded
            for i, label, text in zip(batch["id"], batch["label"], batch["text"], strict=True)
        ]
        found[form].append(str(guarded.summary))
    assert found["ragged"] == found["list"]
    expected = [(k, row.tolist(), row.tolist()) for k, row in enumerate(rows) if policy != "drop" or not {*row} & {7}]
    assert sorted(found["list"][:-1]) == expected


def test_an_iterator_has_one_epoch(folder: str) -> None:
    """as_numpy_iterator() can be iterated once: the second epoch is an error with what to give instead."""
    guarded = guard_batches(dataset().as_numpy_iterator(), SCHEMA, quarantine=folder, **OPTIONS)
    list(guarded)
    with pytest.raises(UsageError, match="give it the loader itself"):
        list(guarded)


def test_a_static_batch_size_is_kept(folder: str) -> None:
    """Batches of a static size are full ones, so a short last one stays out; others end with a short batch."""
    flat = dataset().unbatch()
    for drop, expected in ((True, [8]), (False, [8, 8, 4])):
        guarded = guard_batches(flat.batch(8, drop_remainder=drop), SCHEMA, quarantine=folder, **OPTIONS)
        assert [len(batch["label"]) for batch in guarded] == expected
    records = flat.map(lambda row: {**row, "label": row["label"][None], "x": row["x"][None], "tfds_id": row["tfds_id"]})
    labels = {"label": ClassLabel(num_classes=3, shape=(1,))}
    single = guard_batches(records, labels, batch_size=8, quarantine=folder, **OPTIONS)
    assert [len(batch["label"]) for batch in single] == [8, 8, 4]
