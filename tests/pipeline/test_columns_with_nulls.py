"""Batches whose labels are columns of Arrow or pandas leave the guard as lists of the same values do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from label_guard import ClassLabel, DatasetSchema, Label, RealLabel, guard_batches

LABELS: dict[str, tuple[Label, list[Any]]] = {
    "bool": (ClassLabel(num_classes=2, dtype="bool", where="w"), [True, False, None]),
    "ids": (ClassLabel(num_classes=3, where="w"), [0, 1, 2, 7, None]),
    "raw ids": (ClassLabel(num_classes=3, class_ids={"start": 1}, where="w"), [1, 2, 3, 0, None]),
    "real": (RealLabel(minimum=0, maximum=5, where="w"), [0.0, 1.5, 9.0, None]),
    "names": (ClassLabel(num_classes=2, class_names=("a", "b"), dtype="string", where="w"), ["a", "b", "c", None]),
    "lists": (ClassLabel(num_classes=3, shape=(2,), where="w"), [[0, 1], [2, 2], [5, 0], [None, 1], None]),
}
KINDS = {"ids": pa.int64(), "raw ids": pa.int64(), "bool": pa.bool_(), "real": pa.float64(), "names": pa.string()}
COLUMNS: dict[str, Callable[[list[Any], pa.DataType], Any]] = {
    "Arrow": pa.array,
    "Arrow chunks": lambda items, kind: pa.chunked_array([items[:1], items[1:]], kind),
    "pandas": lambda items, kind: pd.Series(items, dtype=pd.ArrowDtype(kind)),
    "pandas objects": lambda items, _: pd.Series(items, dtype=object),
}


def delivered(name: str, policy: str, batches: list[Any], column: Callable[[list[Any]], Any], folder: Any) -> Any:
    """What a guard delivers of ``batches``, and its conservation line."""
    schema = DatasetSchema(format=1, name="x", version="1.0.0", labels={"y": LABELS[name][0]})
    elements = [
        {"y": column([label for label, _ in rows]), "w": np.array([counts for _, counts in rows]), "id": np.array(ids)}
        for ids, rows in batches
    ]
    options = {"batched": True, "on_invalid": policy, "quarantine": folder, "stop_above": None}
    guarded = guard_batches(elements, schema, **options)
    found = [{key: (value.dtype, value.tolist()) for key, value in batch.items()} for batch in guarded]
    return found, str(guarded.summary)


@pytest.mark.parametrize("policy", ["drop", "mask"])
@pytest.mark.parametrize("column", COLUMNS)
@given(data=st.data())
@settings(max_examples=30)
def test_a_column_leaves_as_a_list_does(
    tmp_path_factory: pytest.TempPathFactory, policy: str, column: str, data: st.DataObject
) -> None:
    """Labels, masks, dtypes and counts are those of the same values in a list; no null becomes NaN."""
    name = data.draw(st.sampled_from([one for one in LABELS if column != "pandas" or one in KINDS]))
    record = st.tuples(st.sampled_from(LABELS[name][1]), st.integers(0, 1))
    rows = data.draw(st.lists(st.lists(record, min_size=3, max_size=3), min_size=1, max_size=3))
    batches = [(range(3 * k, 3 * k + 3), one) for k, one in enumerate(rows)]
    kind = KINDS.get(name, pa.list_(pa.int64()))
    folders = [tmp_path_factory.mktemp("quarantine") for _ in range(2)]
    found = delivered(name, policy, batches, lambda items: COLUMNS[column](items, kind), folders[0])
    assert found == delivered(name, policy, batches, list, folders[1])
