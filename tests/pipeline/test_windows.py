"""Windows of records of one form are checked as a batch: the outcome is that of records checked one by one."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from label_guard import LabelGuardError, guard_batches, keyed, read_quarantine
from label_guard.pipeline import record_buffer
from label_guard.schema.dataset import DatasetSchema
from label_guard.testing import assert_conserved

CLASS = {"kind": "class_label", "num_classes": 3}
NAMES = {"kind": "class_label", "num_classes": 2, "dtype": "string", "class_names": ["cat", "dog"]}
NAN = float("nan")
# By name: the label, valid values, invalid ones.
KINDS: dict[str, tuple[dict[str, Any], list[Any], list[Any]]] = {
    "int64": (CLASS, [np.int64(0), np.int64(2)], [np.int64(3), np.int64(-1)]),
    "python": (CLASS, [0, 2], [3, -1, "x", None]),
    "python in uint8": ({**CLASS, "dtype": "uint8"}, [0, 2], [3]),
    "emitted": ({**CLASS, "emit": "int32"}, [np.int64(0)], [np.int64(2**32 + 1)]),
    "no dimension": (CLASS, [np.array(0)], [np.array(5)]),
    "class_ids": ({**CLASS, "class_ids": [1, 5, 9]}, [np.int64(1), np.int64(9)], [np.int64(2)]),
    "ignore": ({**CLASS, "ignore": [255], "dtype": "uint8"}, [np.uint8(0), np.uint8(255)], [np.uint8(7)]),
    "replaced": ({**CLASS, "ignore": [-1], "on_ignore": "replace"}, [np.int64(0), np.int64(-1)], [np.int64(7)]),
    "skipped": ({**CLASS, "unlabeled": -1, "on_unlabeled": "skip"}, [np.int64(0), np.int64(-1)], [np.int64(7)]),
    "sequence": ({**CLASS, "shape": [2]}, [np.array([0, 1])], [np.array([0, 3]), np.array([0])]),
    "lists": ({**CLASS, "shape": [2]}, [[0, 1]], [[0, 3], [1]]),
    "names": (NAMES, ["cat", "dog"], ["cow"]),
    "bytes": (NAMES, [b"cat"], [b"Cat "]),
    "multi_label": ({"kind": "multi_label", "num_classes": 2}, [np.array([0, 1])], [np.array([0, 2])]),
    "texts of ids": (
        {"kind": "multi_label", "num_classes": 20, "encoding": "ids", "separator": " "}, ["1 2", ""], ["20", "x"]
    ),
    "lists of ids": ({"kind": "multi_label", "num_classes": 4, "encoding": "ids"}, [[1], [2, 3], []], [[9]]),
    "soft_label": ({"kind": "soft_label", "num_classes": 2}, [np.float32([0.5, 0.5])], [np.float32([NAN, 1])]),
    "real_label": ({"kind": "real_label", "minimum": 0}, [np.float32(0.5)], [np.float32(-1), np.float32(NAN)]),
    "not measured": ({"kind": "real_label", "ignore": [None], "on_ignore": "replace"}, [0.5, None], [float("inf")]),
}  # fmt: skip
PLACES = [(), (3,), (0, 1, 2, 3, 4), (6, 7, 20, 22)]


def run(folder: Path, kind: str, policy: str, remainder: str, form: str, bad: tuple[int, ...]) -> list[Any]:
    """What a guard delivers, counts and writes."""
    spec, valid, invalid = KINDS[kind]
    rng = random.Random(1)
    records = []
    for k in range(23):
        label = {"y": rng.choice(invalid if k in bad else valid), "w": np.int64(k % 3 != 0)}
        rest = {"id": k, "x": np.full(3, k, np.float32), "name": f"r{k}"}
        records.append({"o": label, **rest} if form == "nested" else {**label, **rest})
    path = "o/y" if form == "nested" else "y"
    spec = {**spec, "where": "w"} if form == "where" else spec
    schema = DatasetSchema.model_validate({"format": 1, "name": "n", "version": "1.0.0", "labels": {path: spec}})
    options: dict[str, Any] = {"on_invalid": policy, "remainder": remainder, "stop_above": None, "batch_size": 5}
    guarded = guard_batches(keyed(records, name="s"), schema, batched=False, quarantine=str(folder), **options)
    found: list[Any] = []
    try:
        found += guarded
    except LabelGuardError as error:
        found.append(str(error).replace(str(folder), ""))
    assert_conserved(guarded.summary)
    entries = read_quarantine(str(folder)).entries if folder.exists() else ()
    return [*found, str(guarded.summary), *sorted(repr((e.record, e.digest, e.payload)) for e in entries)]


POLICIES, REMAINDERS, FORMS = ("drop", "mask", "report", "raise"), ("short", "pad", "drop"), ("flat", "nested", "where")
ALL = list(itertools.product(KINDS, POLICIES, REMAINDERS, FORMS, PLACES))
QUICK = [case for k, case in enumerate(ALL) if k % 29 == 0]


def _assert_same_delivery(folder: Path, monkeypatch: pytest.MonkeyPatch, case: tuple[Any, ...]) -> None:
    expected = None
    for name in ("columns", "records"):
        if name == "records":
            monkeypatch.setattr(record_buffer, "_columns_of", lambda *_: None)
        found = repr(run(folder / name, *case))
        assert expected in (None, found)
        expected = found


@pytest.mark.parametrize("case", QUICK, ids=str)
def test_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: tuple[Any, ...]) -> None:
    """Batches, counts, entries and messages are the same, value by value and dtype by dtype."""
    _assert_same_delivery(tmp_path, monkeypatch, case)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_every_window(tmp_path: Path, kind: str) -> None:
    """The full matrix."""
    for number, case in enumerate(case for case in ALL if case[0] == kind):
        with pytest.MonkeyPatch.context() as patch:
            _assert_same_delivery(tmp_path / str(number), patch, case)
