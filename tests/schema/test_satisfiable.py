"""Lists of class ids: what lint accepts makes a guard that some record satisfies; what it refuses, no record does."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from label_guard import Guard
from label_guard.schema.reader import read_schema_bytes


def _guard(fields: str) -> Guard | None:
    """The guard of one label; None where the schema is refused."""
    text = f"format: 1\nname: d\nversion: 1.0.0\nlabels:\n  y: {{{fields}}}\n"
    schema = read_schema_bytes(text.encode(), "x.yaml").schema
    return None if schema is None else Guard(schema)


def _records(*, text: bool, nested: bool) -> list[Any]:
    """Lists of up to four of two ids and a sentinel, as numbers, as one text, or several of them in a record."""
    lists = [list(ids) for n in range(5) for ids in product([0, 1, 255], repeat=n)]
    if text:
        return [np.array([" ".join(map(str, ids))]) for ids in lists]
    if nested:
        pairs = [np.array([[ids, ids]], np.int64).reshape(1, 2, len(ids)) for ids in lists]
        return [*pairs, *(pair[:, :, None] for pair in pairs)]
    return [np.array([ids], np.int64) for ids in lists]


@pytest.mark.parametrize("separator", ["", ", separator: ' '"])
@pytest.mark.parametrize("kind", ["class_label", "class_label, ignore: [255]", "multi_label, encoding: ids"])
def test_every_list_that_lint_accepts_has_a_legal_record(kind: str, separator: str) -> None:
    """All small combinations of shape, lengths and unique, against every short list."""
    shapes = ["", ", shape: [2]", ", shape: [null]", ", shape: [2, null]"]
    least, most = ["", ", min_length: 1", ", min_length: 3"], ["", ", max_length: 0", ", max_length: 1"]
    for shape, low, high, unique in product(shapes, least, most, ["", ", unique: true"]):
        fields = f"kind: {kind}, num_classes: 2{separator}{shape}{low}{high}{unique}"
        guard = _guard(fields)
        if guard is None:
            continue
        records = _records(text=bool(separator), nested="multi" in kind and bool(shape))
        if "class_label" in kind:
            records += [np.array([0]), np.array([[[0, 1], [1, 0]]])]  # no list, and lists of lists
        assert any(not guard.check({"y": record}, batched=True).violations for record in records), fields


@pytest.mark.parametrize(
    "fields",
    [
        "kind: multi_label, num_classes: 2, encoding: ids, shape: [null], unique: true",
        "kind: multi_label, num_classes: 2, encoding: ids, shape: [null], separator: ' '",
        "kind: multi_label, num_classes: 2, encoding: ids, shape: [2], max_length: 1",
        "kind: class_label, num_classes: 2, separator: ' ', shape: [2], max_length: 1",
        "kind: class_label, num_classes: 3, separator: ' ', shape: [2], min_length: 3",
    ],
)
def test_lists_that_no_record_can_fill(fields: str) -> None:
    """They are refused in the file, and not by the guard with another error."""
    assert _guard(fields) is None
