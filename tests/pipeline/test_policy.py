"""The policies as pure functions: what leaves the guard satisfies the emitted schema, and inputs are never written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from label_guard import DatasetSchema, Guard, UsageError, guard_batches
from label_guard.pipeline.convert import LabelConverter
from label_guard.pipeline.emit import finalize_batch
from label_guard.pipeline.options import resolve_options
from label_guard.schema.labels import ClassLabel
from tests.elements import Example, Pair

SIZE = 6


def schema_of(label: dict[str, Any]) -> DatasetSchema:
    """A schema of one label ``y`` with a training split."""
    fields = {k: v for k, v in label.items() if k not in ("unlabeled", "on_unlabeled")}
    override = {k: v for k, v in label.items() if k in ("unlabeled", "on_unlabeled")}
    splits = {"train": {"labels": {"y": override}}} if override else {"train": {}}
    return DatasetSchema.model_validate(
        {"format": 1, "name": "t", "version": "1.0.0", "labels": {"y": fields}, "splits": splits}
    )


CLASS = st.fixed_dictionaries(
    {"kind": st.just("class_label"), "num_classes": st.just(5)},
    optional={
        "class_ids": st.sampled_from([{"start": 1}, [2, 3, 7, 40, 90], {"start": 0}]),
        "ignore": st.sampled_from([[255], [-100, 255]]),
        "on_ignore": st.sampled_from(["keep", "replace"]),
        "emit": st.just("int32"),
        "shape": st.sampled_from([[], [3]]),
        "on_unlabeled": st.sampled_from(["keep", "replace", "skip"]),
    },
).map(lambda label: {**label, "unlabeled": -1} if "on_unlabeled" in label else label)
MULTI = st.fixed_dictionaries(
    {"kind": st.just("multi_label"), "num_classes": st.just(4)},
    optional={
        "ignore": st.just([-1]), "on_ignore": st.sampled_from(["keep", "replace"]), "min_positive": st.just(1),
        "max_positive": st.just(2), "emit": st.just("float32"),
    },
)  # fmt: skip
SOFT = st.fixed_dictionaries(
    {"kind": st.just("soft_label"), "num_classes": st.just(3)}, optional={"one_hot": st.just(True)}
)
REAL = st.fixed_dictionaries(
    {"kind": st.just("real_label")}, optional={"minimum": st.just(-1.0), "maximum": st.just(2.0), "shape": st.just([2])}
)


def value_of(label: dict[str, Any], draw: Any) -> np.ndarray[Any, Any] | None:
    """One record's label, often bad: out of range, of another dtype or shape, or absent."""
    odd = draw(st.sampled_from(["no"] * 6 + ["missing", "dtype", "shape"]))
    if odd == "missing":
        return None
    classes = [label["num_classes"]] if label["kind"] in ("multi_label", "soft_label") else []
    shape = (*label.get("shape", []), *classes) if odd != "shape" else (2, 2)
    numbers = {
        "class_label": st.sampled_from([0, 1, 2, 3, 4, 5, 7, 40, 90, -1, -100, 255, 2**32 + 1]),
        "multi_label": st.sampled_from([0, 1, 1, 0, -1, 2]),
        "soft_label": st.sampled_from([0.0, 1.0, 0.5, np.nan, -0.5]),
        "real_label": st.sampled_from([0.0, 1.5, -3.0, np.nan, np.inf]),
    }[label["kind"]]
    count = int(np.prod(shape, dtype=int))
    flat = draw(st.lists(numbers, min_size=count, max_size=count))
    dtype = np.int64 if label["kind"] in ("class_label", "multi_label") else np.float32
    array = np.array(flat, dtype).reshape(shape)
    return array.astype(np.complex64) if odd == "dtype" else array


@settings(max_examples=300)
@given(CLASS | MULTI | SOFT | REAL, st.booleans(), st.data())
def test_what_mask_delivers_satisfies_the_emitted_schema(label: dict[str, Any], as_list: bool, data: Any) -> None:
    """Any bad batch comes out legal, of one shape and dtype, its mask False where a label is not good."""
    schema = schema_of(label)
    values = [value_of(label, data.draw) for _ in range(SIZE)]
    guard = Guard(schema, "train")
    checked = guard.check_records([{"y": value} for value in values])
    before = [None if value is None else value.tobytes() for value in values]
    records: list[Any] = [
        {"x": np.float32(i)} | ({} if v is None and as_list else {"y": v}) for i, v in enumerate(values)
    ]
    (batch,) = guard_batches(
        records, schema, split="train", on_invalid="mask", batch_size=SIZE, batched=False, stop_above=None
    )
    emitted = schema.emitted("train")
    again = Guard(emitted, "train").check({"y": batch["y"]}, batched=True)
    assert again.ok, (again, batch["y"])
    assert batch["y"].shape == (SIZE, *emitted.labels["y"].record_shape)
    assert batch["y_valid"].dtype == bool
    rows = batch["y_valid"].reshape(SIZE, -1)
    legal = [c for c in (label.get("emit"), None) if c]
    assert not legal or batch["y"].dtype == legal[0]
    for row, value in enumerate(values):
        if not checked.valid[row]:
            assert not rows[row].all()
        elif label["kind"] == "class_label":
            stored = guard.labels["y"]
            assert isinstance(stored, ClassLabel)
            expected = [v not in stored.sentinels for v in np.ravel(np.asarray(value)).tolist()]
            assert rows[row].tolist() == expected
    assert before == [None if value is None else value.tobytes() for value in values]


@given(
    st.sampled_from([{"start": 1}, [2, 3, 7, 40, 90], [90, 40, 7, 3, 2]]), st.sampled_from(["int8", "int64", "uint8"])
)
def test_dense_ids_map_back_to_raw_ids(class_ids: Any, dtype: str) -> None:
    """Every raw id becomes its dense index, and to_raw takes it back."""
    label = ClassLabel(kind="class_label", num_classes=5, class_ids=class_ids)
    raw = np.array(list(label.raw_ids), dtype)
    dense = LabelConverter(label)(raw)
    assert dense.tolist() == [0, 1, 2, 3, 4]
    assert [label.to_raw(i) for i in dense.tolist()] == raw.tolist()


def test_a_clean_batch_without_conversion_is_the_same_object() -> None:
    """Nothing is copied where nothing changes, not even the dict."""
    schema = schema_of({"kind": "class_label", "num_classes": 5})
    batch = {"y": np.array([1, 2]), "x": np.zeros(2)}
    (out,) = guard_batches([batch], schema, on_invalid="raise", batched=True)
    assert out is batch


LABEL = {"y": ClassLabel(kind="class_label", num_classes=5, ignore=(-1,))}
IDS = np.array([1, -1, 3])


def emit(labels: Any, batch: Any, size: int = 3, **options: Any) -> Any:
    """A valid batch as it leaves a guard."""
    return finalize_batch(resolve_options(labels, on_invalid="raise", **options), batch, size)


@pytest.mark.parametrize(
    ("existing", "expected"),
    [
        (np.array([False, True, True]), [False, False, True]),
        (np.array([0.5, 1.0, 2.0]), [0.5, 0.0, 2.0]),
        (np.array([3, 1, 2], np.int32), [3, 0, 2]),
        ([True, True, True], [True, False, True]),
        (None, [True, False, True]),
    ],
)
def test_an_existing_feature_keeps_its_dtype_and_values(existing: Any, expected: list[Any]) -> None:
    """Masks, weights and segment ids keep what they are where the label is valid, and are 0 where it is not."""
    batch = {"y": IDS, "w": existing}
    out = emit(LABEL, batch, valid_key="w", valid_dtype="float32")["w"]
    assert out.tolist() == expected
    assert out.dtype == (np.float32 if existing is None else np.asarray(existing).dtype)
    assert batch["w"] is existing


def test_masks_of_another_rank_are_broadcast_from_the_left() -> None:
    """A mask per record is spread over the positions of the label; one that does not fit is an error that names it."""
    dense = {"y": ClassLabel(kind="class_label", num_classes=5, ignore=(-1,), shape=(2,))}
    ids = np.array([[1, -1], [2, 2]])
    wide = emit(dense, {"y": ids, "y_valid": np.array([True, False])}, 2)
    assert wide["y_valid"].tolist() == [[True, False], [False, False]]
    for existing in (np.ones(3), np.array(["a", "b"])):
        with pytest.raises(UsageError, match="'y_valid' cannot be combined"):
            emit(dense, {"y": ids, "y_valid": existing}, 2)


@pytest.mark.parametrize(
    ("path", "batch", "place"),
    [
        ("objects/label", {"objects": {"label": IDS}}, lambda out: out["objects"]["label_valid"]),
        ("image/class/label", {"image/class/label": IDS}, lambda out: out["image/class/label_valid"]),
        ("a/b/c", {"a": {"b/c": IDS}}, lambda out: out["a"]["b/c_valid"]),
        ("1/y", (0, {"y": IDS}), lambda out: out[1]["y_valid"]),
    ],
)
def test_the_mask_is_beside_its_label(path: str, batch: Any, place: Any) -> None:
    """In a nested dict, and with a flat key of the same form."""
    out = emit({path: LABEL["y"]}, batch)
    assert place(out).tolist() == [True, False, True]


def test_a_tuple_gets_its_mask_appended_by_explicit_choice() -> None:
    """A tuple without a choice is an error that says what to pass; with one the mask is its last item."""
    labels = {"1": LABEL["y"]}
    with pytest.raises(UsageError, match="valid_key="):
        emit(labels, (np.zeros(3), IDS))
    out = emit(labels, (np.zeros(3), IDS), valid_key="mask")
    assert out[2].tolist() == [True, False, True]


@pytest.mark.parametrize("element", [Pair(np.zeros(3), IDS), Example(np.zeros(3), IDS)])
def test_a_class_without_a_field_for_the_mask(element: Any) -> None:
    """The error names the field to add, and the way without a mask."""
    for options in ({}, {"valid_key": "mask"}):
        with pytest.raises(UsageError, match=r"field '(mask|y_valid)'.*valid_key=None"):
            emit(LABEL, element, **options)
    assert emit(LABEL, element, valid_key=None) is element


@dataclass(frozen=True)
class WithField:
    """A dataclass with a place for the mask."""

    y: Any
    y_valid: Any = None


class NamedWithField(NamedTuple):
    """A named tuple with a place for the mask."""

    y: Any
    y_valid: Any = None


@pytest.mark.parametrize("form", [WithField, NamedWithField])
@pytest.mark.parametrize("nested", [False, True])
def test_a_field_of_the_masks_name_is_filled(form: Any, nested: bool) -> None:
    """None is filled, an existing mask is combined with, by the default name too; also within a dict."""
    for existing, expected in ((None, [True, False, True]), (np.array([True, True, False]), [True, False, False])):
        element = form(IDS, existing)
        path, batch = ("inner/y", {"inner": element}) if nested else ("y", element)
        out = emit({path: LABEL["y"]}, batch)
        found = out["inner"] if nested else out
        assert type(found) is form
        assert found.y_valid.tolist() == expected


@pytest.mark.parametrize(
    ("labels", "options"),
    [
        (["x", "x_valid"], {}),
        (["x", "y"], {"valid_key": "y"}),
        (["a/x", "a/x_valid"], {}),
        (["x", "x_valid/z"], {}),
        (["1", "2"], {"valid_key": "2"}),
        (["x", "y"], {"valid_key": "mask"}),
    ],
)
def test_a_mask_never_takes_the_place_of_a_label(labels: list[str], options: Any) -> None:
    """Refused when the guard is built: a label, a container of labels, one name for two masks."""
    with pytest.raises(UsageError, match="valid_key"):
        resolve_options(dict.fromkeys(labels, LABEL["y"]), on_invalid="mask", **options)
