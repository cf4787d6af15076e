"""diagnose_dataset: exchanged features, names in another order, and silence about sound datasets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from label_guard import DatasetSchema, Guard
from label_guard.diagnosis.cause import LikelyCause
from label_guard.diagnosis.dataset import diagnose_dataset, shuffled_names
from label_guard.diagnosis.statistics import LabelStatistics
from label_guard.schema.labels import ClassLabel

RNG = np.random.default_rng(0)
COARSE, FINE = RNG.integers(0, 20, 600), RNG.integers(0, 100, 600)
Positions = dict[str | None, dict[str, LabelStatistics]]


def schema_of(labels: dict[str, Any], *splits: str) -> DatasetSchema:
    """A schema of these labels."""
    fields = {"format": 1, "name": "t", "version": "1.0.0", "labels": labels, "splits": {name: {} for name in splits}}
    return DatasetSchema.model_validate(fields)


def statistics(schema: DatasetSchema, data: dict[str, Any], split: str | None = None) -> dict[str, LabelStatistics]:
    """Statistics of one split's batch."""
    guard = Guard(schema, split)
    result = guard.check(data, batched=True)
    columns = guard.batch_columns(data, result.num_records)
    found = {path: LabelStatistics() for path in schema.labels}
    for path, label in guard.labels.items():
        faults = [fault for fault in result.faults if fault.label == path]
        found[path].add(label, columns[path], faults, result.num_records, [str(i) for i in range(result.num_records)])
    return found


def causes(schema: DatasetSchema, data: dict[str | None, dict[str, Any]]) -> list[tuple[str | None, str, LikelyCause]]:
    """The diagnosis of splits without metadata."""
    found: Positions = {split: statistics(schema, batch, split) for split, batch in data.items()}
    return diagnose_dataset(schema, found, {split: {} for split in data})


def classes(num_classes: int, **fields: Any) -> dict[str, Any]:
    """A class label."""
    return {"kind": "class_label", "num_classes": num_classes, **fields}


REAL = {"kind": "real_label", "minimum": 0, "maximum": 1}
EXCHANGED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "coarse and fine": ({"coarse": classes(20), "fine": classes(100)}, {"coarse": FINE, "fine": COARSE}),
    "id and score": ({"label": classes(20), "score": REAL}, {"label": RNG.random(600, np.float32), "score": COARSE}),
    "id and mask": (
        {"label": classes(5), "mask": classes(3, shape=[4, 4])},
        {"label": RNG.integers(0, 3, (50, 4, 4)), "mask": RNG.integers(0, 5, 50)},
    ),
    "rows of two lengths": (
        {"attributes": {"kind": "multi_label", "num_classes": 6}, "tags": {"kind": "multi_label", "num_classes": 9}},
        {"attributes": RNG.integers(0, 2, (50, 9)), "tags": RNG.integers(0, 2, (50, 6))},
    ),
    "with a third label": (
        {"coarse": classes(20), "fine": classes(100), "other": classes(7)},
        {"coarse": FINE, "fine": COARSE, "other": FINE % 7},
    ),
}


@pytest.mark.parametrize("name", EXCHANGED)
def test_two_labels_that_hold_what_the_other_declares_are_named_together(name: str) -> None:
    """One cause for the pair, in place of what each alone would suggest."""
    labels, data = EXCHANGED[name]
    reported = causes(schema_of(labels), {None: data})
    first, second, *_ = labels
    assert [(cause.cause, path) for _, path, cause in reported] == [("swapped-features", first)]
    assert second in reported[0][2].text


ALIKE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "one label out of range": ({"coarse": classes(20), "fine": classes(100)}, {"coarse": FINE, "fine": FINE}),
    "few classes of the second in use": ({"a": classes(20), "b": classes(100)}, {"a": COARSE + 1, "b": COARSE % 3}),
    "few records": ({"a": classes(20), "b": classes(100)}, {"a": FINE[:30], "b": COARSE[:30]}),
    "two possible partners": (
        {"a": classes(20), "b": classes(100), "c": classes(100, ignore=[-1])},
        {"a": FINE, "b": COARSE, "c": COARSE},
    ),
}


@pytest.mark.parametrize("name", ALIKE)
def test_less_evidence_than_that_is_no_exchange(name: str) -> None:
    """Labels that fit by chance, or fit several others, are not called exchanged."""
    labels, data = ALIKE[name]
    assert "swapped-features" not in {cause.cause for *_, cause in causes(schema_of(labels), {None: data})}


@pytest.mark.parametrize("other", [["x", "y", "z"], ["x", "y", "?"], [0, 1, 5]])
def test_labels_of_names_are_never_called_exchanged(other: list[Any]) -> None:
    """With a label of names, any second label is explained as it is alone, whichever of the two is broken."""
    names = {"kind": "class_label", "num_classes": 3, "dtype": "string"}
    second = {**names, "class_names": ["x", "y", "z"]} if isinstance(other[0], str) else classes(3)
    schema = schema_of({"animal": {**names, "class_names": ["ant", "bee", "cat"]}, "other": second})
    for first in (["ant", "bee", "cat"], ["ant", "bee", "dog"]):
        data = {"animal": np.array(first * 50, object), "other": np.array(other * 50)}
        assert "swapped-features" not in {cause.cause for *_, cause in causes(schema, {None: data})}


def test_classes_that_another_split_uses_are_not_called_unused() -> None:
    """A test split without the last class is explained by nothing where train has it."""
    schema = schema_of({"y": classes(11)}, "train", "test")
    ten, eleven = np.tile(np.arange(10), 200), np.tile(np.arange(11), 200)
    assert causes(schema, {"train": {"y": eleven}, "test": {"y": ten}}) == []
    both = causes(schema, {"train": {"y": ten}, "test": {"y": ten}})
    assert [(split, cause.cause) for split, _, cause in both] == [
        ("train", "one-class-too-many"), ("test", "one-class-too-many"),
    ]  # fmt: skip


@given(st.permutations(["cat", "dog", "emu", "fox"]))
def test_names_in_another_order_are_reported_and_nothing_else_is(theirs: list[str]) -> None:
    """Any permutation but the identity is reported at its first place; other names never are."""
    ours = ["cat", "dog", "emu", "fox"]
    label = ClassLabel(kind="class_label", num_classes=4, class_names=tuple(ours))
    moved = [(i, b, a) for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b]
    assert shuffled_names(label, theirs) == (moved[0] if moved else None)
    assert shuffled_names(label, [*theirs[:3], "gnu"]) is None
    assert shuffled_names(label, theirs[:3]) is None
    assert shuffled_names(label, None) is None


@st.composite
def sound(draw: st.DrawFn) -> tuple[DatasetSchema, dict[str | None, dict[str, Any]]]:
    """Datasets whose labels are as declared: several labels, splits of any size, classes up to 16 times rarer."""
    counts = draw(st.lists(st.integers(2, 40), min_size=1, max_size=3))
    labels = {f"y{i}": classes(n, ignore=draw(st.sampled_from([[], [255]]))) for i, n in enumerate(counts)}
    labels["soft"] = {"kind": "soft_label", "num_classes": 3}
    labels["real"] = REAL
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    data: dict[str | None, dict[str, Any]] = {}
    for split in ("train", "test"):
        size = draw(st.integers(1, 50) | st.integers(1, 3000))
        data[split] = {"soft": random.dirichlet(np.ones(3), size), "real": random.random(size)}
        for i, n in enumerate(counts):
            weights = 16.0 ** -random.random(n)
            data[split][f"y{i}"] = random.choice(n, size, p=weights / weights.sum())
    return schema_of(labels, "train", "test"), data


@given(sound())
def test_sound_datasets_are_explained_by_nothing(
    dataset: tuple[DatasetSchema, dict[str | None, dict[str, Any]]],
) -> None:
    """Whatever the class counts, the skew and the size of the splits: no cause, and no finding to explain."""
    assert causes(*dataset) == []
