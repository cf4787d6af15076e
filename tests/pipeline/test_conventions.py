"""Labels as people store them: each convention from the stored value to the gradient of a jitted optax loss."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import label_guard.jax
from label_guard import (
    ClassLabel,
    DatasetSchema,
    Guard,
    InvalidLabelError,
    MultiLabel,
    RealLabel,
    SoftLabel,
    UsageError,
    guard_batches,
    read_quarantine,
)
from label_guard.audit import audit_dataset
from label_guard.diagnosis.statistics import LabelStatistics

NAN = float("nan")
TAGS = ["O", "B-ORG", "I-ORG"]
FORMS = ["records", "batch"]
POLICIES = ["mask", "drop"]


def delivered(label: Any, form: str, policy: str, folder: Any = None, **features: Any) -> dict[str, Any]:
    """The one batch that a guard makes of ``features``, by record or as a batch; it passes its emitted schema."""
    size = len(next(iter(features.values())))
    elements = [features] if form == "batch" else [{k: v[row] for k, v in features.items()} for row in range(size)]
    options = {"batched": form == "batch", "stop_above": None, "quarantine": folder, "on_invalid": policy}
    batch = next(iter(guard_batches(elements, {"y": label}, batch_size=size, **options)))
    schema = DatasetSchema(format=1, name="t", version="1.0.0", labels={"y": label}).emitted()
    result = Guard(schema).check_batch(batch)
    assert result.ok, (result.violations, batch)
    return batch


@lru_cache
def gradient_of(loss: Any) -> Any:
    """The jitted gradient of a masked mean of ``loss(logits, labels)``, compiled once for each form of labels."""
    return jax.jit(
        jax.value_and_grad(lambda logits, labels, valid: label_guard.jax.masked_mean(loss(logits, labels), valid))
    )


def finite_gradient(loss: Any, batch: dict[str, Any], *shape: int) -> tuple[float, Any]:
    """Value and gradient of a masked mean of ``loss(logits, labels)``, both finite; the value is NumPy's mean."""
    logits = jnp.linspace(-1.0, 1.0, int(np.prod(shape))).reshape(shape)
    valid = batch.get("y_valid", jnp.ones((), bool))
    value, gradient = gradient_of(loss)(logits, batch["y"], valid)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    losses = np.asarray(loss(logits, jnp.asarray(batch["y"])))
    counted = losses[
        np.broadcast_to(np.asarray(valid).reshape(valid.shape + (1,) * (losses.ndim - valid.ndim)), losses.shape)
    ]
    assert value == pytest.approx(counted.mean(), rel=1e-5)
    return float(value), np.asarray(gradient)


INTEGER_LOSS = optax.softmax_cross_entropy_with_integer_labels


def row_loss(logits: Any, labels: Any) -> Any:
    """Mean loss of the classes of a record."""
    return optax.sigmoid_binary_cross_entropy(logits, labels).mean(axis=-1)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    "stored",
    [
        ["O", "I-ORG", "B-ORG"],
        np.array(["O", "I-ORG", "B-ORG"]),
        np.array([b"O", b"I-ORG", b"B-ORG"]),
        np.array(["O", b"I-ORG", np.str_("B-ORG")], object),
        np.array(["O", "I-ORG", "B-ORG"], getattr(np.dtypes, "StringDType", lambda: "U9")()),
        pd.Categorical(["O", "I-ORG", "B-ORG"]),
        pa.array(["O", "I-ORG", "B-ORG"]).dictionary_encode(),
    ],
    ids=["list", "U", "S", "object", "StringDType", "pandas", "arrow"],
)
def test_names_become_ids(stored: Any, policy: str, form: str, tmp_path: Any) -> None:
    """Every form of text leaves as int32 ids, whose loss is that of the ids."""
    label = ClassLabel(num_classes=3, class_names=TAGS, dtype="string")
    if form == "records" and not isinstance(stored, list | np.ndarray):
        stored = np.asarray(stored)
    batch = delivered(label, form, policy, tmp_path / "q", y=stored)
    assert (batch["y"].dtype, batch["y"].tolist()) == (np.int32, [0, 2, 1])
    value, _ = finite_gradient(INTEGER_LOSS, batch, 3, 3)
    expected, _ = finite_gradient(INTEGER_LOSS, {"y": np.array([0, 2, 1])}, 3, 3)
    assert value == expected


@pytest.mark.parametrize("form", FORMS)
def test_unknown_names_are_reported_with_the_near_one(form: str, tmp_path: Any) -> None:
    """Case, white space and spelling; an id, None and an empty text are not names."""
    label = ClassLabel(num_classes=3, class_names=TAGS, dtype="string")
    values = np.array(["O", "b-org", "I-ORG ", "I-OGR", "location", "", 1, None], object)
    batch = delivered(label, form, "drop", tmp_path, y=values)
    assert batch["y"].tolist() == [0]
    found = {v.rule: [] for entry in read_quarantine(str(tmp_path)).entries for v in entry.violations}
    for entry in read_quarantine(str(tmp_path)).entries:
        for violation in entry.violations:
            found[violation.rule].append(violation.value)
    assert {rule: len(values) for rule, values in found.items()} == {"LG113": 5, "LG103": 1, "LG104": 1}
    assert sorted(found["LG113"], key=str) == [
        "''",
        "'I-OGR' (did you mean 'I-ORG'?)",
        "'I-ORG ' (did you mean 'I-ORG'?)",
        "'b-org' (did you mean 'B-ORG'?)",
        "'location'",
    ]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("stored", [np.array([True, False, True]), [True, False, True]], ids=["array", "list"])
def test_bool_classes_leave_as_integers(stored: Any, policy: str, form: str, tmp_path: Any) -> None:
    """False is class 0, True is class 1."""
    batch = delivered(ClassLabel(num_classes=2, dtype="bool"), form, policy, tmp_path / "q", y=stored)
    assert (batch["y"].dtype, batch["y"].tolist()) == (np.int32, [1, 0, 1])
    finite_gradient(INTEGER_LOSS, batch, 3, 2)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    ("ignore", "stored"),
    [
        ([NAN], np.array([[1, NAN], [NAN, NAN], [0.5, 2]], np.float32)),
        ([None, -999], [[1.0, None], None, [0.5, 2]]),
        ([-999.5], np.array([[1, -999.5], [-999.5, -999.5], [0.5, 2]], np.float64)),
        ([NAN, -999], np.array([[1, -999], [NAN, -999], [0.5, 2]], np.float16)),
    ],
    ids=["nan", "null", "number", "both"],
)
def test_targets_that_were_not_measured(ignore: Any, stored: Any, policy: str, form: str, tmp_path: Any) -> None:
    """The mask is elementwise; what leaves is finite, so that 0 * NaN cannot reach the gradient."""
    label = RealLabel(shape=[2], ignore=ignore, on_ignore="replace", minimum=0.25, emit="float32")
    batch = delivered(label, form, policy, tmp_path / "q", y=stored)
    assert batch["y_valid"].tolist() == [[True, False], [False, False], [True, True]]
    assert batch["y"].tolist() == [[1, 0.25], [0.25, 0.25], [0.5, 2]]
    value, gradient = finite_gradient(optax.l2_loss, batch, 3, 2)
    measured = [(0, 0, 1.0), (2, 0, 0.5), (2, 1, 2.0)]
    logits = np.linspace(-1, 1, 6).reshape(3, 2)
    assert value == pytest.approx(np.mean([0.5 * (logits[i, j] - target) ** 2 for i, j, target in measured]), rel=1e-5)
    assert (gradient[[0, 1, 1], [1, 0, 1]] == 0).all()


def test_an_infinity_and_a_value_outside_the_limits_stay_bad(tmp_path: Any) -> None:
    """Only the declared values are legal; under mask just the bad position is False."""
    label = RealLabel(shape=[2], ignore=[NAN], minimum=0)
    stored = np.array([[np.inf, NAN], [-1, 3]], np.float32)
    batch = delivered(label, "batch", "mask", tmp_path, y=stored)
    assert batch["y_valid"].tolist() == [[False, False], [False, True]]
    assert sorted(v.rule for e in read_quarantine(str(tmp_path)).entries for v in e.violations) == ["LG107", "LG112"]
    null = Guard(DatasetSchema(format=1, name="t", version="1.0.0", labels={"y": RealLabel(ignore=[None])}))
    for nan in (NAN, np.float32(NAN), np.inf):
        assert null.check_records([{"y": None}, {"y": nan}, {"y": 1.0}]).valid.tolist() == [True, False, True]
        assert null.check_batch({"y": [None, nan, 1.0]}).valid.tolist() == [True, False, True]
        assert null.check_batch({"y": np.array([1, nan])}).counts == {"LG107": 1}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("policy", POLICIES)
def test_rows_of_plus_and_minus_one(policy: str, form: str, tmp_path: Any) -> None:
    """1 and -1 leave as 1 and 0, the declared 0 is False in the mask."""
    label = MultiLabel(num_classes=3, positive=1, negative=-1, ignore=[0], on_ignore="replace", emit="float32")
    batch = delivered(label, form, policy, tmp_path / "q", y=np.array([[1, -1, 0], [1, 1, -1]], np.int8))
    assert batch["y"].tolist() == [[1, 0, 0], [1, 1, 0]]
    assert batch["y_valid"].tolist() == [[True, True, False], [True, True, True]]
    finite_gradient(optax.sigmoid_binary_cross_entropy, batch, 2, 3)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    ("fields", "stored"),
    [
        ({}, [[0, 2], [], [1]]),
        ({}, [np.array([2, 0]), np.array([], np.int64), np.array([1])]),
        ({"separator": " "}, ["2 0", "", "1"]),
        ({"separator": "|", "dtype": "string", "class_names": ["scab", "rust", "ok"]}, ["scab|ok", "", "rust"]),
        ({"dtype": "string", "class_names": ["scab", "rust", "ok"]}, [["ok", "scab"], [], [b"rust"]]),
    ],
    ids=["ids", "arrays", "text of ids", "text of names", "names"],
)
def test_lists_of_ids_become_k_hot_rows(fields: Any, stored: Any, policy: str, form: str, tmp_path: Any) -> None:
    """A list of ids or names, or one text of them, leaves as a row."""
    label = MultiLabel(num_classes=3, encoding="ids", unique=True, emit="float32", **fields)
    batch = delivered(label, form, policy, tmp_path / "q", y=stored)
    assert (batch["y"].dtype, batch["y"].tolist()) == (np.float32, [[1, 0, 1], [0, 0, 0], [0, 1, 0]])
    finite_gradient(row_loss, batch, 3, 3)


@pytest.mark.parametrize("form", FORMS)
def test_bad_lists_of_ids(form: str, tmp_path: Any) -> None:
    """Illegal ids, repeats, lengths, numbers of classes and texts that are not ids; masked as whole records."""
    limits = {"unique": True, "max_length": 2, "min_positive": 1}
    label = MultiLabel(num_classes=4, encoding="ids", separator=",", **limits)
    stored = ["0,3", "4", "1,1", "0,1,2", "", "a", "-1"]
    batch = delivered(label, form, "mask", tmp_path, y=stored)
    assert batch["y_valid"].tolist() == [True] + [False] * 6
    assert batch["y"][0].tolist() == [1, 0, 0, 1]
    rules = sorted({v.rule for entry in read_quarantine(str(tmp_path)).entries for v in entry.violations})
    assert rules == ["LG101", "LG102", "LG103", "LG108", "LG111"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("policy", POLICIES)
def test_a_label_of_several_columns(policy: str, form: str, tmp_path: Any) -> None:
    """Blanks and -1 are False in the mask; the columns leave as one label."""
    label = MultiLabel(num_classes=2, columns=["a", "b"], ignore=[-1, None], emit="float32")
    batch = delivered(label, form, policy, tmp_path / "q", a=[1.0, None, 0.0], b=[-1.0, 1.0, 0.0])
    assert batch.keys() == {"y", "y_valid"}
    assert batch["y"].tolist() == [[1, 0], [0, 1], [0, 0]]
    assert batch["y_valid"].tolist() == [[True, False], [False, True], [True, True]]
    finite_gradient(optax.sigmoid_binary_cross_entropy, batch, 3, 2)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("policy", POLICIES)
def test_padding_does_not_count(policy: str, form: str, tmp_path: Any) -> None:
    """Rows and positions where the mask is 0 are not checked, False in the validity mask, and legal values."""
    rows = np.array([[0, 1], [0, 0]], np.float32)
    soft = SoftLabel(num_classes=2, one_hot=True, where="m")
    batch = delivered(soft, form, policy, tmp_path / "q", y=rows, m=np.array([True, False]))
    assert batch["y_valid"].tolist() == [True, False]
    finite_gradient(optax.softmax_cross_entropy, batch, 2, 2)
    ids = np.array([[1, -1], [77, 4]])
    tokens = ClassLabel(num_classes=5, shape=[2], where="m")
    batch = delivered(tokens, form, policy, tmp_path / "q", y=ids, m=np.array([[1, 0], [0.0, 2.5]]))
    assert batch["y_valid"].tolist() == [[True, False], [False, True]]
    assert batch["y"].tolist() == [[1, 0], [0, 4]]
    finite_gradient(INTEGER_LOSS, batch, 2, 2, 5)


@pytest.mark.parametrize("form", FORMS)
def test_what_counts_is_checked(form: str, tmp_path: Any) -> None:
    """A bad value where the mask is not 0 is bad; the feature must be there and hold numbers that fit."""
    tokens = ClassLabel(num_classes=5, shape=[2], where="m")
    ids = np.array([[1, 9], [9, 9]])
    batch = delivered(tokens, form, "mask", tmp_path, y=ids, m=np.array([[1, 0], [1, 0]]))
    assert batch["y_valid"].tolist() == [[True, False], [False, False]]
    assert len(read_quarantine(str(tmp_path)).entries) == 1
    for features in ({}, {"m": np.array(["a", "b"])}):
        with pytest.raises(UsageError, match="'m'"):
            delivered(tokens, form, "mask", tmp_path, y=ids, **features)
    elements = [{"y": ids, "m": np.ones((2, 3))}]
    elements = elements if form == "batch" else [{k: v[row] for k, v in elements[0].items()} for row in range(2)]
    with pytest.raises(InvalidLabelError, match="LG105") as caught:
        next(iter(guard_batches(elements, {"y": tokens}, batch_size=2, batched=form == "batch", on_invalid="raise")))
    assert "under 'm' of float64" in str(caught.value)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("policy", POLICIES)
def test_padding_that_a_loader_has_marked_is_not_checked(policy: str, form: str, tmp_path: Any) -> None:
    """Where elements come with a mask under the guard's name, False there is padding; a bad record elsewhere is bad."""
    rows = np.array([[0, 1], [0, 0], [3, 3]], np.float32)
    features = {"y": rows, "_mask": np.array([True, False, True])}
    elements = [features] if form == "batch" else [{k: v[row] for k, v in features.items()} for row in range(3)]
    options = {"valid_key": "_mask", "quarantine": tmp_path, "stop_above": None, "batched": form == "batch"}
    label = {"y": SoftLabel(num_classes=2, one_hot=True)}
    (batch,) = guard_batches(elements, label, on_invalid=policy, batch_size=3, **options)
    assert batch["_mask"].tolist() == ([True, False, False] if policy == "mask" else [True, False])
    assert len(read_quarantine(str(tmp_path)).entries) == 1


def test_lone_ids_and_bool_words_of_a_text_file() -> None:
    """A column of ids in texts whose cells are all one number; True and false under dtype: bool, in an audit only."""
    guard = Guard(
        DatasetSchema(
            format=1,
            name="t",
            version="1.0.0",
            labels={
                "ids": ClassLabel(num_classes=4, shape=[None], separator=" "),
                "flag": ClassLabel(num_classes=2, dtype="bool"),
            },
        )
    )
    columns = {"ids": ["0 3", 2, "4"], "flag": ["True", "false", "yes"]}
    result = guard.check_columns(guard.gathered(columns, 3, columns), 3)
    assert [(v.row, v.label, v.rule) for v in result.violations] == [(2, "flag", "LG103"), (2, "ids", "LG101")]
    assert guard.check_columns(guard.gathered(columns, 3), 3).counts["LG103"] == 3
    assert guard.check_records([{"ids": "1", "flag": "True"}]).counts == {"LG103": 1}


def test_statistics_count_what_is_stored() -> None:
    """Unknown names, declared NaN and -1 for absent are not counted as strays, from which a cause would be drawn."""
    labels = {
        "name": ClassLabel(num_classes=3, class_names=TAGS, dtype="string"),
        "sign": MultiLabel(num_classes=2, positive=1, negative=-1),
        "real": RealLabel(ignore=[None, NAN]),
    }
    guard = Guard(DatasetSchema(format=1, name="t", version="1.0.0", labels=labels))
    features = {
        "name": ["O", "o", "x", "B-ORG"],
        "sign": [[1, -1], [1, 1], [-1, 1], [0, 1]],
        "real": [1.5, None, NAN, 2.5],
    }
    found = {path: LabelStatistics() for path in labels}
    for path, (columns, _) in guard.gathered(features, 4).items():
        found[path].add(guard.read_labels[path], columns, [], 4, list("abcd"))
    assert dict(found["name"].class_counts) == {0: 1, 1: 1}
    assert dict(found["sign"].class_counts) == {0: 2, 1: 3}
    assert (found["real"].not_finite, found["real"].low, found["real"].high) == (0, 1.5, 2.5)


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet", "words"])
def test_bool_is_bool_whatever_the_file(tmp_path: Path, form: str) -> None:
    """True and False of CSV are bool under ``dtype: bool`` and in ``where``; texts of a file with types are not."""
    rows = [(True, 0, True), (False, 99, False), (True, 99, True), (False, 1, False)]
    path = tmp_path / f"a.{form}"
    names = ("flag", "id", "counts")
    if form == "csv":
        path.write_text("\n".join(",".join(map(str, row)) for row in (names, *rows)) + "\n")
    elif form == "parquet":
        pq.write_table(pa.table(dict(zip(names, zip(*rows, strict=True), strict=True))), path)
    else:
        stored = [[str(one) if isinstance(one, bool) and form == "words" else one for one in row] for row in rows]
        path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in stored))
    labels = {
        "flag": ClassLabel(num_classes=2, dtype="bool"),
        "id": ClassLabel(num_classes=2, where="counts"),
    }
    schema = DatasetSchema(format=1, name="t", version="1.0.0", labels=labels)
    (split,) = audit_dataset(schema, source=f"{'jsonl' if form == 'words' else form}:{path}").splits
    found = {name: split.labels[name].violations for name in labels}
    if form == "words":
        assert {name: list(broken) for name, broken in found.items()} == {"flag": ["LG103"], "id": ["LG104"]}
    else:
        assert {name: dict(broken) for name, broken in found.items()} == {"flag": {}, "id": {"LG101": [1, 1]}}
