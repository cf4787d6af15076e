"""PyTorch loaders: collated dicts and tuples of tensors through ``guard_batches``, named by a feature."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from label_guard import ClassLabel, guard_batches
from label_guard.errors import UsageError
from label_guard.schema.dataset import DatasetSchema

pytestmark = pytest.mark.clients
BAD = (5, 18)
LABELS = np.array([7 if k in BAD else k % 3 for k in range(24)])
LABEL = ClassLabel(num_classes=3)
SCHEMA = DatasetSchema(format=1, name="t", version="1.0.0", record_key="id", labels={"label": LABEL})


def loader(form: str, workers: int = 0) -> Any:
    """A DataLoader with the default collate function."""
    import torch

    class Rows(torch.utils.data.Dataset):  # type: ignore[misc]
        def __len__(self) -> int:
            return 24

        def __getitem__(self, index: int) -> Any:
            if form == "tuple":
                return torch.full((2,), float(index)), int(LABELS[index])
            return {"x": torch.full((2,), float(index)), "label": torch.tensor(LABELS[index]), "id": f"row{index}"}

    return torch.utils.data.DataLoader(Rows(), batch_size=6, shuffle=False, num_workers=workers)


@pytest.mark.parametrize("policy", ["drop", "mask"])
def test_a_collated_dict(folder: str, names: Any, policy: str) -> None:
    """Both rows are named by their id; under drop they leave, under mask they are False in the mask."""
    options = {"on_invalid": policy, "quarantine": folder, "stop_above": None, "batched": True}
    guarded = guard_batches(loader("dict"), SCHEMA, **options)
    for _ in range(2):  # epochs
        batches = list(guarded)
        kept = [str(i) for batch in batches for i in batch["id"]]
        expected = [k for k in range(24) if policy == "mask" or k not in BAD]
        assert sorted(kept) == sorted(f"row{k}" for k in expected)
        assert sorted(float(x) for batch in batches for x in np.asarray(batch["x"])[:, 0]) == expected
        if policy == "mask":
            assert np.flatnonzero(~np.concatenate([batch["label_valid"] for batch in batches])).tolist() == list(BAD)
    assert names() == ["row18", "row5"]


def test_a_collated_tuple(folder: str) -> None:
    """(x, y) become (x, y, weight)."""
    options = {"on_invalid": "mask", "valid_key": "weight", "quarantine": folder, "stop_above": None, "batched": True}
    triples = list(guard_batches(loader("tuple"), {"1": LABEL}, **options))
    assert np.flatnonzero(~np.concatenate([valid for _, _, valid in triples])).tolist() == list(BAD)


@pytest.mark.parametrize("size", [2, 3, 4])
def test_labels_that_are_lists(folder: str, size: int) -> None:
    """Collate makes one tensor for each place of a list: an error, also where three rows of three fit as well."""
    import torch

    class Lists(torch.utils.data.Dataset):  # type: ignore[misc]
        def __len__(self) -> int:
            return 12

        def __getitem__(self, index: int) -> Any:
            return {"label": [index % 3, 1, 2], "id": f"row{index}"}

    batches = torch.utils.data.DataLoader(Lists(), batch_size=size)
    label = ClassLabel(num_classes=3, shape=(3,))
    with pytest.raises(UsageError, match=r"label 'label' is a list of 3 arrays.*np\.asarray"):
        list(guard_batches(batches, {"label": label}, batched=True, quarantine=folder))


def test_a_resumed_run_is_equal(folder: str) -> None:
    """A loader without a state is read up to its place again."""
    options = {"quarantine": folder, "stop_above": None, "batched": True}
    first, again = (guard_batches(loader("dict"), SCHEMA, **options) for _ in range(2))
    next(first)
    again.restore(first.state())
    assert [list(b["id"]) for b in first] == [list(b["id"]) for b in again]


@pytest.mark.parametrize("by", ["drop_last", "batch_sampler"])
def test_drop_last_is_kept(folder: str, by: str) -> None:
    """A loader that leaves out a short last batch does so when dropped records are missing at the end, too."""
    import torch

    rows = loader("dict").dataset
    if by == "drop_last":
        full = torch.utils.data.DataLoader(rows, batch_size=6, drop_last=True)
    else:
        sampler = torch.utils.data.BatchSampler(range(24), 6, drop_last=True)
        full = torch.utils.data.DataLoader(rows, batch_sampler=sampler)
    guarded = guard_batches(full, SCHEMA, batched=True, quarantine=folder, stop_above=None)
    assert [len(batch["label"]) for batch in guarded] == [6, 6, 6]
    assert guarded.summary.remainder == 4


def test_a_tensor_that_needs_a_gradient(folder: str) -> None:
    """What cannot be read as an array is an error that names the feature, not one of PyTorch."""
    import torch

    batch = {"label": torch.tensor([1, 7]), "x": torch.ones(2, requires_grad=True)}
    with pytest.raises(UsageError, match=r"feature 'x' cannot be read as an array: .*detach"):
        list(guard_batches([batch], {"label": LABEL}, quarantine=folder, stop_above=None))
