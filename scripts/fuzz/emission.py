"""What leaves the guard is legal: random schemas, records and options against a slow oracle.

``check_case`` is run by the tests and, without end, by ``make fuzz``.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st
from pydantic import ValidationError

from label_guard import DatasetSchema, Guard, guard_batches
from label_guard.errors import InvalidLabelError, UsageError

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
FLOATS = ["float16", "float32", "float64"]
EMIT = [None, None, "int32", "int64", "uint8", "int8", "float16", "float32"]


@dataclass
class Case:
    """A stream and the guard that it goes through.

    Attributes:
        schema: with one label ``y`` and one split ``train``.
        values: the label of each record.
        options: of ``guard_batches``.
        batches: sizes of the batches that the loader makes; empty where it yields records.
        as_lists: whether the labels of a batch are lists.
        counts: the feature ``w`` of each record: 0 where its label does not count, if the schema says so.
    """

    schema: DatasetSchema
    values: list[Any]
    options: dict[str, Any]
    batches: list[int] = field(default_factory=list)
    as_lists: bool = False
    counts: list[int] = field(default_factory=list)


def dtypes(names: list[str]) -> st.SearchStrategy[Any]:
    """No dtype, one, or several."""
    return st.none() | st.sampled_from(names) | st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True)


@st.composite
def class_labels(draw: st.DrawFn) -> dict[str, Any]:
    """Class ids: offsets and gaps, sentinels, unlabeled records, lists with rules."""
    classes = draw(st.sampled_from([1, 2, 5, 200, 300]))
    label: dict[str, Any] = {"kind": "class_label", "num_classes": classes, "dtype": draw(dtypes([*INTEGERS, *FLOATS]))}
    label["class_ids"] = draw(st.sampled_from([None, None, {"start": 1}, {"start": -3}]))
    if classes == 5:
        gapped = [[0, 255, 7, 3, 9], [2, 3, 7, 40, 90], [-128, 127, 0, 1, 2]]
        label["class_ids"] = draw(st.sampled_from([None, *gapped]))
    label["ignore"] = draw(st.sampled_from([[], [], [-1], [255], [-100], [-100, 255], [70000]]))
    label["on_ignore"] = draw(st.sampled_from(["keep", "replace"]))
    label["on_unlabeled"] = draw(st.sampled_from([None, None, "keep", "replace", "skip"]))
    label["unlabeled"] = draw(st.sampled_from([-7, 4, 400])) if label["on_unlabeled"] else None
    label["shape"] = draw(st.sampled_from([[], [], [2], [2, 2], [None]]))
    label["where"] = draw(st.sampled_from([None, None, None, "w"]))
    if len(label["shape"]) == 1:
        label["unique"] = draw(st.booleans())
        label["min_length"], label["max_length"] = draw(st.sampled_from([(None, None), (1, None), (None, 1)]))
    return label


@st.composite
def other_labels(draw: st.DrawFn) -> dict[str, Any]:
    """multi_label, soft_label and real_label."""
    shape = draw(st.sampled_from([[], [], [2]]))
    kind = draw(st.sampled_from(["multi_label", "soft_label", "real_label", "real_label"]))
    if kind == "multi_label":
        label = {"num_classes": 3, "dtype": draw(dtypes(["bool", *INTEGERS, *FLOATS]))}
        label["ignore"] = draw(st.sampled_from([[], [], [-1], [9], [70000], [math.nan], [None], [-1, None]]))
        label["on_ignore"] = draw(st.sampled_from(["keep", "replace"]))
        label["min_positive"], label["max_positive"] = draw(st.sampled_from([(None, None), (1, 2), (None, 0)]))
    elif kind == "soft_label":
        label = {"num_classes": 3, "dtype": draw(dtypes(FLOATS)), "one_hot": draw(st.booleans())}
        label["tolerance"] = draw(st.sampled_from([1e-3, 1e-5, 0.25, 0]))
    else:
        label = {"dtype": draw(dtypes([*INTEGERS, *FLOATS]))}
        low, high = draw(
            st.sampled_from([(None, None), (0.1, None), (None, -0.1), (0, 100_000), (0.1, 0.7), (-3, 2**60)])
        )
        label |= {"minimum": low, "maximum": high}
        label["ignore"] = draw(st.sampled_from([[], [], [-999], [1e6], [-0.05, None], [math.nan], [None]]))
        label["on_ignore"] = draw(st.sampled_from([None, "keep", "replace"]))
    label["where"] = draw(st.sampled_from([None, None, "w"]))
    return {"kind": kind, "shape": shape, **label}


def _schema(label: dict[str, Any], emit: str | None) -> DatasetSchema | None:
    fields = {name: value for name, value in {**label, "emit": emit}.items() if value is not None}
    split = {name: fields.pop(name) for name in ("unlabeled", "on_unlabeled") if name in fields}
    document = {"format": 1, "name": "t", "version": "1.0.0", "labels": {"y": fields}}
    with contextlib.suppress(ValidationError):
        return DatasetSchema.model_validate(
            {**document, "splits": {"train": {"labels": {"y": split} if split else {}}}}
        )
    return None


def _ignored(label: dict[str, Any]) -> list[Any]:
    return [math.nan if value is None else value for value in label["ignore"]]


def _numbers(label: dict[str, Any]) -> list[Any]:
    """Values in and near the legal ones, most of them legal."""
    if label["kind"] == "class_label":
        ids, count = label["class_ids"], label["num_classes"]
        raw = list(ids) if isinstance(ids, list) else [(ids or {"start": 0})["start"] + k for k in (0, 1, count - 1)]
        extra = [label["unlabeled"]] if label["unlabeled"] is not None else []
        return [*(i for i in raw * 3), *label["ignore"], *extra, -1, 255, count, 2**32 + 1, 59]
    if label["kind"] == "multi_label":
        return [0, 1, 0, 1, *_ignored(label), 2, -1]
    if label["kind"] == "soft_label":
        return [0.0, 1.0, 0.5, 0.25, 1 / 3, 0.1, 0.7, 0.2, math.nan]
    limits = [v for v in (label["minimum"], label["maximum"]) if v is not None]
    return [
        0.1,
        0.7,
        0.5,
        1,
        3,
        100,
        *limits,
        *limits,
        *_ignored(label),
        -0.1,
        -5,
        65504,
        65520,
        7e4,
        1e39,
        2**53 + 1,
        math.nan,
        math.inf,
    ]


@st.composite
def _value(draw: st.DrawFn, label: dict[str, Any], names: list[str], lists: bool) -> Any:
    """The label of one record: mostly an array of a declared dtype, or Python numbers, sometimes something else."""
    odd = draw(st.integers(0, 40))
    if odd < 5:
        return [None, "3", np.zeros(7), np.array([None, 1], object), np.ones((), "datetime64[s]")][odd]
    axis = [label["num_classes"]] if label["kind"] in ("multi_label", "soft_label") else []
    shape = [draw(st.integers(0, 3)) if length is None else length for length in label["shape"]] + axis
    size = math.prod(shape)
    drawn = draw(st.lists(st.sampled_from(_numbers(label)), min_size=size, max_size=size))
    if label["kind"] == "soft_label" and draw(st.booleans()):
        weights = np.abs(np.nan_to_num(np.array(drawn, np.float64))).reshape(-1, 3) + 1e-3
        drawn = (weights / weights.sum(axis=1, keepdims=True)).reshape(-1).tolist()
    dtype = np.dtype(draw(st.sampled_from(names)))
    if dtype.kind in "iub":
        low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        drawn = [int(v) if math.isfinite(v) and low <= int(v) <= high else 1 for v in drawn]
    with np.errstate(over="ignore"):
        array = np.array(drawn, dtype).reshape(shape)
    return array.tolist() if lists else array[()] if draw(st.booleans()) else array


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Random schemas of all kinds, stored values, policies, forms and remainders."""
    label = draw(class_labels() | other_labels())
    schema = _schema(label, draw(st.sampled_from(EMIT)))
    while schema is None:  # refused: this is for other tests
        label = draw(class_labels() | other_labels())
        schema = _schema(label, draw(st.sampled_from(EMIT)))
    stored = [name for name in schema.stored("train")["y"].stored_dtypes if name != "string"]
    names = draw(st.sampled_from([stored[:1], stored[-1:], stored, stored, [*stored, "int64", "float32"]]))
    lists = draw(st.sampled_from(["never", "always", "some"]))
    values = [
        draw(_value(label, names, lists == "always" or (lists == "some" and draw(st.booleans()))))
        for _ in range(draw(st.integers(1, 9)))
    ]
    batches = draw(st.lists(st.integers(1, 4), max_size=4))
    options = {
        "on_invalid": draw(st.sampled_from(["drop", "mask", "raise", "report"])),
        "remainder": draw(st.sampled_from(["short", "drop", "pad"])),
        "batch_size": draw(st.integers(max([1, *batches]), 5)),
    }
    counts = draw(st.lists(st.sampled_from([0, 1, 1]), min_size=len(values), max_size=len(values)))
    return Case(schema, values, options, batches, draw(st.booleans()), counts)


def _elements(case: Case) -> list[Any]:
    records = [
        {"n": np.int64(k), "y": value, "w": np.float32(counts)}
        for k, (value, counts) in enumerate(zip(case.values, case.counts, strict=True))
    ]
    if not case.batches:
        return records
    elements, rest = [], records
    for size in case.batches:
        head, rest = rest[:size], rest[size:]
        if head:
            features = {name: np.array([r[name] for r in head]) for name in ("n", "w")}
            elements.append({**features, "y": _column([r["y"] for r in head], case.as_lists)})
    return elements


def _column(values: list[Any], as_list: bool) -> Any:
    """The labels of a batch: an array where they have one dtype and shape, else a list."""
    specs = {(value.dtype, value.shape) if isinstance(value, np.ndarray) else None for value in values}
    return values if as_list or len(specs) > 1 or None in specs else np.stack(values)


# The last: as many arrays as records, in a list, may be the columns of lists that a loader has batched.
_REFUSED = ("cannot be batched", "free", "one array for each place")


def check_case(case: Case) -> None:
    """Raises where something leaves the guard that the emitted schema refuses, or an error that is not ours."""
    emitted = case.schema.emitted("train")
    checked = Guard(case.schema, "train")
    counts = np.array(case.counts, np.float32)
    valid = [checked.check_records([{"y": v, "w": w}]).ok for v, w in zip(case.values, counts, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        options = {**case.options, "quarantine": folder, "stop_above": None, "batched": bool(case.batches)}
        try:
            delivered = list(guard_batches(_elements(case), case.schema, split="train", **options))
        except InvalidLabelError:
            assert case.options["on_invalid"] == "raise"
            assert not all(valid)
            return
        except UsageError as error:
            if not any(reason in str(error) for reason in _REFUSED):
                raise
            return
    dtypes_seen = set()
    for batch in delivered:
        _check_mask(case, batch)
        if case.options["on_invalid"] == "report":
            continue
        result = Guard(emitted, "train").check_batch({"y": batch["y"], "w": batch["w"]})
        assert result.ok, (result.violations, batch)
        if isinstance(batch["y"], list):
            continue
        assert batch["y"].dtype.name in emitted.labels["y"].stored_dtypes, batch["y"].dtype
        assert len(batch["y"]) == len(batch["n"])
        dtypes_seen.add(batch["y"].dtype)
        for row, number in enumerate(batch["n"].tolist()):
            if valid[number] and not _is_padding(case, batch, row):
                _check_value(case, number, batch, row)
    if case.schema.labels["y"].emitted_dtype is not None:
        assert len(dtypes_seen) <= 1


def _is_padding(case: Case, batch: Any, row: int) -> bool:
    return case.options["remainder"] == "pad" and not np.any(batch["y_valid"][row])


def _check_mask(case: Case, batch: Any) -> None:
    label = case.schema.stored("train")["y"]
    if case.options["on_invalid"] != "mask" and case.options["remainder"] != "pad" and not label.sentinels:
        return
    if "y_valid" not in batch:  # records that hold the only sentinel are skipped
        assert getattr(label, "on_unlabeled", None) == "skip"
        return
    assert len(batch["y_valid"]) == len(batch["n"])
    if case.options["remainder"] == "pad":
        assert len(batch["n"]) == case.options["batch_size"]


def _check_value(case: Case, number: int, batch: Any, row: int) -> None:
    """A valid label leaves as the oracle has it: position by position, in plain Python numbers."""
    label = case.schema.stored("train")["y"]
    if label.where is not None and not case.counts[number]:
        assert not np.any(batch.get("y_valid", [False] * len(batch["n"]))[row])
        return
    stored_flat = [math.nan] * batch["y"][row].size if case.values[number] is None else _flat(case.values[number])
    for place, (stored, emitted) in enumerate(zip(stored_flat, _flat(batch["y"][row]), strict=True)):
        if label.kind in ("multi_label", "real_label") and _is_unmeasured(label, stored):
            assert not np.ravel(batch["y_valid"][row])[place], (stored, emitted)
            assert math.isfinite(emitted), (stored, emitted)
        elif label.kind == "class_label":
            expected = _dense(label, stored)
            assert emitted == expected, (stored, emitted, expected)
        elif label.kind == "multi_label":
            assert emitted == stored, (stored, emitted)
        else:
            bound = 2e-3 * abs(float(stored)) + 1e-6
            assert abs(float(emitted) - float(stored)) <= bound, (stored, emitted)


def _is_unmeasured(label: Any, stored: Any) -> bool:
    return stored is None or stored != stored or any(math.isclose(stored, s, rel_tol=1e-3) for s in label.sentinels)


def _flat(value: Any) -> list[Any]:
    return [item for part in value for item in _flat(part)] if isinstance(value, list) else np.ravel(value).tolist()


def _dense(label: Any, stored: Any) -> int:
    if stored in label.ignore:
        return stored if label.on_ignore == "keep" else 0
    if stored == label.unlabeled:
        return stored if label.keeps_unlabeled else 0
    return list(label.raw_ids).index(int(stored))
