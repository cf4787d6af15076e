"""Elements that a placement cannot take are refused with what works: classes, ragged labels, features of Python."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import grain
import numpy as np
import pytest

from label_guard import ClassLabel, UsageError, guard_batches
from label_guard.grain import data_loader_operations, guard_labels

READ = grain.ReadOptions(0, 0)
RAGGED = {"label": ClassLabel(num_classes=10, shape=(None,))}


@dataclasses.dataclass(frozen=True)
class Unregistered:
    """An element that JAX does not know as a tree, so that Grain's batch does not stack its fields."""

    label: Any


def _elements(records: list[Any]) -> Any:
    return grain.MapDataset.source(records).to_iter_dataset(READ)


def test_a_class_that_grain_does_not_know(tmp_path: Path) -> None:
    """Grain's batch makes an array of objects of it: the error names the class, and registering it or records work."""
    ds = _elements([Unregistered(np.int64(k)) for k in range(8)])
    options = {"quarantine": str(tmp_path), "stop_above": None}
    schema = {"label": ClassLabel(num_classes=10)}
    with pytest.raises(UsageError, match=r"arrays of Unregistered objects.*register_dataclass.*batch_size"):
        list(ds.batch(4).pipe(guard_labels, schema, **options))
    assert len(list(ds.pipe(guard_labels, schema, batch_size=4, **options))) == 2


@pytest.mark.parametrize("policy", ["drop", "mask"])
def test_ragged_labels_in_a_data_loader(tmp_path: Path, policy: str) -> None:
    """Its operations get single records, so that every policy works with labels of free shape."""
    records: Any = [{"label": np.array([k, 99] if k == 2 else [k] * (k + 1))} for k in range(4)]
    options: dict[str, Any] = {"on_invalid": policy, "quarantine": str(tmp_path), "stop_above": None}
    operations = data_loader_operations(RAGGED, **options)
    sampler = grain.samplers.IndexSampler(4, num_epochs=1)
    found = list(grain.DataLoader(data_source=records, sampler=sampler, operations=operations, read_options=READ))
    assert [element["label"].tolist() for element in found if len(element["label"]) != 2] == [[0], [3] * 4]
    assert len(found) == (4 if policy == "mask" else 3)
    if policy == "mask":
        assert found[2]["label_valid"].tolist() == [True, False]


@pytest.mark.parametrize("label", [lambda k: np.arange(k + 1), lambda k: list(range(k + 1))], ids=["array", "list"])
@pytest.mark.parametrize("policy", ["drop", "report", "raise"])
def test_ragged_labels_in_a_batch(tmp_path: Path, policy: str, label: Any) -> None:
    """They cannot be stacked, nor can other features: the error says that single records can be had."""
    bad = [{"label": np.array([99])}] * (policy == "report")
    records = [*bad, *({"label": label(k)} for k in range(4))]
    options: dict[str, Any] = {"on_invalid": policy, "quarantine": str(tmp_path), "stop_above": None, "batched": False}
    with pytest.raises(UsageError, match=r"'label' cannot be batched: .*leave batch_size= out"):
        list(guard_batches(records, RAGGED, batch_size=4, **options))
    assert len(list(guard_batches(records, RAGGED, **options))) == len(records) - (policy == "drop" and bool(bad))
    features = [{"label": np.int64(1), "text": label(k)} for k in range(4)]
    scalar = {"label": ClassLabel(num_classes=10)}
    with pytest.raises(UsageError, match=r"'text' cannot be batched: .*leave batch_size= out"):
        list(guard_batches(features, scalar, batch_size=4, **options))
    assert len(list(guard_batches(features, scalar, **options))) == 4
