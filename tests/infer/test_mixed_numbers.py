"""infer of a text, whose numbers have no width: whole numbers next to fractions are floats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from label_guard import load_schema
from label_guard.audit.runner import audit_dataset
from label_guard.infer.draft import infer
from label_guard.lint.linter import lint_file

MIXED: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "targets": ([20, 31.5, 40, 18.25], {"kind": "real_label", "dtype": ("float64",), "shape": ()}),
    "targets without a width": ([2**63, 10**30, 0.5], {"kind": "real_label", "dtype": ("float64",)}),
    "ids": ([0, 1.0, 2, 1], {"kind": "class_label", "num_classes": 3, "dtype": ("float64",), "emit": "int32"}),
    "whole ids": ([0, 1, 2, 1], {"kind": "class_label", "num_classes": 3, "dtype": ("int64",)}),
    "boxes": ([[[10, 20.5, 30, 40]], [], [[1, 2, 3, 4]]], {"kind": "real_label", "shape": (None, 4)}),
    "rows": ([[1, 0, 0], [0.5, 0.5, 0]], {"kind": "soft_label", "num_classes": 3, "dtype": ("float64",)}),
    "whole rows": ([[1, 0, 0], [0, 1, 0]], {"kind": "soft_label", "one_hot": True, "dtype": ("int64",)}),
}


@pytest.mark.parametrize("name", MIXED)
def test_whole_numbers_of_a_text_are_floats_next_to_fractions(tmp_path: Path, name: str) -> None:
    """The draft is of float64, lints clean, and its own data pass; whole numbers alone stay integers."""
    values, expected = MIXED[name]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"label": value}) + "\n" for value in values * 9))
    (tmp_path / "s.yaml").write_text(infer(f"jsonl:{tmp_path}/a.jsonl").to_yaml())
    label = load_schema(tmp_path / "s.yaml").labels["label"]
    assert {field: getattr(label, field) for field in expected} == expected
    assert lint_file(tmp_path / "s.yaml") == []
    assert audit_dataset(str(tmp_path / "s.yaml")).exit_code == 0


def test_a_csv_of_targets_is_drafted(insects: Path, dataset_files: dict[str, str]) -> None:
    """The whole draft of a column of 18 next to 18.25."""
    draft = infer(f"csv:{insects}/{dataset_files['targets']}").to_yaml().splitlines()
    expected = """\
format: 1
name: targets
version: 1.0.0
labels:
  # seen: float64; one value a record; values 6.75 to 33.5
  target:
    kind: real_label  # TODO check: add minimum and maximum where the target has bounds
    dtype: float64
    shape: []
splits:
"""
    assert draft[1:-1] == expected.splitlines()
