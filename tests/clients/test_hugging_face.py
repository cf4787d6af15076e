"""Hugging Face datasets: random-access tables through ``keyed``, batches of lists through ``guard_batches``."""

from __future__ import annotations

from typing import Any

import grain
import numpy as np
import pytest

from label_guard import ClassLabel, guard_batches
from label_guard.grain import guard_labels, keyed
from label_guard.schema.dataset import DatasetSchema

pytestmark = pytest.mark.clients
BAD = (6, 25)
LABELS = [9 if k in BAD else k % 3 for k in range(40)]
SCHEMA = DatasetSchema(format=1, name="reviews", version="1.0.0", labels={"label": ClassLabel(num_classes=3)})
READ = grain.ReadOptions(0, 0)


def table() -> Any:
    """A table of texts and labels."""
    import datasets

    return datasets.Dataset.from_dict({"text": [f"text {k}" for k in range(40)], "label": LABELS})


@pytest.mark.parametrize("form", ["python", "numpy"])
def test_a_table_through_keyed(folder: str, names: Any, resumes: Any, form: str) -> None:
    """Python values and NumPy values alike: both rows leave, named by position; other rows come once."""
    source = table().with_format("numpy") if form == "numpy" else table()
    ds = grain.MapDataset.source(keyed(source, name="reviews")).shuffle(seed=2).to_iter_dataset(READ)
    ds = ds.pipe(guard_labels, SCHEMA, batch_size=8, quarantine=folder, stop_above=None)
    found = [str(text) for batch in ds for text in batch["text"]]
    assert sorted(found) == sorted(f"text {k}" for k in range(40) if k not in BAD)
    assert names() == ["reviews/25", "reviews/6"]
    resumes(ds)


def test_batches_of_lists(folder: str) -> None:
    """Dataset.iter(batch_size) yields dicts of lists: the label leaves as an array next to its mask."""
    options = {"on_invalid": "mask", "quarantine": folder, "stop_above": None, "batched": True}
    batches = list(guard_batches(list(table().iter(batch_size=8)), SCHEMA, **options))
    valid = np.concatenate([batch["label_valid"] for batch in batches])
    assert np.flatnonzero(~valid).tolist() == list(BAD)
    assert [text for batch in batches for text in batch["text"]] == [f"text {k}" for k in range(40)]


def test_a_filtered_table_keeps_its_names_apart(folder: str) -> None:
    """Two tables of one form have different sources in the quarantine."""
    assert keyed(table()).source_id != keyed(table().filter(lambda row: row["label"] != 1)).source_id
